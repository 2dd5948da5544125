//! Launch digests against `sev-snp-measure` (PyPI, 0.0.13): its values are kept here, and it runs again
//! where it is installed (on the path, or named by `SEV_SNP_MEASURE`).

mod support;

use glacier_measure::{Boot, FirmwareFault, Guest, KernelFault, MeasureError, Vcpu, launch_digest};
use proptest::prelude::*;
use std::{fs, path::Path, process::Command};
use support::{SNP_SECTIONS, snp_image};

const KERNEL: &[u8] = b"a kernel, to this platform only bytes";
const INITRD: &[u8] = b"an initrd";
const APPEND: &str = "console=ttyS0 panic=-1";

fn vcpu(name: &str) -> Vcpu {
    name.parse().unwrap()
}

fn guest(firmware: &[u8]) -> Guest<'_> {
    Guest { firmware, boot: None, vcpus: 1, vcpu: vcpu("EPYC-v4"), features: 1 }
}

fn boot() -> Boot<'static> {
    Boot { kernel: KERNEL, initrd: Some(INITRD), append: APPEND }
}

/// Name, what to measure, what `sev-snp-measure` says.
fn cases(firmware: &[u8]) -> Vec<(&'static str, &'static str, Guest<'_>, &'static str)> {
    let plain = guest(firmware);
    let bare = Boot { kernel: KERNEL, initrd: None, append: "" };
    vec![
        (
            "one processor",
            "EPYC-v4",
            plain,
            "c55bbb6f3c52495c8251221fc230b73a87b7bb37abd2eb7f842881b1b3e684d4f10ef3affd0f0d03edbc64a61361163f",
        ),
        (
            "four",
            "EPYC-Milan",
            Guest { vcpus: 4, vcpu: vcpu("EPYC-Milan"), ..plain },
            "d3def5f5944a04b106cfed5f0ba2437874c5ba4c150868727882406c150e89f94b72453f62ab089659a138fc95ed27c0",
        ),
        (
            "features",
            "EPYC-Genoa",
            Guest { vcpu: vcpu("EPYC-Genoa"), features: 0x21, ..plain },
            "b2e952b3bdcec4fe6653d9d16852e0500f55a9a02566a1daedc59aa000a649fd5733737ff9184b47d7a75c5cab677ed0",
        ),
        (
            "kernel",
            "EPYC-v4",
            Guest { boot: Some(boot()), ..plain },
            "526657d93f6ee258716c545a36c4a798068d28b82221534c611c6fdca972bafbe6cf96e727d59031a97caf9bcc6426a6",
        ),
        (
            "kernel only",
            "EPYC-Turin",
            Guest { boot: Some(bare), vcpu: vcpu("EPYC-Turin"), ..plain },
            "2bea555ef207565a7167ad3b681e44e0c5458e1af5455ee38fb7617b837e297b77feaf762e114f7ea73824b7b5ffc629",
        ),
    ]
}

#[test]
fn the_digests_are_those_of_another_implementation() {
    let firmware = snp_image(&SNP_SECTIONS);
    for (name, _, guest, expected) in cases(&firmware) {
        assert_eq!(launch_digest(&guest).unwrap().to_string(), expected, "{name}");
    }
}

#[test]
fn the_other_implementation_still_says_so() {
    let tool = std::env::var("SEV_SNP_MEASURE").unwrap_or_else(|_| "sev-snp-measure".into());
    if Command::new(&tool).arg("--version").output().is_err() {
        println!("skipped: no sev-snp-measure (pip install sev-snp-measure)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let firmware = snp_image(&SNP_SECTIONS);
    let ovmf = file("OVMF.fd", &firmware);
    for (name, model, guest, _) in cases(&firmware) {
        let mut command = Command::new(&tool);
        command.args(["--mode", "snp", "--vcpu-type", model, "--ovmf", &ovmf]);
        command.args(["--vcpus", &guest.vcpus.to_string(), "--guest-features", &guest.features.to_string()]);
        if let Some(boot) = guest.boot {
            command.args(["--kernel", &file("kernel", boot.kernel), "--append", boot.append]);
            if let Some(initrd) = boot.initrd {
                command.args(["--initrd", &file("initrd", initrd)]);
            }
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(launch_digest(&guest).unwrap().to_string(), theirs.trim(), "{name}");
    }
}

/// `ovmf` of Debian 12, where it is installed. The values are those of `sev-snp-measure` 0.0.13.
#[test]
fn the_firmware_of_debian_12() {
    let Some(firmware) = debian() else { return };
    let digest = |vcpus, model, features| {
        launch_digest(&Guest { vcpus, vcpu: vcpu(model), features, ..guest(&firmware) }).unwrap().to_string()
    };
    assert_eq!(
        digest(1, "EPYC-v4", 1),
        "11570979c77a0adb515761a702527c8b9e11554e730552621d950988613a3a75c6ff1703f540bd22a9beede8fe7a97e3"
    );
    assert_eq!(
        digest(4, "EPYC-Milan", 1),
        "e9c10ab98f8086bf4a4993dcdc1f768b1128bcb02301d1791f1d3274329e790db2d12a301d66d99a462a13b5d87e2840"
    );
    assert_eq!(
        digest(2, "EPYC-Genoa", 0x21),
        "48c562826999dc60742c0eb2909b789d171fcbfcc2d906d242eef760d9548d19cb2a448f786ccf7a19857f590ed9429e"
    );
    // It is not the AMD SEV build: there is no verifier in it that would look at kernel hashes.
    let refused = launch_digest(&Guest { boot: Some(boot()), ..guest(&firmware) });
    assert_eq!(refused, Err(FirmwareFault::NoKernelHashes.into()));
}

/// The file of the package `ovmf` 2022.11-6+deb12u2, or a remark.
fn debian() -> Option<Vec<u8>> {
    let path = Path::new("/usr/share/ovmf/OVMF.fd");
    let Ok(firmware) = fs::read(path) else {
        println!("skipped: no {} (Debian package ovmf)", path.display());
        return None;
    };
    use sha2::Digest;
    if hex::encode(sha2::Sha256::digest(&firmware))
        != "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773"
    {
        println!("skipped: {} is not that of ovmf 2022.11-6+deb12u2", path.display());
        return None;
    }
    Some(firmware)
}

fn fault(sections: &[[u32; 3]], boot: Option<Boot<'_>>) -> MeasureError {
    let firmware = snp_image(sections);
    launch_digest(&Guest { boot, ..guest(&firmware) }).unwrap_err()
}

#[test]
fn a_kernel_needs_a_place_for_its_hashes() {
    assert_eq!(fault(&SNP_SECTIONS[..5], Some(boot())), FirmwareFault::NoKernelHashes.into());
}

#[test]
fn hashes_must_lie_in_their_page() {
    assert_eq!(fault(&[[0x0080_0000, 0x1000, 0x10]], Some(boot())), FirmwareFault::Section.into());
    assert_eq!(fault(&[[0x0081_1000, 0x1000, 0x10]], Some(boot())), FirmwareFault::NoKernelHashes.into());
}

#[test]
fn an_unknown_section_is_refused() {
    assert_eq!(fault(&[[0, 0x1000, 7]], None), FirmwareFault::UnknownSection { kind: 7 }.into());
}

#[test]
fn a_section_of_half_a_page_is_refused() {
    assert_eq!(fault(&[[0, 0x800, 1]], None), FirmwareFault::Section.into());
    assert_eq!(fault(&[[0x10, 0x1000, 1]], None), FirmwareFault::Section.into());
}

#[test]
fn secrets_of_two_pages_are_refused() {
    assert_eq!(fault(&[[0, 0x2000, 2]], None), FirmwareFault::Section.into());
}

#[test]
fn a_section_of_four_gigabytes_is_refused() {
    assert_eq!(fault(&[[0, 0xffff_f000, 1]], None), FirmwareFault::TooManyPages.into());
}

#[test]
fn a_wrong_signature_is_refused() {
    let mut firmware = snp_image(&SNP_SECTIONS);
    let at = firmware.len() - 0x800;
    firmware[at] = b'X';
    assert_eq!(launch_digest(&guest(&firmware)), Err(FirmwareFault::Metadata.into()));
}

#[test]
fn a_million_sections_are_refused() {
    let mut firmware = snp_image(&SNP_SECTIONS);
    let at = firmware.len() - 0x800 + 12;
    firmware[at..at + 4].copy_from_slice(&1_000_000_u32.to_le_bytes());
    assert_eq!(launch_digest(&guest(&firmware)), Err(FirmwareFault::TooManySections.into()));
}

#[test]
fn firmware_without_metadata_is_refused() {
    let firmware = support::image(1, &[], &[]);
    assert_eq!(launch_digest(&guest(&firmware)), Err(FirmwareFault::NoSevMetadata.into()));
}

#[test]
fn a_second_processor_needs_a_start() {
    let pointer = 0x800_u32.to_le_bytes().to_vec();
    let entries = [(support::SEV_METADATA, pointer)];
    let firmware = support::image(1, &entries, &[(0x800, support::sev_metadata(&[]))]);
    assert!(launch_digest(&guest(&firmware)).is_ok());
    let two = Guest { vcpus: 2, ..guest(&firmware) };
    assert_eq!(launch_digest(&two), Err(FirmwareFault::NoResetBlock.into()));
}

#[test]
fn no_processor_and_a_million_are_refused() {
    let firmware = snp_image(&SNP_SECTIONS);
    for vcpus in [0, 1_000_000] {
        let refused = launch_digest(&Guest { vcpus, ..guest(&firmware) });
        assert_eq!(refused, Err(MeasureError::Vcpus { max: 4096 }));
    }
}

#[test]
fn a_command_line_ends_where_it_ends() {
    let split = Boot { append: "quiet\0debug", ..boot() };
    assert_eq!(fault(&SNP_SECTIONS, Some(split)), KernelFault::CommandLine.into());
}

proptest! {
    #[test]
    fn no_metadata_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 0_u32..0x20_0000) {
        let mut firmware = snp_image(&[[0, size, 1]]);
        prop_assert_eq!(launch_digest(&guest(&firmware)).is_ok(), size.is_multiple_of(0x1000));
        let at = firmware.len() - 0x800 + 8;
        firmware[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = launch_digest(&guest(&firmware));
    }

    #[test]
    fn every_input_counts(append in "[a-z]{1,8}", vcpus in 1_u32..8, features in 1_u64..8) {
        let firmware = snp_image(&SNP_SECTIONS);
        let base = Guest { boot: Some(boot()), ..guest(&firmware) };
        let other = Guest { boot: Some(Boot { append: &append, ..boot() }), vcpus, features, ..base };
        prop_assert_ne!(launch_digest(&base), launch_digest(&other));
    }
}
