//! `glacier measure` of whole machines. What the numbers are is tested in `glacier-measure`; here, what
//! people see, and what they are told when it cannot be.

mod support;

// Firmware made from its specification, as the tests of the crate that measures it have it.
#[path = "../../core/measure/tests/support/mod.rs"]
mod images;

use snapbox::{assert_data_eq, file};
use std::fs;
use support::Party;

const SNP: &str = "--platform snp --firmware snp.fd --vcpus 2 --vcpu-type EPYC-Milan";
const BOOT: &str = "--kernel vmlinuz --initrd guest.cpio --append console=ttyS0";

fn party() -> Party {
    let party = Party::new();
    fs::write(party.path("snp.fd"), images::snp_image(&images::SNP_SECTIONS)).unwrap();
    fs::write(party.path("plain.fd"), images::image(1, &[], &[])).unwrap();
    fs::write(party.path("tdx.fd"), images::tdx_image(&images::TDX_SECTIONS)).unwrap();
    fs::write(party.path("vmlinuz"), images::kernel()).unwrap();
    fs::write(party.path("guest.cpio"), "initrd").unwrap();
    fs::write(party.path("ccel"), log("\u{1b}[31mtext")).unwrap();
    party
}

fn log(text: &str) -> Vec<u8> {
    let header = images::log_header(&[(0x0c, 48)]);
    let action = images::log_event(1, 0x8000_0007, &[7; 48], text.as_bytes());
    let tag = images::log_event(3, 6, &[8; 48], b"\0L\0o\0a\0d\0");
    [header, action, tag].concat()
}

#[test]
fn what_people_see() {
    let party = party();
    let log = "--platform tdx --event-log ccel";
    let lines = [
        format!("measure {SNP}"),
        format!("measure {SNP} {BOOT} --host-data {}", "5".repeat(64)),
        format!("measure --platform tdx --firmware tdx.fd {BOOT}"),
        format!("measure {log}"),
        format!("--json measure {log}"),
        format!("measure {log} --rtmr0 {}", "1".repeat(96)),
        "measure".into(),
        "measure x --platform snp".into(),
        "measure --platform snp".into(),
        "measure --platform snp --vcpus 1".into(),
        "measure --platform snp --firmware snp.fd".into(),
        "measure --platform snp --firmware snp.fd --vcpus 1 --vcpu-type EPYC-Naples".into(),
        "measure --platform snp --firmware snp.fd --vcpus 0 --vcpu-type EPYC".into(),
        format!("measure {SNP} --host-data 00"),
        format!("measure {SNP} --rtmr0 {}", "1".repeat(96)),
        "measure --platform tdx".into(),
        "measure --platform tdx --firmware plain.fd".into(),
        "measure --platform tdx --firmware guest.cpio".into(),
        "measure --platform tdx --firmware tdx.fd --kernel guest.cpio".into(),
        "measure --platform tdx --firmware tdx.fd --vcpus 1".into(),
        "measure --platform tdx --event-log vmlinuz".into(),
        "measure --platform tdx --rtmr0 12 --event-log ccel".into(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_data_eq!(party.transcript(&lines), file!["golden/measure.txt"]);
}

#[test]
fn an_snp_guest_is_pinned_by_its_policy_lines() {
    let party = party();
    let measured = party.json(&format!("measure {SNP} {BOOT}"), 0);
    let measurement = measured["measurement"].as_str().unwrap();
    assert_eq!(measurement.len(), 96);
    assert_eq!(measured["policy"], format!("[[registers]]\nmeasurement = \"{measurement}\"\n"));
    assert_eq!(measured["files"].as_array().unwrap().len(), 3);
    let other = party.json(&format!("measure {SNP} {BOOT} --guest-features 0x21"), 0);
    assert_ne!(measured["measurement"], other["measurement"]);
}

#[test]
fn a_td_is_pinned_by_its_policy_lines() {
    let party = party();
    let rtmr0 = "ab".repeat(48);
    let measured = party.json(&format!("measure --platform tdx --firmware tdx.fd {BOOT} --rtmr0 {rtmr0}"), 0);
    let policy: toml::Table = measured["policy"].as_str().unwrap().parse().unwrap();
    let pinned = policy["registers"][0].as_table().unwrap();
    let mut keys: Vec<&String> = pinned.keys().collect();
    keys.sort();
    assert_eq!(keys, ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"]);
    assert_eq!(pinned["rtmr0"].as_str(), Some(rtmr0.as_str()));
    assert_eq!(pinned["rtmr3"].as_str(), Some("0".repeat(96).as_str()));
    let older = party.json("measure --platform tdx --firmware tdx.fd --page-order two-pass", 0);
    assert_ne!(older["registers"]["mrtd"], measured["registers"]["mrtd"]);
    assert_eq!(older["registers"].as_object().unwrap().len(), 1, "what was not given is not pinned");
}

#[test]
fn a_log_of_another_machine_is_refused() {
    let party = party();
    let refused = party.json(&format!("measure --platform tdx --firmware tdx.fd {BOOT} --event-log ccel"), 1);
    assert_eq!(refused["error"]["code"], "registers-differ");
}
