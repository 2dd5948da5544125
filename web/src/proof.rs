//! Is a Work Proof sound, whose is it, and where does it stand in its key's log?

use crate::{Unreadable, document, evidence, line::Line, log};
use glacier_attest::{Anchors, Fingerprint, Outcome, Reason, Verdict};
use glacier_proof::{Bundle, Judge, Logged, ProofAppraisal, ProofCheck, ProofCheckId, SignedProof};
use glacier_wire::{Evidence, LogHash, ProofHash, UnixTime, cbor};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// One proof of `GET /proofs`, in hexadecimal.
    proof: String,
    /// `GET /evidence?key=` of its key, as it came; absent where the node has none.
    evidence: Option<String>,
    /// The simulated root that was admitted for that evidence.
    simulated_root: Option<Fingerprint>,
    /// `GET /log/{key}/head`, as it came.
    head: Option<String>,
    /// `GET /log/{key}/inclusion` at the size of the signed head, as it came; absent where that head is older
    /// than the proof, or there is none.
    inclusion: Option<String>,
    /// The moment to judge at, in seconds since 1970.
    at: u64,
}

/// `GET /log/{key}/inclusion`, what is read of it.
#[derive(Debug, Deserialize)]
struct Inclusion {
    path: Vec<LogHash>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// Of the checks that can be made without the parties' manifest.
    verdict: Verdict,
    checks: Vec<Line>,
    /// Set where nothing stands against the proof but the age of its enclave's evidence: the last second at which that was
    /// current, since 1970.
    genuine_until: Option<u64>,
    /// Those behind the check `evidence`.
    evidence: Vec<Line>,
    /// What is signed.
    hash: ProofHash,
    previous: ProofHash,
    enclave_key: String,
    enclave_id: String,
    measurement: String,
    platform: &'static str,
    work: &'static str,
    manifest: String,
    model: String,
    input: String,
    output: String,
    /// Text, as a script would round it.
    units: String,
    sequence: u64,
    chain_id: String,
    ledger: String,
    price: String,
}

/// What this page never has: the manifest belongs to its parties.
const PRIVATE: [ProofCheckId; 2] = [ProofCheckId::ManifestSignatures, ProofCheckId::ManifestBinding];
/// What speaks of the enclave that signed.
const OF_THE_ENCLAVE: [ProofCheckId; 6] = [
    ProofCheckId::EvidencePurpose,
    ProofCheckId::EvidenceKey,
    ProofCheckId::Evidence,
    ProofCheckId::EnclaveId,
    ProofCheckId::Measurement,
    ProofCheckId::Platform,
];
const OF_THE_LOG: [ProofCheckId; 2] = [ProofCheckId::CheckpointSignature, ProofCheckId::LogInclusion];

impl Question {
    pub(crate) fn answer(&self) -> Result<Answer, Unreadable> {
        let bytes = hex::decode(&self.proof).map_err(|_| Unreadable("proof"))?;
        let signed: SignedProof = cbor::decode(&bytes, SignedProof::MAX_BYTES).map_err(|_| Unreadable("proof"))?;
        let page: Option<evidence::Page> =
            self.evidence.as_deref().map(|page| document("evidence", page)).transpose()?;
        let known = page.is_some();
        let logged = self.logged()?;
        let bundle = Bundle {
            proof: signed,
            evidence: page.map_or_else(|| Evidence::new(Vec::new(), Vec::new(), Vec::new()), |page| page.evidence),
            manifest: None,
            logged,
            settled: None,
            training: None,
            federation: None,
        };
        let anchors = self.simulated_root.iter().fold(Anchors::vendor(), |anchors, root| anchors.with_simulated(*root));
        let appraise = |at| {
            let appraisal = bundle.verify(Judge::Genuine(&anchors), at);
            let checks = lines(&appraisal, known, bundle.logged.is_some());
            (appraisal, checks)
        };
        let (appraisal, mut checks) = appraise(UnixTime(self.at));
        let mut evidence: Vec<_> = appraisal.evidence.iter().map(Line::from).collect();
        // Nobody asks the vendor about an enclave that is gone, so what a node keeps of it expires. That speaks against nobody.
        let aged = expired(&appraisal).map(|until| (until, appraise(until).1));
        let aged = aged.filter(|(_, checks)| verdict(checks) == Verdict::Accepted);
        let genuine_until = aged.as_ref().map(|(until, _)| until.0);
        if let Some((until, then)) = aged {
            checks = then;
            checks.iter_mut().filter(|line| line.id == ProofCheckId::Evidence.as_str()).for_each(|line| {
                line.outcome = Outcome::Skip;
                line.reason = format!("genuine until {}; what would show it now has expired", until.0);
                line.moment = Some(until.0);
            });
            evidence
                .iter_mut()
                .filter(|line| line.outcome == Outcome::Fail)
                .for_each(|line| line.outcome = Outcome::Skip);
        }
        let proof = &bundle.proof.proof;
        Ok(Answer {
            verdict: verdict(&checks),
            checks,
            genuine_until,
            evidence,
            hash: proof.hash(),
            previous: proof.previous,
            enclave_key: proof.enclave_key.to_string(),
            enclave_id: proof.enclave_id.to_string(),
            measurement: proof.measurement.to_string(),
            platform: proof.platform.as_str(),
            work: proof.work.as_str(),
            manifest: proof.manifest.to_string(),
            model: proof.model.to_string(),
            input: proof.input.to_string(),
            output: proof.output.to_string(),
            units: proof.units.to_string(),
            sequence: proof.sequence,
            chain_id: proof.settlement.chain_id.to_string(),
            ledger: proof.settlement.ledger.to_string(),
            price: proof.settlement.price.to_string(),
        })
    }

    fn logged(&self) -> Result<Option<Logged>, Unreadable> {
        let (Some(head), Some(inclusion)) = (&self.head, &self.inclusion) else { return Ok(None) };
        let head: log::HeadPage = document("log", head)?;
        let inclusion: Inclusion = document("log", inclusion)?;
        Ok(head.checkpoint.map(|checkpoint| Logged { checkpoint, path: inclusion.path }))
    }
}

/// The last second at which the evidence was current, where all that stands against it is that it has expired since.
fn expired(appraisal: &ProofAppraisal) -> Option<UnixTime> {
    let failed = appraisal.evidence.iter().filter(|check| check.outcome == Outcome::Fail);
    let until = failed.map(|check| match check.reason {
        Reason::Expired { until, .. } => Some(until),
        _ => None,
    });
    until.collect::<Option<Vec<_>>>()?.into_iter().min()
}

fn lines(appraisal: &ProofAppraisal, known: bool, logged: bool) -> Vec<Line> {
    let line = |check: &ProofCheck| match check {
        check if PRIVATE.contains(&check.id) => {
            Line::new(check.id.as_str(), Outcome::Skip, "the manifest belongs to its parties, and they check this")
        }
        check if OF_THE_ENCLAVE.contains(&check.id) && !known => {
            Line::new(check.id.as_str(), Outcome::Skip, "the node shows no evidence of this key")
        }
        check if OF_THE_LOG.contains(&check.id) && !logged => Line::new(
            check.id.as_str(),
            Outcome::Skip,
            "the node shows no signed head of the log that reaches this far",
        ),
        check => Line::from(check),
    };
    appraisal.checks.iter().map(line).collect()
}

/// What is missing of the log is held against nobody: not every node has its heads signed. What is missing of the
/// enclave leaves the proof undetermined.
fn verdict(checks: &[Line]) -> Verdict {
    let may_lack = |line: &&Line| PRIVATE.iter().chain(&OF_THE_LOG).any(|id| id.as_str() == line.id);
    if checks.iter().any(|line| line.outcome == Outcome::Fail) {
        return Verdict::Rejected;
    }
    match checks.iter().filter(|line| !may_lack(line)).all(|line| line.outcome == Outcome::Pass) {
        true => Verdict::Accepted,
        false => Verdict::Undetermined,
    }
}
