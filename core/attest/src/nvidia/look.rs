//! What a device's report says of itself.

use super::{chain::DeviceChain, gpu::Gpu, report::Report};
use crate::{
    anchors::{Anchors, Fingerprint},
    look::Shown,
    x509::pem,
};
use alloc::vec::Vec;
use glacier_wire::PlatformKind;

/// See [`look`](crate::look()). The chain is followed to whatever root it ends in.
pub(crate) fn look(evidence: &[u8], chain: Option<&[u8]>) -> Option<Shown> {
    let report = Report::read(evidence).ok()?;
    let device = chain.and_then(|text| {
        let [.., root] = pem::certificates::<5>(text).ok()?;
        DeviceChain::read(text, &Anchors::vendor().with_simulated(Fingerprint::of(&root))).device?.ok()
    });
    let gpu = device.as_ref().and_then(|device| {
        let fields = report.opaque.fields(device.architecture, &device.chip, &device.pdi()).ok()?;
        Some(Gpu::unchecked(&report, device, &fields))
    });
    Some(Shown {
        platform: PlatformKind::Nvidia,
        registers: None,
        exposures: Vec::new(),
        report_data: report.report_data(),
        hardware_id: device.map(|device| device.id.to_vec()),
        gpu,
    })
}
