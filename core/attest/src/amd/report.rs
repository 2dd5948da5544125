//! The SEV-SNP attestation report: 1184 bytes, read strictly and without trusting any of it.
//!
//! Layout: SEV Secure Nested Paging Firmware ABI Specification (56860), ATTESTATION_REPORT.

use super::{
    fault::SnpFault,
    product::{KeyKind, Processor},
};
use crate::{bytes::Bytes, exposure::Exposure, registers::Register, registers::SnpRegisters};
use alloc::vec::Vec;
use glacier_wire::ReportData;

/// A report, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Report<'a> {
    /// What the key signs.
    pub(crate) signed: &'a [u8],
    /// r ‖ s, big-endian.
    pub(crate) signature: [u8; 96],
    pub(crate) signer: KeyKind,
    pub(crate) registers: SnpRegisters,
    pub(crate) report_data: ReportData,
    pub(crate) tcb: TcbVersions<'a>,
    /// From version 3 on.
    pub(crate) processor: Option<Processor>,
    /// Zero if the host masks it; no other field says so.
    pub(crate) chip_id: &'a [u8; 64],
}

/// Firmware versions in the layout of a product that the report alone does not name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcbVersions<'a> {
    pub(crate) current: &'a [u8; 8],
    pub(crate) reported: &'a [u8; 8],
    pub(crate) committed: &'a [u8; 8],
    pub(crate) launch: &'a [u8; 8],
}

/// Bytes of a report, all versions.
pub(crate) const REPORT_BYTES: usize = 0x4a0;
/// Bytes that the signature covers.
const SIGNED_BYTES: usize = 0x2a0;
const ECDSA_P384_SHA384: u32 = 1;
/// Guest policy: reserved, must be one.
const POLICY_ALWAYS: u64 = 1 << 17;
const POLICY_MIGRATION_AGENT: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;
const LOWEST_VMPL: u32 = 3;

impl<'a> Report<'a> {
    pub(crate) fn read(evidence: &'a [u8]) -> Result<Self, SnpFault> {
        let length = SnpFault::Length(evidence.len());
        if evidence.len() != REPORT_BYTES {
            return Err(length);
        }
        let (signed, signature) = evidence.split_at_checked(SIGNED_BYTES).ok_or(length)?;
        let fields = Fields::read(&mut Bytes(signed)).ok_or(length)?;
        if !matches!(fields.version, 2..=5) {
            return Err(SnpFault::Version(fields.version));
        }
        let registers = fields.registers;
        if registers.policy & POLICY_ALWAYS == 0 {
            return Err(SnpFault::Policy(registers.policy));
        }
        if registers.vmpl > LOWEST_VMPL {
            return Err(SnpFault::Vmpl(registers.vmpl));
        }
        if fields.signature_algorithm != ECDSA_P384_SHA384 {
            return Err(SnpFault::SignatureAlgorithm(fields.signature_algorithm));
        }
        Ok(Self {
            signed,
            signature: big_endian(signature)?,
            signer: signer(fields.key_info)?,
            registers,
            report_data: *fields.report_data,
            tcb: fields.tcb,
            processor: (fields.version >= 3).then_some(fields.processor),
            chip_id: fields.chip_id,
        })
    }

    /// Attributes that let somebody in.
    pub(crate) fn exposures(&self) -> Vec<Exposure> {
        let SnpRegisters { policy, vmpl, .. } = self.registers;
        let mut exposures: Vec<_> = [
            (policy & POLICY_DEBUG != 0, Exposure::Debug),
            (policy & POLICY_MIGRATION_AGENT != 0, Exposure::MigrationAgent),
            (vmpl > 0, Exposure::LowerPrivilege),
        ]
        .into_iter()
        .filter_map(|(set, exposure)| set.then_some(exposure))
        .collect();
        exposures.sort_unstable();
        exposures
    }
}

/// What the signature covers, as it lies there.
struct Fields<'a> {
    version: u32,
    registers: SnpRegisters,
    signature_algorithm: u32,
    key_info: u32,
    report_data: &'a [u8; 64],
    tcb: TcbVersions<'a>,
    processor: Processor,
    chip_id: &'a [u8; 64],
}

impl<'a> Fields<'a> {
    fn read(bytes: &mut Bytes<'a>) -> Option<Self> {
        let version = bytes.u32()?;
        let guest_svn = bytes.u32()?;
        let policy = u64::from_le_bytes(*bytes.array()?);
        let family_id = *bytes.array()?;
        let image_id = *bytes.array()?;
        let vmpl = bytes.u32()?;
        let signature_algorithm = bytes.u32()?;
        let current = bytes.array()?;
        let _platform_info = bytes.array::<8>()?;
        let key_info = bytes.u32()?;
        let _reserved = bytes.u32()?;
        let report_data = bytes.array()?;
        let measurement = Register(*bytes.array()?);
        let host_data = *bytes.array()?;
        let id_key_digest = Register(*bytes.array()?);
        let author_key_digest = Register(*bytes.array()?);
        let _report_ids = bytes.array::<64>()?;
        let reported = bytes.array()?;
        let [family, model, _stepping] = *bytes.array()?;
        let _reserved = bytes.array::<21>()?;
        let chip_id = bytes.array()?;
        let committed = bytes.array()?;
        let _firmware_versions = bytes.array::<8>()?;
        let launch = bytes.array()?;
        Some(Self {
            version,
            registers: SnpRegisters {
                measurement,
                host_data,
                id_key_digest,
                author_key_digest,
                family_id,
                image_id,
                guest_svn,
                policy,
                vmpl,
            },
            signature_algorithm,
            key_info,
            report_data,
            tcb: TcbVersions { current, reported, committed, launch },
            processor: Processor { family, model },
            chip_id,
        })
    }
}

/// SIGNING_KEY: bits 2 to 4 of KEY_INFO.
fn signer(key_info: u32) -> Result<KeyKind, SnpFault> {
    match key_info.to_le_bytes().map(|byte| byte >> 2 & 7) {
        [0, ..] => Ok(KeyKind::Chip),
        [1, ..] => Ok(KeyKind::Provider),
        [7, ..] => Err(SnpFault::Unsigned),
        [kind, ..] => Err(SnpFault::SigningKey(kind)),
    }
}

/// Two little-endian numbers in 72 bytes each, then 368 reserved bytes. Nothing signs these bytes, so
/// all that do not belong to the two numbers have to be zero, as firmware leaves them.
fn big_endian(field: &[u8]) -> Result<[u8; 96], SnpFault> {
    let mut bytes = Bytes(field);
    let (Some(r), Some(r_tail), Some(s), Some(s_tail)) =
        (bytes.array::<48>(), bytes.array::<24>(), bytes.array::<48>(), bytes.array::<24>())
    else {
        return Err(SnpFault::SignaturePadding);
    };
    if r_tail.iter().chain(s_tail).chain(bytes.0).any(|byte| *byte != 0) {
        return Err(SnpFault::SignaturePadding);
    }
    let mut out = [0; 96];
    for (to, from) in out.iter_mut().zip(r.iter().rev().chain(s.iter().rev())) {
        *to = *from;
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report() -> [u8; REPORT_BYTES] {
        let mut bytes = [0; REPORT_BYTES];
        bytes[0] = 3;
        bytes[0x0a] = 0x02;
        bytes[0x34] = 1;
        bytes
    }

    fn changed(at: usize, value: u8) -> Result<(), SnpFault> {
        let mut bytes = report();
        bytes[at] = value;
        Report::read(&bytes).map(drop)
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let mut bytes = report();
        for (at, value) in [(4, 7), (0x10, 1), (0x20, 2), (0x30, 3), (0x38, 4), (0x48, 4), (0x50, 5), (0x90, 6)] {
            bytes[at] = value;
        }
        for (at, value) in [(0xc0, 8), (0xe0, 9), (0x110, 10), (0x180, 11), (0x188, 12), (0x189, 13), (0x1a0, 14)] {
            bytes[at] = value;
        }
        for (at, value) in [(0x1e0, 15), (0x1f0, 16), (0x2a0, 17), (0x2e8, 18)] {
            bytes[at] = value;
        }
        let report = Report::read(&bytes).unwrap();
        let SnpRegisters { guest_svn, family_id, image_id, vmpl, measurement, host_data, policy, .. } =
            report.registers.clone();
        assert_eq!((guest_svn, family_id[0], image_id[0], vmpl, policy), (7, 1, 2, 3, 0x20000));
        assert_eq!((measurement.0[0], host_data[0]), (6, 8));
        assert_eq!((report.registers.id_key_digest.0[0], report.registers.author_key_digest.0[0]), (9, 10));
        let TcbVersions { current, reported, committed, launch } = report.tcb;
        assert_eq!((current[0], reported[0], committed[0], launch[0]), (4, 11, 15, 16));
        assert_eq!(report.processor, Some(Processor { family: 12, model: 13 }));
        assert_eq!((report.report_data[0], report.chip_id[0], report.signer), (5, 14, KeyKind::Provider));
        assert_eq!((report.signature[47], report.signature[95]), (17, 18));
        assert_eq!(report.signature.iter().filter(|byte| **byte != 0).count(), 2);
        assert_eq!(report.signed, &bytes[..0x2a0]);
    }

    #[test]
    fn versions_2_to_5_are_read_and_others_named() {
        for version in 2..=5 {
            assert_eq!(changed(0, version), Ok(()));
        }
        for version in [0, 1, 6, 255] {
            assert_eq!(changed(0, version), Err(SnpFault::Version(version.into())));
        }
        assert_eq!(changed(1, 1), Err(SnpFault::Version(0x103)));
    }

    #[test]
    fn a_report_of_version_2_names_no_processor() {
        let mut bytes = report();
        bytes[0] = 2;
        assert_eq!(Report::read(&bytes).unwrap().processor, None);
    }

    #[test]
    fn a_policy_that_no_guest_has_is_refused() {
        assert_eq!(changed(0x0a, 0x0d), Err(SnpFault::Policy(0xd0000)));
    }

    #[test]
    fn a_report_for_the_hypervisor_is_refused() {
        assert_eq!(changed(0x30, 4), Err(SnpFault::Vmpl(4)));
        assert_eq!(changed(0x33, 0xff), Err(SnpFault::Vmpl(0xff00_0000)));
    }

    #[test]
    fn another_signature_algorithm_is_refused() {
        assert_eq!(changed(0x34, 0), Err(SnpFault::SignatureAlgorithm(0)));
        assert_eq!(changed(0x34, 2), Err(SnpFault::SignatureAlgorithm(2)));
    }

    #[test]
    fn keys_that_do_not_sign_are_refused() {
        for kind in 2..=6 {
            assert_eq!(changed(0x48, kind << 2), Err(SnpFault::SigningKey(kind)));
        }
        assert_eq!(changed(0x48, 7 << 2), Err(SnpFault::Unsigned));
        // Author key present, chip key masked: neither says who signed.
        assert_eq!(changed(0x48, 3), Ok(()));
    }

    #[test]
    fn every_byte_beside_the_signature_is_zero() {
        for at in (0x2a0 + 48..0x2a0 + 72).chain(0x2a0 + 120..REPORT_BYTES) {
            assert_eq!(changed(at, 1), Err(SnpFault::SignaturePadding), "{at:#x}");
        }
    }

    #[test]
    fn exposures_follow_the_policy_and_the_privilege_level() {
        let exposures = |policy: u8, vmpl: u8| {
            let mut bytes = report();
            bytes[0x0a] |= policy;
            bytes[0x30] = vmpl;
            Report::read(&bytes).unwrap().exposures()
        };
        assert_eq!(exposures(0, 0), []);
        assert_eq!(exposures(0x08, 0), [Exposure::Debug]);
        assert_eq!(exposures(0x04, 0), [Exposure::MigrationAgent]);
        assert_eq!(exposures(0, 1), [Exposure::LowerPrivilege]);
        assert_eq!(exposures(0xff, 3), [Exposure::Debug, Exposure::MigrationAgent, Exposure::LowerPrivilege]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2400)) {
            let _ = Report::read(&bytes);
        }

        #[test]
        fn any_bytes_of_the_right_length_keep_to_their_frame(tail in prop::collection::vec(any::<u8>(), SIGNED_BYTES)) {
            let mut bytes = report();
            bytes[0x50..SIGNED_BYTES].copy_from_slice(&tail[0x50..]);
            let report = Report::read(&bytes).unwrap();
            prop_assert_eq!(&report.report_data[..], &tail[0x50..0x90]);
            prop_assert_eq!(&report.chip_id[..], &tail[0x1a0..0x1e0]);
        }

        #[test]
        fn another_length_is_refused(length in (0..3000usize).prop_filter("others", |length| *length != REPORT_BYTES)) {
            let mut bytes = report().to_vec();
            bytes.resize(length, 0);
            prop_assert_eq!(Report::read(&bytes).map(drop), Err(SnpFault::Length(length)));
        }
    }
}
