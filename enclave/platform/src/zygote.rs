//! Worker processes for work that may go wrong.
//!
//! The zygote is forked from the enclave before any key exists and forks one worker per job. A worker
//! therefore never had a key in its memory, has one descriptor that leads out (its stream), cannot
//! get another, and is gone with all it held when the job ends: its death is the wipe.

use crate::{
    alloc::{CountingAllocator, WORD_MEMORY},
    sandbox::{self, Role},
};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType,
    },
    process::{Pid, PidfdFlags, Resource, Signal},
};
use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    sync::{Mutex, OnceLock, PoisonError},
};

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its function returned.
    Finished,
    /// It would have held more memory than the job allows.
    MemoryLimit,
    /// Anything else: a panic, a signal, a stack overflow, [`Leash::kill`].
    Crashed,
}

/// No worker could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The zygote is gone. Only a restart of the enclave brings it back.
    #[error("the zygote is gone: {0}")]
    ZygoteGone(Errno),
    /// The kernel gave no process or descriptor.
    #[error("no worker process: {0}")]
    NoProcess(Errno),
}

/// The enclave's end of the zygote.
pub struct Zygote {
    control: Mutex<OwnedFd>,
}

/// One worker and the stream to it.
pub struct Worker {
    /// The other end is the worker's only way out.
    pub stream: UnixStream,
    /// Dropping it kills the worker.
    pub leash: Leash,
}

/// Holds a worker's life; dropping it kills the worker.
pub struct Leash {
    process: OwnedFd,
    last_words: OwnedFd,
    ending: OnceLock<Ending>,
}

impl Zygote {
    /// A worker that may hold `memory_bytes` more than it starts with. Blocks for about a millisecond.
    pub fn spawn(&self, memory_bytes: u64) -> Result<Worker, SpawnError> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::io::retry_on_intr(|| rustix::net::send(&*control, &memory_bytes.to_le_bytes(), SendFlags::NOSIGNAL))
            .map_err(SpawnError::ZygoteGone)?;
        let (answer, descriptors) = receive(control.as_fd()).map_err(SpawnError::ZygoteGone)?;
        if answer != 0 {
            return Err(SpawnError::NoProcess(Errno::from_raw_os_error(answer)));
        }
        let [Some(stream), Some(process), Some(last_words)] = descriptors else {
            return Err(SpawnError::NoProcess(Errno::MFILE));
        };
        Ok(Worker { stream: UnixStream::from(stream), leash: Leash { process, last_words, ending: OnceLock::new() } })
    }
}

impl Worker {
    /// Ends the worker now.
    pub fn kill(&self) {
        self.leash.kill();
    }

    /// Waits for the worker's end. Nothing it held is left in memory when this returns.
    pub fn ending(self) -> Ending {
        let Self { stream, leash } = self;
        let ending = leash.ending();
        drop(stream);
        ending
    }
}

impl Leash {
    /// Ends the worker now; harmless when it has ended.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// Waits for the worker's end (blocks; call it off the async threads). The kernel releases a
    /// process's memory before its descriptors, so nothing the worker held is left when this returns.
    pub fn ending(&self) -> Ending {
        *self.ending.get_or_init(|| {
            let mut word = None;
            loop {
                let mut byte = [0];
                match rustix::io::read(&self.last_words, &mut byte) {
                    Ok(0) => break,
                    Ok(_) => word = word.or(Some(byte)),
                    Err(Errno::INTR) => {}
                    // Not to know how it ended is a crash; and it must not outlive the question.
                    Err(_) => {
                        self.kill();
                        return Ending::Crashed;
                    }
                }
            }
            match word {
                Some([WORD_FINISHED]) => Ending::Finished,
                Some([WORD_MEMORY]) => Ending::MemoryLimit,
                _ => Ending::Crashed,
            }
        })
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.kill();
    }
}

const WORD_FINISHED: u8 = b'F';
/// Exit status of a zygote or worker that could not confine itself.
const EXIT_UNCONFINED: i32 = 120;

/// Forks the zygote. The process must have one thread and no secret.
pub(crate) fn fork_zygote(worker: fn(UnixStream)) -> Result<Zygote, Errno> {
    let (control, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let parent = rustix::process::getpid();
    // SAFETY: the caller has checked that this process has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => {
            drop(control);
            serve(parent, &theirs, worker)
        }
        _ => Ok(Zygote { control: Mutex::new(control) }),
    }
}

/// The zygote's life. Ends when the enclave does.
fn serve(enclave: Pid, control: &OwnedFd, worker: fn(UnixStream)) -> ! {
    close_all_but(&mut [control.as_raw_fd()]);
    if !orphaned(enclave) && sandbox::confine(Role::Zygote).is_ok() {
        let mut children = Vec::new();
        while let Ok(memory) = next_request(control, &mut children) {
            let answered = match make_worker(memory, worker) {
                Ok(made) => {
                    let sent =
                        send(control.as_fd(), 0, &[made.stream.as_fd(), made.process.as_fd(), made.words.as_fd()]);
                    children.push(made.process);
                    sent
                }
                Err(errno) => send(control.as_fd(), errno.raw_os_error(), &[]),
            };
            if answered.is_err() {
                break;
            }
        }
    }
    exit(EXIT_UNCONFINED)
}

/// Waits for the next request, and buries workers that have ended meanwhile.
fn next_request(control: &OwnedFd, children: &mut Vec<OwnedFd>) -> Result<u64, Errno> {
    loop {
        let mut polled: Vec<PollFd<'_>> = std::iter::once(control)
            .chain(children.iter())
            .map(|descriptor| PollFd::new(descriptor, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready: Vec<bool> = polled.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        let mut ended = ready.iter().skip(1);
        children.retain(|child| {
            let ended = ended.next().copied().unwrap_or(false);
            if ended {
                let _ = rustix::process::waitid(
                    rustix::process::WaitId::PidFd(child.as_fd()),
                    rustix::process::WaitIdOptions::EXITED,
                );
            }
            !ended
        });
        if ready.first().copied().unwrap_or(false) {
            let mut request = [0; 8];
            let (len, _) = rustix::net::recv(control, &mut request, RecvFlags::empty())?;
            return if len == request.len() { Ok(u64::from_le_bytes(request)) } else { Err(Errno::PIPE) };
        }
    }
}

struct Made {
    stream: OwnedFd,
    process: OwnedFd,
    words: OwnedFd,
}

fn make_worker(memory: u64, worker: fn(UnixStream)) -> Result<Made, Errno> {
    let (stream, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let (words, their_words) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let zygote = rustix::process::getpid();
    // SAFETY: the zygote has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => {
            close_all_but(&mut [theirs.as_raw_fd(), their_words.as_raw_fd()]);
            work(zygote, memory, UnixStream::from(theirs), &their_words, worker)
        }
        child => {
            let child = Pid::from_raw(child).ok_or(Errno::SRCH)?;
            // The child is not buried before we say so: its number cannot have passed to another.
            let process = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
            Ok(Made { stream, process, words })
        }
    }
}

/// The worker's life.
fn work(zygote: Pid, memory: u64, stream: UnixStream, words: &OwnedFd, worker: fn(UnixStream)) -> ! {
    // The allocator counts what Rust allocates. What others map (thread stacks, C libraries) is
    // bounded by the address space, generously: arenas and stacks reserve much more than they use.
    let address_space = memory.saturating_mul(2).saturating_add(ADDRESS_SPACE_SLACK);
    if orphaned(zygote)
        || sandbox::limit(Resource::Nofile, 64).is_err()
        || sandbox::limit(Resource::As, address_space).is_err()
        || sandbox::confine(Role::Worker).is_err()
    {
        exit(EXIT_UNCONFINED);
    }
    CountingAllocator::arm(memory, words.as_raw_fd());
    // A panic is caught so that it ends here and not in the zygote's frames; it leaves no word.
    if std::panic::catch_unwind(|| worker(stream)).is_ok() {
        let _ = rustix::io::write(words, &[WORD_FINISHED]);
    }
    exit(0)
}

/// Address space a worker may reserve beyond twice its memory limit.
const ADDRESS_SPACE_SLACK: u64 = 8 << 30;

/// Asks to die with `parent`, and says whether it is already dead.
pub(crate) fn orphaned(parent: Pid) -> bool {
    sandbox::die_with_parent().is_err() || rustix::process::getppid() != Some(parent)
}

/// Closes all but the standard descriptors (which are `/dev/null`) and `kept`.
pub(crate) fn close_all_but(kept: &mut [i32]) {
    kept.sort_unstable();
    let mut from = 3;
    for &mut descriptor in kept {
        if let (Ok(first), Ok(descriptor)) = (u32::try_from(from), u32::try_from(descriptor))
            && first < descriptor
        {
            close_range(first, descriptor.saturating_sub(1));
        }
        from = descriptor.saturating_add(1);
    }
    close_range(u32::try_from(from).unwrap_or(0), u32::MAX);
}

/// Closes a range of descriptors, and ends the process when the kernel cannot: what was meant to be
/// closed may lead anywhere.
pub(crate) fn close_range(first: u32, last: u32) {
    // SAFETY: no pointers. Owners of the closed descriptors are never used again: in a forked child
    // they stay on the parent's frames, to which the child does not return; `enter` calls this while
    // the program owns no descriptor of that range.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
        exit(EXIT_UNCONFINED)
    }
}

pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: ends the process; runs nothing of it.
    unsafe { libc::_exit(status) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn send(control: BorrowedFd<'_>, errno: i32, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let bytes = errno.to_le_bytes();
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(control, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

fn receive(control: BorrowedFd<'_>) -> Result<(i32, [Option<OwnedFd>; 3]), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(control, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes != bytes.len() {
        return Err(Errno::PIPE);
    }
    let mut descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten();
    let three = [descriptors.next(), descriptors.next(), descriptors.next()];
    Ok((i32::from_le_bytes(bytes), three))
}
