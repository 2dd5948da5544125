//! Proofs and evidence, judged offline.

use crate::{
    check::{self, rfc3339},
    error::{Failure, Kind},
    policy::Policy,
};
use glacier::{
    attest::{Collateral, CollateralError, Endorsements, Fingerprint, Genuine},
    judgement::{DocumentError, EvidenceJudgement, Question, Subject, add_amd, documents, judge_evidence, judge_proof},
    proof::{Bundle, SettlementAppraisal},
    verify::now,
    wire::{PlatformKind, UnixTime},
};
use pyo3::prelude::*;
use serde_json::json;

/// Checks a proof with all that it stands on. Without a policy the question is whether genuine hardware made it. JSON.
#[pyfunction]
#[pyo3(signature = (bundle, policy = None, at = None))]
pub(crate) fn verify_proof(
    py: Python<'_>,
    bundle: &[u8],
    policy: Option<&Policy>,
    at: Option<u64>,
) -> PyResult<String> {
    let bundle = Bundle::decode(bundle).map_err(|error| {
        let message = format!("this is no Work Proof: {error}");
        Failure::new(Kind::ProofInvalid, message, "pass the bytes that Proof.save has written").raise(py)
    })?;
    let at = at.map_or_else(now, UnixTime);
    let judged = py.detach(|| judge_proof(&bundle, policy.map(|policy| &policy.inner), at));
    let registered = |settlement: &SettlementAppraisal| {
        json!({
            "verdict": settlement.verdict(),
            "checks": check::lines(&settlement.checks),
            "quote": check::lines(&settlement.quote),
        })
    };
    let document = json!({
        "verdict": judged.verdict(),
        "at": rfc3339(at),
        "checks": check::lines(&judged.proof.checks),
        "evidence": check::lines(&judged.proof.evidence),
        "settlement": judged.settlement.as_ref().map(registered),
        "proof": bundle.proof.proof,
        "record": bundle.training,
    });
    Ok(document.to_string())
}

/// Documents beside evidence, each as its vendor signed it (DER, JSON, PEM or XML).
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Beside {
    collateral: Option<Vec<u8>>,
    vek: Option<Vec<u8>>,
    amd_ca: Vec<Vec<u8>>,
    gpu_chain: Option<Vec<u8>>,
    rims: Vec<Vec<u8>>,
    ocsp: Vec<Vec<u8>>,
    trust_root: Option<Vec<u8>>,
}

impl Beside {
    /// What is given, and the root that is to be trusted too.
    fn read(self) -> Result<(Endorsements, Option<Fingerprint>), Failure> {
        let first = |bytes| documents(bytes)?.into_iter().next().ok_or(DocumentError::Form);
        let mut endorsements = Endorsements {
            collateral: self.collateral.as_deref().map(Collateral::parse).transpose()?,
            vek: self.vek.map(first).transpose()?,
            gpu_chain: self.gpu_chain,
            rims: self.rims,
            ..Endorsements::default()
        };
        for bytes in self.amd_ca {
            add_amd(&mut endorsements, documents(bytes)?);
        }
        for bytes in self.ocsp {
            endorsements.ocsp.extend(documents(bytes)?);
        }
        let root = self.trust_root.map(first).transpose()?;
        Ok((endorsements, root.map(|der| Fingerprint::of(&der))))
    }
}

impl From<CollateralError> for Failure {
    fn from(error: CollateralError) -> Self {
        let message = format!("the collateral cannot be read: {error}");
        Self::new(Kind::Data, message, "pass the documents as their vendors give them")
    }
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        let message = format!("a certificate, list or answer cannot be read: {error}");
        Self::new(Kind::Data, message, "pass the file as the vendor gives it")
    }
}

/// Judges what hardware signed, or all that an enclave shows, at a moment. `expected` is the report data that it must
/// carry; of a device the nonce, 32 bytes. JSON: the verdict and its checks, and what genuine evidence says.
#[pyfunction]
#[pyo3(signature = (evidence, at, beside, policy = None, expected = None))]
pub(crate) fn verify_evidence(
    py: Python<'_>,
    evidence: &[u8],
    at: u64,
    beside: Beside,
    policy: Option<&Policy>,
    expected: Option<Vec<u8>>,
) -> PyResult<String> {
    let judge = || {
        let (endorsements, trust_root) = beside.read()?;
        let subject = Subject::read(evidence.to_vec());
        let expected = expected.map(|bytes| {
            subject.report_data(&bytes).ok_or_else(|| {
                let length = if subject.is_device() { 32 } else { 64 };
                let message = format!("{} bytes of report data were expected to be {length}", bytes.len());
                Failure::new(Kind::Data, message, "a 32-byte value is followed by 32 zeros in most quotes")
            })
        });
        let (at, policy) = (UnixTime(at), policy.map(|policy| &policy.inner));
        let question = Question { at, endorsements, trust_root, policy, expected: expected.transpose()? };
        let EvidenceJudgement { verdict, checks, genuine } = judge_evidence(&subject, question)?;
        let said = genuine.map(|genuine| said(&genuine, subject.is_device()));
        let document = json!({"verdict": verdict, "at": rfc3339(at), "checks": check::lines(&checks), "said": said});
        Ok(document.to_string())
    };
    py.detach(judge).map_err(|failure: Failure| failure.raise(py))
}

/// What genuine evidence says.
fn said(genuine: &Genuine, device: bool) -> serde_json::Value {
    // A device carries a nonce of 32 bytes, where quotes carry 64 of report data.
    let data = if device { genuine.report_data().get(..32) } else { genuine.report_data().get(..) };
    json!({
        "platform": genuine.platform(),
        "simulated": genuine.platform() == PlatformKind::Simulated,
        "measurement": genuine.measurement(),
        "registers": genuine.registers(),
        "report_data": hex::encode(data.unwrap_or_default()),
        "hardware_id": genuine.hardware_id().map(hex::encode),
        "enclave_id": genuine.enclave_id(),
        "tcb_status": genuine.tcb_status().map(|status| status.as_str()),
        "advisories": genuine.advisories(),
        "debug": genuine.debug(),
        "exposures": genuine.exposures(),
    })
}
