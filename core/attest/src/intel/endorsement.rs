//! The two signed documents: TCB info (version 3) and QE identity (version 2). Read only after
//! their signature held.

use super::{
    level::{Level, Masked},
    module::{LaterModule, Module, Modules},
    pck::Chip,
    report::Report,
    tcb::TcbStatus,
};
use crate::window::Window;
use alloc::vec::Vec;
use core::cmp::Reverse;
use glacier_wire::{PlatformKind, UnixTime};

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

/// What a document speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tee {
    /// SGX enclaves.
    Sgx,
    /// TDX domains.
    Tdx,
}

impl Tee {
    pub(crate) fn kind(self) -> PlatformKind {
        match self {
            Self::Sgx => PlatformKind::Sgx,
            Self::Tdx => PlatformKind::Tdx,
        }
    }
}

/// TCB info of one processor model.
#[derive(Debug, Clone)]
pub(crate) struct TcbInfo {
    pub(crate) window: Window,
    pub(crate) evaluation: u32,
    pub(crate) fmspc: [u8; 6],
    pub(crate) pce_id: [u8; 2],
    /// There for TDX, and for TDX alone.
    pub(crate) modules: Option<Modules>,
    /// Best first.
    levels: Vec<PlatformLevel>,
}

#[derive(Debug, Clone)]
struct PlatformLevel {
    components: [u8; 16],
    pce_svn: u16,
    /// All zero for SGX.
    tdx_components: [u8; 16],
    level: Level,
}

impl TcbInfo {
    /// Reads the text whose signature the caller has checked.
    pub(crate) fn read(text: &str) -> Result<Self, DocumentError> {
        let document: json::TcbInfo = serde_json::from_str(text).map_err(|_| DocumentError::Malformed)?;
        if document.version != 3 || document.tcb_type != 0 {
            return Err(DocumentError::Kind);
        }
        let tee = match document.id.as_str() {
            "SGX" => Tee::Sgx,
            "TDX" => Tee::Tdx,
            _ => return Err(DocumentError::Kind),
        };
        Self::convert(document, tee).ok_or(DocumentError::Malformed)
    }

    fn convert(document: json::TcbInfo, tee: Tee) -> Option<Self> {
        let levels = document.tcb_levels.into_iter().map(|level| {
            let tdx_components = match tee {
                Tee::Sgx => [0; 16],
                Tee::Tdx => level.tcb.tdxtcbcomponents?.map(|component| component.svn),
            };
            Some(PlatformLevel {
                components: level.tcb.sgxtcbcomponents.map(|component| component.svn),
                pce_svn: level.tcb.pcesvn,
                tdx_components,
                level: level.verdict.convert(PLATFORM_STATUSES)?,
            })
        });
        let mut levels: Vec<_> = levels.collect::<Option<_>>()?;
        levels.sort_by_key(|level| Reverse((level.components, level.pce_svn, level.tdx_components)));
        let modules = match tee {
            Tee::Sgx => None,
            Tee::Tdx => Some(Modules {
                first: document.tdx_module?.convert()?,
                later: document.tdx_module_identities.into_iter().map(later_module).collect::<Option<_>>()?,
            }),
        };
        Some(Self {
            window: document.dates.window()?,
            evaluation: document.tcb_evaluation_data_number,
            fmspc: bytes(&document.fmspc)?,
            pce_id: bytes(&document.pce_id)?,
            modules,
            levels,
        })
    }

    pub(crate) fn tee(&self) -> Tee {
        if self.modules.is_some() { Tee::Tdx } else { Tee::Sgx }
    }

    /// The best level that the chip, and for a domain its TEE_TCB_SVN, reaches in every component.
    /// The first two of TEE_TCB_SVN are the TDX module's, which from version 1 has levels of its own.
    pub(crate) fn level(&self, chip: &Chip, tee_tcb_svn: Option<&[u8; 16]>) -> Option<&Level> {
        let fits = |has: &[u8], asks: &[u8]| has.iter().zip(asks).all(|(has, asks)| has >= asks);
        let fits_tdx = |asks: &[u8; 16]| match (tee_tcb_svn, asks) {
            (None, _) => true,
            (Some(svn @ [_, 0, ..]), asks) => fits(svn, asks),
            (Some([_, _, svn @ ..]), [_, _, asks @ ..]) => fits(svn, asks),
        };
        let reached = |level: &&PlatformLevel| {
            chip.pce_svn >= level.pce_svn
                && fits(&chip.components, &level.components)
                && fits_tdx(&level.tdx_components)
        };
        self.levels.iter().find(reached).map(|found| &found.level)
    }
}

/// `TDX_01` and so on: the module's major version in hexadecimal.
fn later_module(identity: json::ModuleIdentity) -> Option<LaterModule> {
    let [version] = bytes(identity.id.strip_prefix("TDX_")?)?;
    let levels = identity.tcb_levels.into_iter();
    let levels = levels.map(|level| Some((level.tcb.isvsvn, level.verdict.convert(PART_STATUSES)?)));
    let mut levels: Vec<_> = levels.collect::<Option<_>>()?;
    levels.sort_by_key(|(svn, _)| Reverse(*svn));
    Some(LaterModule { version, module: identity.module.convert()?, levels })
}

/// What a platform's level can be; the rest follows from several.
const PLATFORM_STATUSES: &[TcbStatus] = &[
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::Revoked,
];
/// A quoting enclave or a module is current, behind or withdrawn; it has nothing to configure.
const PART_STATUSES: &[TcbStatus] = &[TcbStatus::UpToDate, TcbStatus::OutOfDate, TcbStatus::Revoked];

/// Identity of Intel's quoting enclave for SGX or for TDX.
#[derive(Debug, Clone)]
pub(crate) struct QeIdentity {
    pub(crate) tee: Tee,
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
        let tee = match (document.id.as_str(), document.version) {
            ("QE", 2) => Tee::Sgx,
            ("TD_QE", 2) => Tee::Tdx,
            _ => return Err(DocumentError::Kind),
        };
        Self::convert(document, tee).ok_or(DocumentError::Malformed)
    }

    fn convert(document: json::QeIdentity, tee: Tee) -> Option<Self> {
        let levels = document.tcb_levels.into_iter();
        let levels = levels.map(|level| Some((level.tcb.isvsvn, level.verdict.convert(PART_STATUSES)?)));
        let mut levels: Vec<_> = levels.collect::<Option<_>>()?;
        levels.sort_by_key(|(svn, _)| Reverse(*svn));
        Some(Self {
            tee,
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
    use super::{Level, Masked, Module, bytes, time};
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
        pub(super) tdx_module: Option<ModuleMembers>,
        #[serde(default)]
        pub(super) tdx_module_identities: Vec<ModuleIdentity>,
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
        pub(super) tcb_levels: Vec<PartLevel<u16>>,
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
        pub(super) tdxtcbcomponents: Option<[Component; 16]>,
        pub(super) pcesvn: u16,
    }

    #[derive(Deserialize)]
    pub(super) struct Component {
        pub(super) svn: u8,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct ModuleMembers {
        mrsigner: String,
        attributes: String,
        attributes_mask: String,
    }

    impl ModuleMembers {
        pub(super) fn convert(&self) -> Option<Module> {
            let attributes = Masked { value: bytes(&self.attributes)?, mask: bytes(&self.attributes_mask)? };
            Some(Module { signer: bytes(&self.mrsigner)?, attributes })
        }
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct ModuleIdentity {
        pub(super) id: String,
        #[serde(flatten)]
        pub(super) module: ModuleMembers,
        pub(super) tcb_levels: Vec<PartLevel<u8>>,
    }

    /// Of a quoting enclave, with numbers of two bytes, or of a module, with numbers of one.
    #[derive(Deserialize)]
    pub(super) struct PartLevel<Svn> {
        pub(super) tcb: PartTcb<Svn>,
        #[serde(flatten)]
        pub(super) verdict: Verdict,
    }

    #[derive(Deserialize)]
    pub(super) struct PartTcb<Svn> {
        pub(super) isvsvn: Svn,
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
        /// A status outside `known` has no meaning in the place where the level is.
        pub(super) fn convert(self, known: &[TcbStatus]) -> Option<Level> {
            let status = known.iter().copied().find(|status| *status == self.tcb_status)?;
            Some(Level { status, date: time(&self.tcb_date)?, advisories: self.advisory_ids })
        }
    }
}
