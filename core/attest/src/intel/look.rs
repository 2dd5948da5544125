//! What a quote says of itself.

use super::{
    pck::Chip,
    quote::{Body, Certification, Quote},
};
use crate::{
    look::Shown,
    x509::{Certificate, pem},
};
use glacier_wire::PlatformKind;

/// See [`look`](crate::look()).
pub(crate) fn look(evidence: &[u8]) -> Option<Shown> {
    let quote = Quote::read(evidence).ok()?;
    let (registers, exposures, report_data) = quote.body.said();
    let chip = match quote.certification {
        Certification::Chain(text) => chip(text),
        Certification::Other(_) => None,
    };
    Some(Shown {
        platform: match quote.body {
            Body::Enclave(_) => PlatformKind::Sgx,
            Body::Domain(_) => PlatformKind::Tdx,
        },
        registers: Some(registers),
        exposures,
        report_data,
        hardware_id: chip.map(|chip| chip.ppid.to_vec()),
        gpu: None,
    })
}

fn chip(text: &[u8]) -> Option<Chip> {
    let [leaf, _, _] = pem::certificates(text).ok()?;
    Chip::of(&Certificate::unverified(&leaf).ok()?).ok()
}
