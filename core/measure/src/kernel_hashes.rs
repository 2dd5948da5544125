//! The page of hashes by which an SNP guest's firmware recognises kernel, initrd and command line.
//!
//! QEMU lays it out with `kernel-hashes=on` (`target/i386/sev.c`), and the AMD SEV build of OVMF
//! reads it (`OvmfPkg/AmdSev/BlobVerifierLibSevHashes`).

use crate::{
    boot::Boot,
    error::{FirmwareFault, KernelFault, MeasureError},
    firmware::{Firmware, PAGE, guid},
    reader::Reader,
};
use alloc::{vec, vec::Vec};
use sha2::{Digest, Sha256};

/// The one page at `address`, where the image reserves room for hashes.
pub(crate) fn page(firmware: &Firmware<'_>, boot: &Boot<'_>, address: u32) -> Result<Vec<u8>, MeasureError> {
    let table = table(boot)?;
    let at = firmware.entry(HASH_TABLE).and_then(|data| Reader(data).u32()).ok_or(FirmwareFault::NoKernelHashes)?;
    // An image built without the verifier has the entry, with a base of zero.
    let offset = at.checked_sub(address).filter(|_| at != 0).ok_or(FirmwareFault::NoKernelHashes)?;
    let offset = usize::try_from(offset).map_err(|_| FirmwareFault::Section)?;
    let mut page = vec![0; PAGE];
    let end = offset.checked_add(table.len()).ok_or(FirmwareFault::Section)?;
    page.get_mut(offset..end).ok_or(FirmwareFault::Section)?.copy_from_slice(&table);
    Ok(page)
}

fn table(boot: &Boot<'_>) -> Result<Vec<u8>, KernelFault> {
    if boot.append.contains('\0') {
        return Err(KernelFault::CommandLine);
    }
    let mut command_line = Sha256::new();
    command_line.update(boot.append);
    command_line.update([0]);
    let hashes = [
        (COMMAND_LINE, command_line.finalize()),
        (INITRD, Sha256::digest(boot.initrd.unwrap_or_default())),
        (KERNEL, Sha256::digest(boot.kernel)),
    ];
    let mut table = Vec::with_capacity(TABLE_PADDED);
    table.extend_from_slice(&HEADER);
    table.extend_from_slice(&TABLE.to_le_bytes());
    for (guid, hash) in hashes {
        table.extend_from_slice(&guid);
        table.extend_from_slice(&ENTRY.to_le_bytes());
        table.extend_from_slice(&hash);
    }
    table.resize(TABLE_PADDED, 0);
    Ok(table)
}

/// GUID, u16, SHA-256.
const ENTRY: u16 = 50;
/// GUID, u16, three entries.
const TABLE: u16 = 168;
/// QEMU pads to 16 bytes.
const TABLE_PADDED: usize = 176;

const HASH_TABLE: [u8; 16] = guid(0x7255_371f, 0x3a3b, 0x4b04, [0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54]);
const HEADER: [u8; 16] = guid(0x9438_d606, 0x4f22, 0x4cc9, [0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21]);
const KERNEL: [u8; 16] = guid(0x4de7_9437, 0xabd2, 0x427f, [0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b]);
const INITRD: [u8; 16] = guid(0x44ba_f731, 0x3a2f, 0x4bd7, [0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d]);
const COMMAND_LINE: [u8; 16] = guid(0x97d0_2dd8, 0xbd20, 0x4c94, [0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a]);
