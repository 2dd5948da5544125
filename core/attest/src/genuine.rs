//! Evidence that is authentic, and what it says.

use crate::{
    amd::AmdTcb, anchors::Fingerprint, check::Check, exposure::Exposure, hash::name32, intel::TcbStatus, nvidia::Gpu,
    registers::Registers,
};
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
    pub(crate) registers: Registers,
    pub(crate) exposures: Vec<Exposure>,
    pub(crate) report_data: ReportData,
    /// Of the chip; `None` where the evidence names none.
    pub(crate) hardware_id: Option<Vec<u8>>,
    pub(crate) tcb: Tcb,
    /// Of a GPU's own evidence the one; of a composite all that the quote commits to.
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) valid_from: UnixTime,
    pub(crate) valid_until: UnixTime,
}

/// How current the platform's firmware is, in the words of its vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tcb {
    /// Intel publishes a status for each level.
    Intel(IntelTcb),
    /// AMD publishes versions; a policy names its floor.
    Amd(AmdTcb),
    /// NVIDIA publishes a reference manifest for each version of driver and VBIOS: see [`Gpu`].
    Nvidia,
}

/// Status of an Intel platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelTcb {
    /// Of the platform alone.
    pub platform_status: TcbStatus,
    /// Of the quoting enclave alone.
    pub qe_status: TcbStatus,
    /// Platform and quoting enclave folded: what policies judge.
    pub status: TcbStatus,
    /// Open on platform and quoting enclave: sorted, each once.
    pub advisories: Vec<String>,
    /// Date of the platform's TCB level.
    pub date: UnixTime,
    /// TCB evaluation that the collateral belongs to: the smaller of TCB info's and QE identity's.
    pub evaluation: u32,
    /// When the oldest monthly part of the collateral (TCB info, QE identity, PCK revocation list)
    /// was issued. The root's revocation list is issued yearly and does not count.
    pub collateral_issued: UnixTime,
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

    /// The name of the code that runs: [`Registers::name`].
    pub fn measurement(&self) -> Measurement {
        self.facts.registers.name()
    }

    /// What the hardware measured.
    pub fn registers(&self) -> &Registers {
        &self.facts.registers
    }

    /// Who signed the code, where the platform says so.
    pub fn signer(&self) -> Option<Signer> {
        self.facts.registers.signer()
    }

    /// Attributes that let somebody in: sorted, each once.
    pub fn exposures(&self) -> &[Exposure] {
        &self.facts.exposures
    }

    /// Whether the host can read the enclave's memory.
    pub fn debug(&self) -> bool {
        self.facts.exposures.contains(&Exposure::Debug)
    }

    /// What the enclave had put into its quote. For a GPU's own evidence the nonce, then zeros.
    pub fn report_data(&self) -> &ReportData {
        &self.facts.report_data
    }

    /// The vendor's identity of the chip, as [`enclave_id`] lists it; `None` where the evidence names none.
    pub fn hardware_id(&self) -> Option<&[u8]> {
        self.facts.hardware_id.as_deref()
    }

    /// See [`enclave_id`]; `None` where the evidence names no chip, which nothing can be registered for.
    pub fn enclave_id(&self) -> Option<EnclaveId> {
        self.facts.hardware_id.as_deref().map(|chip| enclave_id(self.facts.platform, chip))
    }

    /// How current the platform is.
    pub fn tcb(&self) -> &Tcb {
        &self.facts.tcb
    }

    /// Intel's status of platform and quoting enclave folded: what policies judge.
    pub fn tcb_status(&self) -> Option<TcbStatus> {
        self.intel().map(|tcb| tcb.status)
    }

    /// Advisories open on the platform: sorted, each once.
    pub fn advisories(&self) -> &[String] {
        self.intel().map(|tcb| tcb.advisories.as_slice()).unwrap_or_default()
    }

    pub(crate) fn intel(&self) -> Option<&IntelTcb> {
        match &self.facts.tcb {
            Tcb::Intel(tcb) => Some(tcb),
            _ => None,
        }
    }

    /// GPUs and switches: of a device's own evidence the one, of a composite all of them.
    pub fn gpus(&self) -> &[Gpu] {
        &self.facts.gpus
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
/// | `sgx`, `tdx` | PPID, 16 bytes: extension 1.2.840.113741.1.13.1.1 of the PCK certificate |
/// | `snp` | chip id, 64 bytes: extension 1.3.6.1.4.1.3704.1.4 of the VCEK certificate, and field 0x1A0 of the report |
/// | `nvidia` | serial number of the boot-ROM certificate, 9 bytes: family byte, then the PDI fused into the chip |
/// | `simulated` | the same fields, under a simulated root |
///
/// A composite is named by its CPU. Its GPUs have names of their own, and each belongs to one
/// Enclave ID at a time: whoever registers says which.
///
/// What it does not prove: on platforms with several packages, and on all TDX platforms, an SGX
/// factory reset gives the same chips a new PPID, so one machine can have had several identities
/// (the reason for a bond). An SNP report under a VLEK, or with the chip key masked, names no chip
/// and has no Enclave ID. Guests of one machine share its PPID or chip id. A GPU's name stays under
/// other firmware, unlike its UEID. A simulated identity is whatever the holder of the simulated
/// root says.
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
