//! The enclave under test: reads one command a line from the host port, answers one line each.

use aws_lc_rs::{rand::SystemRandom, signature};
use glacier_platform::{CountingAllocator, Enclave, Ending, LockedKey, SealingPurpose, enter_with};
use nix::{
    errno::Errno,
    sys::{ptrace, signal, uio},
    unistd::Pid,
};
use std::{
    io::{self, BufRead, BufReader, IoSliceMut, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    process::ExitCode,
    sync::mpsc,
    time::Duration,
};

pub(crate) fn enclave() -> ExitCode {
    // With a chip port this is `enter`; without one it looks for hardware, of which tests have none.
    let Ok(enclave) = enter_with(worker, |_| None) else { return ExitCode::from(3) };
    let mut kept = Kept::default();
    let mut lines = BufReader::new(&enclave.host).lines();
    while let Some(Ok(line)) = lines.next() {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = inside(&enclave, &mut kept, &words);
        writeln!(&mut &enclave.host, "{answer}").unwrap();
    }
    ExitCode::SUCCESS
}

/// What must live on between commands.
#[derive(Default)]
struct Kept {
    keys: Vec<LockedKey<32>>,
    workers: Vec<glacier_platform::Worker>,
}

/// Commands that only the enclave itself understands; the rest goes to [`forbidden`].
fn inside(enclave: &Enclave, kept: &mut Kept, words: &[&str]) -> String {
    match words {
        ["ping"] => "pong".into(),
        ["arguments"] => format!("{} {}", std::env::args_os().len() - 1, std::env::vars_os().count()),
        ["directory"] => outcome(std::env::current_dir().map(drop)),
        ["descriptors"] => descriptors(&enclave.host),
        ["print"] => {
            println!("leak");
            eprintln!("leak");
            "printed".into()
        }
        ["key"] => {
            kept.keys.push(LockedKey::random().unwrap());
            format!("{:?}", kept.keys.last().unwrap().protection())
        }
        ["quote", data] => hex::encode(enclave.platform.quote(&[data.parse().unwrap(); 64]).unwrap()),
        ["collateral"] => String::from_utf8(enclave.platform.collateral().unwrap()).unwrap(),
        ["facts"] => format!("{} {}", enclave.platform.measurement(), enclave.platform.enclave_id()),
        ["seal"] => hex::encode(enclave.platform.sealing_key(SealingPurpose::State).unwrap().expose()),
        ["connect-again"] => outcome(rustix::net::connect(&enclave.host, &abstract_address())),
        ["bind"] => outcome(rustix::net::bind(&enclave.listener, &abstract_address())),
        ["listen"] => outcome(rustix::net::listen(&enclave.listener, 1)),
        ["runtime"] => runtime(enclave),
        ["exit", status] => std::process::exit(status.parse().unwrap()),
        // In a worker: `worker MEMORY COMMAND…` gives its answer and how it ended.
        ["worker", memory, command @ ..] => {
            let mut worker = enclave.zygote.spawn(memory.parse().unwrap()).unwrap();
            writeln!(worker.stream, "{}", command.join(" ")).unwrap();
            worker.stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            // A worker that dies resets the stream.
            let _ = worker.stream.read_to_string(&mut answer);
            format!("{:?} {}", worker.ending(), answer.trim_end())
        }
        ["keep-worker"] => {
            kept.workers.push(enclave.zygote.spawn(1 << 20).unwrap());
            "kept".into()
        }
        ["drop-workers"] => {
            kept.workers.clear();
            "dropped".into()
        }
        ["kill-worker"] => {
            let worker = enclave.zygote.spawn(1 << 20).unwrap();
            worker.kill();
            format!("{:?}", worker.ending())
        }
        ["hundred-workers"] => {
            let before = descriptors(&enclave.host);
            for _ in 0..100 {
                let worker = enclave.zygote.spawn(1 << 20).unwrap();
                // It finishes when it finds no command.
                worker.stream.shutdown(std::net::Shutdown::Write).unwrap();
                if worker.ending() != Ending::Finished {
                    return "a worker did not finish".into();
                }
            }
            if descriptors(&enclave.host) == before { "clean".into() } else { "descriptors leaked".into() }
        }
        ["time-quote"] => timed(100, || drop(enclave.platform.quote(&[1; 64]).unwrap())),
        ["time-worker"] => timed(100, || {
            let worker = enclave.zygote.spawn(1 << 20).unwrap();
            worker.stream.shutdown(std::net::Shutdown::Write).unwrap();
            worker.ending();
        }),
        _ => forbidden(words),
    }
}

/// The life of a worker: one command.
fn worker(mut stream: UnixStream) {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    let line = line.trim_end().to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let answer = match words.as_slice() {
        [""] => return,
        ["descriptors"] => descriptors(&stream),
        ["nothing"] => "done".into(),
        // Through the page, so that memory is really taken.
        ["take", bytes] => {
            let taken = vec![1u8; bytes.parse().unwrap()];
            format!("{} {}", std::hint::black_box(&taken).len(), CountingAllocator::peak() >= taken.len())
        }
        ["take-bit-by-bit"] => {
            let mut taken = Vec::new();
            loop {
                taken.push(std::hint::black_box(vec![1u8; 1000]));
            }
        }
        ["take-zeroed", bytes] => {
            std::hint::black_box(vec![0u8; bytes.parse().unwrap()]);
            "taken".into()
        }
        ["take-by-growing"] => {
            let mut taken: Vec<u8> = Vec::new();
            loop {
                taken.resize(taken.len() + 4096, 1);
                std::hint::black_box(&taken);
            }
        }
        ["take-in-threads"] => {
            let threads: Vec<_> =
                (0..4).map(|_| std::thread::spawn(|| std::hint::black_box(vec![1u8; 3 << 20]))).collect();
            let taken: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            taken.len().to_string()
        }
        ["take-and-give-back", rounds] => {
            for _ in 0..rounds.parse().unwrap() {
                drop(std::hint::black_box(vec![1u8; 1 << 20]));
            }
            format!("{}", CountingAllocator::live() < 1 << 16)
        }
        // Not by the allocator: the address space is the bound.
        ["map", bytes] => outcome(memmap2::MmapMut::map_anon(bytes.parse().unwrap()).map(drop)),
        ["panic"] => panic!("on purpose"),
        ["abort"] => std::process::abort(),
        // Twice: the runtime's handler takes the first for a fault that will come again by itself.
        ["segfault"] => outcome(signal::raise(signal::Signal::SIGSEGV).and(signal::raise(signal::Signal::SIGSEGV))),
        ["kill-itself"] => outcome(signal::raise(signal::Signal::SIGKILL)),
        ["overflow"] => overflow(0).to_string(),
        ["overflow-thread"] => std::thread::spawn(|| overflow(0)).join().unwrap().to_string(),
        ["exit"] => std::process::exit(0),
        _ => forbidden(&words),
    };
    writeln!(stream, "{answer}").unwrap();
}

/// What neither an enclave nor a worker may do. Targets are chosen so that the ordinary kernel would
/// answer something else than EPERM, as root and as anybody.
fn forbidden(words: &[&str]) -> String {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socketpair};
    let nobody = Pid::from_raw(i32::MAX);
    match words {
        ["socket", "tcp"] => outcome(socket(AddressFamily::INET, SocketType::STREAM, None).map(drop)),
        ["socket", "tcp6"] => outcome(socket(AddressFamily::INET6, SocketType::STREAM, None).map(drop)),
        ["socket", "udp"] => outcome(socket(AddressFamily::INET, SocketType::DGRAM, None).map(drop)),
        ["socket", "unix"] => outcome(socket(AddressFamily::UNIX, SocketType::STREAM, None).map(drop)),
        ["socket", "netlink"] => outcome(socket(AddressFamily::NETLINK, SocketType::RAW, None).map(drop)),
        ["socketpair"] => {
            outcome(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map(drop))
        }
        ["connect"] => outcome(std::net::TcpStream::connect("127.0.0.1:1").map(drop)),
        ["resolve"] => outcome(std::net::ToSocketAddrs::to_socket_addrs("localhost:1").map(drop)),
        ["open", path] => outcome(std::fs::File::open(path).map(drop)),
        ["create"] => outcome(std::fs::File::create("/tmp/glacier-probe").map(drop)),
        ["list"] => outcome(std::fs::read_dir("/").map(drop)),
        ["stat"] => outcome(std::fs::metadata("/").map(drop)),
        ["unlink"] => outcome(std::fs::remove_file("/nonexistent/x")),
        ["memfd"] => outcome(rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).map(drop)),
        ["exec"] => outcome(nix::unistd::execv(c"/nonexistent/x", &[c"x"]).map(drop)),
        ["spawn"] => outcome(std::process::Command::new("/bin/true").spawn().map(drop)),
        ["ptrace"] => outcome(ptrace::attach(nobody)),
        ["traceme"] => outcome(ptrace::traceme()),
        ["read-process"] => {
            let mut byte = [0];
            let remote = uio::RemoteIoVec { base: 0x1000, len: 1 };
            outcome(uio::process_vm_readv(nobody, &mut [IoSliceMut::new(&mut byte)], &[remote]).map(drop))
        }
        ["kill"] => outcome(signal::kill(nobody, signal::Signal::SIGTERM)),
        ["pidfd"] => outcome(
            rustix::process::pidfd_open(
                rustix::process::Pid::from_raw(i32::MAX).unwrap(),
                rustix::process::PidfdFlags::empty(),
            )
            .map(drop),
        ),
        ["limit"] => outcome(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)),
        ["dumpable"] => outcome(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)),
        ["unshare"] => outcome(nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)),
        ["setsid"] => outcome(nix::unistd::setsid().map(drop)),
        ["code"] => match memmap2::MmapMut::map_anon(4096) {
            Ok(page) => outcome(page.make_exec().map(drop)),
            Err(error) => format!("no page: {error}"),
        },
        ["threads"] => {
            let (sender, receiver) = mpsc::channel();
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let sender = sender.clone();
                    std::thread::Builder::new().name(format!("probe-{number}")).spawn(move || {
                        std::thread::sleep(Duration::from_millis(1));
                        sender.send(number).unwrap();
                    })
                })
                .collect();
            drop(sender);
            let sum: i32 = receiver.iter().sum();
            threads.into_iter().for_each(|thread| thread.unwrap().join().unwrap());
            assert!(std::thread::available_parallelism().is_ok());
            sum.to_string()
        }
        ["crypto"] => {
            let random = SystemRandom::new();
            let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
            let key = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let key = signature::EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref()).unwrap();
            outcome(key.sign(&random, b"message").map(drop).map_err(|_| io::Error::other("no signature")))
        }
        _ => format!("no such probe: {words:?}"),
    }
}

/// The kernel's answer in a word.
fn outcome<E: Into<io::Error>>(result: Result<(), E>) -> String {
    match result.map_err(Into::into) {
        Ok(()) => "done".into(),
        Err(error) => match error.raw_os_error() {
            Some(errno) => format!("{:?}", Errno::from_raw(errno)),
            None => error.to_string(),
        },
    }
}

/// Numbers of the open descriptors below 64: those that new ones, which take the lowest free number, skip.
fn descriptors(any: &UnixStream) -> String {
    let mut free = Vec::new();
    while let Ok(descriptor) = any.try_clone() {
        let done = descriptor.as_raw_fd() >= 63;
        free.push(descriptor);
        if done {
            break;
        }
    }
    let open = (0..64).filter(|number| !free.iter().any(|free| free.as_raw_fd() == *number));
    open.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// An async runtime as enclaves use it: accepts one relayed client and echoes four bytes.
fn runtime(enclave: &Enclave) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    enclave.listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(enclave.listener.try_clone().unwrap()).unwrap();
        let served = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 4];
            client.read_exact(&mut bytes).await.unwrap();
            client.write_all(&bytes).await.unwrap();
        });
        tokio::time::timeout(Duration::from_secs(10), served).await.unwrap().unwrap();
    });
    "served".into()
}

fn timed(times: u32, mut what: impl FnMut()) -> String {
    let start = std::time::Instant::now();
    (0..times).for_each(|_| what());
    (start.elapsed() / times).as_micros().to_string()
}

fn abstract_address() -> rustix::net::SocketAddrUnix {
    rustix::net::SocketAddrUnix::new_abstract_name(b"glacier-probe").unwrap()
}

/// Uses up the stack, in a way that no optimiser turns into a loop.
#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 256]);
    overflow(frame[7] + 1) + frame[200]
}
