//! What the simulated vendor says of its chips: TCB info, QE identity, revocation lists.

use crate::{
    chip::{Hardware, QE_PRODUCT, quoting_signer},
    vendor::{Vendor, VendorError, date},
};
use glacier_attest::TcbStatus;
use glacier_wire::UnixTime;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

/// What the collateral shall say. [`Recipe::new`] is good collateral; each field makes another defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Issue time of all parts.
    pub issued_at: UnixTime,
    /// Time of all next updates.
    pub next_update: UnixTime,
    /// TCB evaluation number.
    pub evaluation: u32,
    /// Status of the level that the chip has. If it is not [`TcbStatus::UpToDate`], a better level stands above.
    pub status: TcbStatus,
    /// Advisories of that level.
    pub advisories: Vec<String>,
    /// Status of the level that the quoting enclave has.
    pub qe_status: TcbStatus,
    /// FMSPC in the TCB info, when it shall not be the chip's.
    pub fmspc: Option<[u8; 6]>,
    /// PCE id in the TCB info, when it shall not be the chip's.
    pub pce_id: Option<[u8; 2]>,
    /// Signer in the QE identity, when it shall not be the quoting enclave's.
    pub qe_signer: Option<[u8; 32]>,
    /// Chips that are revoked: serial numbers of their certificates.
    pub revoked_chips: Vec<Serial>,
    /// Whether the CA of the chips is revoked.
    pub revoked_platform_ca: bool,
}

/// Serial number of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial(pub [u8; 20]);

/// How long collateral is good.
const VALID: u64 = 30 * 86_400;

impl Recipe {
    /// Good collateral of `now`, for 30 days.
    pub fn new(now: UnixTime) -> Self {
        Self {
            issued_at: now,
            next_update: UnixTime(now.0.saturating_add(VALID)),
            evaluation: 1,
            status: TcbStatus::UpToDate,
            advisories: Vec::new(),
            qe_status: TcbStatus::UpToDate,
            fmspc: None,
            pce_id: None,
            qe_signer: None,
            revoked_chips: Vec::new(),
            revoked_platform_ca: false,
        }
    }
}

/// Collateral in the field names that DCAP verifiers exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collateral {
    /// PEM: CA of the chips, root.
    pub pck_crl_issuer_chain: String,
    /// DER in hex.
    pub root_ca_crl: String,
    /// DER in hex.
    pub pck_crl: String,
    /// PEM: TCB signer, root.
    pub tcb_info_issuer_chain: String,
    /// The exact text that was signed.
    pub tcb_info: String,
    /// 64 bytes in hex.
    pub tcb_info_signature: String,
    /// PEM: TCB signer, root.
    pub qe_identity_issuer_chain: String,
    /// The exact text that was signed.
    pub qe_identity: String,
    /// 64 bytes in hex.
    pub qe_identity_signature: String,
}

impl Collateral {
    /// As one JSON object.
    pub fn to_json(&self) -> String {
        // Strings only: serialisation has nothing to fail on.
        serde_json::to_string(self).unwrap_or_default()
    }
}

pub(crate) fn issue(vendor: &Vendor, hardware: &Hardware, recipe: &Recipe) -> Result<Collateral, VendorError> {
    let tcb_info = tcb_info(hardware, recipe)?;
    let qe_identity = qe_identity(hardware, recipe)?;
    let signer = [vendor.tcb_signing.pem(), vendor.root.pem()].concat();
    let revoked_cas = if recipe.revoked_platform_ca { vec![vendor.platform_ca.key.serial()] } else { Vec::new() };
    let sign = |text: &str| Ok::<_, VendorError>(hex::encode(vendor.tcb_signing.key.sign(text.as_bytes())?));
    Ok(Collateral {
        pck_crl_issuer_chain: [vendor.platform_ca.pem(), vendor.root.pem()].concat(),
        root_ca_crl: hex::encode(revocations(recipe, &revoked_cas)?.signed_by(&vendor.root_issuer())?.der()),
        pck_crl: hex::encode(revocations(recipe, &recipe.revoked_chips)?.signed_by(&vendor.platform_issuer())?.der()),
        tcb_info_signature: sign(&tcb_info)?,
        tcb_info,
        tcb_info_issuer_chain: signer.clone(),
        qe_identity_signature: sign(&qe_identity)?,
        qe_identity,
        qe_identity_issuer_chain: signer,
    })
}

fn revocations(recipe: &Recipe, revoked: &[Serial]) -> Result<CertificateRevocationListParams, VendorError> {
    let at = date(recipe.issued_at)?;
    Ok(CertificateRevocationListParams {
        this_update: at,
        next_update: date(recipe.next_update)?,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from_slice(&serial.0),
                revocation_time: at,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_type: u8,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<Level<PlatformTcb>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentity {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: &'static str,
    miscselect_mask: &'static str,
    attributes: &'static str,
    attributes_mask: &'static str,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<Level<QeTcb>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Level<T> {
    tcb: T,
    tcb_date: String,
    tcb_status: TcbStatus,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    advisories: Vec<String>,
}

#[derive(Serialize)]
struct PlatformTcb {
    sgxtcbcomponents: [Component; 16],
    pcesvn: u16,
}

#[derive(Serialize)]
struct Component {
    svn: u8,
}

#[derive(Serialize)]
struct QeTcb {
    isvsvn: u16,
}

fn tcb_info(hardware: &Hardware, recipe: &Recipe) -> Result<String, VendorError> {
    let level = |pcesvn, tcb_status, advisories| {
        Ok::<_, VendorError>(Level {
            tcb: PlatformTcb { sgxtcbcomponents: hardware.cpu_svn.map(|svn| Component { svn }), pcesvn },
            tcb_date: rfc3339(recipe.issued_at)?,
            tcb_status,
            advisories,
        })
    };
    let mut tcb_levels = vec![level(hardware.pce_svn, recipe.status, recipe.advisories.clone())?];
    if recipe.status != TcbStatus::UpToDate {
        tcb_levels.insert(0, level(hardware.pce_svn.saturating_add(1), TcbStatus::UpToDate, Vec::new())?);
    }
    json(&TcbInfo {
        id: "SGX",
        version: 3,
        issue_date: rfc3339(recipe.issued_at)?,
        next_update: rfc3339(recipe.next_update)?,
        fmspc: hex::encode_upper(recipe.fmspc.unwrap_or(hardware.fmspc)),
        pce_id: hex::encode_upper(recipe.pce_id.unwrap_or(hardware.pce_id)),
        tcb_type: 0,
        tcb_evaluation_data_number: recipe.evaluation,
        tcb_levels,
    })
}

fn qe_identity(hardware: &Hardware, recipe: &Recipe) -> Result<String, VendorError> {
    let level = |isvsvn, tcb_status| {
        Ok::<_, VendorError>(Level {
            tcb: QeTcb { isvsvn },
            tcb_date: rfc3339(recipe.issued_at)?,
            tcb_status,
            advisories: Vec::new(),
        })
    };
    let mut tcb_levels = vec![level(hardware.qe_svn, recipe.qe_status)?];
    if recipe.qe_status != TcbStatus::UpToDate {
        tcb_levels.insert(0, level(hardware.qe_svn.saturating_add(1), TcbStatus::UpToDate)?);
    }
    json(&QeIdentity {
        id: "QE",
        version: 2,
        issue_date: rfc3339(recipe.issued_at)?,
        next_update: rfc3339(recipe.next_update)?,
        tcb_evaluation_data_number: recipe.evaluation,
        miscselect: "00000000",
        miscselect_mask: "FFFFFFFF",
        attributes: "11000000000000000000000000000000",
        attributes_mask: "FBFFFFFFFFFFFFFF0000000000000000",
        mrsigner: hex::encode_upper(recipe.qe_signer.unwrap_or_else(quoting_signer)),
        isvprodid: QE_PRODUCT,
        tcb_levels,
    })
}

fn json(value: &impl Serialize) -> Result<String, VendorError> {
    serde_json::to_string(value).map_err(|_| VendorError::Json)
}

fn rfc3339(at: UnixTime) -> Result<String, VendorError> {
    date(at)?.format(&Rfc3339).map_err(|_| VendorError::Time)
}
