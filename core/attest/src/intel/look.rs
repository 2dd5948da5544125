//! What a quote says of itself.

use super::{
    pck::Chip,
    quote::{Body, Certification, Quote},
};
use crate::{
    exposure::Exposure,
    look::Shown,
    registers::{Registers, SgxRegisters},
    x509::{Certificate, pem},
};
use alloc::{boxed::Box, vec::Vec};
use der::asn1::ObjectIdentifier;
use glacier_wire::{PlatformKind, ReportData};

/// Of a PCK certificate: which chip, of which model.
pub(super) const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

impl Body {
    /// What was measured, what lets somebody in, and what the enclave put there.
    pub(super) fn said(&self) -> (Registers, Vec<Exposure>, ReportData) {
        match self {
            Self::Enclave(report) => {
                let registers = SgxRegisters {
                    mrenclave: report.measurement,
                    mrsigner: report.signer,
                    product_id: report.product_id,
                    svn: report.svn,
                };
                let exposures = report.debug().then_some(Exposure::Debug).into_iter().collect();
                (Registers::Sgx(registers), exposures, report.report_data)
            }
            Self::Domain(report) => {
                (Registers::Tdx(Box::new(report.registers.clone())), report.exposures(), report.report_data)
            }
        }
    }
}

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
    Chip::read(Certificate::unverified(&leaf).ok()?.extension(SGX_EXTENSION)?).ok()
}
