//! What a guest boots, and RTMR1 and RTMR2 of a TDX guest whose kernel QEMU hands to OVMF (`-kernel`): no disk, no boot
//! loader, so that both follow from three files.
//!
//! The order of events is that of edk2 (`QemuLoadImageLib`, `Tcg2Dxe` and `TdTcg2Dxe`) and of the
//! EFI stub of Linux 6.9 and later, the first that measures through the confidential computing
//! protocol. QEMU must leave the kernel as it is, as it does for confidential guests since 10.2;
//! earlier ones write the address of the initrd into it, which depends on the size of memory.

use crate::{
    authenticode::authenticode,
    error::{KernelFault, MeasureError},
    register::Register,
};
use alloc::vec::Vec;

/// What QEMU loads beside the firmware: `-kernel`, `-initrd`, `-append`.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// The kernel image, unchanged.
    pub kernel: &'a [u8],
    /// The initial file system.
    pub initrd: Option<&'a [u8]>,
    /// The command line, without a NUL.
    pub append: &'a str,
}

/// The digests that enter RTMR1 and RTMR2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectBoot {
    /// Authenticode digest of the kernel.
    pub kernel: Register,
    /// Digest of the load options: command line in UTF-16 with a NUL. None when there are none.
    pub load_options: Option<Register>,
    /// Digest of the initrd.
    pub initrd: Option<Register>,
}

impl DirectBoot {
    /// Digests of the files.
    ///
    /// # Errors
    /// A kernel without an EFI stub, a command line that is not ASCII.
    pub fn new(boot: &Boot<'_>) -> Result<Self, MeasureError> {
        Ok(Self {
            kernel: authenticode(boot.kernel)?,
            load_options: load_options(boot.append, boot.initrd.is_some())?,
            initrd: boot.initrd.map(Register::of),
        })
    }

    /// Code: the kernel, and the stations of its start.
    pub fn rtmr1(&self) -> Register {
        let calling = Register::of(b"Calling EFI Application from Boot Option");
        let separator = Register::of(&[0; 4]);
        let leaving = Register::of(b"Exit Boot Services Invocation");
        let left = Register::of(b"Exit Boot Services Returned with Success");
        extended([self.kernel, calling, separator, leaving, left])
    }

    /// What the kernel was given.
    pub fn rtmr2(&self) -> Register {
        extended(self.load_options.into_iter().chain(self.initrd))
    }
}

fn extended(events: impl IntoIterator<Item = Register>) -> Register {
    events.into_iter().fold(Register::ZERO, |register, event| register.extend(&event))
}

/// OVMF names the initrd at the end of the command line.
fn load_options(append: &str, initrd: bool) -> Result<Option<Register>, KernelFault> {
    if !append.is_ascii() || append.contains('\0') {
        return Err(KernelFault::CommandLine);
    }
    let initrd = if initrd { " initrd=initrd" } else { "" };
    if append.is_empty() && initrd.is_empty() {
        return Ok(None);
    }
    let text = append.chars().chain(initrd.chars()).chain(['\0']);
    let wide: Vec<u8> = text.flat_map(|letter| (letter as u16).to_le_bytes()).collect();
    Ok(Some(Register::of(&wide)))
}
