//! The launch digest of an SEV-SNP guest under QEMU and KVM: the `measurement` of its report.
//!
//! Each page that the monitor adds extends the digest by a PAGE_INFO structure (AMD SEV-SNP
//! firmware ABI, SNP_LAUNCH_UPDATE, table "PAGE_INFO").

use crate::{
    boot::Boot,
    error::{FirmwareFault, MeasureError},
    firmware::{Firmware, PAGE, guid},
    kernel_hashes,
    reader::Reader,
    register::Register,
    save_area,
    vcpu::Vcpu,
};

/// What QEMU is started with.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// The OVMF image given by `-bios`.
    pub firmware: &'a [u8],
    /// Kernel, initrd and command line, when `kernel-hashes=on`.
    pub boot: Option<Boot<'a>>,
    /// `-smp`: each has a measured page.
    pub vcpus: u32,
    /// `-cpu`.
    pub vcpu: Vcpu,
    /// SEV_FEATURES of the processors: bit 0 is SNP, others as the monitor turns them on.
    pub features: u64,
}

/// The digest, as a report's `measurement` at offset 0x90.
///
/// # Errors
/// An image without SEV metadata, without room for the kernel hashes that were asked for, or with
/// sections that cannot be measured.
pub fn launch_digest(guest: &Guest<'_>) -> Result<Register, MeasureError> {
    if guest.vcpus == 0 || guest.vcpus > MAX_VCPUS {
        return Err(MeasureError::Vcpus { max: MAX_VCPUS });
    }
    let firmware = Firmware::parse(guest.firmware)?;
    let mut digest = Launch { digest: Register::ZERO, pages: 0 };
    for (page, address) in firmware.image.chunks(PAGE).zip((firmware.address()..).step_by(PAGE)) {
        digest.add(NORMAL, address, Some(page))?;
    }

    let mut hashed = false;
    for section in sections(&firmware)? {
        let Section { address, size, kind } = section?;
        if !address.is_multiple_of(PAGE as u32) || !size.is_multiple_of(PAGE as u32) {
            return Err(FirmwareFault::Section.into());
        }
        let one_page = size == PAGE as u32;
        match (kind, guest.boot) {
            (SECTION_MEMORY | SECTION_SVSM_CALLING_AREA, _) | (SECTION_KERNEL_HASHES, None) => {
                for page in (u64::from(address)..).step_by(PAGE).take(size as usize / PAGE) {
                    digest.add(ZERO, page, None)?;
                }
            }
            (SECTION_SECRETS, _) if one_page => digest.add(SECRETS, address.into(), None)?,
            (SECTION_CPUID, _) if one_page => digest.add(CPUID, address.into(), None)?,
            (SECTION_KERNEL_HASHES, Some(boot)) if one_page => {
                let page = kernel_hashes::page(&firmware, &boot, address)?;
                digest.add(NORMAL, address.into(), Some(&page))?;
                hashed = true;
            }
            (SECTION_SECRETS | SECTION_CPUID | SECTION_KERNEL_HASHES, _) => return Err(FirmwareFault::Section.into()),
            (kind, _) => return Err(FirmwareFault::UnknownSection { kind }.into()),
        }
    }
    if guest.boot.is_some() && !hashed {
        return Err(FirmwareFault::NoKernelHashes.into());
    }

    let first = save_area::page(RESET_VECTOR, guest.vcpu, guest.features);
    digest.add(SAVE_AREA, SAVE_AREA_ADDRESS, Some(&first))?;
    if guest.vcpus > 1 {
        let start = firmware.entry(RESET_BLOCK).and_then(|data| Reader(data).u32());
        let other = save_area::page(start.ok_or(FirmwareFault::NoResetBlock)?, guest.vcpu, guest.features);
        for _ in 1..guest.vcpus {
            digest.add(SAVE_AREA, SAVE_AREA_ADDRESS, Some(&other))?;
        }
    }
    Ok(digest.digest)
}

struct Launch {
    digest: Register,
    pages: u32,
}

impl Launch {
    /// PAGE_INFO: digest so far, digest of the page, length, type, IMI and permissions (zero), address.
    fn add(&mut self, kind: u8, address: u64, content: Option<&[u8]>) -> Result<(), FirmwareFault> {
        self.pages =
            self.pages.checked_add(1).filter(|pages| *pages <= MAX_PAGES).ok_or(FirmwareFault::TooManyPages)?;
        let content = content.map_or(Register::ZERO, Register::of);
        self.digest = Register::of_parts(&[
            self.digest.as_bytes(),
            content.as_bytes(),
            &PAGE_INFO.to_le_bytes(),
            &[kind, 0, 0, 0, 0, 0],
            &address.to_le_bytes(),
        ]);
        Ok(())
    }
}

/// An entry of the SEV metadata (edk2 `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`).
struct Section {
    address: u32,
    size: u32,
    kind: u32,
}

fn sections<'a>(
    firmware: &Firmware<'a>,
) -> Result<impl Iterator<Item = Result<Section, FirmwareFault>> + use<'a>, FirmwareFault> {
    let mut reader = firmware.pointed(SEV_METADATA).ok_or(FirmwareFault::NoSevMetadata)??;
    let mut header = || Some((reader.array()?, reader.u32()?, reader.u32()?, reader.u32()?));
    let (signature, _length, version, count) = header().ok_or(FirmwareFault::Metadata)?;
    if &signature != b"ASEV" || version != 1 {
        return Err(FirmwareFault::Metadata);
    }
    if count > MAX_SECTIONS {
        return Err(FirmwareFault::TooManySections);
    }
    Ok((0..count).map(move |_| {
        let mut section = || Some(Section { address: reader.u32()?, size: reader.u32()?, kind: reader.u32()? });
        section().ok_or(FirmwareFault::Metadata)
    }))
}

/// As many as QEMU's q35 machine takes.
const MAX_VCPUS: u32 = 4096;
const MAX_SECTIONS: u32 = 64;
/// 1 GiB: the images in use need some thousand pages.
const MAX_PAGES: u32 = 1 << 18;

const PAGE_INFO: u16 = 0x70;
const NORMAL: u8 = 1;
const SAVE_AREA: u8 = 2;
const ZERO: u8 = 3;
const SECRETS: u8 = 5;
const CPUID: u8 = 6;

const SECTION_MEMORY: u32 = 1;
const SECTION_SECRETS: u32 = 2;
const SECTION_CPUID: u32 = 3;
const SECTION_SVSM_CALLING_AREA: u32 = 4;
const SECTION_KERNEL_HASHES: u32 = 0x10;

/// The first processor starts where x86 does.
const RESET_VECTOR: u32 = 0xffff_fff0;
/// The save area has no guest address: all ones, cut to a page within 48 bits.
const SAVE_AREA_ADDRESS: u64 = 0xffff_ffff_f000;

const SEV_METADATA: [u8; 16] = guid(0xdc88_6566, 0x984a, 0x4798, [0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc]);
const RESET_BLOCK: [u8; 16] = guid(0x00f7_71de, 0x1a7e, 0x4fcb, [0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e]);
