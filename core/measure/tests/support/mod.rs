//! Firmware images, kernels and logs made from their specifications, for tests.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{string::String, vec, vec::Vec};

pub(crate) const PAGE: usize = 4096;

/// A GUID from its text.
pub(crate) fn guid(text: &str) -> [u8; 16] {
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    let mut bytes: [u8; 16] = hex::decode(digits).unwrap().try_into().unwrap();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

pub(crate) const FOOTER: &str = "96b582de-1fb2-45f7-baea-a366c55a082d";
pub(crate) const RESET_BLOCK: &str = "00f771de-1a7e-4fcb-890e-68c77e2fb44e";
pub(crate) const HASH_TABLE: &str = "7255371f-3a3b-4b04-927b-1da6efa8d454";
pub(crate) const SEV_METADATA: &str = "dc886566-984a-4798-a75e-5585a7bf67cc";
pub(crate) const TDX_METADATA: &str = "e47a6535-984a-4798-865e-4685a7bf8ec2";

/// An image of `pages` pages with these table entries, and pieces laid over it, each given by its
/// distance from the end.
pub(crate) fn image(pages: usize, entries: &[(&str, Vec<u8>)], pieces: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut table = Vec::new();
    for (name, data) in entries {
        table.extend_from_slice(data);
        table.extend_from_slice(&((data.len() + 18) as u16).to_le_bytes());
        table.extend_from_slice(&guid(name));
    }
    table.extend_from_slice(&((table.len() + 18) as u16).to_le_bytes());
    table.extend_from_slice(&guid(FOOTER));
    let mut image: Vec<u8> = (0..pages * PAGE).map(|at| (at / 7 % 251) as u8).collect();
    let end = image.len() - 32;
    image[end - table.len()..end].copy_from_slice(&table);
    for (back, piece) in pieces {
        let start = image.len() - back;
        image[start..start + piece.len()].copy_from_slice(piece);
    }
    image
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// SEV metadata: address, size, kind of each section.
pub(crate) fn sev_metadata(sections: &[[u32; 3]]) -> Vec<u8> {
    let mut out = b"ASEV".to_vec();
    out.extend(words(&[16 + 12 * sections.len() as u32, 1, sections.len() as u32]));
    sections.iter().for_each(|section| out.extend(words(section)));
    out
}

/// An image as the AMD SEV build of OVMF makes it, small.
pub(crate) fn snp_image(sections: &[[u32; 3]]) -> Vec<u8> {
    let entries = [
        (RESET_BLOCK, words(&[0x0080_b004])),
        (HASH_TABLE, words(&[0x0081_0c00, 0x400])),
        (SEV_METADATA, words(&[0x800])),
    ];
    image(4, &entries, &[(0x800, sev_metadata(sections))])
}

pub(crate) const SNP_SECTIONS: [[u32; 3]; 6] = [
    [0x0080_0000, 0x9000, 1],
    [0x0080_a000, 0x3000, 1],
    [0x0080_d000, 0x1000, 2],
    [0x0080_e000, 0x1000, 3],
    [0x0080_f000, 0x1000, 4],
    [0x0081_0000, 0x1000, 0x10],
];

/// One section of a TDVF: offset, bytes in the file, address, size, kind, attributes.
pub(crate) type TdvfSection = (u32, u32, u64, u64, u32, u32);

pub(crate) fn tdx_image(sections: &[TdvfSection]) -> Vec<u8> {
    let mut metadata = b"TDVF".to_vec();
    metadata.extend(words(&[16 + 32 * sections.len() as u32, 1, sections.len() as u32]));
    for (offset, raw, address, size, kind, attributes) in sections {
        metadata.extend(words(&[*offset, *raw]));
        metadata.extend(address.to_le_bytes());
        metadata.extend(size.to_le_bytes());
        metadata.extend(words(&[*kind, *attributes]));
    }
    image(4, &[(TDX_METADATA, words(&[0x800]))], &[(0x800, metadata)])
}

/// Measured code, an unmeasured variable store, a hand-off block, memory to accept later.
pub(crate) const TDX_SECTIONS: [TdvfSection; 4] = [
    (0x1000, 0x3000, 0xffff_d000, 0x3000, 0, 1),
    (0, 0x1000, 0xffff_c000, 0x1000, 1, 0),
    (0, 0, 0x0080_9000, 0x2000, 2, 0),
    (0, 0, 0x1_0000_0000, 0x40_0000_0000, 5, 2),
];

/// A PE32+ image with two sections, of which the second lies first in the file, and trailing bytes.
pub(crate) fn kernel() -> Vec<u8> {
    let mut image: Vec<u8> = (0..0x700).map(|at| (at % 253) as u8).collect();
    image[..2].copy_from_slice(b"MZ");
    image[0x3c..0x40].copy_from_slice(&0x40_u32.to_le_bytes());
    let mut headers = b"PE\0\0".to_vec();
    headers.extend(0x8664_u16.to_le_bytes());
    headers.extend(2_u16.to_le_bytes());
    headers.extend([0; 12]);
    headers.extend(160_u16.to_le_bytes()); // optional header with six directories
    headers.extend([0; 2]);
    let mut optional = vec![0; 160];
    optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
    optional[60..64].copy_from_slice(&0x200_u32.to_le_bytes());
    optional[64..68].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
    optional[108..112].copy_from_slice(&6_u32.to_le_bytes());
    headers.extend(optional);
    for (bytes, start) in [(0x200_u32, 0x400_u32), (0x200, 0x200)] {
        let mut section = vec![0; 40];
        section[16..20].copy_from_slice(&bytes.to_le_bytes());
        section[20..24].copy_from_slice(&start.to_le_bytes());
        headers.extend(section);
    }
    image[0x40..0x40 + headers.len()].copy_from_slice(&headers);
    image
}

/// Where [`kernel`] has its checksum, and the directory entry of its certificate table.
pub(crate) const KERNEL_CHECKSUM: usize = 0x40 + 24 + 64;
pub(crate) const KERNEL_CERTIFICATES: usize = 0x40 + 24 + 112 + 32;

/// The identifier of a log with these algorithms and digest sizes.
pub(crate) fn log_header(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    data.extend((algorithms.len() as u32).to_le_bytes());
    for (algorithm, size) in algorithms {
        data.extend(algorithm.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    data.push(0);
    let mut out = words(&[1, 3]);
    out.extend([0; 20]);
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

/// An event with one SHA-384 digest.
pub(crate) fn log_event(register: u32, kind: u32, digest: &[u8; 48], data: &[u8]) -> Vec<u8> {
    let mut out = words(&[register, kind, 1]);
    out.extend(0x000c_u16.to_le_bytes());
    out.extend(digest);
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}
