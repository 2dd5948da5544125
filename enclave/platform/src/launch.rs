//! How a platform starts an enclave program. Runs outside the enclave, in the process that plays the
//! chip; it is here because it needs `unsafe`.

use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions},
};

/// An enclave process. Dropping it kills the process.
pub struct Launched {
    pid: Pid,
    process: OwnedFd,
}

impl Launched {
    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Ends it now.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// Waits for its end: the exit status, or 128 and the number of the signal that ended it.
    pub fn wait(&self) -> Result<i32, Errno> {
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED)
        })?;
        let status = status.ok_or(Errno::CHILD)?;
        Ok(status
            .exit_status()
            .or_else(|| status.terminating_signal().map(|signal| signal.saturating_add(128)))
            .unwrap_or(1))
    }
}

impl AsFd for Launched {
    /// Readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Takes a descriptor that this program was started with, by number.
///
/// # Errors
/// `BADF` when it is not open or not a socket.
///
/// # Panics
/// Never; but take each number once: the returned owner closes it.
pub fn inherited(descriptor: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: fcntl on a number that may not be open is harmless. Marking it close-on-exec keeps it
    // from any program started later.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: just seen open; borrowed for this check.
    rustix::net::sockopt::socket_type(unsafe { BorrowedFd::borrow_raw(descriptor) }).map_err(|_| Errno::BADF)?;
    // SAFETY: open, and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Executes the program in `image` (an executable file or memfd) as an enclave: descriptors 3, 4, 5 are
/// `ports`, 0 to 2 are `/dev/null`, nothing else is open; no arguments, no environment, directory `/`,
/// a session of its own, no core dump, and death with the *thread* that called this.
pub fn launch(image: BorrowedFd<'_>, ports: [BorrowedFd<'_>; 3]) -> Result<Launched, Errno> {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    // Everything the child needs is made before the fork: afterwards it may only make system calls,
    // because another thread may have held any lock.
    let [listener, host, chip] = ports;
    let wanted = [null.as_fd(), null.as_fd(), null.as_fd(), listener, host, chip].map(|fd| fd.as_raw_fd());
    let argv = [c"enclave".as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null()];
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the child runs `execute`, which makes system calls only and never returns.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        // SAFETY: we are the child; the arrays live on this frame until the exec.
        0 => unsafe { execute(image.as_raw_fd(), wanted, argv.as_ptr(), envp.as_ptr(), parent) },
        child => {
            let pid = Pid::from_raw(child).ok_or(Errno::SRCH)?;
            Ok(Launched { pid, process: rustix::process::pidfd_open(pid, PidfdFlags::empty())? })
        }
    }
}

/// First number to which descriptors are moved out of the way of 0 to 5.
const ASIDE: RawFd = 16;
/// Exit status when the program could not be executed.
pub const EXIT_NOT_EXECUTED: i32 = 127;

/// # Safety
/// Only in a freshly forked child; `argv` and `envp` are null-terminated.
unsafe fn execute(
    image: RawFd,
    wanted: [RawFd; 6],
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
    parent: libc::pid_t,
) -> ! {
    // SAFETY: async-signal-safe system calls on numbers and on memory of this frame.
    unsafe {
        let must = |result: libc::c_int| {
            if result < 0 {
                libc::_exit(EXIT_NOT_EXECUTED)
            }
            result
        };
        must(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL));
        if libc::getppid() != parent {
            libc::_exit(EXIT_NOT_EXECUTED);
        }
        must(libc::setsid());
        must(libc::chdir(c"/".as_ptr()));
        libc::umask(0o077);
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        must(libc::setrlimit(libc::RLIMIT_CORE, &none));
        must(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        let mut signals = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(signals.as_mut_ptr());
        must(libc::sigprocmask(libc::SIG_SETMASK, signals.as_ptr(), std::ptr::null_mut()));
        // First all out of the way, then each to its place: no source is overwritten before it is used.
        let image = must(libc::fcntl(image, libc::F_DUPFD_CLOEXEC, ASIDE));
        let aside = wanted.map(|descriptor| must(libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, ASIDE)));
        for (place, descriptor) in (0..).zip(aside) {
            must(libc::dup2(descriptor, place));
        }
        // The image itself closes on exec, like all that is left.
        let close_on_exec = 1 << 2; // CLOSE_RANGE_CLOEXEC
        must(libc::syscall(libc::SYS_close_range, 6, u32::MAX, close_on_exec) as libc::c_int);
        libc::syscall(libc::SYS_execveat, image, c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH);
        libc::_exit(EXIT_NOT_EXECUTED)
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
