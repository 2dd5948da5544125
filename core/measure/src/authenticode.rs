//! The Authenticode digest of a PE image: what firmware measures when it starts an EFI application.
//!
//! Microsoft "Windows Authenticode Portable Executable Signature Format", section "Calculating the
//! PE image hash", as edk2 carries it out: the file without its checksum, without the directory
//! entry of the certificate table and without that table.

use crate::{
    error::KernelFault,
    reader::{self, Reader},
    register::Register,
};
use alloc::vec::Vec;
use sha2::{Digest, Sha384};

/// SHA-384 Authenticode digest.
///
/// # Errors
/// A file that is no PE image, or a broken one.
pub fn authenticode(image: &[u8]) -> Result<Register, KernelFault> {
    let mut hash = Sha384::new();
    covered(image)?.into_iter().for_each(|part| hash.update(part));
    let digest: [u8; 48] = hash.finalize().into();
    Ok(digest.into())
}

/// The parts that are hashed, in order.
fn covered(image: &[u8]) -> Result<Vec<&[u8]>, KernelFault> {
    let layout = Layout::parse(image)?;
    let part = |start: usize, end: usize| image.get(start..end).ok_or(KernelFault::BrokenPe);
    let add = |at: usize, count: usize| at.checked_add(count).ok_or(KernelFault::BrokenPe);

    let mut parts = Vec::with_capacity(layout.sections.len().saturating_add(4));
    parts.push(part(0, layout.checksum)?);
    parts.push(part(add(layout.checksum, 4)?, layout.certificates)?);
    parts.push(part(add(layout.certificates, 8)?, layout.headers)?);
    let mut covered = layout.headers;
    for (start, length) in &layout.sections {
        parts.push(part(*start, add(*start, *length)?)?);
        covered = add(covered, *length)?;
    }
    let trailing = add(covered, layout.certificate_bytes)?;
    if trailing > image.len() {
        return Err(KernelFault::BrokenPe);
    }
    parts.push(part(covered, image.len().saturating_sub(layout.certificate_bytes))?);
    Ok(parts)
}

struct Layout {
    /// Offset of the checksum, 4 bytes.
    checksum: usize,
    /// Offset of the directory entry of the certificate table, 8 bytes.
    certificates: usize,
    certificate_bytes: usize,
    /// Length of all headers.
    headers: usize,
    /// Offset and length of each section that has bytes in the file, by offset.
    sections: Vec<(usize, usize)>,
}

impl Layout {
    fn parse(image: &[u8]) -> Result<Self, KernelFault> {
        let pe = pe_header(image).ok_or(KernelFault::NotPe)?;
        Self::read(image, pe).ok_or(KernelFault::BrokenPe).and_then(|layout| layout)
    }

    fn read(image: &[u8], pe: usize) -> Option<Result<Self, KernelFault>> {
        let mut coff = reader::from(image, pe.checked_add(4)?)?;
        let (_machine, count) = (coff.u16()?, coff.u16()?);
        coff.take(12)?;
        let (optional_length, _characteristics) = (usize::from(coff.u16()?), coff.u16()?);
        if count > MAX_SECTIONS {
            return Some(Err(KernelFault::TooManySections));
        }
        let optional = pe.checked_add(24)?;
        let directories = match reader::from(image, optional)?.u16()? {
            PE32 => optional.checked_add(92)?,
            PE32_PLUS => optional.checked_add(108)?,
            _ => return Some(Err(KernelFault::NotPe)),
        };
        let headers = length(&mut reader::from(image, optional.checked_add(60)?)?)?;
        if reader::from(image, directories)?.u32()? <= CERTIFICATE_DIRECTORY {
            return None;
        }
        let certificates = directories.checked_add(4)?.checked_add(CERTIFICATE_ENTRY)?;
        let mut entry = reader::from(image, certificates)?;
        let (_offset, certificate_bytes) = (entry.u32()?, length(&mut entry)?);

        let mut table = reader::from(image, optional.checked_add(optional_length)?)?;
        let mut sections = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let mut section = Reader(table.take(40)?);
            section.take(16)?;
            let (bytes, start) = (length(&mut section)?, length(&mut section)?);
            if bytes != 0 {
                sections.push((start, bytes));
            }
        }
        sections.sort_unstable();
        Some(Ok(Self { checksum: optional.checked_add(64)?, certificates, certificate_bytes, headers, sections }))
    }
}

fn pe_header(image: &[u8]) -> Option<usize> {
    if !image.starts_with(b"MZ") {
        return None;
    }
    let at = length(&mut reader::from(image, 0x3c)?)?;
    reader::from(image, at)?.0.starts_with(b"PE\0\0").then_some(at)
}

fn length(reader: &mut Reader<'_>) -> Option<usize> {
    usize::try_from(reader.u32()?).ok()
}

/// Of the PE specification.
const MAX_SECTIONS: u16 = 96;
const PE32: u16 = 0x10b;
const PE32_PLUS: u16 = 0x20b;
const CERTIFICATE_DIRECTORY: u32 = 4;
/// Its offset in the table of directories.
const CERTIFICATE_ENTRY: usize = 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

    use super::*;
    use sha2::Sha256;
    use std::{env, fs, path::PathBuf, println};

    /// A distribution signs the SHA-256 of the same parts: that digest stands in its signature.
    #[test]
    fn a_signed_kernel_holds_its_own_digest() {
        let Some(image) = signed_kernel() else {
            println!("skipped: no signed kernel in /boot (name one by GLACIER_TEST_KERNEL)");
            return;
        };
        let mut hash = Sha256::new();
        covered(&image).unwrap().into_iter().for_each(|part| hash.update(part));
        let digest: [u8; 32] = hash.finalize().into();
        let certificates = Layout::parse(&image).unwrap().certificate_bytes;
        let signature = &image[image.len() - certificates..];
        assert!(signature.windows(32).any(|window| window == digest));
    }

    fn signed_kernel() -> Option<Vec<u8>> {
        let named = env::var_os("GLACIER_TEST_KERNEL").map(PathBuf::from);
        let boot = fs::read_dir("/boot").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let kernels = boot.filter(|path| path.to_string_lossy().contains("vmlinuz"));
        let mut images = named.into_iter().chain(kernels).filter_map(|path| fs::read(path).ok());
        images.find(|image| Layout::parse(image).is_ok_and(|layout| layout.certificate_bytes > 0))
    }
}
