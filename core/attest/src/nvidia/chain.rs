//! The certificates of a device, from NVIDIA's root to the key that signs its reports.

use super::gpu::Architecture;
use crate::{
    anchors::{Anchors, Fingerprint},
    reason::Reason,
    window::{Part, Window},
    x509::{Certificate, CertificateError, pem},
};
use alloc::{string::String, vec::Vec};
use der::{
    Decode, Reader, SliceReader, Tag, TagNumber, Tagged as _,
    asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
};
use glacier_wire::{PlatformKind, UnixTime};

/// A chain that was checked as far as it goes without a time.
#[derive(Debug, Clone)]
pub(crate) struct DeviceChain {
    /// The trusted root, or why there is none.
    pub(crate) root: Result<(Fingerprint, PlatformKind), Reason>,
    /// What the chain says of the device, or why it is refused; `None` without a root.
    pub(crate) device: Option<Result<Device, Reason>>,
}

/// A device that NVIDIA vouches for.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    /// The key that signs reports; made at boot.
    pub(crate) leaf: Certificate,
    /// Above the leaf: boot ROM, factory line, product line, root.
    pub(crate) above: [Certificate; 4],
    pub(crate) architecture: Architecture,
    /// As the certificates spell it.
    pub(crate) chip: String,
    /// Family byte, then the PDI.
    pub(crate) id: [u8; 9],
}

impl DeviceChain {
    /// Reads five certificates in PEM, leaf first.
    pub(crate) fn read(text: &[u8], anchors: &Anchors) -> Self {
        let chain = match pem::certificates::<5>(text) {
            Ok(chain) => chain,
            Err(error) => return Self { root: Err(refused(error)), device: None },
        };
        let fingerprint = Fingerprint::of(&chain[4]);
        let Some(platform) = anchors.platform(&fingerprint, PlatformKind::Nvidia) else {
            return Self { root: Err(Reason::UntrustedRoot(fingerprint)), device: None };
        };
        Self { root: Ok((fingerprint, platform)), device: Some(Device::read(&chain).map_err(refused)) }
    }
}

impl DeviceChain {
    /// When all five certificates are current, if the chain holds.
    pub(crate) fn window(&self) -> Option<Window> {
        self.device.as_ref()?.as_ref().ok().map(Device::window)
    }
}

fn refused(error: CertificateError) -> Reason {
    Reason::Certificate { part: Part::Device, error }
}

impl Device {
    fn read([leaf, boot_rom, line, product, root]: &[Vec<u8>; 5]) -> Result<Self, CertificateError> {
        let root = Certificate::pinned_root(root)?;
        let product = Certificate::authority(product, &root, 2)?;
        let line = Certificate::authority(line, &product, 1)?;
        let boot_rom = Certificate::authority(boot_rom, &line, 0)?;
        let leaf = Certificate::leaf(leaf, &boot_rom)?;
        let (architecture, chip) = chip(&boot_rom).ok_or(CertificateError::Role)?;
        if chip_of(&leaf, "FMC").as_ref() != Some(&chip) {
            return Err(CertificateError::Role);
        }
        let id = id(&boot_rom).ok_or(CertificateError::Role)?;
        Ok(Self { leaf, above: [boot_rom, line, product, root], architecture, chip, id })
    }

    /// Dates of all five.
    pub(crate) fn current(&self, at: UnixTime) -> Result<(), Reason> {
        let [boot_rom, line, product, root] = &self.above;
        for certificate in [&self.leaf, boot_rom, line, product] {
            certificate.window.check(Part::Device, at)?;
        }
        root.window.check(Part::Root, at)
    }

    pub(crate) fn window(&self) -> Window {
        self.above.iter().fold(self.leaf.window, |window, certificate| window.and(certificate.window))
    }

    /// The PDI fused into the chip.
    pub(crate) fn pdi(&self) -> [u8; 8] {
        let [_, pdi @ ..] = self.id;
        pdi
    }

    /// NVIDIA's UEID: serial number of the leaf, in decimal.
    pub(crate) fn ueid(&self) -> String {
        decimal(&self.leaf.serial)
    }

    /// SHA-384 of the firmware that the leaf's key was made for, if the leaf says.
    pub(crate) fn firmware_id(&self) -> Result<Option<[u8; 48]>, CertificateError> {
        match (self.leaf.extension(COMPOSITE_DEVICE_ID), self.leaf.extension(DICE_TCB_INFO)) {
            (None, None) => Ok(None),
            (Some(composite), None) => composite_firmware_id(composite).map(Some),
            (None, Some(info)) => dice_firmware_id(info).map(Some),
            (Some(_), Some(_)) => Err(CertificateError::Extension),
        }
    }

    /// Certificates that the vendor can revoke, each with its issuer: all between leaf and root.
    pub(crate) fn revocable(&self) -> [(&Certificate, &Certificate); 3] {
        let [boot_rom, line, product, root] = &self.above;
        [(boot_rom, line), (line, product), (product, root)]
    }
}

/// Family and name of the chip whose boot ROM this is.
fn chip(boot_rom: &Certificate) -> Option<(Architecture, String)> {
    let chip = chip_of(boot_rom, "BROM")?;
    let architecture = match chip.as_str() {
        "GH100" => Architecture::Hopper,
        "LS_10" => Architecture::Switch,
        // GB100, GB102, GB202 and so on: one family, each with manifests of its own.
        blackwell if blackwell.starts_with("GB1") || blackwell.starts_with("GB2") => Architecture::Blackwell,
        _ => return None,
    };
    Some((architecture, chip))
}

/// The first word of the subject's common name, if another one is `role`.
fn chip_of(certificate: &Certificate, role: &str) -> Option<String> {
    let name = certificate.subject.common_name().ok()??;
    let name = name.value();
    let mut words = name.split(' ');
    let chip = words.next()?;
    words.any(|word| word == role).then(|| chip.into())
}

/// The serial number, which the subject repeats in hexadecimal.
fn id(boot_rom: &Certificate) -> Option<[u8; 9]> {
    let id = <[u8; 9]>::try_from(boot_rom.serial.as_slice()).ok()?;
    let mut named = [0; 9];
    let text = subject_serial(boot_rom)?;
    hex::decode_to_slice(text, &mut named).ok()?;
    (named == id).then_some(id)
}

/// The subject's one serialNumber attribute (RFC 4519 §2.31).
fn subject_serial(certificate: &Certificate) -> Option<&str> {
    let mut found = certificate.subject.iter().filter(|attribute| attribute.oid == SERIAL_NUMBER);
    let attribute = found.next().filter(|_| found.next().is_none())?;
    let known = matches!(attribute.value.tag(), Tag::PrintableString | Tag::Utf8String);
    core::str::from_utf8(attribute.value.value()).ok().filter(|_| known)
}

const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
/// TCG DICE CompositeDeviceID: Hopper and LS10.
const COMPOSITE_DEVICE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");
/// TCG DICE TcbInfo: Blackwell.
const DICE_TCB_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1.1");
const SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
/// Of TcbInfo: SEQUENCE OF firmware ids.
const FWIDS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(6) };
const MAX_MEMBERS: usize = 16;

/// SEQUENCE { version 1, SubjectPublicKeyInfo, firmware id }.
fn composite_firmware_id(extension: &[u8]) -> Result<[u8; 48], CertificateError> {
    let mut reader = SliceReader::new(extension)?;
    let found = reader.sequence(|reader| -> der::Result<_> {
        let version = u8::decode(reader)?;
        let _key = reader.tlv_bytes()?;
        Ok((version, firmware_id(reader)?))
    })?;
    reader.finish()?;
    match found {
        (1, Some(id)) => Ok(id),
        _ => Err(CertificateError::Malformed),
    }
}

/// The first firmware id of TcbInfo's list; a second one, of zeros, follows.
fn dice_firmware_id(extension: &[u8]) -> Result<[u8; 48], CertificateError> {
    let mut reader = SliceReader::new(extension)?;
    let found = reader.sequence(|reader| -> der::Result<_> {
        let mut found = None;
        for _ in 0..MAX_MEMBERS {
            if reader.is_finished() {
                break;
            }
            let member = AnyRef::decode(reader)?;
            if member.header().tag() == FWIDS {
                // DER orders the members, so a second one of this tag is malformed.
                if found.replace(firmware_id(&mut SliceReader::new(member.value())?)?).is_some() {
                    return Ok(None);
                }
            }
        }
        Ok(found.flatten())
    })?;
    reader.finish()?;
    found.ok_or(CertificateError::Malformed)
}

/// SEQUENCE { hash algorithm, digest }; `None` for another algorithm than SHA-384.
fn firmware_id<'a>(reader: &mut SliceReader<'a>) -> der::Result<Option<[u8; 48]>> {
    let read =
        |reader: &mut SliceReader<'a>| Ok((ObjectIdentifier::decode(reader)?, <&OctetStringRef>::decode(reader)?));
    let (algorithm, digest): (_, &OctetStringRef) = reader.sequence::<_, _, der::Error>(read)?;
    Ok(digest.as_bytes().try_into().ok().filter(|_| algorithm == SHA_384))
}

/// A big-endian number as decimal digits.
pub(super) fn decimal(number: &[u8]) -> String {
    // Lowest digit first.
    let mut digits: Vec<u32> = Vec::new();
    for byte in number {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            // A carry is at most 255: (9 · 256 + 255) / 10.
            let value = *digit << 8 | carry;
            *digit = value % 10;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    if digits.is_empty() {
        digits.push(0);
    }
    digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}
