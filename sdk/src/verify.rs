//! Appraisal of evidence and proofs, with a memory for what was judged before.

use glacier_attest::{
    Accepted, Appraisal, AppraisalError, Binding, Check, CheckedEndorsements, CollateralError, Endorsements, Genuine,
    Policy, appraise_enclave_checked,
};
use glacier_proof::{Bundle, Judge, ProofAppraisal};
use glacier_wire::{Claims, Evidence, UnixTime};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Now, by this machine's clock. A clock before 1970 reads as 1970, at which no evidence is current.
pub fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Evidence as it was judged: every check, and what they amount to.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Every check in its order, those of the policy included where the evidence is genuine.
    pub checks: Vec<Check>,
    /// What the evidence says, if it is genuine.
    pub genuine: Option<Genuine>,
    /// The acceptance, or the first check that stands in its way.
    pub accepted: Result<Accepted, AppraisalError>,
}

/// Checks a proof and all it stands on. With [`Judge::Policy`] the question is whether that policy
/// accepts the enclave; [`Judge::Genuine`] asks only whether there is one.
pub fn verify_proof(bundle: &Bundle, judge: Judge<'_>, at: UnixTime) -> ProofAppraisal {
    bundle.verify(judge, at)
}

fn judged(genuine: Appraisal<Genuine>, policy: &Policy, binding: Binding<'_>, at: UnixTime) -> Judged {
    let checks = genuine.checks().to_vec();
    match genuine.into_result() {
        Ok(genuine) => {
            let known = genuine.clone();
            let appraisal = genuine.judge(policy, binding, at);
            Judged { checks: appraisal.checks().to_vec(), genuine: Some(known), accepted: appraisal.into_result() }
        }
        Err(error) => Judged { checks, genuine: None, accepted: Err(error) },
    }
}

/// Remembers endorsements that were checked and evidence that was genuine, each while it is valid, so
/// that a second session under the same key epoch costs no signature check. The policy is asked
/// every time.
#[derive(Debug, Default)]
pub struct Verifier {
    endorsements: Mutex<VecDeque<(Name, Arc<CheckedEndorsements>)>>,
    evidence: Mutex<VecDeque<(Name, Genuine)>>,
}

/// What was judged under which roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name([u8; 32]);

/// Most entries of each memory; the oldest goes first.
const MEMORY: usize = 16;

impl Verifier {
    /// Judges evidence that commits to these claims.
    pub fn judge(
        &self,
        evidence: &Evidence,
        claims: &Claims,
        policy: &Policy,
        at: UnixTime,
    ) -> Result<Judged, CollateralError> {
        let binding = Binding::Claims(claims);
        let documents = || evidence.documents.iter().map(|document| document.bytes.as_slice());
        let given = Name::of(policy, [evidence.collateral.as_slice()].into_iter().chain(documents()));
        let devices = evidence.devices.iter().flat_map(|device| [device.report.as_slice(), device.chain.as_slice()]);
        let shown = [given.0.as_slice(), evidence.quote.as_slice(), evidence.claims.as_slice()];
        let shown = Name::of(policy, shown.into_iter().chain(devices));
        if let Some(genuine) = find(&self.evidence, shown, |genuine| within(genuine.validity(), at)) {
            let appraisal = genuine.clone().judge(policy, binding, at);
            let checks = appraisal.checks().to_vec();
            return Ok(Judged { checks, genuine: Some(genuine), accepted: appraisal.into_result() });
        }
        let checked = match find(&self.endorsements, given, |checked| within(checked.validity(), at)) {
            Some(checked) => checked,
            None => {
                let checked = Arc::new(Endorsements::of_enclave(evidence)?.check(&policy.anchors(), at));
                if checked.holds() {
                    keep(&self.endorsements, given, checked.clone());
                }
                checked
            }
        };
        let judged = judged(appraise_enclave_checked(evidence, &checked, at), policy, binding, at);
        if let Some(genuine) = &judged.genuine {
            keep(&self.evidence, shown, genuine.clone());
        }
        Ok(judged)
    }
}

impl Name {
    /// Roots are part of the name: what is genuine under one policy's roots may not be under another's.
    fn of<'a>(policy: &Policy, parts: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(policy.simulated_roots.len() as u64).to_le_bytes());
        for root in &policy.simulated_roots {
            hasher.update(root.as_ref());
        }
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

fn within((from, until): (UnixTime, UnixTime), at: UnixTime) -> bool {
    from <= at && at <= until
}

fn find<T: Clone>(memory: &Mutex<VecDeque<(Name, T)>>, name: Name, good: impl Fn(&T) -> bool) -> Option<T> {
    let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    memory.iter().find(|(known, entry)| *known == name && good(entry)).map(|(_, entry)| entry.clone())
}

fn keep<T>(memory: &Mutex<VecDeque<(Name, T)>>, name: Name, entry: T) {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    memory.retain(|(known, _)| *known != name);
    if memory.len() >= MEMORY {
        memory.pop_front();
    }
    memory.push_back((name, entry));
}
