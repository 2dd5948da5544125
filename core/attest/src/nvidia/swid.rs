//! What a manifest says: a SWID tag (ISO/IEC 19770-2:2015) whose payload are measurements.

use super::{
    RimFault, RimKind,
    xml::{Event, Reader, Tag},
};
use crate::registers::Register;
use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    string::{String, ToString},
    vec::Vec,
};

/// Content of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Swid {
    pub(super) kind: RimKind,
    pub(super) version: String,
    pub(super) product: String,
    /// Index and values of the active measurements, ascending by index.
    pub(super) golden: Vec<(u8, Vec<Register>)>,
}

impl Swid {
    /// Reads a document in canonical form: there, comments divide no text and no reference hides one.
    pub(super) fn read(canonical: &str) -> Result<Self, RimFault> {
        let mut reader = Reader::new(canonical)?;
        let mut tags = Tags(&mut reader);
        let root = tags.child()?.filter(|tag| tag.name.is(SWID, "SoftwareIdentity")).ok_or(RimFault::Identity)?;
        // One that describes a patch or adds to another tag would not stand alone.
        let partial = |name| root.attribute("", name).is_some_and(|value| value != "false");
        if ["corpus", "patch", "supplemental"].into_iter().any(partial) || root.attribute("", "tagId").is_none() {
            return Err(RimFault::Identity);
        }
        let (mut meta, mut golden) = (None, None);
        while let Some(tag) = tags.child()? {
            match tag.name.local {
                _ if tag.name.space != SWID => return Err(RimFault::Identity),
                "Entity" => tags.end()?,
                "Meta" if meta.is_none() => {
                    meta = Some(Meta::read(&tag)?);
                    tags.end()?;
                }
                "Payload" if golden.is_none() => golden = Some(payload(&mut tags)?),
                _ => return Err(RimFault::Identity),
            }
        }
        let Meta { kind, version, product } = meta.ok_or(RimFault::Identity)?;
        Ok(Self { kind, version, product, golden: golden.ok_or(RimFault::Identity)? })
    }
}

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const TCG_RIM: &str =
    "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/";
const HASHES: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
/// NVIDIA's private enterprise number.
const NVIDIA: &str = "5703";

struct Meta {
    kind: RimKind,
    version: String,
    product: String,
}

impl Meta {
    fn read(tag: &Tag<'_>) -> Result<Self, RimFault> {
        let vendor = tag.attribute(TCG_RIM, "FirmwareManufacturerId") == Some(NVIDIA);
        // The measurements are in this document, not in one that it points to.
        let direct = tag.attribute("", "PayloadType") == Some("direct");
        if !vendor || !direct {
            return Err(RimFault::Identity);
        }
        let product = tag.attribute("", "product").filter(|product| !product.is_empty()).ok_or(RimFault::Identity)?;
        let version = tag.attribute("", "colloquialVersion").ok_or(RimFault::Identity)?;
        let kind = match (tag.attribute("", "edition"), is_firmware_version(version), is_driver_version(version)) {
            (Some("GPU"), true, _) => RimKind::Vbios,
            (Some("GPU"), _, true) => RimKind::Driver,
            (Some("SWITCH"), true, _) => RimKind::Switch,
            (Some("GPU" | "SWITCH"), _, _) => return Err(RimFault::Version),
            _ => return Err(RimFault::Identity),
        };
        Ok(Self { kind, version: version.to_string(), product: product.to_string() })
    }
}

/// Five pairs of hexadecimal digits, as in `96.00.9F.00.01`. Nothing but this tells a VBIOS's manifest
/// from a driver's: name, product and edition are the same.
fn is_firmware_version(version: &str) -> bool {
    let pair = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    version.split('.').count() == 5 && version.split('.').all(pair)
}

/// Two to four decimal numbers, as in `550.90.07` and `590.12`: never five.
fn is_driver_version(version: &str) -> bool {
    let number = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    (2..=4).contains(&version.split('.').count()) && version.split('.').all(number)
}

/// Reads to the end of the payload.
fn payload(tags: &mut Tags<'_, '_>) -> Result<Vec<(u8, Vec<Register>)>, RimFault> {
    let mut all = BTreeMap::new();
    while let Some(tag) = tags.child()? {
        let (index, active, values) = resource(&tag).ok_or(RimFault::Measurement)?;
        tags.end()?;
        match all.entry(index) {
            Entry::Vacant(entry) => entry.insert(active.then_some(values)),
            Entry::Occupied(_) => return Err(RimFault::Index),
        };
    }
    let golden: Vec<_> = all.into_iter().filter_map(|(index, values)| values.map(|values| (index, values))).collect();
    // One that vouches for nothing would hold on every device.
    if golden.is_empty() { Err(RimFault::Measurement) } else { Ok(golden) }
}

/// Index of a measurement, whether it is compared, and the values that it may have. Zero is one like any other.
fn resource(tag: &Tag<'_>) -> Option<(u8, bool, Vec<Register>)> {
    let is = |name, value: &str| tag.attribute("", name) == Some(value);
    if !tag.name.is(SWID, "Resource") || !is("type", "Measurement") || !is("size", "48") {
        return None;
    }
    let active = match tag.attribute("", "active")? {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    let index = decimal(tag.attribute("", "index")?)?;
    let alternatives = decimal(tag.attribute("", "alternatives")?).filter(|count| *count > 0)?;
    let mut values = Vec::new();
    for number in 0..alternatives {
        let mut value = [0; 48];
        hex::decode_to_slice(tag.attribute(HASHES, &alloc::format!("Hash{number}"))?, &mut value).ok()?;
        values.push(Register(value));
    }
    // Each of those was found once: what else is in their namespace, or in none, was not meant here.
    let hashes = tag.attributes.iter().filter(|attribute| attribute.name.space == HASHES).count();
    let known = ["type", "index", "active", "alternatives", "name", "size"];
    let understood =
        |name: &super::xml::Name<'_>| name.space == HASHES || name.is("", name.local) && known.contains(&name.local);
    (hashes == values.len() && tag.attributes.iter().all(|attribute| understood(&attribute.name)))
        .then_some((index, active, values))
}

/// A number as one writes it: no sign, no leading zero.
fn decimal(text: &str) -> Option<u8> {
    let plain = text == "0" || !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Elements with nothing but white space between.
struct Tags<'r, 'a>(&'r mut Reader<'a>);

impl<'a> Tags<'_, 'a> {
    /// The next element inside the open one; `None` where that ends.
    fn child(&mut self) -> Result<Option<Tag<'a>>, RimFault> {
        loop {
            match self.0.next()? {
                Some(Event::Text(text)) if text.bytes().all(|byte| byte.is_ascii_whitespace()) => {}
                Some(Event::Start(tag)) => return Ok(Some(tag)),
                Some(Event::End(_)) => return Ok(None),
                _ => return Err(RimFault::Identity),
            }
        }
    }

    /// The end of the open element, which has no content.
    fn end(&mut self) -> Result<(), RimFault> {
        if self.child()?.is_some() { Err(RimFault::Identity) } else { Ok(()) }
    }
}
