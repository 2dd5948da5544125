//! The machine: file systems, modules, power.

use rustix::{
    io::Errno,
    mount::MountFlags,
    system::{RebootCommand, finit_module},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Why the machine is turned off again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BootError {
    /// A file system that the enclave needs.
    #[error("mounting {at}: {errno}")]
    Mount {
        /// Where.
        at: &'static str,
        /// Why not.
        errno: Errno,
    },
    /// The list of modules is not as the image builder writes it.
    #[error("the list of modules is broken")]
    Modules,
    /// The kernel would load further modules.
    #[error("modules cannot be turned off: {0}")]
    ModulesStayOn(Errno),
    /// No port towards the host.
    #[error("vsock port {port}: {errno}")]
    Port {
        /// Which.
        port: u32,
        /// Why not.
        errno: Errno,
    },
    /// The enclave could not be started.
    #[error("starting the enclave: {0}")]
    Enclave(Errno),
}

pub(crate) fn mount() -> Result<(), BootError> {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    mount_one("proc", "/proc", quiet)?;
    mount_one("sysfs", "/sys", quiet)?;
    mount_one("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC)?;
    mount_one("tmpfs", "/run", quiet)
}

/// Evidence is asked for here (configfs-tsm). Its module is among those that are loaded.
pub(crate) fn mount_configfs() -> Result<(), BootError> {
    mount_one("configfs", "/sys/kernel/config", MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV)
}

/// Loads what the image lists, in this order, and then closes the door. Says which were refused: the
/// driver of the other vendor always is.
pub(crate) fn load_modules() -> Result<Vec<String>, BootError> {
    let list = fs::read_to_string(LIST).map_err(|_| BootError::Modules)?;
    let mut refused = Vec::new();
    for path in listed(&list)? {
        let loaded = File::open(&path).map_err(|error| errno(&error));
        let loaded = loaded.and_then(|file| finit_module(&file, c"", compression(&path)));
        if let Err(errno) = loaded {
            refused.push(format!("{}: {errno}", path.display()));
        }
    }
    fs::write("/proc/sys/kernel/modules_disabled", "1").map_err(|error| BootError::ModulesStayOn(errno(&error)))?;
    Ok(refused)
}

/// Ends the machine. Does not return; should it be refused, the end of process 1 is a kernel panic, and
/// `panic=-1` on the command line makes that a reset.
pub(crate) fn power_off() {
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
}

pub(crate) fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn mount_one(kind: &str, at: &'static str, flags: MountFlags) -> Result<(), BootError> {
    // The kernel mounts devtmpfs itself where it is built so.
    match rustix::mount::mount(kind, at, kind, flags, None) {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(errno) => Err(BootError::Mount { at, errno }),
    }
}

/// One name a line; no path of it leaves the folder.
fn listed(list: &str) -> Result<Vec<PathBuf>, BootError> {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    list.lines().map(|name| plain(name).then(|| Path::new(FOLDER).join(name)).ok_or(BootError::Modules)).collect()
}

fn compression(path: &Path) -> i32 {
    if path.extension().is_some_and(|extension| extension == "ko") { 0 } else { MODULE_INIT_COMPRESSED_FILE }
}

const LIST: &str = "/etc/modules";
const FOLDER: &str = "/lib/modules";
/// include/uapi/linux/module.h
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_in_the_order_of_the_list() {
        let expected = vec![PathBuf::from("/lib/modules/b.ko.xz"), PathBuf::from("/lib/modules/a.ko")];
        assert_eq!(listed("b.ko.xz\na.ko\n"), Ok(expected));
        assert_eq!(listed(""), Ok(vec![]));
    }

    #[test]
    fn a_module_from_elsewhere_is_refused() {
        for list in ["../a.ko", "/run/a.ko", "a.ko\n\nb.ko"] {
            assert_eq!(listed(list), Err(BootError::Modules), "{list}");
        }
    }

    #[test]
    fn only_plain_modules_are_given_as_they_are() {
        assert_eq!(compression(Path::new("a.ko")), 0);
        assert_eq!(compression(Path::new("a.ko.xz")), MODULE_INIT_COMPRESSED_FILE);
    }
}
