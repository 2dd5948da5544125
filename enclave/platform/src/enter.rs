//! The first thing an enclave program does.

use crate::{
    alloc::CountingAllocator,
    hardware::Identity,
    keeper,
    locked::{self, LockError},
    platform::{Platform, PlatformError},
    sandbox::{self, Role, SandboxError, SandboxReport},
    sev_guest::{SevDevice, SevGuest, Snp},
    simulated::{self, Chip, ChipCall},
    tdx_guest::Tdx,
    zygote::{self, Zygote},
};
use glacier_devices::{Hardware, Root, detect};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    io::Errno,
    net::{AddressFamily, SocketType, sockopt},
};
use std::{
    os::unix::net::{UnixListener, UnixStream},
    sync::Arc,
};

/// What an enclave program has: the descriptors it was handed, and what was made of them.
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
    /// The keeper could not be forked.
    #[error("no keeper: {0}")]
    Keeper(Errno),
    /// No chip was handed in, and the machine has no confidential hardware.
    #[error("no chip port and no confidential hardware: `glacier node doctor` says what this machine lacks")]
    NoHardware,
    /// Hardware that makes no evidence for strangers, or that cannot start an enclave program yet.
    #[error("an enclave program cannot be entered on this hardware: {0:?}")]
    Unsupported(Hardware),
    /// The platform did not answer.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

/// Makes this process an enclave of a *simulated* chip. Call it first in `main`: it forks.
///
/// `worker` runs in each worker process, with the worker's stream. It returns in the enclave only;
/// when it fails, exit with a failure status. The chip has then been told why.
pub fn enter(worker: fn(UnixStream)) -> Result<Enclave, EnterError> {
    unsteered()?;
    let [listener, host, chip] = descriptors([Descriptor::Listener, Descriptor::Host, Descriptor::Chip])?;
    let chip = UnixStream::from(chip);
    let entered = prepare(chip.as_fd()).and_then(|()| confine(worker)).and_then(|(zygote, sandbox)| {
        let platform = Box::new(Chip::connect(chip.try_clone().map_err(unreachable)?, sandbox)?);
        Ok(Enclave { listener: UnixListener::from(listener), host: UnixStream::from(host), platform, zygote, sandbox })
    });
    if let Err(error) = &entered {
        let why = error.to_string().chars().filter(char::is_ascii).take(simulated::WHY_MAX).collect();
        let _ = simulated::write_frame(&chip, &ChipCall::NotStarted { why });
    }
    entered
}

/// Makes this process an enclave of whatever stands under it. With a chip port it is [`enter`]. With
/// descriptor 5 closed it is a confidential guest's: a launcher in the guest hands in 3 and 4, and the
/// hardware is found by [`detect`](glacier_devices::detect).
///
/// `look` reads from evidence who it shows; see [`Attested`](crate::Attested).
///
/// # Errors
/// [`EnterError::NoHardware`] where there is none: nothing falls back to a simulated platform. And
/// [`EnterError::Unsupported`] under Gramine, which passes no descriptors to a program and makes a fork
/// another enclave, so that neither ports nor workers can be had as this program needs them.
pub fn enter_with(worker: fn(UnixStream), look: fn(&[u8]) -> Option<Identity>) -> Result<Enclave, EnterError> {
    if is_open(Descriptor::Chip) {
        return enter(worker);
    }
    unsteered()?;
    let [listener, host] = descriptors([Descriptor::Listener, Descriptor::Host])?;
    prepare(host.as_fd())?;
    let root = Root::system();
    let mut name = [0; 8];
    locked::random(&mut name);
    let entry = format!("glacier-{:016x}", u64::from_le_bytes(name));
    // Before the sandbox is closed, and while nothing secret exists: the keeper is to have what this
    // process gives up.
    let keeper = match detect(&root, Some(&entry)).hardware().ok_or(EnterError::NoHardware)? {
        Hardware::TdxTsm => keeper::fork(move || Ok(Tdx::new(Arc::new(root))), look),
        Hardware::SnpTsm => keeper::fork(
            move || {
                // Without the device nothing can be sealed; reports do not need it.
                let device = SevGuest::open(&root).ok().map(|device| Box::new(device) as Box<dyn SevDevice>);
                Ok(Snp::by_tsm(Arc::new(root), device))
            },
            look,
        ),
        Hardware::SevGuest => keeper::fork(move || Ok(Snp::by_device(Box::new(SevGuest::open(&root)?))), look),
        Hardware::TdxGuest => return Err(PlatformError::KernelTooOld.into()),
        other @ (Hardware::Gramine | Hardware::Paravisor) => return Err(EnterError::Unsupported(other)),
    };
    let keeper = keeper.map_err(EnterError::Keeper)?;
    let (zygote, sandbox) = confine(worker)?;
    let platform = Box::new(keeper.connect()?);
    Ok(Enclave { listener: UnixListener::from(listener), host: UnixStream::from(host), platform, zygote, sandbox })
}

fn unreachable(error: std::io::Error) -> PlatformError {
    PlatformError::Unreachable(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn unsteered() -> Result<(), EnterError> {
    if std::env::args_os().len() > 1 || std::env::vars_os().next().is_some() {
        return Err(EnterError::Steered);
    }
    Ok(())
}

/// What must hold before the first fork. `lifeline` closes when whoever started this process is gone.
fn prepare(lifeline: BorrowedFd<'_>) -> Result<(), EnterError> {
    if !single_threaded() {
        return Err(EnterError::Threads);
    }
    if !CountingAllocator::installed() {
        return Err(EnterError::Allocator);
    }
    sandbox::die_with_parent()?;
    if hung_up(lifeline) {
        return Err(EnterError::Platform(PlatformError::Unreachable(Errno::PIPE)));
    }
    Ok(())
}

fn confine(worker: fn(UnixStream)) -> Result<(Zygote, SandboxReport), EnterError> {
    let landlock = sandbox::harden()?;
    let zygote = zygote::fork_zygote(worker).map_err(EnterError::Zygote)?;
    sandbox::confine(Role::Enclave)?;
    Ok((zygote, SandboxReport { landlock, keys: locked::available()? }))
}

/// Takes the descriptors that a platform hands in, each checked, and closes every other but the standard
/// ones, which the runtime has pointed at `/dev/null` when they were closed.
fn descriptors<const N: usize>(wanted: [Descriptor; N]) -> Result<[OwnedFd; N], EnterError> {
    for which in wanted {
        // SAFETY: just seen open, and borrowed no longer than this expression.
        if !is_open(which) || !is(which, unsafe { BorrowedFd::borrow_raw(which as i32) }) {
            return Err(EnterError::Descriptor(which));
        }
    }
    // They are numbered without gaps from the first.
    let above = wanted.iter().map(|which| *which as u32).max().unwrap_or(2).saturating_add(1);
    zygote::close_range(above, u32::MAX);
    // SAFETY: open, and `enter`'s contract is that nothing else in the program owns them yet.
    Ok(wanted.map(|which| unsafe { OwnedFd::from_raw_fd(which as i32) }))
}

fn is_open(which: Descriptor) -> bool {
    // SAFETY: fcntl on a number that may not be open is harmless.
    unsafe { libc::fcntl(which as i32, libc::F_GETFD) >= 0 }
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
