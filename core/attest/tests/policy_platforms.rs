//! What a policy says of TDX and SEV-SNP: registers, exposures, floors.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod forge;
    pub(crate) mod forge_snp;
}

use common::{
    forge::{Shape, World as Td},
    forge_snp::{self, World as Snp},
};
use glacier_attest::{
    Binding, CheckId, CodeName, Exposure, Fingerprint, Genuine, Policy, Reason, Register, RegisterPins, SnpPolicy,
    SnpTcb, Verdict,
};
use glacier_wire::{Measurement, PlatformKind, UnixTime};

fn td(change: impl FnOnce(&mut Td)) -> (Genuine, Policy, u64) {
    let mut world = Td::tdx(Shape::V5Later);
    change(&mut world);
    let genuine = world.appraise().into_result().unwrap();
    let policy = policy(&genuine);
    (genuine, policy, world.now)
}

fn snp(change: impl FnOnce(&mut Snp)) -> (Genuine, Policy, u64) {
    let mut world = Snp::milan();
    change(&mut world);
    let genuine = world.appraise().into_result().unwrap();
    let min_tcb = SnpTcb { fmc: None, bootloader: 4, tee: 1, snp: 22, microcode: 210 };
    let snp = Some(SnpPolicy { min_tcb, allow_unchecked_revocation: true });
    let policy = Policy { snp, ..policy(&genuine) };
    (genuine, policy, world.now)
}

fn policy(genuine: &Genuine) -> Policy {
    Policy {
        platforms: vec![PlatformKind::Simulated],
        simulated_roots: vec![genuine.anchor()],
        measurements: vec![genuine.measurement().into()],
        ..Policy::default()
    }
}

/// The check that refuses, after `change`; `None` if the policy accepts.
fn refused(
    (genuine, mut policy, now): (Genuine, Policy, u64),
    change: impl FnOnce(&mut Policy),
) -> Option<(CheckId, Reason)> {
    change(&mut policy);
    let appraisal = genuine.judge(&policy, Binding::Unbound, UnixTime(now));
    if appraisal.verdict() == Verdict::Accepted {
        return None;
    }
    appraisal.into_result().err().map(|error| (error.check, error.reason))
}

#[test]
fn a_domain_is_accepted_by_the_name_of_its_code() {
    assert_eq!(refused(td(|_| ()), |_| ()), None);
    let other = refused(td(|_| ()), |policy| policy.measurements = vec![Measurement([1; 32]).into()]);
    assert_eq!(other.unwrap().0, CheckId::PolicyCode);
}

#[test]
fn every_register_but_the_guests_own_is_in_the_name() {
    let name = td(|_| ()).0.measurement();
    // MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to 2; then RTMR3.
    for at in [136, 184, 232, 280, 328, 376, 424] {
        assert_ne!(td(|world| world.td_report[at] ^= 1).0.measurement(), name, "{at}");
    }
    assert_eq!(td(|world| world.td_report[472] ^= 1).0.measurement(), name);
}

#[test]
fn registers_pin_what_they_name_and_no_more() {
    let pin = |pins: RegisterPins| {
        refused(td(|_| ()), |policy| {
            policy.measurements.clear();
            policy.registers = vec![pins];
        })
    };
    let ok = RegisterPins { mrtd: Some(Register([1; 48])), rtmr3: Some(Register([8; 48])), ..Default::default() };
    assert_eq!(pin(ok.clone()), None);
    let not = Some((CheckId::PolicyCode, Reason::RegistersNotListed));
    assert_eq!(pin(RegisterPins { rtmr1: Some(Register::ZERO), ..ok.clone() }), not);
    assert_eq!(pin(RegisterPins { measurement: Some(Register([1; 48])), ..ok }), not);
    assert_eq!(pin(RegisterPins { host_data: Some(Fingerprint([0; 32])), ..Default::default() }), not);
    assert_eq!(pin(RegisterPins::default()), not);
}

#[test]
fn what_lets_somebody_in_has_to_be_allowed_by_name() {
    let clear = |world: &mut Td| world.td_report[123] = 0;
    assert_eq!(
        refused(td(clear), |_| ()),
        Some((CheckId::PolicyExposure, Reason::Exposed(Exposure::SeptVeDisableClear)))
    );
    assert_eq!(refused(td(clear), |policy| policy.allow_exposures = vec![Exposure::SeptVeDisableClear]), None);
    let migratable = |world: &mut Td| world.td_report[123] = 0x30;
    assert_eq!(
        refused(td(migratable), |policy| policy.allow_exposures = vec![Exposure::SeptVeDisableClear]),
        Some((CheckId::PolicyExposure, Reason::Exposed(Exposure::Migratable)))
    );
    let debug = |world: &mut Td| world.td_report[120] = 1;
    assert_eq!(refused(td(debug), |_| ()), Some((CheckId::PolicyDebug, Reason::DebugEnabled)));
    // Debug has a switch of its own; the other list does not turn it on.
    assert!(refused(td(debug), |policy| policy.allow_exposures = vec![Exposure::Debug]).is_some());
    assert_eq!(refused(td(debug), |policy| policy.allow_debug = true), None);
}

#[test]
fn a_guest_is_accepted_by_name_or_by_launch_digest() {
    assert_eq!(refused(snp(|_| ()), |_| ()), None);
    let digest = |byte: u8| CodeName::Launch(Register([byte; 48]));
    assert_eq!(refused(snp(|_| ()), |policy| policy.measurements = vec![digest(0xaa)]), None);
    let other = refused(snp(|_| ()), |policy| policy.measurements = vec![digest(0xab)]);
    assert!(matches!(other, Some((CheckId::PolicyCode, Reason::MeasurementNotListed(_)))));
    // A launch digest names nothing on another platform, whatever register has that value.
    let td_by_digest = refused(td(|_| ()), |policy| policy.measurements = vec![digest(1)]);
    assert_eq!(td_by_digest.unwrap().0, CheckId::PolicyCode);
}

#[test]
fn firmware_without_a_named_floor_is_refused() {
    assert_eq!(
        refused(snp(|_| ()), |policy| policy.snp = None),
        Some((CheckId::PolicyTcbStatus, Reason::NoFloorNamed))
    );
}

#[test]
fn firmware_below_the_floor_is_refused_in_each_part() {
    type Part = fn(&mut SnpTcb) -> &mut u8;
    let parts: [Part; 4] =
        [|tcb| &mut tcb.bootloader, |tcb| &mut tcb.tee, |tcb| &mut tcb.snp, |tcb| &mut tcb.microcode];
    for part in parts {
        let found = refused(snp(|_| ()), |policy| *part(&mut policy.snp.as_mut().unwrap().min_tcb) += 1);
        assert!(matches!(found, Some((CheckId::PolicyTcbStatus, Reason::FirmwareBelow { .. }))), "{found:?}");
    }
    let fmc = refused(snp(|_| ()), |policy| policy.snp.as_mut().unwrap().min_tcb.fmc = Some(1));
    assert!(matches!(fmc, Some((CheckId::PolicyTcbStatus, Reason::FirmwareBelow { .. }))));
}

#[test]
fn revocation_that_was_not_asked_about_is_refused_unless_allowed() {
    let strict = |policy: &mut Policy| policy.snp.as_mut().unwrap().allow_unchecked_revocation = false;
    assert_eq!(refused(snp(|_| ()), strict), Some((CheckId::PolicyTcbStatus, Reason::RevocationNotChecked)));
    assert_eq!(refused(snp(|world| world.lists = vec![world.list()]), strict), None);
}

#[test]
fn a_guest_that_allows_debug_or_a_migration_agent_is_refused() {
    let policy_bit = |bit: u8| move |world: &mut Snp| world.report[forge_snp::POLICY + 2] |= bit;
    assert_eq!(refused(snp(policy_bit(1 << 3)), |_| ()), Some((CheckId::PolicyDebug, Reason::DebugEnabled)));
    assert_eq!(
        refused(snp(policy_bit(1 << 2)), |_| ()),
        Some((CheckId::PolicyExposure, Reason::Exposed(Exposure::MigrationAgent)))
    );
    assert_eq!(
        refused(snp(|world| world.report[forge_snp::VMPL] = 1), |_| ()),
        Some((CheckId::PolicyExposure, Reason::Exposed(Exposure::LowerPrivilege)))
    );
}

#[test]
fn evidence_that_names_no_chip_meets_no_pin() {
    let masked = |world: &mut Snp| world.report[forge_snp::CHIP_ID..forge_snp::CHIP_ID + 64].fill(0);
    let (genuine, policy, now) = snp(masked);
    assert_eq!((genuine.hardware_id(), genuine.enclave_id()), (None, None));
    assert_eq!(refused((genuine.clone(), policy.clone(), now), |_| ()), None);
    let pinned =
        refused((genuine, policy, now), |policy| policy.enclave_ids = vec![snp(|_| ()).0.enclave_id().unwrap()]);
    assert_eq!(pinned, Some((CheckId::PolicyEnclaveId, Reason::NoChipIdentity)));
}

#[test]
fn a_required_gpu_that_is_not_there_is_refused() {
    let gpu = glacier_attest::GpuPolicy { required: true, ..Default::default() };
    assert_eq!(refused(td(|_| ()), |policy| policy.gpu = Some(gpu)), Some((CheckId::PolicyGpu, Reason::GpuMissing)));
}
