//! Collateral from Intel's Provisioning Certification Service, or from a PCCS that repeats it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    error::{FetchError, Malformed},
    http::{Call, Source},
    request::{Sources, sealed::Ask},
};

/// All that is needed to judge quotes of one processor model: one JSON object in the field names of
/// DCAP's `QuoteCollateralV3`, as [`glacier_attest::Collateral::parse`] reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntelCollateralRequest {
    /// Which kind of enclave.
    pub tee: Tee,
    /// The processor model, from the PCK certificate.
    pub fmspc: [u8; 6],
    /// Who issued the PCK certificate.
    pub ca: PckCa,
    /// Which evaluation of the platform's TCB.
    pub update: Update,
}

/// Kind of Intel enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tee {
    /// A process's enclave.
    Sgx,
    /// A trust domain: a virtual machine.
    Tdx,
}

/// Issuer of PCK certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PckCa {
    /// Of single-package platforms.
    Processor,
    /// Of scalable platforms; all TDX.
    Platform,
}

/// Which evaluation data set Intel answers with during a TCB recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Update {
    /// The one in force.
    #[default]
    Standard,
    /// The one that comes into force next: strict before platforms had time to follow.
    Early,
}

impl IntelCollateralRequest {
    /// For the evaluation in force.
    pub fn new(tee: Tee, fmspc: [u8; 6], ca: PckCa) -> Self {
        Self { tee, fmspc, ca, update: Update::Standard }
    }

    fn words(&self) -> (&'static str, &'static str, &'static str) {
        let tee = match self.tee {
            Tee::Sgx => "sgx",
            Tee::Tdx => "tdx",
        };
        let ca = match self.ca {
            PckCa::Processor => "processor",
            PckCa::Platform => "platform",
        };
        let update = match self.update {
            Update::Standard => "standard",
            Update::Early => "early",
        };
        (tee, ca, update)
    }
}

impl Ask for IntelCollateralRequest {
    fn key(&self) -> String {
        let (tee, ca, update) = self.words();
        format!("intel-{tee}-{}-{ca}-{update}", hex::encode(self.fmspc))
    }

    async fn fetch(&self, sources: &Sources) -> Result<Vec<u8>, FetchError> {
        let (tee, ca, update) = self.words();
        let fmspc = hex::encode_upper(self.fmspc);
        let (pck_crl, root_crl, tcb_info, qe_identity) = tokio::try_join!(
            pck_crl(&sources.intel, format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der")),
            root_crl(&sources.intel_root_crl, sources.intel_root_crl_path),
            document(
                &sources.intel,
                format!("/{tee}/certification/v4/tcb?fmspc={fmspc}&update={update}"),
                TCB_INFO_CHAIN
            ),
            document(&sources.intel, format!("/{tee}/certification/v4/qe/identity?update={update}"), QE_IDENTITY_CHAIN),
        )?;
        let ((tcb_info_chain, tcb_info), (qe_identity_chain, qe_identity)) = (tcb_info, qe_identity);
        let TcbInfo { tcb_info, signature: tcb_info_signature } = read(&tcb_info)?;
        let QeIdentity { enclave_identity, signature: qe_identity_signature } = read(&qe_identity)?;
        let collateral = Collateral {
            pck_crl_issuer_chain: &pck_crl.0,
            root_ca_crl: hex::encode(root_crl),
            pck_crl: hex::encode(pck_crl.1),
            tcb_info_issuer_chain: &tcb_info_chain,
            tcb_info: tcb_info.get(),
            tcb_info_signature,
            qe_identity_issuer_chain: &qe_identity_chain,
            qe_identity: enclave_identity.get(),
            qe_identity_signature,
        };
        serde_json::to_vec(&collateral).map_err(|_| Malformed::Json.into())
    }
}

async fn pck_crl(source: &Source, path: String) -> Result<(String, Vec<u8>), FetchError> {
    let call = Call { path: &path, accept: "*/*", body: None, max: MAX_PCK_CRL };
    let reply = source.ask(call).await?;
    Ok((reply.issuer_chain(PCK_CRL_CHAIN)?, der(reply.body)?))
}

async fn root_crl(source: &Source, path: &str) -> Result<Vec<u8>, FetchError> {
    let call = Call { path, accept: "*/*", body: None, max: MAX_ROOT_CRL };
    Ok(der(source.ask(call).await?.body)?)
}

async fn document(source: &Source, path: String, chain: &[&'static str]) -> Result<(String, Vec<u8>), FetchError> {
    let call = Call { path: &path, accept: "application/json", body: None, max: MAX_DOCUMENT };
    let reply = source.ask(call).await?;
    Ok((reply.issuer_chain(chain)?, reply.body))
}

/// Intel sends DER. A PCCS sends it in hexadecimal too, of which the first digit is 3.
fn der(body: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    if body.first() == Some(&SEQUENCE) {
        return Ok(body);
    }
    let der = hex::decode(body.trim_ascii()).map_err(|_| Malformed::Der)?;
    if der.first() == Some(&SEQUENCE) { Ok(der) } else { Err(Malformed::Der) }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|_| Malformed::Json)
}

/// The inner object stays the text that was signed: read again and written again it would be another.
#[derive(Deserialize)]
struct TcbInfo<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    tcb_info: &'a RawValue,
    signature: &'a str,
}

#[derive(Deserialize)]
struct QeIdentity<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    enclave_identity: &'a RawValue,
    signature: &'a str,
}

#[derive(Serialize)]
struct Collateral<'a> {
    pck_crl_issuer_chain: &'a str,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: &'a str,
    tcb_info: &'a str,
    tcb_info_signature: &'a str,
    qe_identity_issuer_chain: &'a str,
    qe_identity: &'a str,
    qe_identity_signature: &'a str,
}

const SEQUENCE: u8 = 0x30;

const PCK_CRL_CHAIN: &[&str] = &["sgx-pck-crl-issuer-chain"];
/// The second name is that of older services.
const TCB_INFO_CHAIN: &[&str] = &["tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"];
const QE_IDENTITY_CHAIN: &[&str] = &["sgx-enclave-identity-issuer-chain"];

/// Genuine ones take 10 KiB and less.
const MAX_DOCUMENT: usize = 128 << 10;
/// Genuine ones take 4 KiB; in hexadecimal twice that, and still within what a verifier reads.
const MAX_PCK_CRL: usize = 256 << 10;
/// Genuine ones take 300 bytes.
const MAX_ROOT_CRL: usize = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_inner_object_is_cut_out_as_it_stands() {
        let body = br#" {"signature":"ab", "tcbInfo": { "a" : 1.0, "b":"\u0041" } , "later": 1} "#;
        let found: TcbInfo<'_> = read(body).unwrap();
        assert_eq!(found.tcb_info.get(), r#"{ "a" : 1.0, "b":"\u0041" }"#);
        assert_eq!(found.signature, "ab");
    }

    #[test]
    fn two_inner_objects_are_refused() {
        assert!(read::<TcbInfo<'_>>(br#"{"tcbInfo":{},"tcbInfo":{},"signature":""}"#).is_err());
    }

    #[test]
    fn text_after_the_object_is_refused() {
        assert!(read::<QeIdentity<'_>>(br#"{"enclaveIdentity":{},"signature":""}}"#).is_err());
    }

    #[test]
    fn a_list_comes_as_der_or_in_hexadecimal() {
        assert_eq!(der(vec![0x30, 0]).unwrap(), [0x30, 0]);
        assert_eq!(der(b"3000\n".to_vec()).unwrap(), [0x30, 0]);
        assert_eq!(der(b"3100".to_vec()), Err(Malformed::Der));
        assert_eq!(der(b"-----BEGIN X509 CRL-----".to_vec()), Err(Malformed::Der));
        assert_eq!(der(Vec::new()), Err(Malformed::Der));
    }

    proptest! {
        #[test]
        fn what_is_cut_out_stands_in_the_body(inner in "\\{\"[a-z]{1,4}\" ?: ?(-?[1-9][0-9]{0,3}(\\.0)?|\"[a-z]*\"|\\[ ?\\])\\}") {
            let body = format!("{{\"tcbInfo\": {inner} ,\"signature\":\"\"}}");
            let found: TcbInfo<'_> = read(body.as_bytes()).unwrap();
            prop_assert_eq!(found.tcb_info.get(), inner);
        }

        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = read::<TcbInfo<'_>>(&body).map(|found| found.tcb_info.get().len());
            if let Ok(der) = der(body) {
                prop_assert_eq!(der[0], SEQUENCE);
            }
        }
    }
}
