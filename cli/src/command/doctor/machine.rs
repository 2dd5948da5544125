//! What several findings look at, read once.

use glacier_devices::{Access, Detected, Errno, FileError, Files, Kernel, Root, detect, paths, read_text};

use std::collections::BTreeSet;

/// A machine, or a copy of its files.
pub(super) struct Machine<'a> {
    pub(super) root: &'a Root,
    /// `None` when the release could not be read.
    pub(super) kernel: Option<Kernel>,
    /// The first processor's.
    flags: BTreeSet<String>,
    pub(super) detected: Detected,
}

/// Whether a file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// And may be opened.
    Yes,
    /// And may not be opened.
    Denied,
    /// Not at all.
    No,
}

impl<'a> Machine<'a> {
    pub(super) fn look(root: &'a Root) -> Self {
        // Nobody else in a guest uses this name, and a copied tree is left as it is.
        let entry = root.is_system().then(|| format!("glacier-doctor-{}", std::process::id()));
        let cpuinfo = read_text(root, paths::CPUINFO, MAX_CPUINFO).unwrap_or_default();
        let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
        Self {
            root,
            kernel: Kernel::running(root).ok(),
            flags: flags.map(|(_, flags)| flags.split_whitespace().map(str::to_owned).collect()).unwrap_or_default(),
            detected: detect(root, entry.as_deref()),
        }
    }

    /// Whether the processor shows a flag to the kernel.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.flags.contains(name)
    }

    /// A guest of some hypervisor.
    pub(super) fn virtual_machine(&self) -> bool {
        self.flag("hypervisor")
    }

    pub(super) fn is_there(&self, path: &str, access: Access) -> There {
        match self.root.open(path, access) {
            Err(Errno::NOENT | Errno::NOTDIR) => There::No,
            Err(Errno::ACCESS | Errno::PERM) => There::Denied,
            // A directory or a socket cannot be opened this way, and is there.
            Ok(_) | Err(_) => There::Yes,
        }
    }

    /// The first of `paths` that is there.
    pub(super) fn first<'p>(&self, paths: &[&'p str]) -> Option<&'p str> {
        paths.iter().copied().find(|path| self.is_there(path, Access::Read) != There::No)
    }

    pub(super) fn text(&self, path: &str) -> Result<String, FileError> {
        read_text(self.root, path, MAX_TEXT)
    }

    pub(super) fn names(&self, path: &str) -> Vec<String> {
        self.root.list(path).unwrap_or_default()
    }
}

/// About 2 KiB for each of up to some thousand processors.
const MAX_CPUINFO: usize = 16 << 20;
const MAX_TEXT: usize = 1 << 20;
