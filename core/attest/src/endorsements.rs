//! Everything that comes beside evidence: vendor-signed facts, and what was found of them.

use crate::{
    amd::CheckedVek,
    anchors::Anchors,
    appraisal::Appraisal,
    intel::{CheckedCollateral, Collateral},
    nvidia::{CheckedRim, DeviceChain, Rim},
    reason::Reason,
    window::Window,
};
use alloc::vec::Vec;
use glacier_wire::UnixTime;

/// What was given beside evidence. Each platform takes its own and leaves the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endorsements {
    /// SGX, TDX: Intel's collateral.
    pub collateral: Option<Collateral>,
    /// SNP: certificate of the key that signed the report, VCEK or VLEK (DER).
    pub vek: Option<Vec<u8>>,
    /// SNP: AMD's authorities, beside those that are built in (DER, in any order, at most 16; roots
    /// count only if trusted).
    pub amd_authorities: Vec<Vec<u8>>,
    /// SNP: revocation lists of AMD's roots (DER, at most 16). Those of other roots than the report's
    /// say nothing about it.
    pub amd_crls: Vec<Vec<u8>>,
    /// NVIDIA: certificates of the device, leaf first (PEM).
    pub gpu_chain: Option<Vec<u8>>,
    /// NVIDIA: reference manifests (XML).
    pub rims: Vec<Vec<u8>>,
    /// NVIDIA: OCSP answers (DER).
    pub ocsp: Vec<Vec<u8>>,
}

impl From<Collateral> for Endorsements {
    fn from(collateral: Collateral) -> Self {
        Self { collateral: Some(collateral), ..Self::default() }
    }
}

impl CheckedEndorsements {
    /// First and last second at which all that was accepted is current.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        let all = Window { from: UnixTime(0), until: UnixTime(u64::MAX) };
        let collateral = self.collateral.iter().filter_map(Appraisal::value).map(CheckedCollateral::window);
        let rims = self.rims.iter().filter_map(Appraisal::value).map(|rim| rim.window);
        let vek = self.amd.iter().flatten().filter_map(CheckedVek::window);
        let device = self.gpu_chain.iter().filter_map(DeviceChain::window);
        let window = collateral.chain(rims).chain(vek).chain(device).fold(all, Window::and);
        (window.from, window.until)
    }

    /// Whether nothing that was given was refused.
    pub fn holds(&self) -> bool {
        self.collateral.iter().all(|appraisal| appraisal.value().is_some())
            && self.rims.iter().all(|appraisal| appraisal.value().is_some())
            && self.amd.iter().all(|vek| vek.as_ref().is_ok_and(|vek| vek.vek.is_ok()))
            && self.gpu_chain.iter().all(|chain| matches!(chain.device, Some(Ok(_))))
    }
}

impl Endorsements {
    /// Checks everything that can be checked without evidence, once for many pieces of it.
    pub fn check(&self, anchors: &Anchors, at: UnixTime) -> CheckedEndorsements {
        CheckedEndorsements {
            anchors: anchors.clone(),
            collateral: self.collateral.as_ref().map(|collateral| collateral.check(anchors, at)),
            rims: self.rims.iter().map(|xml| Rim::appraise(xml, anchors, at)).collect(),
            amd: self.vek.as_ref().map(|vek| CheckedVek::check(vek, self, anchors)),
            gpu_chain: self.gpu_chain.as_ref().map(|chain| DeviceChain::read(chain, anchors)),
            ocsp: self.ocsp.clone(),
        }
    }
}

/// Endorsements of which everything that does not depend on evidence was checked, each with what was
/// found: also those that were refused.
#[derive(Debug, Clone)]
pub struct CheckedEndorsements {
    pub(crate) anchors: Anchors,
    pub(crate) collateral: Option<Appraisal<CheckedCollateral>>,
    pub(crate) rims: Vec<Appraisal<CheckedRim>>,
    pub(crate) amd: Option<Result<CheckedVek, Reason>>,
    pub(crate) gpu_chain: Option<DeviceChain>,
    pub(crate) ocsp: Vec<Vec<u8>>,
}
