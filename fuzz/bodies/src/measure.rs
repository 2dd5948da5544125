//! Files that are measured: firmware, kernels, event logs. They are not written back; what must hold is
//! that they are read to an end, and that a measurement does not depend on anything but them.

#[path = "../../../core/measure/tests/support/mod.rs"]
mod support;

use glacier_measure::{Event, EventLog, Guest, LogFault, PageOrder, authenticode, launch_digest, mrtd};
use support::{
    SNP_SECTIONS, TDX_SECTIONS, kernel as kernel_image, log_event, log_header, sev_metadata, snp_image, tdx_image,
};

pub(crate) fn firmware(bytes: &[u8]) {
    // Whole pages, whatever was cut: else nothing behind the first check is reached. Tables stand at the end.
    let mut image = vec![0; bytes.len().next_multiple_of(support::PAGE) - bytes.len()];
    image.extend_from_slice(bytes);
    let Ok(vcpu) = "EPYC-Milan".parse() else { panic!("a model of QEMU") };
    let guest = Guest { firmware: &image, boot: None, vcpus: 2, vcpu, features: 1 };
    assert_eq!(launch_digest(&guest), launch_digest(&guest));
    assert_eq!(mrtd(&image, PageOrder::TwoPass).is_ok(), mrtd(&image, PageOrder::Interleaved).is_ok());
}

pub(crate) fn firmware_seeds() -> Vec<Vec<u8>> {
    let bare = support::image(1, &[], &[(0x800, sev_metadata(&[]))]);
    vec![snp_image(&SNP_SECTIONS), tdx_image(&TDX_SECTIONS), bare]
}

pub(crate) fn kernel(bytes: &[u8]) {
    assert_eq!(authenticode(bytes), authenticode(bytes));
}

pub(crate) fn kernel_seeds() -> Vec<Vec<u8>> {
    vec![kernel_image()]
}

pub(crate) fn event_log(bytes: &[u8]) {
    let Ok(log) = EventLog::parse(bytes) else { return };
    let events: Result<Vec<Event<'_>>, LogFault> = log.events().collect();
    match (events, log.replay()) {
        (Ok(events), Ok(replay)) => {
            let extending = events.iter().filter(|event| event.extends() && event.register > 0).count();
            assert_eq!(replay.events.iter().sum::<u32>() as usize, extending);
        }
        (Err(fault), Err(same)) => assert_eq!(fault, same),
        _ => panic!("events and replay disagree"),
    }
}

pub(crate) fn event_log_seeds() -> Vec<Vec<u8>> {
    let header = log_header(&[(4, 20), (0x0c, 48)]);
    let events = [log_event(1, 4, &[7; 48], &[0; 4]), log_event(3, 6, &[8; 48], b"Linux initrd\0")].concat();
    vec![header.clone(), [header.clone(), events.clone()].concat(), [header, events, vec![0xff; 64]].concat()]
}
