//! MRTD: what the TDX module hashes while the monitor builds the machine from a TDVF image.
//!
//! TDH.MEM.PAGE.ADD hashes a 128-byte record per page, TDH.MR.EXTEND one per 256 bytes and then
//! these bytes (Intel TDX module ABI, "Measurement of TD"). Which pages, the image says itself
//! (Intel TDX virtual firmware design guide, section "TDVF metadata").

use crate::{
    error::{FirmwareFault, MeasureError},
    firmware::{Firmware, PAGE, guid},
    register::Register,
};
use sha2::{Digest, Sha384};

/// In which order a monitor adds and measures the pages of one section: MRTD depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageOrder {
    /// Add a page, measure it, go on: Linux 6.16 and later (KVM_TDX_INIT_MEM_REGION).
    #[default]
    Interleaved,
    /// Add all pages of a section, then measure them: the kernels that vendors shipped before.
    TwoPass,
}

/// MRTD of an image.
///
/// # Errors
/// An image without TDX metadata, or with sections that cannot be measured.
pub fn mrtd(image: &[u8], order: PageOrder) -> Result<Register, MeasureError> {
    let firmware = Firmware::parse(image)?;
    let mut hash = Sha384::new();
    let mut pages = 0_u64;
    for section in sections(&firmware)? {
        let section = section?.check(image)?;
        // Memory that the guest accepts later (TDH.MEM.PAGE.AUG) is not part of the build.
        if section.attributes & ACCEPTED_LATER != 0 {
            continue;
        }
        let own = section.size.div_ceil(PAGE as u64);
        pages = pages.checked_add(own).filter(|pages| *pages <= MAX_PAGES).ok_or(FirmwareFault::TooManyPages)?;
        let all = (section.address..).step_by(PAGE).take(usize::try_from(own).unwrap_or_default()).enumerate();
        match order {
            PageOrder::Interleaved => all.for_each(|(index, page)| {
                hash.update(record(ADD, page));
                section.extend(&mut hash, index, page);
            }),
            PageOrder::TwoPass => {
                all.clone().for_each(|(_, page)| hash.update(record(ADD, page)));
                all.for_each(|(index, page)| section.extend(&mut hash, index, page));
            }
        }
    }
    let digest: [u8; 48] = hash.finalize().into();
    Ok(digest.into())
}

/// 32 bytes in the image.
struct Declared {
    offset: u32,
    raw: u32,
    address: u64,
    size: u64,
    attributes: u32,
}

struct Section<'a> {
    address: u64,
    size: u64,
    attributes: u32,
    /// Empty unless measured.
    content: &'a [u8],
}

impl Declared {
    fn check(self, image: &[u8]) -> Result<Section<'_>, FirmwareFault> {
        let aligned = self.address.is_multiple_of(PAGE as u64) && self.size.is_multiple_of(PAGE as u64);
        let end = self.address.checked_add(self.size);
        if !aligned || end.is_none() {
            return Err(FirmwareFault::Section);
        }
        let measured = self.attributes & MEASURED != 0;
        // What a monitor would measure beyond the data of the file is its own choice.
        if measured && (u64::from(self.raw) != self.size || self.attributes & ACCEPTED_LATER != 0) {
            return Err(FirmwareFault::Section);
        }
        let offset = usize::try_from(self.offset).map_err(|_| FirmwareFault::Section)?;
        let length = usize::try_from(self.raw).map_err(|_| FirmwareFault::Section)?;
        let content = image.get(offset..).and_then(|rest| rest.get(..length)).ok_or(FirmwareFault::Section)?;
        let content = if measured { content } else { &[] };
        Ok(Section { address: self.address, size: self.size, attributes: self.attributes, content })
    }
}

impl Section<'_> {
    /// Hashes the page with this index, at this address, if the section is measured.
    fn extend(&self, hash: &mut Sha384, index: usize, address: u64) {
        let content = self.content.chunks(PAGE).nth(index).unwrap_or_default();
        for (chunk, address) in content.chunks(CHUNK).zip((address..).step_by(CHUNK)) {
            hash.update(record(EXTEND, address));
            hash.update(chunk);
        }
    }
}

/// Name, guest physical address, zeros.
fn record(name: &[u8; 16], address: u64) -> [u8; 128] {
    let mut record = [0; 128];
    for (slot, byte) in record.iter_mut().zip(name.iter().chain(&address.to_le_bytes())) {
        *slot = *byte;
    }
    record
}

fn sections<'a>(
    firmware: &Firmware<'a>,
) -> Result<impl Iterator<Item = Result<Declared, FirmwareFault>> + use<'a>, FirmwareFault> {
    let mut reader = firmware.pointed(TDX_METADATA).ok_or(FirmwareFault::NoTdxMetadata)??;
    let mut header = || Some((reader.array()?, reader.u32()?, reader.u32()?, reader.u32()?));
    let (signature, _length, version, count) = header().ok_or(FirmwareFault::Metadata)?;
    if &signature != b"TDVF" || version != 1 {
        return Err(FirmwareFault::Metadata);
    }
    if count > MAX_SECTIONS {
        return Err(FirmwareFault::TooManySections);
    }
    Ok((0..count).map(move |_| {
        let mut section = || {
            let (offset, raw, address, size) = (reader.u32()?, reader.u32()?, reader.u64()?, reader.u64()?);
            let (_kind, attributes) = (reader.u32()?, reader.u32()?);
            Some(Declared { offset, raw, address, size, attributes })
        };
        section().ok_or(FirmwareFault::Metadata)
    }))
}

const ADD: &[u8; 16] = b"MEM.PAGE.ADD\0\0\0\0";
const EXTEND: &[u8; 16] = b"MR.EXTEND\0\0\0\0\0\0\0";
const MAX_SECTIONS: u32 = 64;
/// 1 GiB.
const MAX_PAGES: u64 = 1 << 18;
const CHUNK: usize = 256;
/// Attribute bit 0, MR.EXTEND.
const MEASURED: u32 = 1;
/// Attribute bit 1, PAGE.AUG.
const ACCEPTED_LATER: u32 = 2;
const TDX_METADATA: [u8; 16] = guid(0xe47a_6535, 0x984a, 0x4798, [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2]);
