//! The programs that a node starts: they are built, and stand, beside this one.

use crate::error::Failure;
use std::path::{Path, PathBuf};

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Plays the chip (simulated platform).
    pub(crate) chip: PathBuf,
    /// What is measured and attested.
    pub(crate) enclave: PathBuf,
}

impl Programs {
    /// Beside this executable.
    pub(crate) fn find() -> Result<Self, Failure> {
        let this = std::env::current_exe().map_err(|error| Failure::reading(Path::new("glacier"), &error))?;
        let beside = |name: &str| this.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let programs = Self { chip: beside("glacier-chip"), enclave: beside("glacier-enclave") };
        let missing = [&programs.chip, &programs.enclave].into_iter().find(|path| !path.is_file()).cloned();
        match missing {
            None => Ok(programs),
            Some(missing) => Err(Failure::trouble(
                "programs-missing",
                format!("{} is not there; a node needs it beside `glacier`", missing.display()),
                "build all programs together: cargo build --release",
            )),
        }
    }
}
