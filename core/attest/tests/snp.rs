//! Every SNP vector: what it must be, at the edges of its validity too, and that nothing of it can be changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod snp;
}

use common::snp::*;
use glacier_attest::{
    Anchors, CheckId, Endorsements, Exposure, Fingerprint, Format, Outcome, Part, Reason, Registers, SnpFault, SnpTcb,
    Tcb, Verdict, appraise, appraise_checked, enclave_id,
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
        assert_eq!(*genuine.tcb(), Tcb::Amd(entry.tcb()), "{name}");
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

/// Versions as the manifest's tools read them out of the certificate, and out of the report.
#[test]
fn the_reported_versions_are_those_of_the_certificate() {
    for entry in entries() {
        let genuine = entry.at(entry.eval_time).into_result().unwrap();
        let Tcb::Amd(tcb) = genuine.tcb() else { panic!("{}", entry.id) };
        let SnpTcb { fmc, bootloader, tee, snp, microcode } = tcb.reported;
        let found =
            [("3.1", Some(bootloader)), ("3.2", Some(tee)), ("3.3", Some(snp)), ("3.8", Some(microcode)), ("3.9", fmc)];
        for (arcs, version) in found {
            let expected = entry.checks.cert_tcb_vs_report.get(arcs);
            assert_eq!(version.map(|version| (version, version)), expected.copied(), "{} {arcs}", entry.id);
        }
    }
}

#[test]
fn every_check_is_on_the_list_and_only_revocation_is_not_made() {
    for entry in entries() {
        let appraisal = entry.at(entry.eval_time);
        let ids: Vec<_> = appraisal.checks().iter().map(|check| check.id).collect();
        assert_eq!(ids, CheckId::of_evidence(Format::SnpReport));
        for check in appraisal.checks() {
            let skipped = check.id == CheckId::VekRevocation;
            assert_eq!(check.outcome, if skipped { Outcome::Skip } else { Outcome::Pass }, "{check:?}");
            assert_eq!(skipped, check.reason == Reason::RevocationNotChecked, "{check:?}");
        }
    }
}

#[test]
fn the_last_second_is_valid_and_the_next_is_not() {
    for entry in entries() {
        assert_eq!(entry.at(entry.cert_valid_from).verdict(), Verdict::Accepted);
        assert_eq!(entry.at(entry.cert_valid_to).verdict(), Verdict::Accepted);
        let refused = |time| {
            let appraisal = entry.at(time);
            assert_eq!(failed(&appraisal).id, CheckId::VekChain);
            failed(&appraisal).reason.clone()
        };
        let (from, until) = (UnixTime(entry.cert_valid_from), UnixTime(entry.cert_valid_to));
        assert_eq!(refused(until.0 + 1), Reason::Expired { part: Part::Vek, until });
        assert_eq!(refused(from.0 - 1), Reason::NotYetValid { part: Part::Vek, from });
    }
}

#[test]
fn checked_endorsements_give_the_same_list_and_the_clock_is_looked_at_each_time() {
    for entry in entries() {
        let checked = entry.endorsements().check(&Anchors::vendor(), UnixTime(entry.eval_time));
        for time in [entry.eval_time, entry.cert_valid_to + 1, entry.cert_valid_from - 1, 0, u64::MAX] {
            let cached = appraise_checked(&entry.report(), &checked, UnixTime(time));
            assert_eq!(cached.checks(), entry.at(time).checks());
            assert_eq!(cached.value(), entry.at(time).value());
            assert_eq!(cached.verdict() == Verdict::Accepted, time == entry.eval_time);
        }
    }
}

#[test]
fn without_the_certificate_of_the_key_nothing_is_decided() {
    for entry in entries() {
        let given = Endorsements::default();
        let appraisal = appraise(&entry.report(), &given, &Anchors::vendor(), UnixTime(entry.eval_time));
        assert_eq!(appraisal.verdict(), Verdict::Undetermined);
        let ids: Vec<_> = appraisal.checks().iter().map(|check| check.id).collect();
        assert_eq!(ids, CheckId::of_evidence(Format::SnpReport));
        for check in &appraisal.checks()[2..] {
            let expected = (Outcome::Skip, Reason::NoChain(Format::SnpReport));
            assert_eq!((check.outcome, check.reason.clone()), expected);
        }
    }
}

#[test]
fn authorities_may_be_given_in_any_order_with_others_among_them() {
    for entry in entries() {
        let files = ["ark", "ask", "asvk"]
            .into_iter()
            .flat_map(|kind| ["turin", "genoa", "milan"].map(|product| read(&format!("roots/{product}-{kind}.der"))));
        let mut given = entry.endorsements();
        given.amd_authorities = files.collect();
        for _ in 0..2 {
            let appraisal = appraise(&entry.report(), &given, &Anchors::vendor(), UnixTime(entry.eval_time));
            assert_eq!(appraisal.value(), entry.at(entry.eval_time).value());
            given.amd_authorities.reverse();
        }
    }
}

#[test]
fn another_reports_certificate_does_not_fit() {
    let entries = entries();
    for (report, other) in entries.iter().flat_map(|report| entries.iter().map(move |other| (report, other))) {
        if report.id == other.id {
            continue;
        }
        let at = UnixTime(other.eval_time);
        let appraisal = appraise(&report.report(), &other.endorsements(), &Anchors::vendor(), at);
        let outcome = |id| appraisal.checks().iter().find(|check| check.id == id).unwrap().outcome;
        assert_eq!(appraisal.verdict(), Verdict::Rejected);
        assert_eq!(outcome(CheckId::VekChain), Outcome::Pass);
        assert_eq!(outcome(CheckId::VekBinding), Outcome::Fail, "{} {}", report.id, other.id);
        assert_eq!(outcome(CheckId::ReportSignature), Outcome::Fail, "{} {}", report.id, other.id);
    }
}

#[test]
fn no_byte_of_a_report_can_be_changed() {
    for entry in entries() {
        let checked = entry.endorsements().check(&Anchors::vendor(), UnixTime(entry.eval_time));
        let mut report = entry.report();
        assert_eq!(report.len(), entry.bytes);
        for at in 0..report.len() {
            for flip in [0x01, 0x80] {
                report[at] ^= flip;
                let appraisal = appraise_checked(&report, &checked, UnixTime(entry.eval_time));
                assert_eq!(appraisal.verdict(), Verdict::Rejected, "{} {at:#x}", entry.id);
                report[at] ^= flip;
            }
        }
        let appraisal = appraise_checked(&report, &checked, UnixTime(entry.eval_time));
        assert_eq!(appraisal.verdict(), Verdict::Accepted);
    }
}

#[test]
fn no_byte_of_the_certificate_can_be_changed() {
    for entry in entries() {
        let report = entry.report();
        let mut given = entry.endorsements();
        let length = given.vek.as_ref().unwrap().len();
        for at in 0..length {
            given.vek.as_mut().unwrap()[at] ^= 1;
            let appraisal = appraise(&report, &given, &Anchors::vendor(), UnixTime(entry.eval_time));
            assert_eq!(appraisal.verdict(), Verdict::Rejected, "{} {at:#x}", entry.id);
            given.vek.as_mut().unwrap()[at] ^= 1;
        }
    }
}

#[test]
fn a_report_of_another_length_is_no_report() {
    for entry in entries() {
        let checked = entry.endorsements().check(&Anchors::vendor(), UnixTime(entry.eval_time));
        let report = entry.report();
        for length in (0..2400).filter(|length| *length != report.len()) {
            let mut other = report.clone();
            other.resize(length, 0);
            let appraisal = appraise_checked(&other, &checked, UnixTime(entry.eval_time));
            assert_eq!(appraisal.verdict(), Verdict::Rejected);
            assert_eq!(failed(&appraisal).reason, Reason::Unrecognised, "{length}");
        }
    }
}

#[test]
fn an_unknown_version_is_named() {
    for entry in entries() {
        for version in [1, 6, 255] {
            let mut report = entry.report();
            report[0] = version;
            let appraisal = appraise(&report, &entry.endorsements(), &Anchors::vendor(), UnixTime(entry.eval_time));
            let expected = (CheckId::Structure, Reason::Snp(SnpFault::Version(version.into())));
            assert_eq!((failed(&appraisal).id, failed(&appraisal).reason.clone()), expected);
        }
    }
}
