//! Event logs: made ones, and one from real hardware whose replay is in a recorded quote.

mod support;

use glacier_measure::{DirectBoot, Event, EventKind, EventLog, LogFault, Register};
use proptest::prelude::*;
use std::{fs, path::Path};
use support::{log_event, log_header};

const SHA384: (u16, u16) = (0x000c, 48);

fn log(events: &[Vec<u8>]) -> Vec<u8> {
    [vec![log_header(&[SHA384])], events.to_vec()].concat().concat()
}

fn faults(log: &[u8]) -> Option<LogFault> {
    match EventLog::parse(log) {
        Ok(log) => log.replay().err(),
        Err(fault) => Some(fault),
    }
}

#[test]
fn events_extend_their_registers() {
    let (a, b) = (Register::of(b"a"), Register::of(b"b"));
    let events = [
        log_event(1, 4, a.as_bytes(), b"a"),
        log_event(2, 4, b.as_bytes(), b""),
        log_event(1, 4, b.as_bytes(), b""),
        log_event(1, 3, a.as_bytes(), b"no action"),
    ];
    let replay = EventLog::parse(&log(&events)).unwrap().replay().unwrap();
    assert_eq!(replay.rtmr[0], Register::ZERO.extend(&a).extend(&b));
    assert_eq!(replay.rtmr[1], Register::ZERO.extend(&b));
    assert_eq!(replay.rtmr[2..], [Register::ZERO; 2]);
    assert_eq!(replay.events, [2, 1, 0, 0]);
}

#[test]
fn padding_ends_a_log() {
    for byte in [0, 0xff] {
        let mut log = log(&[log_event(1, 4, &[7; 48], b"")]);
        log.extend([byte; 5000]);
        assert_eq!(EventLog::parse(&log).unwrap().replay().unwrap().events, [1, 0, 0, 0]);
        log.push(1);
        assert!(faults(&log).is_some(), "padding with something behind it");
    }
}

#[test]
fn other_banks_are_passed_over() {
    let digest = Register::of(b"x");
    let mut event = [2_u32, 4, 2].map(u32::to_le_bytes).concat();
    event.extend([4, 0]);
    event.extend([1; 20]);
    event.extend([0x0c, 0]);
    event.extend(digest.as_bytes());
    event.extend([0; 4]);
    let log = [log_header(&[(4, 20), SHA384]), event].concat();
    assert_eq!(EventLog::parse(&log).unwrap().replay().unwrap().rtmr[1], Register::ZERO.extend(&digest));
}

#[test]
fn a_log_must_say_what_it_is() {
    assert_eq!(faults(b""), Some(LogFault::Truncated { index: 0 }));
    let mut other = log(&[]);
    other[32] = b'X';
    assert_eq!(faults(&other), Some(LogFault::NotCryptoAgile));
}

#[test]
fn a_log_without_sha384_is_refused() {
    assert_eq!(faults(&log_header(&[(0x0b, 32)])), Some(LogFault::NoSha384));
}

#[test]
fn an_algorithm_twice_is_refused() {
    assert_eq!(faults(&log_header(&[SHA384, SHA384])), Some(LogFault::Algorithms));
}

#[test]
fn a_short_sha384_is_refused() {
    assert_eq!(faults(&log_header(&[(0x0c, 32)])), Some(LogFault::Algorithms));
}

#[test]
fn a_digest_that_was_not_declared_is_refused() {
    let mut event = log_event(1, 4, &[7; 48], b"");
    event[12] = 0x0b;
    assert_eq!(faults(&log(&[event])), Some(LogFault::Digests { index: 1 }));
}

#[test]
fn an_event_without_a_digest_is_refused() {
    let event = [1_u32, 4, 0, 0].map(u32::to_le_bytes).concat();
    assert_eq!(faults(&log(&[event])), Some(LogFault::Digests { index: 1 }));
}

#[test]
fn an_event_with_a_billion_digests_is_refused() {
    let event = [1_u32, 4, 1_000_000_000, 0].map(u32::to_le_bytes).concat();
    assert_eq!(faults(&log(&[event])), Some(LogFault::Digests { index: 1 }));
}

#[test]
fn a_fifth_register_is_refused() {
    let events = [log_event(1, 4, &[7; 48], b""), log_event(5, 4, &[7; 48], b"")];
    assert_eq!(faults(&log(&events)), Some(LogFault::Register { index: 2, register: 5 }));
}

#[test]
fn data_longer_than_the_log_is_refused() {
    let mut event = log_event(1, 4, &[7; 48], b"data");
    let length = event.len() - 8;
    event[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(faults(&log(&[event])), Some(LogFault::Truncated { index: 1 }));
}

#[test]
fn data_is_believed_where_the_digest_covers_it() {
    let event = |kind, digest, data| Event { register: 1, kind, digest, data };
    let digest = Register::of(b"here");
    assert_eq!(event(EventKind::EFI_ACTION, digest, b"here").explained(), Some(true));
    assert_eq!(event(EventKind::EFI_ACTION, digest, b"there").explained(), Some(false));
    assert_eq!(event(EventKind::EVENT_TAG, digest, b"here").explained(), None);
}

proptest! {
    #[test]
    fn no_log_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = EventLog::parse(&bytes);
        let log = [log_header(&[SHA384]), bytes].concat();
        if let Ok(log) = EventLog::parse(&log) {
            let _ = log.replay();
        }
    }

    #[test]
    fn half_a_log_explains_nothing(cut in 1_usize..60) {
        let mut log = log(&[log_event(1, 4, &[7; 48], b"data"), log_event(1, 4, &[8; 48], b"data")]);
        log.truncate(log.len() - cut);
        prop_assert_eq!(faults(&log), Some(LogFault::Truncated { index: 2 }));
    }
}

/// RTMR index, type, digest and data of each event; published by a machine whose quote is among the
/// recorded ones, as `tdx4-20a0-dstack-a`.
const RECORDED: &str = include_str!("recorded-event-log.txt");
const RECORDED_BY: &str = "tdx4-20a0-dstack-a";

fn recorded() -> Vec<u8> {
    let events = RECORDED.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let digest: Register = words[2].parse().unwrap();
        let (rtmr, kind): (u32, u32) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        let data = if words[3] == "-" { Vec::new() } else { hex::decode(words[3]).unwrap() };
        log_event(rtmr + 1, kind, digest.as_bytes(), &data)
    });
    log(&events.collect::<Vec<_>>())
}

/// Recorded quotes: name, MRTD, RTMR0 to RTMR3.
fn quotes() -> Option<Vec<(String, Register, [Register; 4])>> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/tdx/manifest.json");
    let Ok(manifest) = fs::read_to_string(manifest) else {
        println!("skipped: no vectors");
        return None;
    };
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let register = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
    let entries = manifest["entries"].as_array().unwrap().iter().map(|entry| {
        let rtmr = [0, 1, 2, 3].map(|index| register(&entry["rtmr"][index]));
        (entry["id"].as_str().unwrap().to_owned(), register(&entry["mrtd"]), rtmr)
    });
    Some(entries.collect())
}

/// What deploy/README.md says of the registers that nothing at hand explains.
#[test]
fn recorded_registers_are_as_the_documents_say() {
    let Some(quotes) = quotes() else { return };
    let named = |test: &dyn Fn(&[Register; 4]) -> bool| -> Vec<&str> {
        quotes.iter().filter(|(_, _, rtmr)| test(rtmr)).map(|(id, ..)| id.as_str()).collect()
    };
    let unused = named(&|rtmr| *rtmr == [Register::ZERO; 4]);
    assert_eq!(unused, ["tdx4-8056-azure-septve", "tdx4-90c0-azure-2026", "tdx5-90c0-modupdate"]);
    let extended = named(&|rtmr| rtmr[3] != Register::ZERO);
    assert_eq!(extended, ["tdx4-b0c0-dstack-2026", "tdx4-90c0-nearai-gpu", "tdx4-20a0-dstack-a", "tdx5-preprod-root"]);
    let twice = |mrtd: &Register| quotes.iter().filter(|(_, other, _)| other == mrtd).count() > 1;
    let shared: Vec<&str> = quotes.iter().filter(|(_, mrtd, _)| twice(mrtd)).map(|(id, ..)| id.as_str()).collect();
    assert_eq!(shared, ["tdx4-b0c0-phala", "tdx4-c080-oasis"]);
}

/// Real registers that real software extended once, by 48 bytes of 1, as one finds by trying.
#[test]
fn a_recorded_register_was_extended_by_ones() {
    let Some(quotes) = quotes() else { return };
    let (_, _, rtmr) = quotes.iter().find(|(id, ..)| id == "tdx5-preprod-root").unwrap();
    let extended = Register::ZERO.extend(&Register::from([1; 48]));
    assert_eq!(rtmr[2..], [extended; 2]);
}

#[test]
fn a_recorded_log_leads_to_the_recorded_registers() {
    let Some(quotes) = quotes() else { return };
    let (_, _, quoted) = quotes.iter().find(|(id, ..)| id == RECORDED_BY).unwrap();
    let replay = EventLog::parse(&recorded()).unwrap().replay().unwrap();
    assert_eq!(replay.rtmr, *quoted);
}

/// From the three digests of kernel, command line and initrd alone, real RTMR1 and RTMR2 follow.
#[test]
fn a_real_direct_boot_went_as_computed() {
    let log = recorded();
    let log = EventLog::parse(&log).unwrap();
    let events: Vec<Event<'_>> = log.events().map(Result::unwrap).collect();
    let find = |kind: EventKind, word: &str| {
        let described = |event: &&Event<'_>| {
            event.kind == kind && String::from_utf8_lossy(event.data).replace('\0', "").contains(word)
        };
        events.iter().find(described).unwrap().digest
    };
    let direct = DirectBoot {
        kernel: find(EventKind::EFI_BOOT_SERVICES_APPLICATION, "kernel"),
        load_options: Some(find(EventKind::EVENT_TAG, "LoadOptions")),
        initrd: Some(find(EventKind::EVENT_TAG, "initrd")),
    };
    let replay = log.replay().unwrap();
    assert_eq!([direct.rtmr1(), direct.rtmr2()], replay.rtmr[1..3]);
    assert!(events.iter().all(|event| event.explained() != Some(false)));
}

/// The variable store in that machine's firmware is the one that Debian ships: one digest of RTMR0
/// that follows from a public file.
#[test]
fn a_recorded_variable_store_is_debians() {
    let path = Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd");
    let Ok(file) = fs::read(path) else {
        println!("skipped: no {} (Debian package ovmf)", path.display());
        return;
    };
    let log = recorded();
    let blob = EventLog::parse(&log).unwrap().events().map(Result::unwrap);
    let mut blob = blob.filter(|event| event.kind == EventKind::EFI_PLATFORM_FIRMWARE_BLOB2);
    assert_eq!(blob.next().unwrap().digest, Register::of(&file));
}
