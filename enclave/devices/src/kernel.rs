//! The running kernel's version.

use crate::{FileError, Files, paths, read_text};
use std::fmt;

/// Major and minor number of a Linux kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kernel {
    /// The 6 of 6.16.
    pub major: u32,
    /// The 16 of 6.16.
    pub minor: u32,
}

impl Kernel {
    /// The first with configfs-tsm for TDX; SEV-SNP came to it with the same release.
    pub const TSM_REPORTS: Self = Self { major: 6, minor: 7 };
    /// The first that shows and extends TDX measurement registers in sysfs.
    pub const TDX_MEASUREMENTS: Self = Self { major: 6, minor: 16 };

    /// The one that runs. `Malformed` when its release does not begin with two numbers.
    pub fn running(files: &dyn Files) -> Result<Self, FileError> {
        Self::parse(&read_text(files, paths::KERNEL_RELEASE, MAX_RELEASE)?).ok_or(FileError::Malformed)
    }

    /// Reads a release such as `6.16.3-200.fc42.x86_64`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.trim().splitn(3, '.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?;
        let digits = minor.find(|character: char| !character.is_ascii_digit()).unwrap_or(minor.len());
        Some(Self { major, minor: minor.get(..digits)?.parse().ok()? })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The kernel bounds it at 64 and a new line.
const MAX_RELEASE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        let of = |major, minor| Some(Kernel { major, minor });
        assert_eq!(Kernel::parse("6.16.3-200.fc42.x86_64\n"), of(6, 16));
        assert_eq!(Kernel::parse("5.15"), of(5, 15));
        assert_eq!(Kernel::parse("6.7-rc1"), of(6, 7));
        assert!(Kernel::parse("6.9") < Kernel::parse("6.16"));
    }

    #[test]
    fn what_is_no_release_is_none() {
        for text in ["", "6", "6.", "linux", ".7", "6.x", "99999999999.1"] {
            assert_eq!(Kernel::parse(text), None, "{text}");
        }
    }
}
