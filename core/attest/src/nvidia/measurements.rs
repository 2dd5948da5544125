//! Measurements against the values that manifests name.

use super::{fault::GpuFault, report::Report, rim::CheckedRim};
use crate::registers::Register;
use alloc::vec::Vec;

/// Of the video decoder's firmware, which is measured only while the decoder is enabled.
const VIDEO_DECODER: u8 = 35;

/// Every index that a manifest names has to hold one of the values it names there. Answers with what
/// was compared, ascending by index. What no manifest names is per device or unused, and not compared.
pub(crate) fn compare(
    report: &Report<'_>,
    video_decoder: Option<bool>,
    manifests: [Option<&CheckedRim>; 2],
) -> Result<Vec<(u8, Register)>, GpuFault> {
    let mut vouched: Vec<(u8, Register)> = Vec::new();
    for (index, values) in manifests.into_iter().flatten().flat_map(|manifest| &manifest.golden) {
        if *index == VIDEO_DECODER && video_decoder == Some(false) {
            continue;
        }
        if vouched.iter().any(|(other, _)| other == index) {
            return Err(GpuFault::IndexConflict(*index));
        }
        let found = report.measurement(*index).filter(|found| values.contains(found));
        vouched.push((*index, found.ok_or(GpuFault::Measurement(*index))?));
    }
    vouched.sort_unstable_by_key(|(index, _)| *index);
    Ok(vouched)
}

/// Whether an enabled video decoder's firmware was among what was compared.
pub(crate) fn video_decoder_vouched(video_decoder: Option<bool>, vouched: &[(u8, Register)]) -> bool {
    video_decoder != Some(true) || vouched.iter().any(|(index, _)| *index == VIDEO_DECODER)
}
