//! The files a machine is started from.

use super::Args;
use crate::error::Failure;
use glacier_measure::{Boot, FirmwareFault, MeasureError};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// What was read, with names.
pub(super) struct Files<'a> {
    pub(super) firmware: Option<Named>,
    kernel: Option<Named>,
    initrd: Option<Named>,
    append: &'a str,
}

/// A file and its bytes.
pub(super) struct Named {
    path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// What was measured, for the operator's records.
#[derive(Serialize)]
pub(super) struct Input {
    file: PathBuf,
    sha256: String,
}

impl<'a> Files<'a> {
    pub(super) fn read(args: &'a Args) -> Result<Self, Failure> {
        let named = |path: &Option<PathBuf>| path.as_deref().map(Named::read).transpose();
        Ok(Self {
            firmware: named(&args.firmware)?,
            kernel: named(&args.kernel)?,
            initrd: named(&args.initrd)?,
            append: args.append.as_deref().unwrap_or_default(),
        })
    }

    pub(super) fn boot(&self) -> Option<Boot<'_>> {
        let kernel = &self.kernel.as_ref()?.bytes;
        Some(Boot { kernel, initrd: self.initrd.as_ref().map(|file| file.bytes.as_slice()), append: self.append })
    }

    pub(super) fn inputs(&self) -> Vec<Input> {
        let files = [&self.firmware, &self.kernel, &self.initrd];
        files.into_iter().flatten().map(Named::input).collect()
    }

    /// Names the file that is at fault.
    pub(super) fn failure(&self, error: MeasureError) -> Failure {
        let (what, file, why, help) = match error {
            MeasureError::Firmware(fault) => {
                ("measurable firmware", &self.firmware, fault.to_string(), firmware_help(fault))
            }
            MeasureError::Kernel(fault) => ("a measurable kernel", &self.kernel, fault.to_string(), KERNEL_HELP),
            _ => return Failure::trouble("usage", error.to_string(), "check --vcpus"),
        };
        let path = file.as_ref().map_or(Path::new("-"), |file| &file.path);
        Failure::not_a(what, path, format_args!("it {why}"), help)
    }
}

impl Named {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|error| Failure::reading(path, &error))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Failure::not_a("a file to measure", path, "it is larger than 2 GiB", "check the path"));
        }
        Ok(Self { path: path.to_owned(), bytes })
    }

    pub(super) fn input(&self) -> Input {
        Input { file: self.path.clone(), sha256: hex::encode(Sha256::digest(&self.bytes)) }
    }
}

impl Input {
    pub(super) fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}  {}", self.sha256, self.file.display())
    }
}

fn firmware_help(fault: FirmwareFault) -> &'static str {
    match fault {
        FirmwareFault::NoKernelHashes => {
            "give the AMD SEV build of OVMF (OvmfPkg/AmdSev): others do not check the kernel, so nothing would bind it"
        }
        FirmwareFault::NoSevMetadata | FirmwareFault::NoResetBlock => "give an OVMF image built for SEV-SNP",
        FirmwareFault::NoTdxMetadata => "give an OVMF image built for TDX (OvmfPkg/IntelTdx)",
        FirmwareFault::Size | FirmwareFault::NoTable => {
            "give the whole image that QEMU gets by -bios, not a variable store or an archive"
        }
        _ => "the image may be damaged, or newer than this program",
    }
}

const KERNEL_HELP: &str = "give the bzImage with EFI stub that QEMU gets, and a plain command line";
/// What QEMU could load.
const MAX_FILE: u64 = 2 << 30;
