//! MRTD, and the registers of a direct boot.

mod support;

use glacier_measure::{
    Boot, DirectBoot, FirmwareFault, KernelFault, MeasureError, PageOrder, Register, authenticode, mrtd,
};
use proptest::prelude::*;
use sha2::{Digest, Sha384};
use std::{fs, path::Path};
use support::{KERNEL_CERTIFICATES, KERNEL_CHECKSUM, TDX_SECTIONS, TdvfSection, kernel, tdx_image};

/// The same hash, spelled out after the module's specification and not after our code.
#[test]
fn an_image_is_added_and_measured() {
    let image = tdx_image(&TDX_SECTIONS);
    let record = |name: &[u8], address: u64| {
        let mut record = name.to_vec();
        record.resize(16, 0);
        record.extend(address.to_le_bytes());
        record.resize(128, 0);
        record
    };
    let mut hash = Sha384::new();
    for page in 0..3_u64 {
        let address = 0xffff_d000 + page * 0x1000;
        hash.update(record(b"MEM.PAGE.ADD", address));
        for chunk in 0..16_u64 {
            hash.update(record(b"MR.EXTEND", address + chunk * 256));
            let at = 0x1000 + (page * 0x1000 + chunk * 256) as usize;
            hash.update(&image[at..at + 256]);
        }
    }
    for address in [0xffff_c000, 0x0080_9000, 0x0080_a000] {
        hash.update(record(b"MEM.PAGE.ADD", address));
    }
    let expected: [u8; 48] = hash.finalize().into();
    assert_eq!(mrtd(&image, PageOrder::Interleaved), Ok(expected.into()));
}

#[test]
fn the_order_of_pages_counts() {
    let image = tdx_image(&TDX_SECTIONS);
    assert_ne!(mrtd(&image, PageOrder::Interleaved), mrtd(&image, PageOrder::TwoPass));
    // With one page there is one order.
    let one = tdx_image(&[(0, 0x1000, 0xffff_f000, 0x1000, 0, 1)]);
    assert_eq!(mrtd(&one, PageOrder::Interleaved), mrtd(&one, PageOrder::TwoPass));
}

#[test]
fn only_measured_bytes_count() {
    let mut image = tdx_image(&TDX_SECTIONS);
    let before = mrtd(&image, PageOrder::default());
    image[0x10] ^= 1; // in the variable store
    assert_eq!(mrtd(&image, PageOrder::default()), before);
    image[0x1010] ^= 1;
    assert_ne!(mrtd(&image, PageOrder::default()), before);
}

/// `ovmf` of Debian 12 carries TDX metadata. The values were computed twice, here and by a script
/// that shares no line with this code; no TDX machine was asked.
#[test]
fn the_firmware_of_debian_12() {
    let path = Path::new("/usr/share/ovmf/OVMF.fd");
    let Ok(image) = fs::read(path) else {
        println!("skipped: no {} (Debian package ovmf)", path.display());
        return;
    };
    if hex::encode(sha2::Sha256::digest(&image)) != "7b456907dd0786d415999e801a1ac4637b8ed4d7cf5378cfc6edbe5e574dd773" {
        println!("skipped: {} is not that of ovmf 2022.11-6+deb12u2", path.display());
        return;
    }
    assert_eq!(
        mrtd(&image, PageOrder::Interleaved).unwrap().to_string(),
        "4c7206f0f483c524f12c366c711e9049030a8d47c471ee5aa9c4999a08de4057fb887fed0744d5631a212967fb231c47"
    );
    assert_eq!(
        mrtd(&image, PageOrder::TwoPass).unwrap().to_string(),
        "acccbcc870a381adab0d3919d90a7f268ac3b0364771f202ed4bb4e892d045b33db3b32e6924cba830a724eed443f7e1"
    );
}

fn fault(section: TdvfSection) -> MeasureError {
    mrtd(&tdx_image(&[section]), PageOrder::default()).unwrap_err()
}

#[test]
fn firmware_without_metadata_is_refused() {
    let image = support::image(1, &[], &[]);
    assert_eq!(mrtd(&image, PageOrder::default()), Err(FirmwareFault::NoTdxMetadata.into()));
}

#[test]
fn a_pointer_out_of_the_image_is_refused() {
    let pointer = 0x2000_u32.to_le_bytes().to_vec();
    let image = support::image(1, &[(support::TDX_METADATA, pointer)], &[]);
    assert_eq!(mrtd(&image, PageOrder::default()), Err(FirmwareFault::Metadata.into()));
}

#[test]
fn a_section_out_of_the_image_is_refused() {
    assert_eq!(fault((0x3000, 0x2000, 0, 0x2000, 0, 1)), FirmwareFault::Section.into());
}

#[test]
fn a_section_measured_beyond_its_bytes_is_refused() {
    assert_eq!(fault((0, 0x1000, 0, 0x2000, 0, 1)), FirmwareFault::Section.into());
}

#[test]
fn a_section_off_a_page_is_refused() {
    assert_eq!(fault((0, 0, 0x10, 0x1000, 3, 0)), FirmwareFault::Section.into());
    assert_eq!(fault((0, 0, 0, 0x10, 3, 0)), FirmwareFault::Section.into());
}

#[test]
fn a_section_at_the_end_of_the_address_space_is_refused() {
    assert_eq!(fault((0, 0, u64::MAX - 0xfff, 0x1000, 3, 0)), FirmwareFault::Section.into());
}

#[test]
fn a_section_of_a_terabyte_is_refused() {
    assert_eq!(fault((0, 0, 0, 1 << 40, 3, 0)), FirmwareFault::TooManyPages.into());
}

#[test]
fn a_section_measured_and_accepted_later_is_refused() {
    assert_eq!(fault((0, 0x1000, 0, 0x1000, 0, 3)), FirmwareFault::Section.into());
}

#[test]
fn a_digest_leaves_out_checksum_and_certificates() {
    let image = kernel();
    let digest = authenticode(&image).unwrap();
    let mut expected = Sha384::new();
    expected.update(&image[..KERNEL_CHECKSUM]);
    expected.update(&image[KERNEL_CHECKSUM + 4..KERNEL_CERTIFICATES]);
    // Sections lie side by side in this file, so what follows is the rest of it.
    expected.update(&image[KERNEL_CERTIFICATES + 8..]);
    let expected: [u8; 48] = expected.finalize().into();
    assert_eq!(digest, expected.into());

    let mut signed = image.clone();
    signed[KERNEL_CHECKSUM] ^= 1;
    signed.extend([7; 0x40]);
    signed[KERNEL_CERTIFICATES..KERNEL_CERTIFICATES + 4].copy_from_slice(&0x700_u32.to_le_bytes());
    signed[KERNEL_CERTIFICATES + 4..KERNEL_CERTIFICATES + 8].copy_from_slice(&0x40_u32.to_le_bytes());
    assert_eq!(authenticode(&signed), Ok(digest));
    signed[0x300] ^= 1;
    assert_ne!(authenticode(&signed), Ok(digest));
}

#[test]
fn a_kernel_without_a_stub_is_refused() {
    assert_eq!(authenticode(b"bzImage"), Err(KernelFault::NotPe));
    assert_eq!(authenticode(&[]), Err(KernelFault::NotPe));
}

#[test]
fn certificates_longer_than_the_file_are_refused() {
    let mut image = kernel();
    image[KERNEL_CERTIFICATES + 4..KERNEL_CERTIFICATES + 8].copy_from_slice(&0x1000_u32.to_le_bytes());
    assert_eq!(authenticode(&image), Err(KernelFault::BrokenPe));
}

#[test]
fn a_section_past_the_file_is_refused() {
    let mut image = kernel();
    let section = KERNEL_CERTIFICATES + 16 + 16;
    image[section..section + 4].copy_from_slice(&0x1000_u32.to_le_bytes());
    assert_eq!(authenticode(&image), Err(KernelFault::BrokenPe));
}

#[test]
fn too_many_sections_are_refused() {
    let mut image = kernel();
    image[0x46..0x48].copy_from_slice(&97_u16.to_le_bytes());
    assert_eq!(authenticode(&image), Err(KernelFault::TooManySections));
}

#[test]
fn load_options_are_wide_and_name_the_initrd() {
    let image = kernel();
    let boot = Boot { kernel: &image, initrd: Some(b"initrd"), append: "quiet" };
    let direct = DirectBoot::new(&boot).unwrap();
    let wide: Vec<u8> = "quiet initrd=initrd\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(direct.load_options, Some(Register::of(&wide)));
    assert_eq!(direct.initrd, Some(Register::of(b"initrd")));

    let alone = DirectBoot::new(&Boot { initrd: None, append: "", ..boot }).unwrap();
    assert_eq!((alone.load_options, alone.initrd), (None, None));
    assert_eq!(alone.rtmr2(), Register::ZERO);
}

#[test]
fn a_command_line_beyond_ascii_is_refused() {
    let image = kernel();
    for append in ["name=\u{e9}", "a\0b"] {
        let refused = DirectBoot::new(&Boot { kernel: &image, initrd: None, append });
        assert_eq!(refused, Err(KernelFault::CommandLine.into()));
    }
}

proptest! {
    #[test]
    fn no_metadata_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut image = tdx_image(&TDX_SECTIONS);
        let at = image.len() - 0x800 + 12;
        image[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = mrtd(&image, PageOrder::default());
    }

    #[test]
    fn no_image_breaks_the_digest(at in 0_usize..0x180, bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
        let mut image = kernel();
        image[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = authenticode(&image);
        let _ = authenticode(&image[..at]);
    }
}
