//! X.509 certificates of the vendors' profiles: version 3, chains whose length each vendor fixes. A
//! signature is checked before anything that it covers is parsed.

use super::signature::{Algorithm, PublicKey};
use crate::window::Window;
use alloc::vec::Vec;
use der::{
    Decode, Reader, SliceReader,
    asn1::{BitStringRef, ObjectIdentifier},
    referenced::OwnedToRef,
};
use glacier_wire::UnixTime;
use x509_cert::{
    TbsCertificate, Version,
    ext::{
        Extension,
        pkix::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier},
    },
    name::Name,
    spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef, SubjectPublicKeyInfoOwned},
    time::Time,
};

/// Why a certificate or a chain is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not a PEM chain of the expected number of certificates.
    #[error("not a PEM chain of the expected length")]
    Pem,
    /// Not DER of the expected shape.
    #[error("malformed")]
    Malformed,
    /// A signature or key algorithm that no vendor uses, or two that differ.
    #[error("an algorithm that is not used here, or two that differ")]
    Algorithm,
    /// Not signed by its issuer.
    #[error("not signed by its issuer")]
    Signature,
    /// Names another issuer than the one that signed it.
    #[error("names another issuer")]
    Issuer,
    /// Not a certificate authority, or not one that may issue this.
    #[error("issuer is no certificate authority for this")]
    NotAuthority,
    /// A certificate authority where an end entity belongs.
    #[error("certificate authority where an end entity belongs")]
    NotLeaf,
    /// The key is not for this use.
    #[error("key is not for this use")]
    KeyUsage,
    /// An extension twice, or a critical one that is not understood.
    #[error("an extension twice, or a critical one that is not understood")]
    Extension,
    /// The wrong certificate for this place in the chain, by its name.
    #[error("wrong certificate for this place in the chain")]
    Role,
    /// No Intel SGX extension, or a malformed one.
    #[error("Intel SGX extension missing or malformed")]
    SgxExtension,
}

impl From<der::Error> for CertificateError {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

/// A certificate whose signature held, or a root that was pinned.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) subject: Name,
    pub(crate) serial: Vec<u8>,
    pub(crate) window: Window,
    pub(crate) key: PublicKey,
    issuer: Name,
    constraints: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    key_id: Option<Vec<u8>>,
    issuer_key_id: Option<Vec<u8>>,
    extensions: Vec<Extension>,
}

impl Certificate {
    /// Reads a root certificate. The caller has pinned it by its fingerprint, so nothing vouches
    /// for it but that.
    pub(crate) fn pinned_root(der: &[u8]) -> Result<Self, CertificateError> {
        let root = Self::read(&Signed::read(der)?, &KNOWN)?;
        if root.subject != root.issuer {
            return Err(CertificateError::Issuer);
        }
        root.may_issue(1)?;
        Ok(root)
    }

    /// Reads a certificate that nothing vouches for: to look at, never to rely on.
    pub(crate) fn unverified(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read(&Signed::read(der)?, &[])
    }

    /// Reads a certificate authority under `issuer`, with `below` authorities between it and the
    /// end entity.
    pub(crate) fn authority(der: &[u8], issuer: &Self, below: u8) -> Result<Self, CertificateError> {
        let authority = Self::issued(der, issuer, below.saturating_add(1), &KNOWN)?;
        authority.may_issue(below)?;
        Ok(authority)
    }

    /// Reads an end entity, for signatures, under `issuer`.
    pub(crate) fn leaf(der: &[u8], issuer: &Self) -> Result<Self, CertificateError> {
        Self::leaf_of_any_use(der, issuer)?.for_signatures()
    }

    /// Reads the certificate of an OCSP responder that `issuer` delegated (RFC 6960 §4.2.2.2).
    pub(crate) fn responder(der: &[u8], issuer: &Self) -> Result<Self, CertificateError> {
        let [constraints, usage] = KNOWN;
        let responder = Self::issued(der, issuer, 0, &[constraints, usage, EXTENDED_KEY_USAGE])?;
        let responder = responder.end_entity()?.for_signatures()?;
        let purposes = responder.extension(EXTENDED_KEY_USAGE).map(ExtendedKeyUsage::from_der).transpose()?;
        if !purposes.is_some_and(|purposes| purposes.0.contains(&OCSP_SIGNING)) {
            return Err(CertificateError::KeyUsage);
        }
        Ok(responder)
    }

    /// Reads a certificate of a chain that was checked before, in another step.
    pub(crate) fn checked_before(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read(&Signed::read(der)?, &[BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE])
    }

    /// Reads an end entity under `issuer` whose use no extension says. The caller says why that is in order.
    pub(crate) fn leaf_of_any_use(der: &[u8], issuer: &Self) -> Result<Self, CertificateError> {
        Self::issued(der, issuer, 0, &KNOWN)?.end_entity()
    }

    /// Whether the subject's common name has one of these words.
    pub(crate) fn is_named(&self, words: &[&str]) -> bool {
        match self.subject.common_name() {
            Ok(Some(name)) => words.iter().any(|word| name.value().contains(word)),
            _ => false,
        }
    }

    /// Whether `authority_key_id` (of something this key signed) is this certificate's, where both are present.
    pub(crate) fn has_key_id(&self, authority_key_id: Option<&[u8]>) -> bool {
        match (self.key_id.as_deref(), authority_key_id) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        }
    }

    /// Content of an extension.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        self.extensions.iter().find(|extension| extension.extn_id == oid).map(|found| found.extn_value.as_bytes())
    }

    /// Whether the key may sign revocation lists.
    pub(crate) fn signs_lists(&self) -> bool {
        self.usage.as_ref().is_some_and(KeyUsage::crl_sign)
    }

    fn end_entity(self) -> Result<Self, CertificateError> {
        if self.constraints.as_ref().is_some_and(|constraints| constraints.ca) {
            return Err(CertificateError::NotLeaf);
        }
        Ok(self)
    }

    fn for_signatures(self) -> Result<Self, CertificateError> {
        let signs = |usage: &KeyUsage| usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign();
        if !self.usage.as_ref().is_some_and(signs) {
            return Err(CertificateError::KeyUsage);
        }
        Ok(self)
    }

    /// Reads a certificate that `issuer` signed. Its critical extensions have to be among `known`,
    /// which the caller looks at.
    fn issued(der: &[u8], issuer: &Self, below: u8, known: &[ObjectIdentifier]) -> Result<Self, CertificateError> {
        issuer.may_issue(below)?;
        let signed = Signed::read(der)?;
        if !signed.is_by(&issuer.key) {
            return Err(CertificateError::Signature);
        }
        let certificate = Self::read(&signed, known)?;
        if certificate.issuer != issuer.subject || !issuer.has_key_id(certificate.issuer_key_id.as_deref()) {
            return Err(CertificateError::Issuer);
        }
        Ok(certificate)
    }

    /// RFC 5280 §6.1.4 (k) to (n), for chains whose depth is fixed: `below` authorities follow.
    fn may_issue(&self, below: u8) -> Result<(), CertificateError> {
        let constraints = self.constraints.as_ref().filter(|constraints| constraints.ca);
        if constraints.is_none_or(|constraints| constraints.path_len_constraint.is_some_and(|length| length < below)) {
            return Err(CertificateError::NotAuthority);
        }
        if !self.usage.as_ref().is_some_and(KeyUsage::key_cert_sign) {
            return Err(CertificateError::KeyUsage);
        }
        Ok(())
    }

    fn read(signed: &Signed<'_>, known: &[ObjectIdentifier]) -> Result<Self, CertificateError> {
        let tbs = TbsCertificate::from_der(signed.content)?;
        // RFC 5280 §4.1.2.3: the algorithm is said twice, once outside the signature.
        if !signed.is_said_to_be(tbs.signature()) {
            return Err(CertificateError::Algorithm);
        }
        if tbs.version() != Version::V3 || tbs.issuer_unique_id().is_some() || tbs.subject_unique_id().is_some() {
            return Err(CertificateError::Malformed);
        }
        let extensions = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
        understood(extensions, known)?;
        let value =
            |oid| extensions.iter().find(|extension| extension.extn_id == oid).map(|found| found.extn_value.as_bytes());
        Ok(Self {
            subject: tbs.subject().clone(),
            issuer: tbs.issuer().clone(),
            serial: tbs.serial_number().as_bytes().to_vec(),
            window: Window { from: unix(tbs.validity().not_before), until: unix(tbs.validity().not_after) },
            key: key(tbs.subject_public_key_info())?,
            constraints: value(BASIC_CONSTRAINTS).map(BasicConstraints::from_der).transpose()?,
            usage: value(KEY_USAGE).map(KeyUsage::from_der).transpose()?,
            key_id: value(SUBJECT_KEY_ID)
                .map(SubjectKeyIdentifier::from_der)
                .transpose()?
                .map(|id| id.0.as_bytes().to_vec()),
            issuer_key_id: issuer_key_id(extensions)?,
            extensions: extensions.to_vec(),
        })
    }
}

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
/// Critical extensions that every reader here looks at.
const KNOWN: [ObjectIdentifier; 2] = [BASIC_CONSTRAINTS, KEY_USAGE];
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// The frame that certificates, revocation lists and OCSP answers share: content, algorithm, signature.
#[derive(Debug, Clone)]
pub(crate) struct Signed<'a> {
    /// The signed bytes, not parsed.
    pub(crate) content: &'a [u8],
    algorithm: Algorithm,
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, CertificateError> {
        let mut reader = SliceReader::new(der)?;
        let signed = reader.sequence(Self::members)?;
        reader.finish()?;
        Ok(signed)
    }

    /// The three members, where more may follow, as in OCSP answers.
    pub(crate) fn members(reader: &mut SliceReader<'a>) -> Result<Self, CertificateError> {
        let content = reader.tlv_bytes()?;
        let algorithm = AlgorithmIdentifierRef::decode(reader)?;
        let signature = BitStringRef::decode(reader)?.as_bytes().ok_or(CertificateError::Malformed)?;
        let algorithm = Algorithm::read(&algorithm).ok_or(CertificateError::Algorithm)?;
        Ok(Self { content, algorithm, signature })
    }

    pub(crate) fn is_by(&self, key: &PublicKey) -> bool {
        key.verifies_der(self.algorithm, self.content, self.signature)
    }

    /// Whether the algorithm named inside the signature is the one named outside.
    pub(crate) fn is_said_to_be(&self, inside: &AlgorithmIdentifierOwned) -> bool {
        Algorithm::read(&inside.owned_to_ref()) == Some(self.algorithm)
    }
}

/// Refuses an extension that is there twice, and a critical one outside `known` (RFC 5280 §4.2).
pub(crate) fn understood(extensions: &[Extension], known: &[ObjectIdentifier]) -> Result<(), CertificateError> {
    let mut rest = extensions;
    while let Some((extension, tail)) = rest.split_first() {
        let twice = tail.iter().any(|other| other.extn_id == extension.extn_id);
        if twice || extension.critical && !known.contains(&extension.extn_id) {
            return Err(CertificateError::Extension);
        }
        rest = tail;
    }
    Ok(())
}

/// Key identifier of the authority key identifier extension.
pub(crate) fn issuer_key_id(extensions: &[Extension]) -> Result<Option<Vec<u8>>, CertificateError> {
    let Some(extension) = extensions.iter().find(|extension| extension.extn_id == AUTHORITY_KEY_ID) else {
        return Ok(None);
    };
    let id = AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes())?;
    Ok(id.key_identifier.map(|id| id.as_bytes().to_vec()))
}

fn key(info: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, CertificateError> {
    let bits = info.subject_public_key.as_bytes().ok_or(CertificateError::Malformed)?;
    if info.algorithm.oid == RSA_ENCRYPTION {
        return PublicKey::from_pkcs1(bits).ok_or(CertificateError::Malformed);
    }
    let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
    match curve.filter(|_| info.algorithm.oid == EC_PUBLIC_KEY) {
        Some(PRIME256V1) => PublicKey::p256_from_sec1(bits),
        Some(SECP384R1) => PublicKey::p384_from_sec1(bits),
        _ => return Err(CertificateError::Algorithm),
    }
    .ok_or(CertificateError::Malformed)
}

pub(crate) fn unix(time: Time) -> UnixTime {
    UnixTime(time.to_unix_duration().as_secs())
}
