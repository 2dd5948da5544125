//! The TDX module: the vendor's code between the host and its domains, which the TCB info names by
//! its signer, its attributes and its levels.

use super::{
    level::{Level, Masked},
    td_report::TdReport,
};
use alloc::vec::Vec;

/// Why a TDX module is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TdModuleError {
    /// Signed by somebody else than Intel.
    #[error("signed by somebody else")]
    Signer,
    /// Attributes that its identity does not allow.
    #[error("attributes that its identity does not allow")]
    Attributes,
    /// A major version of which the TCB info says nothing.
    #[error("major version {0}, of which the TCB info says nothing")]
    Version(u8),
    /// Older than every level of its identity.
    #[error("older than every level of its identity")]
    NoLevel,
}

/// The modules that the TCB info names.
#[derive(Debug, Clone)]
pub(crate) struct Modules {
    /// Of major version 0, which has no levels of its own: the platform's cover it.
    pub(crate) first: Module,
    pub(crate) later: Vec<LaterModule>,
}

/// What makes a module the vendor's.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    pub(crate) signer: [u8; 48],
    pub(crate) attributes: Masked<8>,
}

/// A module of a major version from 1.
#[derive(Debug, Clone)]
pub(crate) struct LaterModule {
    pub(crate) version: u8,
    pub(crate) module: Module,
    /// Best first.
    pub(crate) levels: Vec<(u8, Level)>,
}

impl Modules {
    /// Whether the module that launched the domain is the vendor's.
    pub(crate) fn vouch_for(&self, report: &TdReport) -> Result<(), TdModuleError> {
        let module = match self.later(&report.registers.tee_tcb_svn)? {
            Some(later) => &later.module,
            None => &self.first,
        };
        if report.registers.mrsignerseam.0 != module.signer {
            return Err(TdModuleError::Signer);
        }
        if !module.attributes.fits_exactly(&report.seam_attributes) {
            return Err(TdModuleError::Attributes);
        }
        Ok(())
    }

    /// The best level that a module of this TEE_TCB_SVN reaches; `None` for a module of version 0.
    pub(crate) fn level(&self, svn: &[u8; 16]) -> Result<Option<&Level>, TdModuleError> {
        let Some(later) = self.later(svn)? else { return Ok(None) };
        let [found, ..] = svn;
        let level = later.levels.iter().find(|(asks, _)| found >= asks);
        level.map(|(_, level)| Some(level)).ok_or(TdModuleError::NoLevel)
    }

    fn later(&self, svn: &[u8; 16]) -> Result<Option<&LaterModule>, TdModuleError> {
        let [_, version, ..] = svn;
        if *version == 0 {
            return Ok(None);
        }
        let found = self.later.iter().find(|later| later.version == *version);
        found.map(Some).ok_or(TdModuleError::Version(*version))
    }
}
