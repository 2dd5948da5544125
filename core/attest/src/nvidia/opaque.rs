//! The opaque data of a report: typed fields. Split by lengths before the signature is checked; what
//! they mean is read after.

use super::{
    fault::GpuFault,
    gpu::{Architecture, GpuMode},
};
use crate::bytes::Bytes;
use alloc::{format, string::String, vec::Vec};

/// Fields by type, each at most once. Types that are not known are kept and passed over: new
/// firmware adds some, and under the signature none can be renamed.
#[derive(Debug, Clone)]
pub(crate) struct Opaque<'a> {
    fields: Vec<(u16, &'a [u8])>,
}

/// What the fields say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fields {
    /// `None` on a switch, and only there.
    pub(crate) driver: Option<String>,
    /// Pairs of upper-case digits, with dots.
    pub(crate) vbios: String,
    /// Whether the video decoder runs; `None` on a switch, which has none.
    pub(crate) video_decoder: Option<bool>,
    pub(crate) mode: Option<GpuMode>,
    /// As in [`Gpu::linked`](super::Gpu::linked).
    pub(crate) linked: Vec<[u8; 8]>,
}

const DRIVER: u16 = 3;
const VBIOS: u16 = 6;
const NVDEC0: u16 = 11;
const FIRMWARE_ID: u16 = 20;
const PROTECTED_PCIE: u16 = 21;
/// On a GPU the switch at the end of each link, on a switch its own PDI.
const PDI: u16 = 22;
const SWITCH_GPUS: u16 = 26;
const OPAQUE_VERSION: u16 = 34;
const CHIP: u16 = 35;
const FEATURE: u16 = 36;
/// More than any report has; they are few, so that looking one up stays cheap.
const MAX_FIELDS: usize = 64;
const ENABLED: u8 = 0xaa;
const DISABLED: u8 = 0x55;

impl<'a> Opaque<'a> {
    /// Splits a run of type (2 bytes, little-endian), length (2), value.
    pub(crate) fn read(data: &'a [u8]) -> Result<Self, GpuFault> {
        let mut bytes = Bytes(data);
        let mut fields = Vec::new();
        while !bytes.0.is_empty() {
            let (kind, value) = field(&mut bytes).filter(|_| fields.len() < MAX_FIELDS).ok_or(GpuFault::Opaque)?;
            if fields.iter().any(|(other, _)| *other == kind) {
                return Err(GpuFault::Repeated(kind));
            }
            fields.push((kind, value));
        }
        Ok(Self { fields })
    }

    /// SHA-384 of the first mutable firmware; old firmware does not say.
    pub(crate) fn firmware_id(&self) -> Result<Option<&'a [u8; 48]>, GpuFault> {
        self.fixed(FIRMWARE_ID)
    }

    /// What the fields say of a device of this family, chip and PDI. The caller has checked the signature.
    pub(crate) fn fields(&self, architecture: Architecture, chip: &str, pdi: &[u8; 8]) -> Result<Fields, GpuFault> {
        let version = self.number(OPAQUE_VERSION)?;
        if let Some(version) = version.filter(|version| *version > 1) {
            return Err(GpuFault::OpaqueVersion(version));
        }
        if self.text(CHIP)?.is_some_and(|named| named != chip) {
            return Err(GpuFault::OtherChip);
        }
        if architecture == Architecture::Switch { self.of_switch(pdi) } else { self.of_gpu(version) }
    }

    fn of_gpu(&self, version: Option<u16>) -> Result<Fields, GpuFault> {
        let [a, b, c, d, e, ..] = *self.fixed::<8>(VBIOS)?.ok_or(GpuFault::Missing(VBIOS))?;
        let linked = self.value(PDI).map_or(Ok(Vec::new()), |links| match links.as_chunks::<8>() {
            // Stands in the reverse order of the switches' own.
            (links, []) => Ok(links.iter().map(|[a, b, c, d, e, f, g, h]| [*h, *g, *f, *e, *d, *c, *b, *a]).collect()),
            _ => Err(GpuFault::Field(PDI)),
        })?;
        Ok(Fields {
            driver: Some(self.text(DRIVER)?.ok_or(GpuFault::Missing(DRIVER))?.into()),
            vbios: format!("{d:02X}.{c:02X}.{b:02X}.{a:02X}.{e:02X}"),
            video_decoder: Some(self.switch(NVDEC0)?.ok_or(GpuFault::Missing(NVDEC0))?),
            mode: self.mode(version)?,
            linked: devices(linked),
        })
    }

    fn of_switch(&self, pdi: &[u8; 8]) -> Result<Fields, GpuFault> {
        if self.value(DRIVER).is_some() {
            return Err(GpuFault::Field(DRIVER));
        }
        if self.fixed(PDI)?.is_some_and(|own| own != pdi) {
            return Err(GpuFault::OtherChip);
        }
        let linked = match self.fixed::<128>(SWITCH_GPUS)? {
            // Eight PDIs, then which port leads to which of them.
            Some(table) => table.as_chunks::<8>().0.iter().take(8).copied().collect(),
            None => Vec::new(),
        };
        let vbios = self.text(VBIOS)?.ok_or(GpuFault::Missing(VBIOS))?.to_ascii_uppercase();
        Ok(Fields { driver: None, vbios, video_decoder: None, mode: None, linked: devices(linked) })
    }

    fn mode(&self, version: Option<u16>) -> Result<Option<GpuMode>, GpuFault> {
        let protected = self.switch(PROTECTED_PCIE)?;
        let mode = match self.number(FEATURE)? {
            None => return Ok(protected.map(|on| if on { GpuMode::ProtectedPcie } else { GpuMode::Single })),
            // The field has a meaning from version 1 on.
            Some(_) if version != Some(1) => return Err(GpuFault::Field(FEATURE)),
            Some(0) => GpuMode::Single,
            Some(1) => GpuMode::Multi,
            Some(2) => GpuMode::ProtectedPcie,
            Some(_) => return Err(GpuFault::Field(FEATURE)),
        };
        if protected.is_some_and(|on| on != (mode == GpuMode::ProtectedPcie)) {
            return Err(GpuFault::Field(PROTECTED_PCIE));
        }
        Ok(Some(mode))
    }

    fn value(&self, kind: u16) -> Option<&'a [u8]> {
        self.fields.iter().find(|(found, _)| *found == kind).map(|(_, value)| *value)
    }

    fn fixed<const N: usize>(&self, kind: u16) -> Result<Option<&'a [u8; N]>, GpuFault> {
        self.value(kind).map(|value| value.try_into().map_err(|_| GpuFault::Field(kind))).transpose()
    }

    fn number(&self, kind: u16) -> Result<Option<u16>, GpuFault> {
        Ok(self.fixed(kind)?.map(|bytes| u16::from_le_bytes(*bytes)))
    }

    fn switch(&self, kind: u16) -> Result<Option<bool>, GpuFault> {
        match self.fixed(kind)? {
            None => Ok(None),
            Some([ENABLED]) => Ok(Some(true)),
            Some([DISABLED]) => Ok(Some(false)),
            Some(_) => Err(GpuFault::Field(kind)),
        }
    }

    /// Printable ASCII, padded with NULs or not.
    fn text(&self, kind: u16) -> Result<Option<&'a str>, GpuFault> {
        let Some(value) = self.value(kind) else { return Ok(None) };
        let end = value.iter().rposition(|byte| *byte != 0).and_then(|last| last.checked_add(1)).unwrap_or(0);
        let text = value.get(..end).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default();
        let plain = (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain { Ok(Some(text)) } else { Err(GpuFault::Field(kind)) }
    }
}

const MAX_TEXT: usize = 64;

fn field<'a>(bytes: &mut Bytes<'a>) -> Option<(u16, &'a [u8])> {
    let kind = bytes.u16()?;
    let length = bytes.u16()?;
    Some((kind, bytes.take(length.into())?))
}

/// Each once, without the values that say that no device is there.
fn devices(mut found: Vec<[u8; 8]>) -> Vec<[u8; 8]> {
    found.retain(|pdi| *pdi != [0; 8] && *pdi != [0xff; 8]);
    found.sort_unstable();
    found.dedup();
    found
}
