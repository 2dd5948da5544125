//! The report by its lengths: SPDM 1.1 GET_MEASUREMENTS request and MEASUREMENTS response (DSP0274
//! 1.1 §10.11), one behind the other. What the fields mean is read elsewhere, after the signature held.

use super::{fault::GpuFault, opaque::Opaque};
use crate::{bytes::Bytes, registers::Register};
use glacier_wire::ReportData;

/// A report, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Report<'a> {
    pub(crate) nonce: &'a [u8; 32],
    pub(crate) opaque: Opaque<'a>,
    /// Everything before the signature.
    pub(crate) signed: &'a [u8],
    /// r ‖ s.
    pub(crate) signature: &'a [u8; 96],
    blocks: &'a [[u8; BLOCK_BYTES]],
}

/// Largest report that is read. Genuine ones have 2 to 5 KiB.
const MAX_BYTES: usize = 16 << 10;
/// SPDM 1.1, GET_MEASUREMENTS, signature wanted, all blocks.
const REQUEST: [u8; 4] = [0x11, 0xe0, 0x01, 0xff];
/// Slot 0; then SPDM 1.1, MEASUREMENTS and two parameters that are zero.
const SLOT_AND_RESPONSE: [u8; 5] = [0x00, 0x11, 0x60, 0x00, 0x00];
const GPU_BLOCKS: u8 = 64;
const SWITCH_BLOCKS: u8 = 31;
const BLOCK_BYTES: usize = 55;
/// Behind the index: DMTF's specification, 51 bytes, digest of mutable firmware, of 48 bytes.
const BLOCK: [u8; 6] = [0x01, 0x33, 0x00, 0x01, 0x30, 0x00];

impl<'a> Report<'a> {
    pub(crate) fn read(evidence: &'a [u8]) -> Result<Self, GpuFault> {
        if evidence.len() > MAX_BYTES {
            return Err(GpuFault::TooLarge { found: evidence.len(), max: MAX_BYTES });
        }
        let (signed, signature) = evidence.split_last_chunk().ok_or(GpuFault::Length)?;
        let mut bytes = Bytes(signed);
        if bytes.array().ok_or(GpuFault::Length)? != &REQUEST {
            return Err(GpuFault::Header);
        }
        let nonce = bytes.array().ok_or(GpuFault::Length)?;
        if bytes.array().ok_or(GpuFault::Length)? != &SLOT_AND_RESPONSE {
            return Err(GpuFault::Header);
        }
        let blocks = blocks(&mut bytes)?;
        let _responder_nonce: &[u8; 32] = bytes.array().ok_or(GpuFault::Length)?;
        let length = bytes.u16().ok_or(GpuFault::Length)?;
        let opaque = bytes.take(length.into()).filter(|_| bytes.0.is_empty()).ok_or(GpuFault::Length)?;
        Ok(Self { nonce, opaque: Opaque::read(opaque)?, signed, signature, blocks })
    }

    /// The nonce in the place where quotes have their report data.
    pub(crate) fn report_data(&self) -> ReportData {
        let mut data = [0; 64];
        for (to, from) in data.iter_mut().zip(self.nonce) {
            *to = *from;
        }
        data
    }

    /// Whether the frame is a switch's: one or the other, by the number of its blocks.
    pub(crate) fn is_switch(&self) -> bool {
        self.blocks.len() == usize::from(SWITCH_BLOCKS)
    }

    /// The measurement that manifests number `index`: they count from 0, SPDM from 1.
    pub(crate) fn measurement(&self, index: u8) -> Option<Register> {
        self.blocks.get(usize::from(index))?.last_chunk().copied().map(Register)
    }
}

fn blocks<'a>(bytes: &mut Bytes<'a>) -> Result<&'a [[u8; BLOCK_BYTES]], GpuFault> {
    let [count] = *bytes.array().ok_or(GpuFault::Length)?;
    let [a, b, c] = *bytes.array().ok_or(GpuFault::Length)?;
    if count != GPU_BLOCKS && count != SWITCH_BLOCKS {
        return Err(GpuFault::Blocks(count));
    }
    let expected = usize::from(count).checked_mul(BLOCK_BYTES).ok_or(GpuFault::Length)?;
    if usize::try_from(u32::from_le_bytes([a, b, c, 0])) != Ok(expected) {
        return Err(GpuFault::Length);
    }
    let (blocks, _) = bytes.take(expected).ok_or(GpuFault::Length)?.as_chunks::<BLOCK_BYTES>();
    // An unused block has a zero value and the header of every other.
    for (index, [found, header @ ..]) in (1..).zip(blocks) {
        if *found != index || !header.starts_with(&BLOCK) {
            return Err(GpuFault::Block(index));
        }
    }
    Ok(blocks)
}
