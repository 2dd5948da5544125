//! Proofs and evidence, judged offline.

use crate::{
    check::{self, rfc3339},
    error::{Failure, Kind},
    policy::Policy,
};
use glacier::{
    attest::{
        Anchors, Appraisal, Binding, Check, Collateral, CollateralError, Endorsements, Fingerprint, Format, Genuine,
        Policy as Accepts, Verdict, appraise, appraise_enclave,
    },
    proof::{Bundle, Judge},
    verify::{now, verify_proof as judge},
    wire::{Evidence, PlatformKind, ReportData, UnixTime, cbor},
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
    let (vendor, at) = (Anchors::vendor(), at.map_or_else(now, UnixTime));
    let asked = policy.map_or(Judge::Genuine(&vendor), |policy| Judge::Policy(&policy.inner));
    let appraisal = py.detach(|| judge(&bundle, asked, at));
    let settlement = bundle.verify_settlement(asked, at);
    // A registration beside the proof that does not hold makes the whole no better than itself.
    let verdict = match (appraisal.verdict(), settlement.as_ref().map(|settled| settled.verdict())) {
        (Verdict::Accepted, Some(registered)) => registered,
        (Verdict::Undetermined, Some(Verdict::Rejected)) => Verdict::Rejected,
        (own, _) => own,
    };
    let document = json!({
        "verdict": verdict,
        "at": rfc3339(at),
        "checks": check::lines(&appraisal.checks),
        "evidence": check::lines(&appraisal.evidence),
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
    amd_authorities: Vec<Vec<u8>>,
    amd_crls: Vec<Vec<u8>>,
    gpu_chain: Option<Vec<u8>>,
    rims: Vec<Vec<u8>>,
    ocsp: Vec<Vec<u8>>,
}

impl Beside {
    fn read(self) -> Result<Endorsements, CollateralError> {
        Ok(Endorsements {
            collateral: self.collateral.as_deref().map(Collateral::parse).transpose()?,
            vek: self.vek,
            amd_authorities: self.amd_authorities,
            amd_crls: self.amd_crls,
            gpu_chain: self.gpu_chain,
            rims: self.rims,
            ocsp: self.ocsp,
        })
    }
}

/// Adds what an enclave showed beside its quote to what the caller named. The caller's comes first.
fn add(endorsements: &mut Endorsements, evidence: &Evidence) -> Result<(), CollateralError> {
    let shown = Endorsements::of_enclave(evidence)?;
    endorsements.collateral = endorsements.collateral.take().or(shown.collateral);
    endorsements.vek = endorsements.vek.take().or(shown.vek);
    endorsements.amd_authorities.extend(shown.amd_authorities);
    endorsements.amd_crls.extend(shown.amd_crls);
    endorsements.rims.extend(shown.rims);
    endorsements.ocsp.extend(shown.ocsp);
    Ok(())
}

/// Judges what hardware signed, or all that an enclave shows, at a moment. `expected` is the report data that it must
/// carry; of a device the nonce, 32 bytes. JSON: the verdict and its checks, and what was said if it is believed.
#[pyfunction]
#[pyo3(signature = (evidence, at, beside, trust_root = None, policy = None, expected = None))]
pub(crate) fn verify_evidence(
    py: Python<'_>,
    evidence: &[u8],
    at: u64,
    beside: Beside,
    trust_root: Option<&[u8]>,
    policy: Option<&Policy>,
    expected: Option<Vec<u8>>,
) -> PyResult<String> {
    let unreadable = |error: CollateralError| {
        let message = format!("the collateral cannot be read: {error}");
        Failure::new(Kind::Data, message, "pass the documents as their vendors give them").raise(py)
    };
    let at = UnixTime(at);
    let mut endorsements = beside.read().map_err(unreadable)?;
    let policy = policy.map(|policy| &policy.inner);
    let mut anchors = policy.map_or_else(Anchors::vendor, Accepts::anchors);
    if let Some(root) = trust_root {
        anchors = anchors.with_simulated(Fingerprint::of(root));
    }
    let shown = match Format::detect(evidence) {
        Some(_) => None,
        None => cbor::decode::<Evidence>(evidence, Evidence::MAX_BYTES).ok(),
    };
    if let Some(shown) = &shown {
        add(&mut endorsements, shown).map_err(unreadable)?;
    }
    let genuine = py.detach(|| match &shown {
        Some(shown) => appraise_enclave(shown, &endorsements, &anchors, at),
        None => appraise(evidence, &endorsements, &anchors, at),
    });
    let nvidia = Format::detect(evidence) == Some(Format::NvidiaReport);
    let expected =
        expected.map(|bytes| report_data(&bytes, nvidia)).transpose().map_err(|failure| failure.raise(py))?;
    Ok(answer(genuine, policy, expected.as_ref(), at, nvidia).to_string())
}

fn answer(
    genuine: Appraisal<Genuine>,
    policy: Option<&Accepts>,
    expected: Option<&ReportData>,
    at: UnixTime,
    nvidia: bool,
) -> serde_json::Value {
    let (verdict, checks) = (genuine.verdict(), genuine.checks().to_vec());
    let Ok(genuine) = genuine.into_result() else { return told(verdict, &checks, at, None) };
    let mut said = said(&genuine, nvidia);
    if let Some(policy) = policy {
        let binding = expected.map_or(Binding::Unbound, Binding::ReportData);
        let accepted = genuine.judge(policy, binding, at);
        return told(accepted.verdict(), accepted.checks(), at, Some(said));
    }
    if let Some(expected) = expected {
        said["as_expected"] = (genuine.report_data() == expected).into();
        if genuine.report_data() != expected {
            return told(Verdict::Rejected, &checks, at, Some(said));
        }
    }
    told(verdict, &checks, at, Some(said))
}

fn told(verdict: Verdict, checks: &[Check], at: UnixTime, said: Option<serde_json::Value>) -> serde_json::Value {
    json!({"verdict": verdict, "at": rfc3339(at), "checks": check::lines(checks), "said": said})
}

/// What genuine evidence says.
fn said(genuine: &Genuine, nvidia: bool) -> serde_json::Value {
    // A device carries a nonce of 32 bytes, where quotes carry 64 of report data.
    let data = if nvidia { genuine.report_data().get(..32) } else { genuine.report_data().get(..) };
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

fn report_data(bytes: &[u8], nvidia: bool) -> Result<ReportData, Failure> {
    let length = if nvidia { 32 } else { 64 };
    let mut expected = [0; 64];
    match expected.get_mut(..length) {
        Some(place) if bytes.len() == length => place.copy_from_slice(bytes),
        _ => {
            let message = format!("{} bytes of report data were expected to be {length}", bytes.len());
            return Err(Failure::new(Kind::Data, message, "a 32-byte value is followed by 32 zeros in most quotes"));
        }
    }
    Ok(expected)
}
