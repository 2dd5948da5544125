//! The two signed documents: TCB info (version 3) and QE identity (version 2). Read only after
//! their signature held.

use super::{pck::Chip, report::Report, tcb::TcbStatus};
use crate::window::Window;
use alloc::{string::String, vec::Vec};
use core::cmp::Reverse;
use glacier_wire::UnixTime;

/// Why a signed document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not signed by its issuer.
    #[error("not signed by its issuer")]
    Signature,
    /// Not a document of the expected shape.
    #[error("malformed")]
    Malformed,
    /// For another kind of enclave, or of another version.
    #[error("of another kind or version")]
    Kind,
}

/// Why a quoting enclave is not the vendor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotingEnclaveError {
    /// Signed by somebody else.
    #[error("signed by somebody else")]
    Signer,
    /// Another product of the same signer.
    #[error("another product of its signer")]
    Product,
    /// Attributes or MISCSELECT that the identity does not allow.
    #[error("attributes that its identity does not allow")]
    Attributes,
    /// A debug enclave.
    #[error("debug enclave")]
    Debug,
    /// Older than every level of the identity.
    #[error("older than every level of its identity")]
    NoLevel,
}

/// The level that fits, from either document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) status: TcbStatus,
    pub(crate) date: UnixTime,
    pub(crate) advisories: Vec<String>,
}

/// TCB info for SGX.
#[derive(Debug, Clone)]
pub(crate) struct TcbInfo {
    pub(crate) window: Window,
    pub(crate) evaluation: u32,
    pub(crate) fmspc: [u8; 6],
    pub(crate) pce_id: [u8; 2],
    /// Best first.
    levels: Vec<PlatformLevel>,
}

#[derive(Debug, Clone)]
struct PlatformLevel {
    components: [u8; 16],
    pce_svn: u16,
    level: Level,
}

impl TcbInfo {
    /// Reads the text whose signature the caller has checked.
    pub(crate) fn read(text: &str) -> Result<Self, DocumentError> {
        let document: json::TcbInfo = serde_json::from_str(text).map_err(|_| DocumentError::Malformed)?;
        if document.id != "SGX" || document.version != 3 || document.tcb_type != 0 {
            return Err(DocumentError::Kind);
        }
        Self::convert(document).ok_or(DocumentError::Malformed)
    }

    fn convert(document: json::TcbInfo) -> Option<Self> {
        let levels = document.tcb_levels.into_iter().map(|level| {
            let components = level.tcb.sgxtcbcomponents.map(|component| component.svn);
            Some(PlatformLevel { components, pce_svn: level.tcb.pcesvn, level: level.verdict.convert()? })
        });
        let mut levels: Vec<_> = levels.collect::<Option<_>>()?;
        levels.sort_by_key(|level| Reverse((level.components, level.pce_svn)));
        Some(Self {
            window: document.dates.window()?,
            evaluation: document.tcb_evaluation_data_number,
            fmspc: bytes(&document.fmspc)?,
            pce_id: bytes(&document.pce_id)?,
            levels,
        })
    }

    /// The best level that the chip reaches in every component.
    pub(crate) fn level(&self, chip: &Chip) -> Option<&Level> {
        let reached = |level: &&PlatformLevel| {
            chip.pce_svn >= level.pce_svn
                && chip.components.iter().zip(level.components).all(|(has, asks)| *has >= asks)
        };
        self.levels.iter().find(reached).map(|found| &found.level)
    }
}

/// Identity of Intel's quoting enclave for SGX.
#[derive(Debug, Clone)]
pub(crate) struct QeIdentity {
    pub(crate) window: Window,
    pub(crate) evaluation: u32,
    misc_select: Masked<4>,
    attributes: Masked<16>,
    signer: [u8; 32],
    product_id: u16,
    /// Best first.
    levels: Vec<(u16, Level)>,
}

impl QeIdentity {
    /// Reads the text whose signature the caller has checked.
    pub(crate) fn read(text: &str) -> Result<Self, DocumentError> {
        let document: json::QeIdentity = serde_json::from_str(text).map_err(|_| DocumentError::Malformed)?;
        if document.id != "QE" || document.version != 2 {
            return Err(DocumentError::Kind);
        }
        Self::convert(document).ok_or(DocumentError::Malformed)
    }

    fn convert(document: json::QeIdentity) -> Option<Self> {
        let levels = document.tcb_levels.into_iter().map(|level| Some((level.tcb.isvsvn, level.verdict.convert()?)));
        let mut levels: Vec<_> = levels.collect::<Option<_>>()?;
        levels.sort_by_key(|(svn, _)| Reverse(*svn));
        // A quoting enclave is current, behind or withdrawn; it has nothing to configure.
        let known = |status| matches!(status, TcbStatus::UpToDate | TcbStatus::OutOfDate | TcbStatus::Revoked);
        if !levels.iter().all(|(_, level): &(u16, Level)| known(level.status)) {
            return None;
        }
        Some(Self {
            window: document.dates.window()?,
            evaluation: document.tcb_evaluation_data_number,
            misc_select: Masked { value: bytes(&document.miscselect)?, mask: bytes(&document.miscselect_mask)? },
            attributes: Masked { value: bytes(&document.attributes)?, mask: bytes(&document.attributes_mask)? },
            signer: bytes(&document.mrsigner)?,
            product_id: document.isvprodid,
            levels,
        })
    }

    /// The best level that this quoting enclave reaches, if it is the one described.
    pub(crate) fn level(&self, report: &Report) -> Result<&Level, QuotingEnclaveError> {
        if report.signer.0 != self.signer {
            return Err(QuotingEnclaveError::Signer);
        }
        if report.product_id != self.product_id {
            return Err(QuotingEnclaveError::Product);
        }
        if !self.misc_select.fits(&report.misc_select) || !self.attributes.fits(&report.attributes) {
            return Err(QuotingEnclaveError::Attributes);
        }
        if report.debug() {
            return Err(QuotingEnclaveError::Debug);
        }
        let found = self.levels.iter().find(|(svn, _)| report.svn >= *svn);
        found.map(|(_, level)| level).ok_or(QuotingEnclaveError::NoLevel)
    }
}

/// A value of which only the masked bits count.
#[derive(Debug, Clone)]
struct Masked<const N: usize> {
    value: [u8; N],
    mask: [u8; N],
}

impl<const N: usize> Masked<N> {
    fn fits(&self, found: &[u8; N]) -> bool {
        self.value.iter().zip(self.mask).zip(found).all(|((value, mask), found)| found & mask == value & mask)
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out).ok()?;
    Some(out)
}

/// RFC 3339 with `Z` and whole seconds, as both documents use it.
fn time(text: &str) -> Option<UnixTime> {
    text.parse::<der::DateTime>().ok().map(|time| UnixTime(time.unix_duration().as_secs()))
}

/// Members as Intel spells them.
mod json {
    use super::{Level, time};
    use crate::{intel::TcbStatus, window::Window};
    use alloc::{string::String, vec::Vec};
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct TcbInfo {
        pub(super) id: String,
        pub(super) version: u32,
        pub(super) fmspc: String,
        pub(super) pce_id: String,
        pub(super) tcb_type: u32,
        pub(super) tcb_evaluation_data_number: u32,
        pub(super) tcb_levels: Vec<PlatformLevel>,
        #[serde(flatten)]
        pub(super) dates: Dates,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct QeIdentity {
        pub(super) id: String,
        pub(super) version: u32,
        pub(super) tcb_evaluation_data_number: u32,
        pub(super) miscselect: String,
        pub(super) miscselect_mask: String,
        pub(super) attributes: String,
        pub(super) attributes_mask: String,
        pub(super) mrsigner: String,
        pub(super) isvprodid: u16,
        pub(super) tcb_levels: Vec<EnclaveLevel>,
        #[serde(flatten)]
        pub(super) dates: Dates,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Dates {
        issue_date: String,
        next_update: String,
    }

    impl Dates {
        pub(super) fn window(&self) -> Option<Window> {
            Some(Window { from: time(&self.issue_date)?, until: time(&self.next_update)? })
        }
    }

    #[derive(Deserialize)]
    pub(super) struct PlatformLevel {
        pub(super) tcb: PlatformTcb,
        #[serde(flatten)]
        pub(super) verdict: Verdict,
    }

    #[derive(Deserialize)]
    pub(super) struct PlatformTcb {
        pub(super) sgxtcbcomponents: [Component; 16],
        pub(super) pcesvn: u16,
    }

    #[derive(Deserialize)]
    pub(super) struct Component {
        pub(super) svn: u8,
    }

    #[derive(Deserialize)]
    pub(super) struct EnclaveLevel {
        pub(super) tcb: EnclaveTcb,
        #[serde(flatten)]
        pub(super) verdict: Verdict,
    }

    #[derive(Deserialize)]
    pub(super) struct EnclaveTcb {
        pub(super) isvsvn: u16,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Verdict {
        tcb_date: String,
        tcb_status: TcbStatus,
        #[serde(default, rename = "advisoryIDs")]
        advisory_ids: Vec<String>,
    }

    impl Verdict {
        pub(super) fn convert(self) -> Option<Level> {
            Some(Level { status: self.tcb_status, date: time(&self.tcb_date)?, advisories: self.advisory_ids })
        }
    }
}
