//! Writes `.npz`: a ZIP archive of `.npy` arrays, stored without compression and without times, so the same
//! arrays are the same bytes.

use crate::error::TrainError;

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

/// 1980-01-01, the first day that ZIP knows.
const DATE: u16 = 0x21;

impl Writer {
    /// Adds `NAME.npy`, `<f4` in C order.
    pub(super) fn add(&mut self, name: &str, shape: [usize; 2], values: &[f32]) -> Result<(), TrainError> {
        let name = format!("{name}.npy");
        let content = npy(shape, values)?;
        // Offsets and sizes have 32 bits; adapters of more than 4 GiB are no adapters.
        let too_large = |_| TrainError::Unfit("the adapters are larger than an .npz archive may be");
        let (offset, size) = (u32::try_from(self.bytes.len()), u32::try_from(content.len()));
        let (offset, size) = (offset.map_err(too_large)?, size.map_err(too_large)?);
        let name_len = u16::try_from(name.len()).map_err(too_large)?;
        self.entries =
            self.entries.checked_add(1).ok_or(TrainError::Unfit("the adapters are too many for an .npz archive"))?;
        // Version 2.0, names in UTF-8, stored (APPNOTE 4.4).
        let mut common = Vec::new();
        for field in [20u16, 1 << 11, 0, 0, DATE] {
            common.extend(field.to_le_bytes());
        }
        for field in [crc32(&content), size, size] {
            common.extend(field.to_le_bytes());
        }
        common.extend(name_len.to_le_bytes());
        common.extend(0u16.to_le_bytes());

        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&common);
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(&content);

        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(20u16.to_le_bytes());
        self.directory.extend(&common);
        // No comment, first disk, no attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        Ok(())
    }

    /// The archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, TrainError> {
        let too_large = |_| TrainError::Unfit("the adapters are larger than an .npz archive may be");
        let offset = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let size = u32::try_from(self.directory.len()).map_err(too_large)?;
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06");
        for field in [0, 0, self.entries, self.entries] {
            self.bytes.extend(field.to_le_bytes());
        }
        self.bytes.extend(size.to_le_bytes());
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.extend(0u16.to_le_bytes());
        Ok(self.bytes)
    }
}

fn npy([rows, columns]: [usize; 2], values: &[f32]) -> Result<Vec<u8>, TrainError> {
    if rows.checked_mul(columns) != Some(values.len()) {
        return Err(TrainError::Layout);
    }
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}").into_bytes();
    // Data begins at a multiple of 64 bytes, after magic, version, length and a newline.
    while header.len().wrapping_add(11) % 64 != 0 {
        header.push(b' ');
    }
    header.push(b'\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len()).map_err(|_| TrainError::Layout)?.to_le_bytes());
    bytes.extend(header);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(bytes)
}

/// ISO 3309, as ZIP has it.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| {
        let entry = TABLE.get(usize::from(crc as u8 ^ byte)).copied().unwrap_or_default();
        entry ^ (crc >> 8)
    };
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut place = 0;
    while place < 256 {
        let mut entry = place as u32;
        let mut bit = 0;
        #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "evaluated by the compiler")]
        {
            while bit < 8 {
                entry = if entry & 1 == 1 { 0xedb8_8320 ^ (entry >> 1) } else { entry >> 1 };
                bit += 1;
            }
            table[place] = entry;
            place += 1;
        }
    }
    table
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(super) mod tests {
    use super::*;

    /// Name, shape and values of each array, read by the rules of the formats.
    pub(crate) fn read(mut bytes: &[u8]) -> Vec<(String, [usize; 2], Vec<f32>)> {
        let mut arrays = Vec::new();
        while let Some(rest) = bytes.strip_prefix(b"PK\x03\x04") {
            let word = |at: usize| usize::from(u16::from_le_bytes([rest[at], rest[at + 1]]));
            let (size, name_len) = (word(14) + (word(16) << 16), word(22));
            let name = String::from_utf8(rest[26..26 + name_len].to_vec()).unwrap();
            let content = &rest[26 + name_len..][..size];
            assert_eq!(crc32(content).to_le_bytes(), rest[10..14]);
            let header_len = usize::from(u16::from_le_bytes([content[8], content[9]]));
            assert_eq!((10 + header_len) % 64, 0);
            let header = std::str::from_utf8(&content[10..10 + header_len]).unwrap();
            let shape: Vec<usize> = header.split(['(', ')', ',']).filter_map(|text| text.trim().parse().ok()).collect();
            let values = content[10 + header_len..].as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
            arrays.push((name, shape.try_into().unwrap(), values.collect()));
            bytes = &rest[26 + name_len + size..];
        }
        assert!(bytes.starts_with(b"PK\x01\x02"));
        arrays
    }

    #[test]
    fn the_check_value_of_the_checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn arrays_come_back() {
        let mut writer = Writer::default();
        writer.add("weight", [2, 3], &[1.0, -2.0, 3.5, 0.0, 1e-30, 7.0]).unwrap();
        writer.add("ünder", [1, 1], &[5.0]).unwrap();
        assert_eq!(writer.add("x", [2, 2], &[5.0]), Err(TrainError::Layout));
        let arrays = read(&writer.finish().unwrap());
        assert_eq!(arrays[0], ("weight.npy".into(), [2, 3], vec![1.0, -2.0, 3.5, 0.0, 1e-30, 7.0]));
        assert_eq!(arrays[1], ("ünder.npy".into(), [1, 1], vec![5.0]));
    }
}
