//! The simulated vendor: a root, a CA for chips, a signer of TCB statements.

use crate::{
    chip::{Chip, Hardware},
    collateral::{self, Collateral, Recipe},
    extension,
    key::Key,
    profile::{Use, extensions},
};
use glacier_attest::Fingerprint;
use glacier_wire::UnixTime;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, Issuer, KeyUsagePurpose, SerialNumber};
use time::OffsetDateTime;

/// Plays the vendor. Whoever has one can make any evidence at all under its root.
pub struct Vendor {
    pub(crate) root: Certified,
    pub(crate) platform_ca: Certified,
    pub(crate) tcb_signing: Certified,
}

/// A key and the certificate for it.
pub(crate) struct Certified {
    pub(crate) key: Key,
    pub(crate) der: Vec<u8>,
}

impl Certified {
    pub(crate) fn pem(&self) -> String {
        pem(&self.der)
    }
}

/// Evidence could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VendorError {
    /// A key could not be made, read or used.
    #[error("a key of the simulated vendor is unusable")]
    Key,
    /// A certificate or revocation list could not be made.
    #[error("a certificate of the simulated vendor could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The chip's extension could not be encoded.
    #[error("the chip's certificate extension could not be encoded")]
    Extension(#[from] der::Error),
    /// A statement could not be encoded.
    #[error("a statement of the simulated vendor could not be encoded")]
    Json,
    /// A time outside of what certificates can say.
    #[error("a time is out of range")]
    Time,
}

const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;

impl Vendor {
    /// A new vendor whose certificates are valid from the day before `now`: the root for 30 years, the
    /// others for 15 and 7.
    pub fn generate(now: UnixTime) -> Result<Self, VendorError> {
        let (root, platform_ca, tcb_signing) = (Key::generate()?, Key::generate()?, Key::generate()?);
        let from = UnixTime(now.0.saturating_sub(DAY));
        let root_der = certificate(ROOT, (from, 30), (&root, &root), "root", Use::Authority(1))?
            .self_signed(root.for_certificates())?
            .der()
            .to_vec();
        let ca_der = certificate(PLATFORM_CA, (from, 15), (&platform_ca, &root), "root", Use::Authority(0))?
            .signed_by(platform_ca.for_certificates(), &root_issuer(&root))?
            .der()
            .to_vec();
        let tcb_der = certificate(TCB_SIGNING, (from, 7), (&tcb_signing, &root), "root", Use::Signer)?
            .signed_by(tcb_signing.for_certificates(), &root_issuer(&root))?
            .der()
            .to_vec();
        Ok(Self {
            root: Certified { key: root, der: root_der },
            platform_ca: Certified { key: platform_ca, der: ca_der },
            tcb_signing: Certified { key: tcb_signing, der: tcb_der },
        })
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root.der
    }

    /// The root certificate, PEM.
    pub fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// What a policy names to accept this vendor.
    pub fn root_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.root.der)
    }

    /// Makes and certifies a chip. The same seed is the same chip (its PPID and sealing keys) with another key.
    pub fn chip(&self, hardware: Hardware, now: UnixTime) -> Result<Chip, VendorError> {
        let key = Key::generate()?;
        let facts = extension::Facts {
            ppid: &hardware.ppid(),
            cpu_svn: &hardware.cpu_svn,
            pce_svn: hardware.pce_svn,
            pce_id: &hardware.pce_id,
            fmspc: &hardware.fmspc,
            instance: &hardware.instance(),
        };
        let from = UnixTime(now.0.saturating_sub(DAY));
        let mut params = certificate(PCK, (from, 7), (&key, &self.platform_ca.key), "platform", Use::Signer)?;
        params.custom_extensions.push(CustomExtension::from_oid_content(extension::OID, extension::encode(&facts)?));
        let der = params.signed_by(key.for_certificates(), &self.platform_issuer())?.der().to_vec();
        self.chip_with(hardware, Certified { key, der })
    }

    /// A chip that has its certificate.
    pub(crate) fn chip_with(&self, hardware: Hardware, pck: Certified) -> Result<Chip, VendorError> {
        let chain = [pck.pem(), self.platform_ca.pem(), self.root.pem()].concat();
        Chip::start(hardware, pck, chain)
    }

    /// Signs collateral as `recipe` says, for a chip of this hardware.
    pub fn collateral(&self, hardware: &Hardware, recipe: &Recipe) -> Result<Collateral, VendorError> {
        collateral::issue(self, hardware, recipe)
    }

    pub(crate) fn root_issuer(&self) -> Issuer<'static, &rcgen::KeyPair> {
        root_issuer(&self.root.key)
    }

    pub(crate) fn platform_issuer(&self) -> Issuer<'static, &rcgen::KeyPair> {
        Issuer::new(signing(PLATFORM_CA), self.platform_ca.key.for_certificates())
    }
}

const ROOT: &str = "SIMULATED SGX Root CA";
// Verifiers tell the kind of PCK CA by the word "Platform".
const PLATFORM_CA: &str = "SIMULATED SGX PCK Platform CA";
const TCB_SIGNING: &str = "SIMULATED SGX TCB Signing";
const PCK: &str = "SIMULATED SGX PCK Certificate";

fn root_issuer(key: &Key) -> Issuer<'static, &rcgen::KeyPair> {
    Issuer::new(signing(ROOT), key.for_certificates())
}

/// What an issuer needs of its own certificate.
fn signing(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Of the key `subject`, signed by the key `issuer`, whose revocation list is that of the CA `revoked_by`.
fn certificate(
    name: &str,
    (from, years): (UnixTime, u64),
    (subject, issuer): (&Key, &Key),
    revoked_by: &str,
    purpose: Use,
) -> Result<CertificateParams, VendorError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    params.serial_number = Some(SerialNumber::from_slice(&subject.serial().0));
    params.not_before = date(from)?;
    params.not_after = date(UnixTime(from.0.saturating_add(years.saturating_mul(YEAR))))?;
    // Nobody answers there: the lists travel in the collateral. `.invalid` is reserved for that.
    let list = format!("https://simulated.glacier.invalid/sgx/certification/v4/pckcrl?ca={revoked_by}&encoding=der");
    params.custom_extensions = extensions(subject, issuer, &list, purpose)?;
    Ok(params)
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names.push(DnType::OrganizationName, "Glacier SIMULATED vendor");
    names.push(DnType::LocalityName, "Nowhere");
    names.push(DnType::StateOrProvinceName, "XX");
    names.push(DnType::CountryName, "XX");
    names
}

pub(crate) fn date(at: UnixTime) -> Result<OffsetDateTime, VendorError> {
    i64::try_from(at.0).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()).ok_or(VendorError::Time)
}

fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap_or_default()
}
