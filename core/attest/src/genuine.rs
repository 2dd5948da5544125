//! Evidence that is authentic, and what it says.

use crate::{anchors::Fingerprint, check::Check, hash::name32, intel::TcbStatus};
use alloc::{string::String, vec::Vec};
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData, UnixTime};
use sha2::{Digest as _, Sha256};

name32! {
    /// Who signed the code: MRSIGNER on SGX. Vouches for every program and version of that signer.
    Signer
}

/// Authentic evidence: signed by a chip that the root vouches for, running what it says. Whether
/// that is acceptable is for [`Genuine::judge`].
///
/// Made by [`appraise`](crate::appraise) and [`appraise_checked`](crate::appraise_checked) alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genuine {
    pub(crate) checks: Vec<Check>,
    pub(crate) facts: Facts,
}

/// What evidence says, once believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) platform: PlatformKind,
    pub(crate) anchor: Fingerprint,
    pub(crate) measurement: Measurement,
    pub(crate) signer: Signer,
    pub(crate) product_id: u16,
    pub(crate) svn: u16,
    pub(crate) debug: bool,
    pub(crate) report_data: ReportData,
    pub(crate) hardware_id: Vec<u8>,
    pub(crate) platform_status: TcbStatus,
    pub(crate) qe_status: TcbStatus,
    pub(crate) tcb_status: TcbStatus,
    pub(crate) advisories: Vec<String>,
    pub(crate) tcb_date: UnixTime,
    pub(crate) tcb_evaluation: u32,
    pub(crate) collateral_issued: UnixTime,
    pub(crate) valid_from: UnixTime,
    pub(crate) valid_until: UnixTime,
}

impl Genuine {
    /// What hardware stands behind it: [`PlatformKind::Simulated`] for every root that is no vendor's.
    pub fn platform(&self) -> PlatformKind {
        self.facts.platform
    }

    /// The root it chains to.
    pub fn anchor(&self) -> Fingerprint {
        self.facts.anchor
    }

    /// The code that runs: MRENCLAVE.
    pub fn measurement(&self) -> Measurement {
        self.facts.measurement
    }

    /// Who signed the code: MRSIGNER.
    pub fn signer(&self) -> Signer {
        self.facts.signer
    }

    /// The signer's number for the product: ISVPRODID.
    pub fn product_id(&self) -> u16 {
        self.facts.product_id
    }

    /// The signer's security version of the product: ISVSVN.
    pub fn svn(&self) -> u16 {
        self.facts.svn
    }

    /// Whether the host can read the enclave's memory: DEBUG.
    pub fn debug(&self) -> bool {
        self.facts.debug
    }

    /// What the enclave had put into its quote.
    pub fn report_data(&self) -> &ReportData {
        &self.facts.report_data
    }

    /// The vendor's identity of the chip: the PPID of the PCK certificate, 16 bytes.
    pub fn hardware_id(&self) -> &[u8] {
        &self.facts.hardware_id
    }

    /// See [`enclave_id`].
    pub fn enclave_id(&self) -> EnclaveId {
        enclave_id(self.facts.platform, &self.facts.hardware_id)
    }

    /// Platform and quoting enclave folded: what policies judge.
    pub fn tcb_status(&self) -> TcbStatus {
        self.facts.tcb_status
    }

    /// Of the platform alone.
    pub fn platform_status(&self) -> TcbStatus {
        self.facts.platform_status
    }

    /// Of the quoting enclave alone.
    pub fn qe_status(&self) -> TcbStatus {
        self.facts.qe_status
    }

    /// Advisories open on platform and quoting enclave: sorted, each once.
    pub fn advisories(&self) -> &[String] {
        &self.facts.advisories
    }

    /// Date of the platform's TCB level.
    pub fn tcb_date(&self) -> UnixTime {
        self.facts.tcb_date
    }

    /// TCB evaluation that the collateral belongs to: the smaller of TCB info's and QE identity's.
    pub fn tcb_evaluation(&self) -> u32 {
        self.facts.tcb_evaluation
    }

    /// When the oldest monthly part of the collateral (TCB info, QE identity, PCK revocation list)
    /// was issued. The root's revocation list is issued yearly and does not count.
    pub fn collateral_issued(&self) -> UnixTime {
        self.facts.collateral_issued
    }

    /// First and last second at which this evidence is genuine under this collateral.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        (self.facts.valid_from, self.facts.valid_until)
    }

    /// The checks that made it genuine.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

/// Identity of the hardware: SHA-256("glacier/enclave-id/v1" ‖ 0 ‖ kind ‖ 0 ‖ chip identity), where
/// *kind* is the platform's word and *chip identity* is the vendor's own and never chosen by
/// software:
///
/// | kind | chip identity |
/// |---|---|
/// | `sgx`, `tdx` | PPID of the PCK certificate, 16 bytes |
/// | `simulated` | PPID of the simulated PCK certificate, 16 bytes |
///
/// What it does not prove: on platforms with several packages an SGX factory reset gives the same
/// chips a new PPID, so one machine can have had several identities (the reason for a bond); and a
/// simulated identity is whatever the holder of the simulated root says.
pub fn enclave_id(platform: PlatformKind, chip_identity: &[u8]) -> EnclaveId {
    let mut hash = Sha256::new();
    hash.update(b"glacier/enclave-id/v1\0");
    hash.update(platform.as_str());
    hash.update([0]);
    hash.update(chip_identity);
    EnclaveId(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_enclave_id_depends_on_kind_and_chip_and_never_changes() {
        let id = |kind, chip: &[u8]| enclave_id(kind, chip);
        assert_ne!(id(PlatformKind::Sgx, &[1; 16]), id(PlatformKind::Tdx, &[1; 16]));
        assert_ne!(id(PlatformKind::Sgx, &[1; 16]), id(PlatformKind::Sgx, &[2; 16]));
        // SHA-256 of the preimage written out, made by another tool.
        assert_eq!(
            id(PlatformKind::Sgx, &[1; 16]).to_string(),
            "3e4c78f5c2d5ff4f4fc7324d0100ba813b26d7f6f8367050a7e4b2e43c0093b8"
        );
    }
}
