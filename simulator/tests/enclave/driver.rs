//! The tests: what the host, the operator and a stranger on the machine see.

use command_fds::{CommandFdExt, FdMapping};
use glacier_attest::{Anchors, Collateral, Fingerprint, appraise};
use glacier_simulator::{Home, measure_file};
use glacier_wire::UnixTime;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::{Duration, Instant, SystemTime},
};

pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (name, command) in FORBIDDEN {
        trials.push(Trial::test(format!("enclave_cannot_{name}"), move || Running::start().expect(command, "EPERM")));
        trials.push(Trial::test(format!("worker_cannot_{name}"), move || {
            Running::start().expect(&format!("worker 10000000 {command}"), "Finished EPERM")
        }));
    }
    for (name, command) in FORBIDDEN_WITH_THE_LISTENER {
        trials.push(Trial::test(format!("enclave_cannot_{name}"), move || Running::start().expect(command, "EPERM")));
    }
    for (name, command, expected) in ENDINGS {
        trials.push(Trial::test(format!("worker_{name}"), move || {
            let running = Running::start();
            running.expect(command, expected)?;
            running.expect("ping", "pong")?;
            // The zygote is unharmed too.
            running.expect("worker 10000000 nothing", "Finished done")
        }));
    }
    for (name, test) in TESTS {
        trials.push(Trial::test(*name, test));
    }
    trials.push(Trial::test("timings", timings).with_ignored_flag(true));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Refused by the kernel in the enclave and in its workers.
const FORBIDDEN: &[(&str, &str)] = &[
    ("open_a_tcp_socket", "socket tcp"),
    ("open_a_tcp6_socket", "socket tcp6"),
    ("open_a_udp_socket", "socket udp"),
    ("open_a_unix_socket", "socket unix"),
    ("open_a_netlink_socket", "socket netlink"),
    ("make_a_socketpair", "socketpair"),
    ("connect_to_localhost", "connect"),
    ("open_a_system_file", "open /etc/passwd"),
    ("open_its_own_binary", "open /proc/self/exe"),
    ("open_its_own_memory", "open /proc/self/mem"),
    ("open_a_device", "open /dev/null"),
    ("create_a_file", "create"),
    ("list_a_directory", "list"),
    ("stat_a_file", "stat"),
    ("unlink_a_file", "unlink"),
    ("make_a_memory_file", "memfd"),
    ("execute_a_program", "exec"),
    ("spawn_a_process", "spawn"),
    ("trace_a_process", "ptrace"),
    ("be_traced", "traceme"),
    ("read_another_process", "read-process"),
    ("signal_another_process", "kill"),
    ("get_a_handle_on_a_process", "pidfd"),
    ("change_its_limits", "limit"),
    ("become_dumpable", "dumpable"),
    ("unshare", "unshare"),
    ("leave_its_session", "setsid"),
    ("make_data_executable", "code"),
];

/// With descriptors that only the enclave has.
const FORBIDDEN_WITH_THE_LISTENER: &[(&str, &str)] =
    &[("connect_elsewhere", "connect-again"), ("bind", "bind"), ("listen_anew", "listen")];

/// How workers end, and that enclave and zygote live on.
const ENDINGS: &[(&str, &str, &str)] = &[
    ("that_returns_has_finished", "worker 10000000 nothing", "Finished done"),
    ("within_its_memory_has_finished", "worker 10000000 take 9000000", "Finished 9000000 true"),
    ("gives_memory_back", "worker 10000000 take-and-give-back 100", "Finished true"),
    ("that_takes_too_much_at_once_hits_the_limit", "worker 10000000 take 11000000", "MemoryLimit"),
    ("that_takes_absurdly_much_hits_the_limit", "worker 10000000 take-zeroed 9000000000000000", "MemoryLimit"),
    ("that_takes_zeros_hits_the_limit", "worker 10000000 take-zeroed 11000000", "MemoryLimit"),
    ("that_takes_bit_by_bit_hits_the_limit", "worker 10000000 take-bit-by-bit", "MemoryLimit"),
    ("that_grows_hits_the_limit", "worker 10000000 take-by-growing", "MemoryLimit"),
    ("whose_threads_together_take_too_much_hits_the_limit", "worker 10000000 take-in-threads", "MemoryLimit"),
    ("cannot_map_without_bound", "worker 10000000 map 20000000000", "Finished ENOMEM"),
    ("that_panics_has_crashed", "worker 10000000 panic", "Crashed"),
    ("that_aborts_has_crashed", "worker 10000000 abort", "Crashed"),
    ("with_a_segmentation_fault_has_crashed", "worker 10000000 segfault", "Crashed"),
    ("that_kills_itself_has_crashed", "worker 10000000 kill-itself", "Crashed"),
    ("with_a_stack_overflow_has_crashed", "worker 10000000 overflow", "Crashed"),
    ("with_a_stack_overflow_in_a_thread_has_crashed", "worker 100000000 overflow-thread", "Crashed"),
    ("that_exits_before_it_is_done_has_crashed", "worker 10000000 exit", "Crashed"),
    ("can_make_threads", "worker 10000000 threads", "Finished 28"),
    ("can_do_cryptography", "worker 10000000 crypto", "Finished done"),
    ("that_is_killed_has_crashed", "kill-worker", "Crashed"),
];

type Test = fn() -> Result<(), Failed>;

const TESTS: &[(&str, Test)] = &[
    ("enclave_has_no_arguments_and_no_environment", || Running::start().expect("arguments", "0 0")),
    // Standard ones, listener, host port, chip port, zygote.
    ("enclave_has_seven_descriptors", || Running::start().expect_count("descriptors", 7)),
    // Standard ones, its stream, the pipe for its last word.
    ("worker_has_five_descriptors", || Running::start().expect_count("worker 10000000 descriptors", 5)),
    ("enclave_can_make_threads", || Running::start().expect("threads", "28")),
    ("enclave_can_do_cryptography", || Running::start().expect("crypto", "done")),
    ("a_hundred_workers_leave_nothing", a_hundred_workers),
    ("standard_output_leads_nowhere", standard_output),
    ("enclave_serves_relayed_clients", relayed_client),
    ("enclave_quotes_what_was_launched", quotes),
    ("sealing_keys_survive_a_restart", sealing),
    ("the_announcement_says_simulated_and_who", announcement),
    ("keys_are_on_locked_pages", locked),
    ("workers_have_no_key_pages", no_keys_in_workers),
    ("every_process_is_confined", confined),
    ("without_chip_and_hardware_there_is_no_enclave", no_platform),
    ("nobody_of_the_same_user_can_look_inside", not_dumpable),
    ("landlock_is_in_force_where_the_kernel_has_it", landlock),
    ("a_dropped_worker_is_killed", dropped_worker),
    ("the_enclaves_status_is_forwarded", || {
        let running = Running::start();
        running.tell("exit 7");
        same(running.wait().code(), Some(7))
    }),
    ("closing_standard_input_ends_the_enclave", || ends(|running| drop(running.stdin.take()))),
    ("terminating_the_chip_ends_the_enclave", || ends(|running| running.signal("TERM"))),
    ("killing_the_chip_ends_the_enclave", || ends(|running| running.signal("KILL"))),
    ("a_program_that_is_no_enclave_is_not_announced", not_an_enclave),
    ("an_enclave_without_a_chip_does_not_start", without_chip),
    ("a_chip_without_sockets_does_not_start", without_sockets),
];

/// An enclave under test, its chip, and the host's ends.
struct Running {
    chip: std::cell::RefCell<Child>,
    stdin: Option<ChildStdin>,
    stdout: std::cell::RefCell<BufReader<ChildStdout>>,
    host: UnixStream,
    socket: PathBuf,
    up: Value,
    directory: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), None)
    }

    /// With the hardware of `directory`, as `user` (only root can choose).
    fn start_in(directory: tempfile::TempDir, user: Option<u32>) -> Self {
        let (mut command, host, socket) = chip(directory.path(), &std::env::current_exe().unwrap());
        if let Some(user) = user {
            std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).unwrap();
            command.uid(user).gid(user);
        }
        let mut chip = command.spawn().unwrap();
        // The host's copies of the enclave's ends go with the command.
        drop(command);
        let mut stdout = BufReader::new(chip.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let up = serde_json::from_str(&line).expect("the enclave is not up");
        let stdin = chip.stdin.take();
        host.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { chip: chip.into(), stdin, stdout: stdout.into(), host, socket, up, directory }
    }

    fn tell(&self, command: &str) {
        writeln!(&self.host, "{command}").unwrap();
    }

    fn ask(&self, command: &str) -> String {
        self.tell(command);
        let mut line = String::new();
        BufReader::new(&self.host).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn expect(&self, command: &str, expected: &str) -> Result<(), Failed> {
        same(self.ask(command).as_str(), expected)
    }

    /// How many numbers the answer's last word lists.
    fn expect_count(&self, command: &str, expected: usize) -> Result<(), Failed> {
        let answer = self.ask(command);
        let found = answer.rsplit(' ').next().unwrap_or_default().split(',').count();
        if found == expected { Ok(()) } else { Err(format!("{answer}: not {expected} descriptors").into()) }
    }

    fn pid(&self) -> u32 {
        self.up["pid"].as_u64().unwrap().try_into().unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.chip.borrow().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn wait(&self) -> std::process::ExitStatus {
        self.chip.borrow_mut().wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.chip.borrow_mut().wait();
    }
}

/// A chip to be started, the host's end of the host port, and where clients connect.
fn chip(directory: &Path, enclave: &Path) -> (Command, UnixStream, PathBuf) {
    let socket = directory.join("enclave.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let (host, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_glacier-chip"));
    command.arg("--home").arg(directory.join("chip")).arg("--enclave").arg(enclave);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
        .fd_mappings(vec![
            FdMapping { parent_fd: OwnedFd::from(listener), child_fd: 3 },
            FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: 4 },
        ])
        .unwrap();
    (command, host, socket)
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}").into()) }
}

fn a_hundred_workers() -> Result<(), Failed> {
    let running = Running::start();
    running.expect("hundred-workers", "clean")?;
    let before = resident(running.pid());
    running.expect("hundred-workers", "clean")?;
    let after = resident(running.pid());
    if after > before + 1024 {
        return Err(format!("the enclave grew from {before} to {after} KiB").into());
    }
    let zygote = only_child(running.pid())?;
    eventually("the zygote still has children", || children(zygote).is_empty())
}

fn standard_output() -> Result<(), Failed> {
    let mut running = Running::start();
    running.expect("print", "printed")?;
    drop(running.stdin.take());
    running.wait();
    let mut rest = String::new();
    running.stdout.borrow_mut().read_to_string(&mut rest)?;
    same(rest.as_str(), "")
}

fn relayed_client() -> Result<(), Failed> {
    let running = Running::start();
    running.tell("runtime");
    let mut client = UnixStream::connect(&running.socket)?;
    client.write_all(b"echo")?;
    let mut echoed = [0; 4];
    client.read_exact(&mut echoed)?;
    same(&echoed, b"echo")
}

fn quotes() -> Result<(), Failed> {
    let running = Running::start();
    let quote = hex::decode(running.ask("quote 7"))?;
    let collateral = Collateral::parse(running.ask("collateral").as_bytes())?;
    let root: Fingerprint = running.up["root_fingerprint"].as_str().unwrap().parse()?;
    let anchors = Anchors::vendor().with_simulated(root);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let genuine = appraise(&quote, &collateral.into(), &anchors, UnixTime(now)).into_result()?;
    same(genuine.measurement(), measure_file(&std::env::current_exe()?)?)?;
    same(genuine.report_data(), &[7; 64])?;
    let chip = genuine.enclave_id().ok_or("no chip is named")?;
    let facts = format!("{} {chip}", genuine.measurement());
    running.expect("facts", &facts)
}

fn sealing() -> Result<(), Failed> {
    let mut first = Running::start();
    let key = first.ask("seal");
    same(key.len(), 64)?;
    drop(first.stdin.take());
    first.wait();
    let directory = std::mem::replace(&mut first.directory, tempfile::tempdir()?);
    Running::start_in(directory, None).expect("seal", &key)
}

fn announcement() -> Result<(), Failed> {
    let running = Running::start();
    let home = Home::open(&running.directory.path().join("chip"), UnixTime(0))?;
    same(&running.up["simulated"], &Value::Bool(true))?;
    same(running.up["measurement"].as_str(), Some(measure_file(&std::env::current_exe()?)?.to_string().as_str()))?;
    same(running.up["enclave_id"].as_str(), Some(home.chip.enclave_id().to_string().as_str()))?;
    same(running.up["root_fingerprint"].as_str(), Some(home.vendor.root_fingerprint().to_string().as_str()))?;
    same(running.up["ppid"].as_str(), Some(hex::encode(home.chip.hardware().ppid()).as_str()))?;
    let pem = std::fs::read_to_string(running.directory.path().join("chip/simulated-root.pem"))?;
    same(pem, home.vendor.root_pem())
}

fn locked() -> Result<(), Failed> {
    let running = Running::start();
    let before = kib(running.pid(), "VmLck");
    let protection = running.ask("key");
    same(["MemfdSecret", "Mlock"].contains(&protection.as_str()), true)?;
    let grown = kib(running.pid(), "VmLck") - before;
    if grown == 0 { Err(format!("{protection}: no page was locked").into()) } else { Ok(()) }
}

fn no_keys_in_workers() -> Result<(), Failed> {
    let running = Running::start();
    running.expect("keep-worker", "kept")?;
    if running.ask("key") != "MemfdSecret" {
        println!("skipped: without memfd_secret a key's page has no name to look for");
        return Ok(());
    }
    running.expect("keep-worker", "kept")?;
    let zygote = only_child(running.pid())?;
    let secret = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/maps")).map(|maps| maps.contains("secretmem"));
    let Ok(in_enclave) = secret(running.pid()) else {
        println!("skipped: only root can look at the mappings of an enclave");
        return Ok(());
    };
    same(in_enclave, true)?;
    same(children(zygote).len(), 2)?;
    for pid in children(zygote).into_iter().chain([zygote]) {
        same(secret(pid)?, false)?;
    }
    Ok(())
}

fn confined() -> Result<(), Failed> {
    let running = Running::start();
    running.expect("keep-worker", "kept")?;
    let zygote = only_child(running.pid())?;
    let worker = only_child(zygote)?;
    for pid in [running.pid(), zygote, worker] {
        same(status(pid, "Seccomp").as_str(), "2")?;
        same(status(pid, "NoNewPrivs").as_str(), "1")?;
        same(status(pid, "CapEff").as_str(), "0000000000000000")?;
        same(status(pid, "CapPrm").as_str(), "0000000000000000")?;
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        same(core.split_whitespace().filter(|word| *word == "0").count(), 2)?;
    }
    Ok(())
}

/// Runs the enclave as an ordinary user and looks with the eyes of that same user.
fn not_dumpable() -> Result<(), Failed> {
    const NOBODY: u32 = 65_534;
    let root = rustix::process::geteuid().is_root();
    let user = if root { NOBODY } else { rustix::process::geteuid().as_raw() };
    let can_read = |pid: u32| {
        let mut cat = Command::new("cat");
        cat.arg(format!("/proc/{pid}/environ")).stdout(Stdio::null()).stderr(Stdio::null());
        if root {
            cat.uid(NOBODY).gid(NOBODY);
        }
        cat.status().is_ok_and(|status| status.success())
    };
    // The method works: the same user can look into an ordinary process.
    let mut ordinary = Command::new("sleep");
    ordinary.arg("60");
    if root {
        ordinary.uid(NOBODY).gid(NOBODY);
    }
    let mut ordinary = ordinary.spawn()?;
    let visible = can_read(ordinary.id());
    ordinary.kill()?;
    ordinary.wait()?;
    same(visible, true)?;

    let directory = tempfile::tempdir()?;
    if root && !reachable(NOBODY) {
        println!("skipped: an ordinary user cannot reach the built programs");
        return Ok(());
    }
    let running = Running::start_in(directory, root.then_some(NOBODY));
    running.expect("keep-worker", "kept")?;
    let zygote = only_child(running.pid())?;
    let worker = only_child(zygote)?;
    same(status(running.pid(), "Uid").split_whitespace().next(), Some(user.to_string().as_str()))?;
    for pid in [running.pid(), zygote, worker] {
        same(can_read(pid), false)?;
    }
    Ok(())
}

fn reachable(user: u32) -> bool {
    [env!("CARGO_BIN_EXE_glacier-chip").into(), std::env::current_exe().unwrap()].iter().all(|path: &PathBuf| {
        Command::new("test").arg("-r").arg(path).uid(user).gid(user).status().is_ok_and(|status| status.success())
    })
}

fn landlock() -> Result<(), Failed> {
    let running = Running::start();
    match running.up["sandbox"]["landlock"].as_u64() {
        Some(version) => same(version >= 1, true),
        None => {
            println!("skipped: this kernel has no landlock; seccomp alone denies files and network");
            Ok(())
        }
    }
}

fn dropped_worker() -> Result<(), Failed> {
    let running = Running::start();
    running.expect("keep-worker", "kept")?;
    running.expect("keep-worker", "kept")?;
    let zygote = only_child(running.pid())?;
    same(children(zygote).len(), 2)?;
    running.expect("drop-workers", "dropped")?;
    eventually("a dropped worker lives on", || children(zygote).is_empty())
}

/// `end` must be the end of the enclave, of the zygote and of the workers.
fn ends(end: impl FnOnce(&mut Running)) -> Result<(), Failed> {
    let mut running = Running::start();
    running.expect("keep-worker", "kept")?;
    let zygote = only_child(running.pid())?;
    let family = [running.pid(), zygote, only_child(zygote)?];
    end(&mut running);
    running.wait();
    eventually("a process lives on", || !family.iter().any(|pid| lives(*pid)))
}

fn not_an_enclave() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let (mut command, _host, _socket) = chip(directory.path(), Path::new("/bin/true"));
    let mut chip = command.spawn()?;
    let mut output = String::new();
    chip.stdout.take().unwrap().read_to_string(&mut output)?;
    same(output.as_str(), "")?;
    same(chip.wait()?.code(), Some(0))
}

fn without_chip() -> Result<(), Failed> {
    let run = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg0("enclave").stdin(Stdio::null());
        command
    };
    // Steered by an environment, and then without descriptors.
    same(run().env("A", "B").status()?.code(), Some(3))?;
    same(run().env_clear().status()?.code(), Some(3))
}

fn without_sockets() -> Result<(), Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_glacier-chip"))
        .args(["--home", "/nonexistent", "--enclave", "/bin/true"])
        .output()?;
    same(output.status.code(), Some(2))?;
    same(output.stdout.len(), 0)
}

fn timings() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    Home::open(&directory.path().join("chip"), UnixTime(1_800_000_000))?;
    let start = Instant::now();
    let running = Running::start_in(directory, None);
    let up = start.elapsed();
    let size = std::env::current_exe()?.metadata()?.len();
    eprintln!("start to announcement: {up:?} ({} MiB program)", size >> 20);
    eprintln!("quote through the chip port: {} us", running.ask("time-quote"));
    eprintln!("worker, start to end: {} us", running.ask("time-worker"));
    eprintln!("sandbox: {}", running.up["sandbox"]);
    Ok(())
}

fn eventually(otherwise: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failed> {
    let patience = Instant::now() + Duration::from_secs(10);
    while !holds() {
        if Instant::now() > patience {
            return Err(otherwise.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// One line of a process's public status.
fn status(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn kib(pid: u32, name: &str) -> u64 {
    status(pid, name).trim_end_matches(" kB").parse().unwrap()
}

fn resident(pid: u32) -> u64 {
    kib(pid, "VmRSS")
}

/// Not gone and not waiting to be buried.
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|text| !text.lines().any(|line| line.starts_with("State:") && line.contains('Z')))
}

fn children(parent: u32) -> Vec<u32> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|pid| lives(*pid) && status_if(*pid, "PPid") == Some(parent)).collect()
}

fn status_if(pid: u32, name: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().parse().ok()
}

fn only_child(parent: u32) -> Result<u32, Failed> {
    match children(parent).as_slice() {
        [child] => Ok(*child),
        other => Err(format!("expected one child, found {other:?}").into()),
    }
}

/// Started as a launcher in a confidential guest would, but where there is no hardware: nothing falls
/// back to anything.
fn no_platform() -> Result<(), Failed> {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
    let (_host, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg0("enclave").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let descriptors = vec![
        FdMapping { parent_fd: listener.into(), child_fd: 3 },
        FdMapping { parent_fd: theirs.into(), child_fd: 4 },
    ];
    command.fd_mappings(descriptors).unwrap();
    same(command.spawn().unwrap().wait().unwrap().code(), Some(3))
}
