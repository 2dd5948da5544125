//! Brings vendor-signed collateral to the chain, as far as the chain has not got it.

use crate::{
    Boxed, SendError, Sender,
    authority::{Authority, BadCertificate},
    contracts::IntelCollateral,
};
use alloy::{
    primitives::{Address, Bytes, FixedBytes, aliases::U40, keccak256},
    sol_types::SolCall,
};
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::Encode as _;

/// Collateral in the field names of DCAP's `QuoteCollateralV3`, not one signature checked: that is the contract's business.
#[derive(Debug, Clone)]
pub struct Material {
    /// CA of the chips and root, DER.
    pck_authority: Vec<u8>,
    root: Vec<u8>,
    /// Signer of the documents, DER.
    signer: Vec<u8>,
    root_list: Vec<u8>,
    pck_list: Vec<u8>,
    tcb_info: Document,
    qe_identity: Document,
}

#[derive(Debug, Clone)]
struct Document {
    text: String,
    signature: Vec<u8>,
}

/// Collateral that cannot be brought to a chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// Not a JSON object with the members of `QuoteCollateralV3`.
    #[error("collateral is not one JSON object with the members of QuoteCollateralV3")]
    Shape,
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] BadCertificate),
    /// The contract refuses it, or the chain fails.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A view of the contract does not answer.
    #[error("the collateral contract does not answer: {0}")]
    View(#[from] alloy::contract::Error),
}

/// Largest text that is read.
const MAX_BYTES: usize = 1 << 20;
/// `Role` of the contract: an authority that it was never shown.
const UNKNOWN: u8 = 0;
/// One whose certificate was revoked, and whose place another can take.
const REVOKED: u8 = 3;

#[derive(Deserialize)]
struct Shape {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity: String,
    qe_identity_signature: String,
}

/// What TCB info and QE identity begin with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    id: String,
    /// Of TCB info.
    fmspc: Option<String>,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u16,
}

impl Header {
    /// Whether the document is to replace what is known (evaluation number, issue date, end), or is the same and would hold
    /// longer than it did when it was sent.
    fn is_due(&self, most: U40, (evaluation, issued, until): (u16, U40, U40)) -> Result<bool, MaterialError> {
        let offered = (self.tcb_evaluation_data_number, seconds(&self.issue_date)?);
        let end = seconds(&self.next_update)?.saturating_add(U40::ONE).min(most);
        Ok(offered > (evaluation, issued) || (offered == (evaluation, issued) && end > until))
    }
}

impl Material {
    /// Reads the JSON form that quotes are verified with.
    ///
    /// # Errors
    /// Another shape, or certificates that cannot be read.
    pub fn parse(json: &[u8]) -> Result<Self, MaterialError> {
        if json.len() > MAX_BYTES {
            return Err(MaterialError::Shape);
        }
        let shape: Shape = serde_json::from_slice(json).map_err(|_| MaterialError::Shape)?;
        let bytes = |hex: &str| alloy::hex::decode(hex).map_err(|_| MaterialError::Shape);
        Ok(Self {
            pck_authority: certificate(&shape.pck_crl_issuer_chain, 0)?,
            root: certificate(&shape.pck_crl_issuer_chain, 1)?,
            signer: certificate(&shape.tcb_info_issuer_chain, 0)?,
            root_list: bytes(&shape.root_ca_crl)?,
            pck_list: bytes(&shape.pck_crl)?,
            tcb_info: Document { text: shape.tcb_info, signature: bytes(&shape.tcb_info_signature)? },
            qe_identity: Document { text: shape.qe_identity, signature: bytes(&shape.qe_identity_signature)? },
        })
    }

    /// Certificates of the PCK CA and of the root, DER: what a quote's chain has above the chip's own.
    pub fn issuers(&self) -> [Vec<u8>; 2] {
        [self.pck_authority.clone(), self.root.clone()]
    }

    /// Submits what the contract at `collateral` has not got or has older. Returns how many transactions that took.
    ///
    /// # Errors
    /// The contract's refusal with its reason, or the chain.
    pub fn submit<'a>(&'a self, sender: &'a Sender, collateral: Address) -> Boxed<'a, Result<u32, MaterialError>> {
        Box::pin(async move {
            let contract = IntelCollateral::new(collateral, sender.chain().provider());
            let head = sender.chain().head().await.map_err(crate::OutboxError::from).map_err(SendError::from)?;
            let mut sent = 0u32;
            // The contract is asked first what it lacks: what it took once and lacks now is due again.
            let mut send = async |what: &str, call: Vec<u8>| {
                sent = sent.saturating_add(1);
                let key = format!("collateral/{collateral}/{what}/{:x}", keccak256(&call));
                sender.call_since(head.number, &key, collateral, call).await.map(drop)
            };
            let mut root = contract.rootListState().call().await?;
            if U40::from(Listed::read(&self.root_list)?.from) > root.listed {
                send("root-list", IntelCollateral::submitCrlCall { list: self.root_list.clone().into() }.abi_encode())
                    .await?;
                root = contract.rootListState().call().await?;
            }
            let (authority, signer) = (Authority::read(&self.pck_authority)?, Authority::read(&self.signer)?);
            for (authority, der) in [(authority, &self.pck_authority), (signer, &self.signer)] {
                let role = contract.authorityState(authority.id()).call().await?.role;
                if role == UNKNOWN || role == REVOKED {
                    let call = IntelCollateral::submitAuthorityCall { certificate: der.clone().into() };
                    send("authority", call.abi_encode()).await?;
                }
            }
            let state = contract.authorityState(authority.id()).call().await?;
            let listed = Listed::read(&self.pck_list)?;
            // A CA's list holds no longer than the root's: after a new one of these the same list holds longer.
            let end = U40::from(listed.until.min(authority.not_after).saturating_add(1)).min(root.until);
            if U40::from(listed.from) > state.listed || (U40::from(listed.from) == state.listed && end > state.until) {
                send("pck-list", IntelCollateral::submitCrlCall { list: self.pck_list.clone().into() }.abi_encode())
                    .await?;
            }

            // Documents hold no longer than their signer and the root's list.
            let most = U40::from(signer.not_after.saturating_add(1)).min(root.until);
            let header: Header = serde_json::from_str(&self.tcb_info.text).map_err(|_| MaterialError::Shape)?;
            let fmspc: FixedBytes<6> =
                header.fmspc.as_deref().and_then(|fmspc| fmspc.parse().ok()).ok_or(MaterialError::Shape)?;
            let known = contract.tcbInfoState(tee(&header.id, "TDX"), fmspc).call().await?;
            if header.is_due(most, (known.evaluation, known.issued, known.until))? {
                let call = IntelCollateral::submitTcbInfoCall {
                    text: Bytes::from(self.tcb_info.text.clone().into_bytes()),
                    signature: self.tcb_info.signature.clone().into(),
                    signer: signer.id(),
                };
                send("tcb-info", call.abi_encode()).await?;
            }
            let header: Header = serde_json::from_str(&self.qe_identity.text).map_err(|_| MaterialError::Shape)?;
            let known = contract.qeIdentityState(tee(&header.id, "TD_QE")).call().await?;
            if header.is_due(most, (known.evaluation, known.issued, known.until))? {
                let call = IntelCollateral::submitQeIdentityCall {
                    text: Bytes::from(self.qe_identity.text.clone().into_bytes()),
                    signature: self.qe_identity.signature.clone().into(),
                    signer: signer.id(),
                };
                send("qe-identity", call.abi_encode()).await?;
            }
            Ok(sent)
        })
    }
}

/// One certificate of a PEM chain, DER.
fn certificate(chain: &str, index: usize) -> Result<Vec<u8>, MaterialError> {
    let certificates =
        Certificate::load_pem_chain(chain.trim_end_matches('\0').as_bytes()).map_err(|_| BadCertificate)?;
    let found = certificates.get(index).ok_or(BadCertificate)?;
    Ok(found.to_der().map_err(|_| BadCertificate)?)
}

/// When a revocation list is valid, seconds since 1970, both inclusive.
struct Listed {
    from: u64,
    until: u64,
}

impl Listed {
    fn read(list: &[u8]) -> Result<Self, MaterialError> {
        use x509_cert::der::Decode as _;
        let list = x509_cert::crl::CertificateList::<x509_cert::certificate::Rfc5280>::from_der(list)
            .map_err(|_| MaterialError::Shape)?
            .tbs_cert_list;
        let until = list.next_update.ok_or(MaterialError::Shape)?.to_unix_duration().as_secs();
        Ok(Self { from: list.this_update.to_unix_duration().as_secs(), until })
    }
}

/// 1 for documents about TDX, as contracts number them.
fn tee(id: &str, tdx: &str) -> u8 {
    u8::from(id == tdx)
}

/// Seconds since 1970 of a date as documents write it.
fn seconds(date: &str) -> Result<U40, MaterialError> {
    time::OffsetDateTime::parse(date, &time::format_description::well_known::Rfc3339)
        .ok()
        .and_then(|at| u64::try_from(at.unix_timestamp()).ok())
        .and_then(|at| U40::checked_from_limbs_slice(&[at]))
        .ok_or(MaterialError::Shape)
}
