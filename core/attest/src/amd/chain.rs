//! From AMD's root to the key that signs reports: what can be checked before any report is there.

use super::{
    fault::SnpFault,
    product::{KeyKind, Product},
};
use crate::{
    anchors::{Anchors, Fingerprint},
    endorsements::Endorsements,
    reason::Reason,
    window::{Part, Window},
    x509::{Certificate, CertificateError, Crl, PublicKey, claimed},
};
use alloc::vec::Vec;
use glacier_wire::PlatformKind;
use x509_cert::name::Name;

/// A key's certificate under a trusted root, with what was found of everything between. Dates are
/// left to whoever knows the time.
#[derive(Debug, Clone)]
pub(crate) struct CheckedVek {
    pub(crate) root: Root,
    pub(crate) vek: Result<Vek, Reason>,
}

/// A trusted root.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) certificate: Certificate,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) platform: PlatformKind,
}

/// A key that an authority of its product certified.
#[derive(Debug, Clone)]
pub(crate) struct Vek {
    pub(crate) certificate: Certificate,
    pub(crate) authority: Certificate,
    pub(crate) product: Product,
    pub(crate) kind: KeyKind,
    /// When the root's revocation lists, which name neither root nor authority, are current; `None`
    /// if there is no list.
    pub(crate) lists: Result<Option<Window>, Reason>,
}

/// AMD's authorities (root, for chips' keys, for providers' keys) of Milan, Genoa and Turin.
const BUILT_IN: [&[u8]; 9] = [
    include_bytes!("../../roots/amd/milan-ark.der"),
    include_bytes!("../../roots/amd/milan-ask.der"),
    include_bytes!("../../roots/amd/milan-asvk.der"),
    include_bytes!("../../roots/amd/genoa-ark.der"),
    include_bytes!("../../roots/amd/genoa-ask.der"),
    include_bytes!("../../roots/amd/genoa-asvk.der"),
    include_bytes!("../../roots/amd/turin-ark.der"),
    include_bytes!("../../roots/amd/turin-ask.der"),
    include_bytes!("../../roots/amd/turin-asvk.der"),
];

/// Authorities, and revocation lists, that are read of those given. AMD has nine and three.
const MAX_GIVEN: usize = 16;

impl CheckedVek {
    /// Finds, among the authorities given and those built in, the path from the key's certificate to
    /// a trusted root. Names lead the way; what counts is the signatures along it.
    ///
    /// Fails if no path ends in a trusted root. Of several paths the first that holds counts, and if
    /// none does the first that ends in a trusted root.
    pub(crate) fn check(vek: &[u8], given: &Endorsements, anchors: &Anchors) -> Result<Self, Reason> {
        if given.amd_authorities.len() > MAX_GIVEN || given.amd_crls.len() > MAX_GIVEN {
            return Err(Reason::Snp(SnpFault::TooMany(MAX_GIVEN)));
        }
        let (_, issuer) = claimed::certificate(vek).map_err(refused(Part::Vek))?;
        let candidates: Vec<_> =
            given.amd_authorities.iter().map(Vec::as_slice).chain(BUILT_IN).filter_map(Candidate::read).collect();
        let mut best = Err(Reason::Snp(SnpFault::NoAuthority));
        let mut paths = 0;
        for authority in candidates.iter().filter(|found| !found.is_root() && found.subject == issuer) {
            for root in candidates.iter().filter(|found| found.is_root() && found.subject == authority.issuer) {
                let found = Root::trusted(root.der, anchors).map(|root| {
                    let vek = Vek::read(vek, authority.der, &root, &given.amd_crls);
                    Self { root, vek }
                });
                match &found {
                    Ok(Self { vek: Ok(_), .. }) => return found,
                    Ok(_) if best.is_err() => best = found,
                    Err(_) if paths == 0 => best = found,
                    _ => {}
                }
                paths = 1;
            }
        }
        best
    }
}

impl CheckedVek {
    /// When all that was found is current.
    pub(crate) fn window(&self) -> Option<Window> {
        let vek = self.vek.as_ref().ok()?;
        let lists = vek.lists.as_ref().ok()?.unwrap_or(vek.certificate.window);
        Some(self.root.certificate.window.and(vek.authority.window).and(vek.certificate.window).and(lists))
    }
}

/// AMD's root of a product, if it is trusted.
pub(crate) fn built_in_root(product: &str, anchors: &Anchors) -> Result<Root, Reason> {
    let of_product = |der: &&[u8]| {
        let found = claimed::certificate(der).ok().filter(|(subject, issuer)| subject == issuer);
        let name =
            found.and_then(|(subject, _)| subject.common_name().ok().flatten().map(|name| name.value().into_owned()));
        name.as_deref().and_then(Product::of_root).is_some_and(|root| root.word() == product)
    };
    let der = BUILT_IN.into_iter().find(of_product).ok_or(Reason::Snp(SnpFault::NoAuthority))?;
    Root::trusted(der, anchors)
}

/// A certificate that may be on the path.
struct Candidate<'a> {
    der: &'a [u8],
    subject: Name,
    issuer: Name,
}

impl<'a> Candidate<'a> {
    /// What cannot be read is on no path.
    fn read(der: &'a [u8]) -> Option<Self> {
        let (subject, issuer) = claimed::certificate(der).ok()?;
        Some(Self { der, subject, issuer })
    }

    fn is_root(&self) -> bool {
        self.subject == self.issuer
    }
}

impl Root {
    fn trusted(der: &[u8], anchors: &Anchors) -> Result<Self, Reason> {
        let fingerprint = Fingerprint::of(der);
        let platform = anchors.platform(&fingerprint, PlatformKind::Snp).ok_or(Reason::UntrustedRoot(fingerprint))?;
        let certificate = Certificate::pinned_root(der).map_err(refused(Part::Root))?;
        Ok(Self { certificate, fingerprint, platform })
    }
}

impl Vek {
    fn read(der: &[u8], authority: &[u8], root: &Root, crls: &[Vec<u8>]) -> Result<Self, Reason> {
        let authority = Certificate::authority(authority, &root.certificate, 0).map_err(refused(Part::AmdAuthority))?;
        let (product, kind) = common_name(&authority)
            .and_then(|name| Product::of_authority(&name))
            .ok_or_else(|| refused(Part::AmdAuthority)(CertificateError::Role))?;
        if common_name(&root.certificate).and_then(|name| Product::of_root(&name)) != Some(product) {
            return Err(refused(Part::Root)(CertificateError::Role));
        }
        // AMD's have neither key usage nor basic constraints. The authority's path length keeps the key
        // from issuing, and nothing here asks a key of P-384 to.
        let certificate = Certificate::leaf_of_any_use(der, &authority).map_err(refused(Part::Vek))?;
        let name = match kind {
            KeyKind::Chip => "SEV-VCEK",
            KeyKind::Provider => "SEV-VLEK",
        };
        if common_name(&certificate).as_deref() != Some(name) {
            return Err(refused(Part::Vek)(CertificateError::Role));
        }
        if !matches!(certificate.key, PublicKey::P384(_)) {
            return Err(refused(Part::Vek)(CertificateError::Algorithm));
        }
        let lists = lists(crls, &root.certificate, &authority);
        Ok(Self { certificate, authority, product, kind, lists })
    }
}

/// Lists of this root name neither it nor the authority. All keys' certificates have the serial
/// number 0, so no list can name one of them; lists of other roots say nothing here.
fn lists(crls: &[Vec<u8>], root: &Certificate, authority: &Certificate) -> Result<Option<Window>, Reason> {
    let mut window: Option<Window> = None;
    for der in crls {
        if claimed::list_issuer(der).map_err(refused(Part::AmdCrl))? != root.subject {
            continue;
        }
        let crl = Crl::read(der, root).map_err(refused(Part::AmdCrl))?;
        for (part, certificate) in [(Part::Root, root), (Part::AmdAuthority, authority)] {
            if crl.revokes(certificate) {
                return Err(Reason::Revoked(part));
            }
        }
        window = Some(window.map_or(crl.window, |window| window.and(crl.window)));
    }
    Ok(window)
}

fn common_name(certificate: &Certificate) -> Option<alloc::string::String> {
    certificate.subject.common_name().ok().flatten().map(|name| name.value().into())
}

fn refused(part: Part) -> impl Fn(CertificateError) -> Reason {
    move |error| Reason::Certificate { part, error }
}
