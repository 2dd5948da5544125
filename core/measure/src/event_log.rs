//! The event log of a TDX guest (CCEL): what was measured into RTMR0 to RTMR3, one by one.
//!
//! Format: TCG PC Client Platform Firmware Profile, section "Event Logging", crypto-agile log; the
//! register index is that of the UEFI confidential computing protocol (0 MRTD, 1 RTMR0, … 4 RTMR3).
//! The log itself is nobody's word: it counts only when its replay equals registers of a verified
//! quote.

use crate::{error::LogFault, reader::Reader, register::Register};
use core::fmt;

/// A log that begins as it must. Iterate it for its events.
#[derive(Debug, Clone, Copy)]
pub struct EventLog<'a> {
    events: &'a [u8],
    sizes: Sizes,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    pub register: u32,
    /// What it says of itself.
    pub kind: EventKind,
    /// What extends the register.
    pub digest: Register,
    /// A description, or the measured bytes; see [`Event::explained`].
    pub data: &'a [u8],
}

/// TCG event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKind(pub u32);

/// The registers after the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// RTMR0 to RTMR3.
    pub rtmr: [Register; 4],
    /// How many events extended each.
    pub events: [u32; 4],
}

impl<'a> EventLog<'a> {
    /// Reads the identifier at the beginning.
    ///
    /// # Errors
    /// No crypto-agile log, or one without SHA-384.
    pub fn parse(log: &'a [u8]) -> Result<Self, LogFault> {
        let mut reader = Reader(log);
        let mut first = || {
            let (_register, kind) = (reader.u32()?, reader.u32()?);
            reader.take(SHA1)?;
            let length = usize::try_from(reader.u32()?).ok()?;
            Some((EventKind(kind), reader.take(length)?))
        };
        let (kind, data) = first().ok_or(LogFault::Truncated { index: 0 })?;
        if kind != EventKind::NO_ACTION || !data.starts_with(SIGNATURE) {
            return Err(LogFault::NotCryptoAgile);
        }
        Ok(Self { events: reader.0, sizes: Sizes::parse(data)? })
    }

    /// The events after the identifier. Ends after the first fault.
    pub fn events(&self) -> impl Iterator<Item = Result<Event<'a>, LogFault>> + use<'a> {
        let mut reader = Reader(self.events);
        let (sizes, mut index, mut over) = (self.sizes, 0_u32, false);
        core::iter::from_fn(move || {
            if over || is_padding(reader.0) {
                return None;
            }
            index = index.saturating_add(1);
            let event =
                if index > MAX_EVENTS { Err(LogFault::TooManyEvents) } else { event(&mut reader, sizes, index) };
            over = event.is_err();
            Some(event)
        })
    }

    /// The registers that this log leads to.
    ///
    /// # Errors
    /// Any fault in any event: half a log explains nothing.
    pub fn replay(&self) -> Result<Replay, LogFault> {
        let mut replay = Replay { rtmr: [Register::ZERO; 4], events: [0; 4] };
        for event in self.events() {
            let event = event?;
            let Some(index) = event.register.checked_sub(1).filter(|_| event.extends()) else { continue };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let (Some(rtmr), Some(count)) = (replay.rtmr.get_mut(index), replay.events.get_mut(index)) else {
                continue;
            };
            *rtmr = rtmr.extend(&event.digest);
            *count = count.saturating_add(1);
        }
        Ok(replay)
    }
}

impl Event<'_> {
    /// Whether a register was extended: all but EV_NO_ACTION.
    pub fn extends(&self) -> bool {
        self.kind != EventKind::NO_ACTION
    }

    /// Whether the data is what was measured: then it is as good as the digest. None for kinds whose
    /// data only describes what was measured.
    pub fn explained(&self) -> Option<bool> {
        let over_data = [EventKind::SEPARATOR, EventKind::EFI_ACTION, EventKind::EFI_VARIABLE_DRIVER_CONFIG];
        over_data.contains(&self.kind).then(|| Register::of(self.data) == self.digest)
    }
}

impl EventKind {
    /// Nothing was measured.
    pub const NO_ACTION: Self = Self(3);
    /// The end of a phase.
    pub const SEPARATOR: Self = Self(4);
    /// What the kernel's EFI stub measures.
    pub const EVENT_TAG: Self = Self(6);
    /// Tables and settings from the monitor.
    pub const PLATFORM_CONFIG_FLAGS: Self = Self(10);
    /// A Secure Boot variable.
    pub const EFI_VARIABLE_DRIVER_CONFIG: Self = Self(0x8000_0001);
    /// A boot variable.
    pub const EFI_VARIABLE_BOOT: Self = Self(0x8000_0002);
    /// A program started by the firmware, such as the kernel.
    pub const EFI_BOOT_SERVICES_APPLICATION: Self = Self(0x8000_0003);
    /// A station of the boot, in words.
    pub const EFI_ACTION: Self = Self(0x8000_0007);
    /// Firmware read from outside of MRTD.
    pub const EFI_PLATFORM_FIRMWARE_BLOB2: Self = Self(0x8000_000a);
    /// Tables handed over, such as the list of memory.
    pub const EFI_HANDOFF_TABLES2: Self = Self(0x8000_000b);
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NO_ACTION => "EV_NO_ACTION",
            Self::SEPARATOR => "EV_SEPARATOR",
            Self::EVENT_TAG => "EV_EVENT_TAG",
            Self::PLATFORM_CONFIG_FLAGS => "EV_PLATFORM_CONFIG_FLAGS",
            Self::EFI_VARIABLE_DRIVER_CONFIG => "EV_EFI_VARIABLE_DRIVER_CONFIG",
            Self::EFI_VARIABLE_BOOT => "EV_EFI_VARIABLE_BOOT",
            Self::EFI_BOOT_SERVICES_APPLICATION => "EV_EFI_BOOT_SERVICES_APPLICATION",
            Self::EFI_ACTION => "EV_EFI_ACTION",
            Self::EFI_PLATFORM_FIRMWARE_BLOB2 => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
            Self::EFI_HANDOFF_TABLES2 => "EV_EFI_HANDOFF_TABLES2",
            Self(other) => return write!(f, "{other:#010x}"),
        };
        f.write_str(name)
    }
}

/// Digest sizes of the algorithms that the log declares; no more than a log can have.
#[derive(Debug, Clone, Copy)]
struct Sizes([Option<(u16, u16)>; MAX_ALGORITHMS]);

impl Sizes {
    fn parse(identifier: &[u8]) -> Result<Self, LogFault> {
        let mut reader = Reader(identifier);
        let mut header = || {
            reader.take(SIGNATURE.len())?;
            // Platform class, version, errata, size of UINTN.
            reader.take(8)?;
            reader.u32()
        };
        let count = header().ok_or(LogFault::Truncated { index: 0 })?;
        let mut sizes = [None; MAX_ALGORITHMS];
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        for at in 0..count {
            let (Some(algorithm), Some(size)) = (reader.u16(), reader.u16()) else {
                return Err(LogFault::Truncated { index: 0 });
            };
            let twice = sizes.iter().flatten().any(|(other, _)| *other == algorithm);
            let slot = sizes.get_mut(at).filter(|_| !twice).ok_or(LogFault::Algorithms)?;
            *slot = Some((algorithm, size));
        }
        match Self(sizes).of(SHA384) {
            Some(48) => Ok(Self(sizes)),
            Some(_) => Err(LogFault::Algorithms),
            None => Err(LogFault::NoSha384),
        }
    }

    fn of(&self, algorithm: u16) -> Option<u16> {
        self.0.iter().flatten().find(|(declared, _)| *declared == algorithm).map(|(_, size)| *size)
    }
}

fn event<'a>(reader: &mut Reader<'a>, sizes: Sizes, index: u32) -> Result<Event<'a>, LogFault> {
    let truncated = LogFault::Truncated { index };
    let register = reader.u32().ok_or(truncated)?;
    let kind = EventKind(reader.u32().ok_or(truncated)?);
    let count = reader.u32().ok_or(truncated)?;
    if register > RTMR3 {
        return Err(LogFault::Register { index, register });
    }
    let mut sha384 = None;
    // Each digest has another algorithm, so there are no more than were declared.
    if usize::try_from(count).map_or(true, |count| count > MAX_ALGORITHMS) {
        return Err(LogFault::Digests { index });
    }
    for _ in 0..count {
        let algorithm = reader.u16().ok_or(truncated)?;
        let size = sizes.of(algorithm).ok_or(LogFault::Digests { index })?;
        let digest = reader.take(usize::from(size)).ok_or(truncated)?;
        if algorithm == SHA384 {
            let digest: [u8; 48] = digest.try_into().map_err(|_| LogFault::Digests { index })?;
            if sha384.replace(digest).is_some() {
                return Err(LogFault::Digests { index });
            }
        }
    }
    let length = reader.u32().and_then(|length| usize::try_from(length).ok()).ok_or(truncated)?;
    let data = reader.take(length).ok_or(truncated)?;
    let digest = sha384.ok_or(LogFault::Digests { index })?.into();
    Ok(Event { register, kind, digest, data })
}

/// The table in memory is larger than the log: the rest is all ones, or all zeros.
fn is_padding(rest: &[u8]) -> bool {
    let first = rest.first().copied().unwrap_or_default();
    matches!(first, 0 | 0xff) && rest.iter().all(|byte| *byte == first)
}

const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
const SHA1: usize = 20;
/// TPM_ALG_SHA384.
const SHA384: u16 = 0x000c;
const MAX_ALGORITHMS: usize = 8;
const MAX_EVENTS: u32 = 65_536;
const RTMR3: u32 = 4;
