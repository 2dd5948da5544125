//! What an enclave process can still ask of the kernel: nothing that reaches a file, a network, a
//! program or another process.
//!
//! Two mechanisms, each enough on its own for what both cover. seccomp is an allow-list of system
//! calls and is required: without it [`enter`](crate::enter) fails. landlock takes away every file, every
//! TCP port and signals to strangers; on a kernel without it the process goes on, and says so in its
//! [`SandboxReport`], because the allow-list already holds no call that opens or connects anything.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use rustix::{
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit, Signal},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, SeccompCmpOp::MaskedEq, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

use crate::{locked::Protection, sev_guest};

/// What was put in force. Goes to the chip with the enclave's first words, so that the host's operator sees it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[non_exhaustive]
pub struct SandboxReport {
    /// landlock's version in force; `None` on a kernel without it, where seccomp alone denies files and network.
    #[n(0)]
    pub landlock: Option<u32>,
    /// How keys are kept.
    #[n(1)]
    pub keys: Protection,
}

/// One measure of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SandboxStep {
    /// No new privileges by executing programs.
    NoNewPrivileges,
    /// No core dump, no tracing by the same user.
    NotDumpable,
    /// Death with the parent.
    ParentDeath,
    /// The resource limits.
    Limits,
    /// No capabilities.
    Capabilities,
    /// The file and network rules.
    Landlock,
    /// The system call filter.
    Seccomp,
}

/// A measure could not be put in force; the process must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox could not be closed: {step:?} failed with {errno}")]
pub struct SandboxError {
    /// Which.
    pub step: SandboxStep,
    /// Why.
    pub errno: Errno,
}

/// Who is being confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Serves connections, keeps keys, has threads.
    Enclave,
    /// Forks workers; one thread.
    Zygote,
    /// Runs one job; has threads, no way to get another descriptor.
    Worker,
    /// Talks to the guest's devices; one thread.
    Keeper,
}

/// Takes away what every later process of this enclave must not have. Inherited through fork.
pub(crate) fn harden() -> Result<Option<u32>, SandboxError> {
    harden_but(&[])
}

/// The same, but for what lies below these directories.
pub(crate) fn harden_but(reachable: &[&str]) -> Result<Option<u32>, SandboxError> {
    let at = |step| move |errno| SandboxError { step, errno };
    rustix::thread::set_no_new_privs(true).map_err(at(SandboxStep::NoNewPrivileges))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at(SandboxStep::NotDumpable))?;
    limit(Resource::Core, 0).map_err(at(SandboxStep::Limits))?;
    limit(Resource::Nofile, 4096).map_err(at(SandboxStep::Limits))?;
    drop_capabilities().map_err(at(SandboxStep::Capabilities))?;
    landlock(reachable).map_err(at(SandboxStep::Landlock))
}

/// Dies when the process that forked or launched this one dies.
pub(crate) fn die_with_parent() -> Result<(), SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| SandboxError { step: SandboxStep::ParentDeath, errno })
}

/// Lowers a limit to `most`, for good.
pub(crate) fn limit(resource: Resource, most: u64) -> Result<(), Errno> {
    let hard = rustix::process::getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
    rustix::process::setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })
}

/// Closes the list of system calls for this thread and all it will make.
pub(crate) fn confine(role: Role) -> Result<(), SandboxError> {
    let failed = |errno| SandboxError { step: SandboxStep::Seccomp, errno };
    for program in [without_clone3(), allow_list(role)] {
        let program = program.map_err(|_| failed(Errno::INVAL))?;
        seccompiler::apply_filter(&program).map_err(|error| {
            failed(match error {
                seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error) => {
                    Errno::from_io_error(&error).unwrap_or(Errno::IO)
                }
                _ => Errno::INVAL,
            })
        })?;
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), Errno> {
    let none = rustix::thread::CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none },
    )
}

fn landlock(reachable: &[&str]) -> Result<Option<u32>, Errno> {
    let abi = ABI::V6;
    let files = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::MakeDir | AccessFs::RemoveDir;
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(abi)))
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.add_rules(landlock::path_beneath_rules(reachable, files)))
        .and_then(|rules| rules.restrict_self());
    match restricted {
        Ok(status) => Ok(match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as u32),
            _ => None,
        }),
        Err(error) => Err(os_error(&error)),
    }
}

/// The system's error somewhere below `error`.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Errno {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>().and_then(Errno::from_io_error))
        .unwrap_or(Errno::IO)
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;
type Compiled = Result<BpfProgram, seccompiler::BackendError>;

/// glibc makes threads by `clone3`, whose flags a filter cannot see, and falls back to `clone` only
/// when told that there is no such call.
fn without_clone3() -> Compiled {
    let rules = Rules::from([(libc::SYS_clone3, Vec::new())]);
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

fn allow_list(role: Role) -> Compiled {
    let mut rules: Rules = EVERYBODY.iter().chain(LEGACY).map(|call| (*call, Vec::new())).collect();
    // Memory that is writable or mapped from data never becomes code.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![masked(2, libc::PROT_EXEC, 0)?])?]);
    }
    rules.insert(
        libc::SYS_fcntl,
        any_of(1, &[libc::F_GETFL, libc::F_SETFL, libc::F_GETFD, libc::F_SETFD, libc::F_DUPFD_CLOEXEC])?,
    );
    let mut ioctl = vec![libc::FIONBIO as libc::c_int];
    let mut prctl = vec![libc::PR_SET_NAME];
    // A process may signal itself (abort), nobody else.
    let itself = || {
        let itself = SeccompCondition::new(0, Dword, Eq, u64::from(std::process::id()))?;
        Ok::<_, seccompiler::BackendError>(vec![SeccompRule::new(vec![itself])?])
    };
    match role {
        Role::Enclave => {
            rules.extend(ENCLAVE.iter().map(|call| (*call, Vec::new())));
            rules.insert(libc::SYS_clone, vec![thread()?]);
            rules.insert(libc::SYS_tgkill, itself()?);
            rules.insert(libc::SYS_pidfd_send_signal, any_of(1, &[libc::SIGKILL])?);
        }
        Role::Worker => {
            rules.insert(libc::SYS_clone, vec![thread()?]);
            rules.insert(libc::SYS_tgkill, itself()?);
        }
        Role::Keeper => {
            rules.extend(KEEPER.iter().chain(LEGACY_KEEPER).map(|call| (*call, Vec::new())));
            rules.insert(libc::SYS_tgkill, itself()?);
            ioctl.extend(sev_guest::CALLS.map(|number| number as libc::c_int));
        }
        Role::Zygote => {
            rules.extend(ZYGOTE.iter().map(|call| (*call, Vec::new())));
            // Its list binds its workers too, so it holds all of theirs: threads, and signals to a self
            // whose number is not known yet. A worker's own list takes the rest away.
            rules.insert(libc::SYS_clone, vec![fork()?, thread()?]);
            rules.insert(libc::SYS_tgkill, Vec::new());
            // Its own limits and those of the worker it has just become.
            rules.insert(libc::SYS_prlimit64, any_of(0, &[0])?);
            rules.insert(libc::SYS_seccomp, any_of(0, &[libc::SECCOMP_SET_MODE_FILTER as libc::c_int])?);
            prctl.extend([libc::PR_SET_PDEATHSIG, libc::PR_SET_NO_NEW_PRIVS]);
        }
    }
    rules.insert(libc::SYS_ioctl, any_of(1, &ioctl)?);
    rules.insert(libc::SYS_prctl, any_of(0, &prctl)?);
    compile(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

fn compile(rules: Rules, mismatch: SeccompAction, matched: SeccompAction) -> Compiled {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, mismatch, matched, arch)?.try_into()
}

/// A new thread of this process, in no new namespace.
fn thread() -> Result<SeccompRule, seccompiler::BackendError> {
    let wanted = libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND;
    SeccompRule::new(vec![masked(0, wanted | NAMESPACES, wanted)?])
}

/// A plain fork: its own memory, its own descriptors, in no new namespace.
fn fork() -> Result<SeccompRule, seccompiler::BackendError> {
    let shared = libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_PARENT;
    SeccompRule::new(vec![masked(0, shared | NAMESPACES, 0)?])
}

const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

fn masked(argument: u8, mask: libc::c_int, value: libc::c_int) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, Dword, MaskedEq(u64::from(mask as u32)), u64::from(value as u32))
}

fn any_of(argument: u8, values: &[libc::c_int]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values
        .iter()
        .map(|value| SeccompRule::new(vec![SeccompCondition::new(argument, Dword, Eq, u64::from(*value as u32))?]))
        .collect()
}

/// What the Rust runtime, a thread pool and the C allocator need. `clone3` is here so that the other
/// filter's ENOSYS, and not this one's EPERM, answers it.
const EVERYBODY: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_membarrier,
];

/// Connections of relayed clients, an event loop, locked pages for keys.
const ENCLAVE: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_memfd_secret,
    libc::SYS_ftruncate,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
];

/// Report entries, device files, and locked pages for the sealing key on its way.
const KEEPER: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_memfd_secret,
    libc::SYS_ftruncate,
    libc::SYS_mlock,
    libc::SYS_mlock2,
];

/// Making workers and burying them.
const ZYGOTE: &[libc::c_long] = &[
    libc::SYS_socketpair,
    libc::SYS_pipe2,
    libc::SYS_pidfd_open,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getppid,
    libc::SYS_close_range,
];

/// Older forms that C libraries still use where the architecture has them.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[libc::c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[libc::c_long] = &[];
#[cfg(target_arch = "x86_64")]
const LEGACY_KEEPER: &[libc::c_long] = &[libc::SYS_open, libc::SYS_mkdir, libc::SYS_rmdir];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY_KEEPER: &[libc::c_long] = &[];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// errno of `call` in a child that is confined as `role`; zero when it succeeded.
    fn errno_of(role: Role, call: fn() -> libc::c_long) -> i32 {
        // SAFETY: the child of a process with threads; glibc keeps its allocator usable across fork,
        // which is all that building the filter needs, and the child ends without running destructors.
        unsafe {
            match libc::fork() {
                0 => {
                    let status = match confine(role) {
                        Ok(()) if call() >= 0 => 0,
                        Ok(()) => std::io::Error::last_os_error().raw_os_error().unwrap_or(254),
                        Err(_) => 255,
                    };
                    libc::_exit(status)
                }
                child => {
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &mut status, 0), child);
                    assert!(libc::WIFEXITED(status));
                    libc::WEXITSTATUS(status)
                }
            }
        }
    }

    const ROLES: [Role; 4] = [Role::Enclave, Role::Zygote, Role::Worker, Role::Keeper];

    fn map(protection: libc::c_int) -> libc::c_long {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping that nobody uses.
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) as libc::c_long }
    }

    #[test]
    fn data_can_be_mapped_and_code_cannot() {
        for role in ROLES {
            assert_eq!(errno_of(role, || map(libc::PROT_READ | libc::PROT_WRITE)), 0);
            assert_eq!(errno_of(role, || map(libc::PROT_READ | libc::PROT_EXEC)), libc::EPERM);
        }
    }

    #[test]
    fn what_a_filter_cannot_see_into_does_not_exist() {
        for role in ROLES {
            // SAFETY: refused before any argument is looked at.
            assert_eq!(errno_of(role, || unsafe { libc::syscall(libc::SYS_clone3, 0, 0) }), libc::ENOSYS);
        }
    }

    #[test]
    fn calls_that_are_not_listed_are_refused() {
        for role in ROLES {
            // SAFETY: refused before any argument is looked at.
            assert_eq!(errno_of(role, || unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) }), libc::EPERM);
            // SAFETY: as above.
            assert_eq!(errno_of(role, || unsafe { libc::syscall(libc::SYS_bpf, 0, 0, 0) }), libc::EPERM);
            // SAFETY: as above.
            assert_eq!(errno_of(role, || unsafe { libc::syscall(libc::SYS_userfaultfd, 0) }), libc::EPERM);
            // SAFETY: as above.
            assert_eq!(errno_of(role, || unsafe { libc::syscall(libc::SYS_keyctl, 0, 0) }), libc::EPERM);
        }
    }

    #[test]
    fn only_the_zygote_forks_and_it_takes_no_namespace() {
        assert_eq!(errno_of(Role::Zygote, || plain_fork(0)), 0);
        assert_eq!(errno_of(Role::Zygote, || plain_fork(libc::CLONE_NEWUSER)), libc::EPERM);
        assert_eq!(errno_of(Role::Enclave, || plain_fork(0)), libc::EPERM);
        assert_eq!(errno_of(Role::Worker, || plain_fork(0)), libc::EPERM);
        assert_eq!(errno_of(Role::Keeper, || plain_fork(0)), libc::EPERM);
    }

    fn plain_fork(flags: libc::c_int) -> libc::c_long {
        // SAFETY: a fork whose child, if there is one, ends at once.
        unsafe {
            let child = libc::syscall(libc::SYS_clone, libc::c_long::from(flags | libc::SIGCHLD), 0, 0, 0, 0);
            if child == 0 {
                libc::_exit(0)
            }
            child
        }
    }

    #[test]
    fn only_the_keeper_opens_files_and_calls_guest_devices() {
        fn open() -> libc::c_long {
            // SAFETY: the path is a constant; the descriptor goes with the process.
            unsafe { libc::c_long::from(libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY)) }
        }
        fn call(number: libc::c_ulong) -> libc::c_long {
            // SAFETY: no descriptor has this number.
            unsafe { libc::c_long::from(libc::ioctl(1 << 20, number as libc::Ioctl, 0)) }
        }
        assert_eq!(errno_of(Role::Keeper, open), 0);
        assert_eq!(errno_of(Role::Keeper, || call(0xc020_5301)), libc::EBADF);
        assert_eq!(errno_of(Role::Keeper, || call(0x5401)), libc::EPERM);
        for role in [Role::Enclave, Role::Zygote, Role::Worker] {
            assert_eq!(errno_of(role, open), libc::EPERM);
            assert_eq!(errno_of(role, || call(0xc020_5301)), libc::EPERM);
        }
    }

    #[test]
    fn the_keeper_has_no_network_and_starts_nothing() {
        // SAFETY: refused before any argument is looked at.
        let socket = || unsafe { libc::c_long::from(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
        assert_eq!(errno_of(Role::Keeper, socket), libc::EPERM);
        // SAFETY: as above.
        let execute = || unsafe { libc::syscall(libc::SYS_execve, 0, 0, 0) };
        assert_eq!(errno_of(Role::Keeper, execute), libc::EPERM);
    }

    #[test]
    fn an_enclave_kills_and_sends_no_other_signal() {
        fn send(signal: libc::c_int) -> libc::c_long {
            // SAFETY: no descriptor has this number: harmless where it is allowed.
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, 1 << 20, signal, 0, 0) }
        }
        assert_eq!(errno_of(Role::Enclave, || send(libc::SIGKILL)), libc::EBADF);
        assert_eq!(errno_of(Role::Enclave, || send(libc::SIGSTOP)), libc::EPERM);
        assert_eq!(errno_of(Role::Worker, || send(libc::SIGKILL)), libc::EPERM);
    }
}
