//! Endorsements: vendor-signed facts needed to judge evidence.

use crate::{
    anchors::Anchors,
    appraisal::Appraisal,
    check::{Check, CheckId, Reason},
};
use alloc::{string::String, vec::Vec};
use glacier_wire::UnixTime;

/// Collateral as it came: bounded and of the right shape, not one signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    pub(crate) pck_crl_issuer_chain: String,
    pub(crate) root_ca_crl: Vec<u8>,
    pub(crate) pck_crl: Vec<u8>,
    pub(crate) tcb_info_issuer_chain: String,
    /// Exactly the text that was signed.
    pub(crate) tcb_info: String,
    pub(crate) tcb_info_signature: [u8; 64],
    pub(crate) qe_identity_issuer_chain: String,
    /// Exactly the text that was signed.
    pub(crate) qe_identity: String,
    pub(crate) qe_identity_signature: [u8; 64],
}

/// Why bytes are not collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Larger than is read.
    #[error("{found} bytes of collateral, at most {max} are read")]
    TooLarge {
        /// Bytes that came.
        found: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// Not a JSON object with the members of `QuoteCollateralV3`.
    #[error("collateral is not one JSON object with the members of QuoteCollateralV3")]
    Shape,
    /// A member is not hexadecimal of the right length.
    #[error("collateral member {0} is not hexadecimal of its length")]
    Hex(&'static str),
}

impl Collateral {
    /// Largest text that is read. Genuine collateral is below 64 KiB.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Reads one JSON object in the field names of DCAP's `QuoteCollateralV3`: PEM chains, CRLs and
    /// signatures in hexadecimal, TCB info and QE identity as the exact text that was signed.
    pub fn parse(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > Self::MAX_BYTES {
            return Err(CollateralError::TooLarge { found: json.len(), max: Self::MAX_BYTES });
        }
        let document: Document = serde_json::from_slice(json).map_err(|_| CollateralError::Shape)?;
        Ok(Self {
            root_ca_crl: hex::decode(&document.root_ca_crl).map_err(|_| CollateralError::Hex("root_ca_crl"))?,
            pck_crl: hex::decode(&document.pck_crl).map_err(|_| CollateralError::Hex("pck_crl"))?,
            tcb_info_signature: signature(&document.tcb_info_signature, "tcb_info_signature")?,
            qe_identity_signature: signature(&document.qe_identity_signature, "qe_identity_signature")?,
            pck_crl_issuer_chain: document.pck_crl_issuer_chain,
            tcb_info_issuer_chain: document.tcb_info_issuer_chain,
            tcb_info: document.tcb_info,
            qe_identity_issuer_chain: document.qe_identity_issuer_chain,
            qe_identity: document.qe_identity,
        })
    }

    /// Checks everything that can be checked without evidence: chains, revocation lists, signatures,
    /// validity at the time `at`.
    pub fn check(&self, anchors: &Anchors, at: UnixTime) -> Appraisal<CheckedCollateral> {
        let _ = (anchors, at);
        let checks = CheckId::of_collateral().map(|id| Check::skip(id, Reason::NotEvaluated)).collect();
        Appraisal::new(checks, None)
    }
}

/// Collateral whose every signature holds: good for any number of quotes while the time stays in
/// its validity. Made by [`Collateral::check`] alone.
#[derive(Debug, Clone)]
pub struct CheckedCollateral {
    pub(crate) valid_from: UnixTime,
    pub(crate) valid_until: UnixTime,
}

impl CheckedCollateral {
    /// First and last second at which every part is current.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        (self.valid_from, self.valid_until)
    }
}

/// The text form. Members of later schema versions are ignored: what counts is signed, and every
/// signed part is read strictly.
#[derive(serde::Deserialize)]
struct Document {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

fn signature(text: &str, member: &'static str) -> Result<[u8; 64], CollateralError> {
    let mut out = [0; 64];
    hex::decode_to_slice(text, &mut out).map_err(|_| CollateralError::Hex(member))?;
    Ok(out)
}
