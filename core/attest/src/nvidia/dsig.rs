//! XML signatures, in the one form that manifests have: enveloped in the root, over the whole
//! document, ECDSA over P-384 with SHA-384, with the signer's certificates.

use super::{
    RimFault,
    c14n::{Canonical, subset},
    xml::{Event, Reader, Tag},
};
use crate::x509::pem::base64;
use alloc::{string::String, vec::Vec};

/// A document, and the signature that was in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    /// Canonical form of all but the signature.
    pub(super) document: String,
    /// SHA-384 that the signature names for that.
    pub(super) digest: [u8; 48],
    /// Canonical form of what the signature is over.
    pub(super) info: String,
    /// r ‖ s, big-endian.
    pub(super) signature: [u8; 96],
    /// DER, signer first, root last.
    pub(super) chain: [Vec<u8>; 4],
}

impl Signed {
    pub(super) fn read(text: &str) -> Result<Self, RimFault> {
        let mut reader = Reader::new(text)?;
        let mut canonical = Canonical::default();
        let mut signature = None;
        while let Some(event) = reader.next()? {
            match &event {
                Event::Start(tag) if tag.name.space == DSIG => {
                    let alone = reader.depth() == 2 && signature.is_none();
                    if !alone || !tag.name.is(DSIG, "Signature") {
                        return Err(RimFault::Signature);
                    }
                    signature = Some(Signature::read(tag, Elements(&mut reader))?);
                }
                event => canonical.add(event),
            }
        }
        let Signature { info, digest, value, chain } = signature.ok_or(RimFault::Signature)?;
        Ok(Self { document: canonical.into_text(), digest, info, signature: value, chain })
    }
}

struct Signature {
    info: String,
    digest: [u8; 48],
    value: [u8; 96],
    chain: [Vec<u8>; 4],
}

impl Signature {
    /// Reads to the end of the element, whose start tag was read last.
    fn read(tag: &Tag<'_>, mut elements: Elements<'_, '_>) -> Result<Self, RimFault> {
        if !tag.attributes.is_empty() {
            return Err(RimFault::Signature);
        }
        let start = elements.bare("SignedInfo")?;
        let info = subset(&start, elements.0)?;
        elements.bare("SignatureValue")?;
        let value = base64_of(&elements.text()?).ok_or(RimFault::Signature)?;
        elements.bare("KeyInfo")?;
        elements.bare("X509Data")?;
        let mut chain = [const { Vec::new() }; 4];
        for certificate in &mut chain {
            elements.bare("X509Certificate").map_err(|_| RimFault::Certificates)?;
            *certificate = base64(elements.text()?.as_bytes()).ok_or(RimFault::Certificates)?;
        }
        elements.end().map_err(|_| RimFault::Certificates)?;
        elements.end()?;
        elements.end()?;
        Ok(Self { digest: digest(&info)?, info, value, chain })
    }
}

/// The digest that SignedInfo names, which must be that of the whole document (XML-DSig §4.3.3.2,
/// URI `""`) without the signature. Read from the bytes that are signed.
fn digest(info: &str) -> Result<[u8; 48], RimFault> {
    let mut reader = Reader::new(info)?;
    let mut elements = Elements(&mut reader);
    elements.bare("SignedInfo")?;
    elements.method("CanonicalizationMethod", C14N_11)?;
    elements.method("SignatureMethod", ECDSA_SHA384)?;
    let reference = elements.start("Reference").map_err(|_| RimFault::Reference)?;
    if !matches!(&*reference.attributes, [only] if only.name.is("", "URI") && only.value.is_empty()) {
        return Err(RimFault::Reference);
    }
    elements.bare("Transforms").map_err(|_| RimFault::Reference)?;
    elements.method("Transform", ENVELOPED)?;
    elements.method("Transform", C14N_11)?;
    elements.end().map_err(|_| RimFault::Reference)?;
    elements.method("DigestMethod", SHA384)?;
    elements.bare("DigestValue")?;
    let digest = base64_of(&elements.text()?).ok_or(RimFault::Reference)?;
    elements.end().map_err(|_| RimFault::Reference)?;
    elements.end().map_err(|_| RimFault::Reference)?;
    Ok(digest)
}

const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const C14N_11: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
const SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";

fn base64_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    base64(text.as_bytes())?.try_into().ok()
}

/// Elements of the signature's namespace in a fixed order, with nothing but white space between.
struct Elements<'r, 'a>(&'r mut Reader<'a>);

impl<'a> Elements<'_, 'a> {
    fn start(&mut self, local: &str) -> Result<Tag<'a>, RimFault> {
        match self.markup()? {
            Event::Start(tag) if tag.name.is(DSIG, local) => Ok(tag),
            _ => Err(RimFault::Signature),
        }
    }

    /// An element without attributes.
    fn bare(&mut self, local: &str) -> Result<Tag<'a>, RimFault> {
        self.start(local).and_then(|tag| if tag.attributes.is_empty() { Ok(tag) } else { Err(RimFault::Signature) })
    }

    /// An empty element that names this algorithm and has no parameters.
    fn method(&mut self, local: &str, algorithm: &str) -> Result<(), RimFault> {
        let tag = self.start(local).map_err(|_| RimFault::Method)?;
        let named = matches!(&*tag.attributes, [only] if only.name.is("", "Algorithm") && only.value == algorithm);
        if !named {
            return Err(RimFault::Method);
        }
        self.end().map_err(|_| RimFault::Method)
    }

    fn end(&mut self) -> Result<(), RimFault> {
        match self.markup()? {
            Event::End(_) => Ok(()),
            _ => Err(RimFault::Signature),
        }
    }

    /// Text up to the end of the element.
    fn text(&mut self) -> Result<String, RimFault> {
        let mut text = String::new();
        loop {
            match self.0.next()? {
                Some(Event::Text(part)) => text.push_str(&part),
                Some(Event::End(_)) => return Ok(text),
                _ => return Err(RimFault::Signature),
            }
        }
    }

    fn markup(&mut self) -> Result<Event<'a>, RimFault> {
        loop {
            match self.0.next()? {
                Some(Event::Text(text)) if text.bytes().all(|byte| byte.is_ascii_whitespace()) => {}
                Some(event @ (Event::Start(_) | Event::End(_))) => return Ok(event),
                _ => return Err(RimFault::Signature),
            }
        }
    }
}
