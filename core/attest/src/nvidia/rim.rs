//! Reference integrity manifests: what firmware of a version measures to, signed by NVIDIA.

use super::{dsig::Signed, swid::Swid};
use crate::{
    anchors::{Anchors, Fingerprint},
    appraisal::Appraisal,
    check::{CheckId, Steps, Stop, needs},
    reason::Reason,
    registers::Register,
    window::{Part, Window},
    x509::Certificate,
};
use alloc::{string::String, vec::Vec};
use glacier_wire::{PlatformKind, UnixTime};
use sha2::{Digest as _, Sha384};

/// A manifest as it came: bounded and of the right shape, no signature checked. What it says of
/// itself serves to find it; to believe it, [`Rim::check`] it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rim {
    xml: Vec<u8>,
    signed: Signed,
    /// Read from the very bytes that the signature's digest has to be of.
    content: Swid,
}

/// Of which firmware a manifest speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RimKind {
    /// A GPU's driver.
    Driver,
    /// A GPU's VBIOS.
    Vbios,
    /// A switch's firmware.
    Switch,
}

impl RimKind {
    fn part(self) -> Part {
        match self {
            Self::Driver => Part::DriverRim,
            Self::Vbios | Self::Switch => Part::VbiosRim,
        }
    }
}

/// A manifest whose signature held. Made by [`Rim::check`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedRim {
    pub(crate) kind: RimKind,
    pub(crate) platform: PlatformKind,
    pub(crate) version: String,
    pub(crate) product: String,
    pub(crate) window: Window,
    /// Index and values of the active measurements, ascending by index.
    pub(crate) golden: Vec<(u8, Vec<Register>)>,
    /// DER, signer first, root last.
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Rim {
    /// Largest document that is read.
    pub const MAX_BYTES: usize = 256 << 10;

    /// Reads a manifest: a SWID tag in XML (UTF-8) that NVIDIA's format fills, with a signature of
    /// NVIDIA's form in it, at most [`Rim::MAX_BYTES`].
    ///
    /// # Errors
    /// What about it is not of that shape. No signature is checked here.
    pub fn parse(xml: &[u8]) -> Result<Self, RimFault> {
        if xml.len() > Self::MAX_BYTES {
            return Err(RimFault::Limits);
        }
        let signed = Signed::read(core::str::from_utf8(xml).map_err(|_| RimFault::Encoding)?)?;
        let content = Swid::read(&signed.document)?;
        Ok(Self { xml: xml.to_vec(), signed, content })
    }

    /// The document, as it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.xml
    }

    /// Of which firmware it says to speak.
    pub fn kind(&self) -> RimKind {
        self.content.kind
    }

    /// Of which version: as in `550.90.07` for drivers, `96.00.9F.00.01` for others.
    pub fn version(&self) -> &str {
        &self.content.version
    }

    /// For which chip, as in `GH100`.
    pub fn product(&self) -> &str {
        &self.content.product
    }

    /// Checks chain ([`CheckId::RimChain`]), XML signature ([`CheckId::RimSignature`]) and the dates of the
    /// chain ([`CheckId::RimCurrent`]) at `at`. Whether a certificate of it was revoked is not asked here.
    pub fn check(&self, anchors: &Anchors, at: UnixTime) -> Appraisal<CheckedRim> {
        let mut steps = Steps::default();
        let chain = steps.step_because(CheckId::RimChain, Chain::read(&self.signed.chain, anchors));
        steps.step(CheckId::RimSignature, self.signed_by(chain.as_ref()));
        let current = needs(CheckId::RimChain, chain.as_ref()).and_then(|chain| chain.current(at));
        let window = steps.step_because(CheckId::RimCurrent, current);

        let checked = chain.zip(window).map(|(chain, window)| CheckedRim {
            kind: self.content.kind,
            platform: chain.platform,
            version: self.content.version.clone(),
            product: self.content.product.clone(),
            window,
            golden: self.content.golden.clone(),
            chain: self.signed.chain.to_vec(),
        });
        Appraisal::new(steps.checks, checked)
    }

    /// The signer signed what the signature names (XML-DSig §3.2.2), and that is this document (§3.2.1).
    fn signed_by(&self, chain: Option<&Chain>) -> Result<(), Stop> {
        let signer = &needs(CheckId::RimChain, chain)?.signer;
        let part = self.content.kind.part();
        if !signer.key.verifies_p384(self.signed.info.as_bytes(), &self.signed.signature) {
            return Err(Reason::BadSignature(part).into());
        }
        if Sha384::digest(&self.signed.document).as_slice() != self.signed.digest {
            return Err(Reason::Rim { part, fault: RimFault::Digest }.into());
        }
        Ok(())
    }
}

impl CheckedRim {
    /// Of which firmware it speaks.
    pub fn kind(&self) -> RimKind {
        self.kind
    }

    /// [`PlatformKind::Nvidia`], or [`PlatformKind::Simulated`] under a root that is not NVIDIA's.
    pub fn platform(&self) -> PlatformKind {
        self.platform
    }

    /// Of which version: as in `550.90.07` for drivers, `96.00.9F.00.01` for others.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// For which chip, as in `GH100`.
    pub fn product(&self) -> &str {
        &self.product
    }

    /// First and last second at which every certificate of its chain is valid.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        (self.window.from, self.window.until)
    }

    /// Index (from 0, a report's block less one) and permitted values of each measurement that must be
    /// compared, ascending by index; at least one, each with at least one value.
    pub fn golden(&self) -> &[(u8, Vec<Register>)] {
        &self.golden
    }
}

/// The signer's chain: signer ← one chip's signers ← one chip ← root.
struct Chain {
    signer: Certificate,
    platform: PlatformKind,
    windows: [(Part, Window); 4],
}

impl Chain {
    fn read(chain: &[Vec<u8>; 4], anchors: &Anchors) -> Result<(Self, Reason), Stop> {
        let [signer, issuer, authority, root] = chain;
        let fingerprint = Fingerprint::of(root);
        let platform = anchors.manifest(&fingerprint).ok_or(Reason::UntrustedRoot(fingerprint))?;
        let wrong = |part| move |error| Reason::Certificate { part, error };
        let root = Certificate::pinned_root(root).map_err(wrong(Part::Root))?;
        let authority = Certificate::authority(authority, &root, 1).map_err(wrong(Part::RimSigner))?;
        let issuer = Certificate::authority(issuer, &authority, 0).map_err(wrong(Part::RimSigner))?;
        let signer = Certificate::leaf(signer, &issuer).map_err(wrong(Part::RimSigner))?;
        let windows = [
            (Part::RimSigner, signer.window),
            (Part::RimSigner, issuer.window),
            (Part::RimSigner, authority.window),
            (Part::Root, root.window),
        ];
        Ok((Self { signer, platform, windows }, Reason::Anchored { root: fingerprint, platform }))
    }

    fn current(&self, at: UnixTime) -> Result<(Window, Reason), Stop> {
        let mut all = self.signer.window;
        for (part, window) in &self.windows {
            window.check(*part, at)?;
            all = all.and(*window);
        }
        Ok((all, Reason::CurrentUntil(all.until)))
    }
}

/// Why a reference manifest is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RimFault {
    /// Larger or more deeply nested than any manifest, or a tag with more attributes.
    #[error("larger, deeper or wider than is read")]
    Limits,
    /// Not in UTF-8.
    #[error("not in UTF-8")]
    Encoding,
    /// Not well-formed XML: one root, every tag closed, nothing after it.
    #[error("not well-formed XML")]
    Xml,
    /// A document type declaration, a processing instruction or a CDATA section.
    #[error("has a document type, a processing instruction or a CDATA section")]
    Markup,
    /// An entity that is not one of the five of XML itself.
    #[error("has an entity")]
    Entity,
    /// An attribute twice on one tag.
    #[error("has an attribute twice on one tag")]
    Attribute,
    /// A prefix without a namespace, or a namespace that is not an absolute URI or is XML's own.
    #[error("has a prefix without namespace, or a namespace that is not read")]
    Namespace,
    /// Not exactly one signature, as a child of the root, of the form that NVIDIA's have.
    #[error("not exactly one signature of NVIDIA's form as a child of the root")]
    Signature,
    /// An algorithm or a transform that NVIDIA's signatures do not name, or not in that place.
    #[error("signature names an algorithm or a transform that is not used here")]
    Method,
    /// The signature is not over exactly the whole document.
    #[error("signature is not over the whole document and nothing else")]
    Reference,
    /// The signature does not come with exactly four certificates.
    #[error("signature does not come with exactly four certificates")]
    Certificates,
    /// The document is not the one that was signed.
    #[error("document is not the one that was signed")]
    Digest,
    /// Not a SWID tag of NVIDIA's firmware: root, one description, one payload.
    #[error("not a SWID tag of NVIDIA's firmware")]
    Identity,
    /// A version of another form than those of drivers and firmware.
    #[error("version is neither a driver's nor a firmware's")]
    Version,
    /// A measurement of another shape, or none that is active.
    #[error("a measurement is malformed, or none is active")]
    Measurement,
    /// An index twice.
    #[error("an index twice")]
    Index,
}
