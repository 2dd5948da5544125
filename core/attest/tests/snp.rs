//! Every SNP vector: what it must be, at the edges of its validity too, and that nothing of it can be changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod snp;
}

use common::snp::*;
use glacier_attest::{
    AmdTcb, Anchors, CheckId, Endorsements, Exposure, Fingerprint, Format, Outcome, Part, Reason, Registers, SnpFault,
    SnpTcb, Tcb, Verdict, appraise, appraise_checked, enclave_id,
};
use glacier_wire::{PlatformKind, UnixTime};

#[test]
fn every_report_says_what_the_manifest_says() {
    for entry in entries() {
        let name = &entry.id;
        let genuine = entry.at(entry.eval_time).into_result().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(genuine.platform(), PlatformKind::Snp, "{name}");
        assert_eq!(genuine.anchor(), Fingerprint::of(&read(&format!("roots/{}-ark.der", entry.product))), "{name}");
        let Registers::Snp(registers) = genuine.registers() else { panic!("{name}") };
        assert_eq!(registers.measurement.to_string(), entry.measurement, "{name}");
        assert_eq!(hex::encode(registers.host_data), entry.host_data, "{name}");
        assert_eq!(format!("{:#x}", registers.policy), entry.policy, "{name}");
        assert_eq!((registers.guest_svn, registers.vmpl), (entry.guest_svn, entry.vmpl), "{name}");
        assert_eq!(hex::encode(genuine.report_data()), entry.report_data, "{name}");
        assert_eq!(genuine.debug(), entry.policy_debug, "{name}");
        let exposed = |exposure| genuine.exposures().contains(&exposure);
        assert_eq!(exposed(Exposure::MigrationAgent), entry.policy_migrate_ma, "{name}");
        assert_eq!(exposed(Exposure::LowerPrivilege), entry.vmpl > 0, "{name}");
        let window = (UnixTime(entry.cert_valid_from), UnixTime(entry.cert_valid_to));
        assert_eq!(genuine.validity(), window, "{name}");
        match entry.signer.as_str() {
            "VCEK" => {
                let chip = hex::decode(&entry.chip_id).unwrap();
                assert_eq!(genuine.hardware_id(), Some(&chip[..]), "{name}");
                assert_eq!(genuine.enclave_id(), Some(enclave_id(PlatformKind::Snp, &chip)), "{name}");
            }
            _ => assert_eq!((genuine.hardware_id(), genuine.enclave_id()), (None, None), "{name}"),
        }
    }
}
