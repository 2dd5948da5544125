//! The first thing an enclave program does.

use crate::{
    alloc::CountingAllocator,
    locked::{self, LockError},
    platform::{Platform, PlatformError},
    sandbox::{self, Role, SandboxError, SandboxReport},
    simulated::{self, Chip, ChipCall},
    zygote::{self, Zygote},
};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Errno,
    net::{AddressFamily, SocketType, sockopt},
};
use std::os::unix::net::{UnixListener, UnixStream};

/// What an enclave program has: three descriptors, and what was made of them.
#[non_exhaustive]
pub struct Enclave {
    /// The host connects here once for each client connection it relays.
    pub listener: UnixListener,
    /// Frames of `HostCall` and `HostAnswer`.
    pub host: UnixStream,
    /// The hardware.
    pub platform: Box<dyn Platform>,
    /// Makes workers.
    pub zygote: Zygote,
    /// What confines this process.
    pub sandbox: SandboxReport,
}

/// The descriptors an enclave program is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// The listening Unix socket.
    Listener = 3,
    /// The host port.
    Host = 4,
    /// The chip port.
    Chip = 5,
}

/// Why an enclave program must not go on. It has read nothing and made no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// It takes no arguments and no environment: whoever starts it must not be able to steer it.
    #[error("an enclave program takes no arguments and no environment")]
    Steered,
    /// Forking is safe only from a single thread.
    #[error("enter() must run before any thread is started")]
    Threads,
    /// The program did not install [`CountingAllocator`].
    #[error("the program has not installed CountingAllocator as its global allocator")]
    Allocator,
    /// A descriptor is not what it must be.
    #[error("no {0:?} port; an enclave program is started by its platform")]
    Descriptor(Descriptor),
    /// The sandbox could not be closed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// No locked memory for keys.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The zygote could not be forked.
    #[error("no zygote: {0}")]
    Zygote(Errno),
    /// The platform did not answer.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

/// Makes this process an enclave. Call it first in `main`: it forks.
///
/// `worker` runs in each worker process, with the worker's stream. It returns in the enclave only;
/// when it fails, exit with a failure status. The chip has then been told why.
pub fn enter(worker: fn(UnixStream)) -> Result<Enclave, EnterError> {
    if std::env::args_os().len() > 1 || std::env::vars_os().next().is_some() {
        return Err(EnterError::Steered);
    }
    let [listener, host, chip] = descriptors()?;
    let chip = UnixStream::from(chip);
    let entered = confine(worker).and_then(|(zygote, sandbox)| {
        let platform = Box::new(Chip::connect(chip.try_clone().map_err(unreachable)?, sandbox)?);
        Ok(Enclave { listener: UnixListener::from(listener), host: UnixStream::from(host), platform, zygote, sandbox })
    });
    if let Err(error) = &entered {
        let why = error.to_string().chars().filter(char::is_ascii).take(simulated::WHY_MAX).collect();
        let _ = simulated::write_frame(&chip, &ChipCall::NotStarted { why });
    }
    entered
}

fn unreachable(error: std::io::Error) -> PlatformError {
    PlatformError::Unreachable(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn confine(worker: fn(UnixStream)) -> Result<(Zygote, SandboxReport), EnterError> {
    if !single_threaded() {
        return Err(EnterError::Threads);
    }
    if !CountingAllocator::installed() {
        return Err(EnterError::Allocator);
    }
    sandbox::die_with_parent()?;
    // SAFETY: 5 was checked to be open by `descriptors`, and its owner outlives this call.
    let chip = unsafe { BorrowedFd::borrow_raw(Descriptor::Chip as i32) };
    if hung_up(chip) {
        return Err(EnterError::Platform(PlatformError::Unreachable(Errno::PIPE)));
    }
    let landlock = sandbox::harden()?;
    let zygote = zygote::fork_zygote(worker).map_err(EnterError::Zygote)?;
    sandbox::confine(Role::Enclave)?;
    Ok((zygote, SandboxReport { landlock, keys: locked::available()? }))
}

/// Takes descriptors 3, 4 and 5, each checked, and closes every other but the standard ones, which
/// the runtime has pointed at `/dev/null` when they were closed.
fn descriptors() -> Result<[OwnedFd; 3], EnterError> {
    let checked = [Descriptor::Listener, Descriptor::Host, Descriptor::Chip].map(|which| {
        // SAFETY: fcntl on a number that may not be open is harmless; the number is used only if it is.
        let open = unsafe { libc::fcntl(which as i32, libc::F_GETFD) } >= 0;
        // SAFETY: just seen open, and borrowed no longer than this closure.
        if open && is(which, unsafe { BorrowedFd::borrow_raw(which as i32) }) { Ok(which) } else { Err(which) }
    });
    for which in &checked {
        if let Err(which) = which {
            return Err(EnterError::Descriptor(*which));
        }
    }
    zygote::close_range(6, u32::MAX);
    // SAFETY: open, and `enter`'s contract is that nothing else in the program owns them yet.
    Ok([Descriptor::Listener, Descriptor::Host, Descriptor::Chip]
        .map(|which| unsafe { OwnedFd::from_raw_fd(which as i32) }))
}

impl Descriptor {
    const fn listens(self) -> bool {
        matches!(self, Self::Listener)
    }
}

fn is(which: Descriptor, descriptor: BorrowedFd<'_>) -> bool {
    sockopt::socket_domain(descriptor) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(descriptor) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(descriptor) == Ok(which.listens())
        && (which.listens() || rustix::net::getpeername(descriptor).is_ok())
}

/// unshare(2) of what threads share succeeds, without effect, exactly when there is one thread.
fn single_threaded() -> bool {
    // SAFETY: CLONE_THREAD changes nothing in a process of one thread and is refused in others.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

fn hung_up(chip: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(chip.as_fd(), PollFlags::empty())];
    let polled_ok = rustix::event::poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok();
    !polled_ok || polled.iter().any(|chip| chip.revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_noticed() {
        std::thread::scope(|scope| {
            let (done, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            assert!(!single_threaded());
            drop(done);
        });
    }

    #[test]
    fn a_program_without_the_allocator_is_noticed() {
        assert!(!CountingAllocator::installed());
    }

    #[test]
    fn a_chip_port_that_was_closed_is_noticed() -> std::io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        assert!(!hung_up(ours.as_fd()));
        drop(theirs);
        assert!(hung_up(ours.as_fd()));
        Ok(())
    }

    #[test]
    fn ports_are_told_apart() -> std::io::Result<()> {
        let (connected, _other) = UnixStream::pair()?;
        assert!(is(Descriptor::Host, connected.as_fd()));
        assert!(!is(Descriptor::Listener, connected.as_fd()));
        let address = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(
            format!("glacier-{}", std::process::id()),
        )?;
        let listener = UnixListener::bind_addr(&address)?;
        assert!(is(Descriptor::Listener, listener.as_fd()));
        assert!(!is(Descriptor::Chip, listener.as_fd()));
        assert!(!is(Descriptor::Chip, std::net::UdpSocket::bind("127.0.0.1:0")?.as_fd()));
        assert!(!is(Descriptor::Chip, std::fs::File::open("/dev/null")?.as_fd()));
        Ok(())
    }
}
