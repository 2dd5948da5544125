//! Endorsements: vendor-signed facts needed to judge evidence.

use super::endorsement::{DocumentError, QeIdentity, TcbInfo, Tee};
use crate::{
    anchors::{Anchors, Fingerprint},
    appraisal::Appraisal,
    check::{Check, CheckId, Steps, Stop, needs},
    reason::Reason,
    window::{Part, Window},
    x509::{Certificate, CertificateError, Crl, pem},
};
use alloc::{string::String, vec::Vec};
use glacier_wire::{PlatformKind, UnixTime};

/// Collateral as it came: bounded and of the right shape, not one signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: Vec<u8>,
    pck_crl: Vec<u8>,
    tcb_info_issuer_chain: String,
    /// Exactly the text that was signed.
    tcb_info: String,
    tcb_info_signature: [u8; 64],
    qe_identity_issuer_chain: String,
    /// Exactly the text that was signed.
    qe_identity: String,
    qe_identity_signature: [u8; 64],
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
        let mut steps = Steps::default();
        let root = steps.step_because(CheckId::TrustAnchor, self.root(anchors));
        let root_crl = steps.step(CheckId::RootCrl, self.root_crl(&root));
        let pck = steps.step(CheckId::PckCrl, self.pck_issuer(&root, &root_crl));
        let tcb_info = steps.step(CheckId::TcbInfo, self.tcb_info(&root, &root_crl));
        let qe_identity = steps.step(CheckId::QeIdentity, self.qe_identity(&root, &root_crl, &tcb_info));
        let checked = (|| {
            let (root, root_crl, pck) = (root?, root_crl?, pck?);
            let ((tcb_info_signer, tcb_info), (qe_identity_signer, qe_identity)) = (tcb_info?, qe_identity?);
            let windows = [
                (Part::Root, root.certificate.window),
                (Part::RootCrl, root_crl.window),
                (Part::PckCa, pck.certificate.window),
                (Part::PckCrl, pck.crl.window),
                (Part::TcbInfoSigner, tcb_info_signer.window),
                (Part::TcbInfo, tcb_info.window),
                (Part::QeIdentitySigner, qe_identity_signer.window),
                (Part::QeIdentity, qe_identity.window),
            ];
            Some(CheckedCollateral { root, root_crl, pck, tcb_info, qe_identity, windows, checks: Vec::new() })
        })();
        let current = match &checked {
            Some(checked) => checked.current(at).map(|reason| ((), reason)),
            // Whichever of them is missing has its own line above.
            None => Err(Stop::Skip(Reason::Needs(CheckId::QeIdentity))),
        };
        steps.step_because(CheckId::CollateralCurrent, current);
        let checks = steps.checks;
        Appraisal::new(checks.clone(), checked.map(|checked| CheckedCollateral { checks, ..checked }))
    }

    /// The one trusted root in which all three chains end.
    fn root(&self, anchors: &Anchors) -> Result<(Root, Reason), Stop> {
        let [_, root] = chain(Part::PckCa, &self.pck_crl_issuer_chain)?;
        let [_, second] = chain(Part::TcbInfoSigner, &self.tcb_info_issuer_chain)?;
        let [_, third] = chain(Part::QeIdentitySigner, &self.qe_identity_issuer_chain)?;
        if root != second || root != third {
            return Err(Reason::RootsDiffer.into());
        }
        Root::trusted(root, anchors)
    }

    fn root_crl(&self, root: &Option<Root>) -> Result<Crl, Stop> {
        let root = &needs(CheckId::TrustAnchor, root.as_ref())?.certificate;
        let crl = Crl::read(&self.root_ca_crl, root).map_err(refused(Part::RootCrl))?;
        not_revoked(Part::Root, root, &crl)?;
        Ok(crl)
    }

    fn pck_issuer(&self, root: &Option<Root>, root_crl: &Option<Crl>) -> Result<PckIssuer, Stop> {
        let root = &needs(CheckId::TrustAnchor, root.as_ref())?.certificate;
        let root_crl = needs(CheckId::RootCrl, root_crl.as_ref())?;
        let [der, _] = chain(Part::PckCa, &self.pck_crl_issuer_chain)?;
        let certificate = pck_ca(&der, root)?;
        not_revoked(Part::PckCa, &certificate, root_crl)?;
        let crl = Crl::read(&self.pck_crl, &certificate).map_err(refused(Part::PckCrl))?;
        Ok(PckIssuer { der, certificate, crl })
    }

    fn tcb_info(&self, root: &Option<Root>, root_crl: &Option<Crl>) -> Result<(Certificate, TcbInfo), Stop> {
        let signer = document_signer(Part::TcbInfoSigner, &self.tcb_info_issuer_chain, root, root_crl)?;
        let refused = |error| Reason::Document { part: Part::TcbInfo, error };
        if !signer.key.verifies(self.tcb_info.as_bytes(), &self.tcb_info_signature) {
            return Err(refused(DocumentError::Signature).into());
        }
        Ok((signer, TcbInfo::read(&self.tcb_info).map_err(refused)?))
    }

    /// Both documents have the same signer as a rule, which then is not verified a second time.
    fn qe_identity(
        &self,
        root: &Option<Root>,
        root_crl: &Option<Crl>,
        tcb_info: &Option<(Certificate, TcbInfo)>,
    ) -> Result<(Certificate, QeIdentity), Stop> {
        let signer = match tcb_info {
            Some((signer, _)) if self.qe_identity_issuer_chain == self.tcb_info_issuer_chain => signer.clone(),
            _ => document_signer(Part::QeIdentitySigner, &self.qe_identity_issuer_chain, root, root_crl)?,
        };
        let refused = |error| Reason::Document { part: Part::QeIdentity, error };
        if !signer.key.verifies(self.qe_identity.as_bytes(), &self.qe_identity_signature) {
            return Err(refused(DocumentError::Signature).into());
        }
        let identity = QeIdentity::read(&self.qe_identity).map_err(refused)?;
        // The quoting enclave of the one says nothing of the other.
        if tcb_info.as_ref().is_some_and(|(_, tcb_info)| tcb_info.tee() != identity.tee) {
            return Err(refused(DocumentError::Kind).into());
        }
        Ok((signer, identity))
    }
}

/// Collateral whose every signature holds: good for any number of quotes while the time stays in
/// its validity. Made by [`Collateral::check`] alone.
#[derive(Debug, Clone)]
pub struct CheckedCollateral {
    pub(crate) root: Root,
    pub(crate) root_crl: Crl,
    pub(crate) pck: PckIssuer,
    pub(crate) tcb_info: TcbInfo,
    pub(crate) qe_identity: QeIdentity,
    windows: [(Part, Window); 8],
    checks: Vec<Check>,
}

impl CheckedCollateral {
    /// First and last second at which every part is current.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        let window = self.window();
        (window.from, window.until)
    }

    /// The root that it chains to.
    pub fn anchor(&self) -> Fingerprint {
        self.root.fingerprint
    }

    /// The checks that made it, with that of the time made again for `at`.
    pub(crate) fn checks_at(&self, at: UnixTime) -> Vec<Check> {
        let before = self.checks.iter().filter(|check| check.id != CheckId::CollateralCurrent);
        let mut steps = Steps { checks: before.cloned().collect() };
        steps.step_because(CheckId::CollateralCurrent, self.current(at).map(|reason| ((), reason)));
        steps.checks
    }

    pub(crate) fn window(&self) -> Window {
        let all = Window { from: UnixTime(0), until: UnixTime(u64::MAX) };
        self.windows.iter().fold(all, |window, (_, part)| window.and(*part))
    }

    /// When the oldest monthly part was issued.
    pub(crate) fn issued(&self) -> UnixTime {
        self.tcb_info.window.from.min(self.qe_identity.window.from).min(self.pck.crl.window.from)
    }

    fn current(&self, at: UnixTime) -> Result<Reason, Stop> {
        self.windows.iter().try_for_each(|(part, window)| window.check(*part, at))?;
        Ok(Reason::CurrentUntil(self.window().until))
    }
}

/// A trusted root.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) der: Vec<u8>,
    pub(crate) certificate: Certificate,
    pub(crate) fingerprint: Fingerprint,
    simulated: bool,
}

impl Root {
    pub(crate) fn trusted(der: Vec<u8>, anchors: &Anchors) -> Result<(Self, Reason), Stop> {
        let fingerprint = Fingerprint::of(&der);
        // Intel's root vouches for SGX and TDX alike, so whichever is asked for says whether it is trusted.
        let platform = anchors.platform(&fingerprint, PlatformKind::Sgx).ok_or(Reason::UntrustedRoot(fingerprint))?;
        let certificate = Certificate::pinned_root(&der).map_err(refused(Part::Root))?;
        let simulated = platform == PlatformKind::Simulated;
        Ok((Self { der, certificate, fingerprint, simulated }, Reason::Anchored { root: fingerprint, platform }))
    }

    /// What a quote of `tee` under this root stands for.
    pub(crate) fn platform(&self, tee: Tee) -> PlatformKind {
        if self.simulated { PlatformKind::Simulated } else { tee.kind() }
    }
}

/// The authority that issues PCK certificates, and what it revoked.
#[derive(Debug, Clone)]
pub(crate) struct PckIssuer {
    pub(crate) der: Vec<u8>,
    pub(crate) certificate: Certificate,
    pub(crate) crl: Crl,
}

/// Reads the Platform or Processor CA under the root.
pub(crate) fn pck_ca(der: &[u8], root: &Certificate) -> Result<Certificate, Reason> {
    let certificate = Certificate::authority(der, root, 0).map_err(refused(Part::PckCa))?;
    if !certificate.is_named(&["Platform", "Processor"]) {
        return Err(refused(Part::PckCa)(CertificateError::Role));
    }
    Ok(certificate)
}

pub(crate) fn refused(part: Part) -> impl Fn(CertificateError) -> Reason {
    move |error| Reason::Certificate { part, error }
}

pub(crate) fn not_revoked(part: Part, certificate: &Certificate, crl: &Crl) -> Result<(), Reason> {
    if crl.revokes(certificate) { Err(Reason::Revoked(part)) } else { Ok(()) }
}

/// The signer of TCB info or QE identity: an end entity straight under the root.
fn document_signer(part: Part, text: &str, root: &Option<Root>, root_crl: &Option<Crl>) -> Result<Certificate, Stop> {
    let root = &needs(CheckId::TrustAnchor, root.as_ref())?.certificate;
    let root_crl = needs(CheckId::RootCrl, root_crl.as_ref())?;
    let [der, _] = chain(part, text)?;
    let signer = Certificate::leaf(&der, root).map_err(refused(part))?;
    if !signer.is_named(&["TCB Signing"]) {
        return Err(refused(part)(CertificateError::Role).into());
    }
    not_revoked(part, &signer, root_crl)?;
    Ok(signer)
}

fn chain(part: Part, text: &str) -> Result<[Vec<u8>; 2], Reason> {
    pem::certificates(text.as_bytes()).map_err(refused(part))
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
