//! An OVMF image and the table of GUIDs at its end, through which it tells a virtual machine
//! monitor where things are.
//!
//! Layout (edk2 `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`), read backwards: 32 bytes of reset
//! vector; a footer GUID; u16 length of the table with footer; then entries of data, u16 length
//! (data, length and GUID together) and GUID.

use crate::{
    error::FirmwareFault,
    reader::{self, Reader},
};

pub(crate) const PAGE: usize = 4096;

pub(crate) struct Firmware<'a> {
    pub(crate) image: &'a [u8],
    table: &'a [u8],
}

impl<'a> Firmware<'a> {
    /// Checks the whole table, so that [`Self::entry`] cannot miss something behind a broken entry.
    pub(crate) fn parse(image: &'a [u8]) -> Result<Self, FirmwareFault> {
        if image.is_empty() || !image.len().is_multiple_of(PAGE) || u32::try_from(image.len()).is_err() {
            return Err(FirmwareFault::Size);
        }
        let (rest, _reset_vector) = split_back(image, RESET_VECTOR).ok_or(FirmwareFault::NoTable)?;
        let (rest, footer) = split_back(rest, ENTRY_HEADER).ok_or(FirmwareFault::NoTable)?;
        let (length, guid) = header(footer).ok_or(FirmwareFault::NoTable)?;
        if guid != FOOTER {
            return Err(FirmwareFault::NoTable);
        }
        let length = length.checked_sub(ENTRY_HEADER).ok_or(FirmwareFault::Table)?;
        let (_, table) = split_back(rest, length).ok_or(FirmwareFault::Table)?;
        let mut left = table;
        while !left.is_empty() {
            (left, ..) = last_entry(left).ok_or(FirmwareFault::Table)?;
        }
        Ok(Self { image, table })
    }

    /// The data of the entry with this GUID; of several, the one nearest to the end, as QEMU finds it.
    pub(crate) fn entry(&self, guid: [u8; 16]) -> Option<&'a [u8]> {
        let mut left = self.table;
        while let Some((rest, found, data)) = last_entry(left) {
            if found == guid {
                return Some(data);
            }
            left = rest;
        }
        None
    }

    /// What an entry points to: it holds an offset from the end of the image.
    pub(crate) fn pointed(&self, guid: [u8; 16]) -> Option<Result<Reader<'a>, FirmwareFault>> {
        let data = self.entry(guid)?;
        let target = || {
            let back = usize::try_from(Reader(data).u32()?).ok()?;
            reader::from(self.image, self.image.len().checked_sub(back)?)
        };
        Some(target().ok_or(FirmwareFault::Metadata))
    }

    /// Guest physical address of the image: it ends at 4 GiB.
    pub(crate) fn address(&self) -> u64 {
        FOUR_GIB.saturating_sub(self.image.len() as u64)
    }
}

/// A GUID from its text form, in the mixed byte order of EFI.
pub(crate) const fn guid(a: u32, b: u16, c: u16, rest: [u8; 8]) -> [u8; 16] {
    let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    let [d, e, f, g, h, i, j, k] = rest;
    [a0, a1, a2, a3, b0, b1, c0, c1, d, e, f, g, h, i, j, k]
}

fn split_back(bytes: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(count)?)
}

fn header(bytes: &[u8]) -> Option<(usize, [u8; 16])> {
    let mut reader = Reader(bytes);
    Some((usize::from(reader.u16()?), reader.array()?))
}

/// What is before the last entry, its GUID, its data.
fn last_entry(table: &[u8]) -> Option<(&[u8], [u8; 16], &[u8])> {
    let (rest, footer) = split_back(table, ENTRY_HEADER)?;
    let (length, guid) = header(footer)?;
    let (rest, data) = split_back(rest, length.checked_sub(ENTRY_HEADER)?)?;
    Some((rest, guid, data))
}

const FOUR_GIB: u64 = 1 << 32;
const RESET_VECTOR: usize = 32;
/// u16 and GUID.
const ENTRY_HEADER: usize = 18;
const FOOTER: [u8; 16] = guid(0x96b5_82de, 0x1fb2, 0x45f7, [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d]);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

    use super::*;
    use crate::support::{self, RESET_BLOCK, TDX_METADATA, image};
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    fn find(image: &[u8], guid: &str) -> Option<Vec<u8>> {
        Firmware::parse(image).unwrap().entry(support::guid(guid)).map(Vec::from)
    }

    #[test]
    fn an_entry_is_found() {
        let image = image(1, &[(RESET_BLOCK, vec![1, 2, 3]), (TDX_METADATA, vec![])], &[]);
        assert_eq!(find(&image, RESET_BLOCK), Some(vec![1, 2, 3]));
        assert_eq!(find(&image, support::HASH_TABLE), None);
        assert_eq!(Firmware::parse(&image).unwrap().address(), 0xffff_f000);
    }

    #[test]
    fn of_two_entries_the_last_counts() {
        let image = image(1, &[(RESET_BLOCK, vec![1]), (RESET_BLOCK, vec![2])], &[]);
        assert_eq!(find(&image, RESET_BLOCK), Some(vec![2]));
    }

    #[test]
    fn an_image_without_a_table_is_refused() {
        assert_eq!(Firmware::parse(&[0; PAGE]).err(), Some(FirmwareFault::NoTable));
    }

    #[test]
    fn half_a_page_is_refused() {
        assert_eq!(Firmware::parse(&[0; 2048]).err(), Some(FirmwareFault::Size));
        assert_eq!(Firmware::parse(&[]).err(), Some(FirmwareFault::Size));
    }

    #[test]
    fn an_entry_longer_than_its_table_is_refused() {
        let mut image = image(1, &[(RESET_BLOCK, vec![1, 2, 3])], &[]);
        let length = image.len() - RESET_VECTOR - 2 * ENTRY_HEADER;
        image[length] = 200;
        assert_eq!(Firmware::parse(&image).err(), Some(FirmwareFault::Table));
    }

    #[test]
    fn an_entry_shorter_than_its_header_is_refused() {
        let mut image = image(1, &[(RESET_BLOCK, vec![1, 2, 3])], &[]);
        let length = image.len() - RESET_VECTOR - 2 * ENTRY_HEADER;
        image[length] = 3;
        assert_eq!(Firmware::parse(&image).err(), Some(FirmwareFault::Table));
    }

    proptest! {
        #[test]
        fn no_table_breaks_the_parser(tail in proptest::collection::vec(any::<u8>(), 0..200), length in any::<u16>()) {
            let mut image = image(1, &[(RESET_BLOCK, vec![1])], &[]);
            let end = image.len() - RESET_VECTOR - ENTRY_HEADER;
            image[end - tail.len()..end].copy_from_slice(&tail);
            image[end..end + 2].copy_from_slice(&length.to_le_bytes());
            if let Ok(firmware) = Firmware::parse(&image) {
                let guid = support::guid(RESET_BLOCK);
                prop_assert!(firmware.entry(guid).is_none_or(|data| data.len() < PAGE));
                let _ = firmware.pointed(guid);
            }
        }
    }
}
