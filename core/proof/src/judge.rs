//! Evidence beside a statement: whose key it speaks of, and whether it is believed. The one place where proofs
//! and credentials have evidence judged.

use crate::bundle::ProofFault;
use alloc::vec::Vec;
use glacier_attest::{Age, Anchors, Binding, Check, Endorsements, Genuine, Policy, appraise_enclave};
use glacier_wire::{Claims, Evidence, Purpose, UnixTime};

/// Which question is asked of the evidence.
#[derive(Debug, Clone, Copy)]
pub enum Judge<'a> {
    /// Does this policy accept it?
    Policy(&'a Policy),
    /// Is it genuine under these roots? The named relaxation for looking at a proof.
    Genuine(&'a Anchors),
}

impl Judge<'_> {
    fn anchors(&self) -> Anchors {
        match self {
            Self::Policy(policy) => policy.anchors(),
            Self::Genuine(anchors) => (*anchors).clone(),
        }
    }
}

/// The claims of evidence that was made to announce an enclave's keys. Not believed yet.
pub(crate) fn claims(evidence: &Evidence) -> Result<Claims, ProofFault> {
    Claims::decode(&evidence.claims).map_err(ProofFault::Claims)
}

pub(crate) fn announces_keys(claims: &Claims) -> Result<(), ProofFault> {
    if claims.purpose == Purpose::Channel { Ok(()) } else { Err(ProofFault::Purpose) }
}

/// Genuine evidence that commits to these claims, and every check that was made of it.
pub(crate) fn appraise(
    evidence: &Evidence,
    claims: &Claims,
    judge: Judge<'_>,
    at: UnixTime,
) -> (Result<Genuine, ProofFault>, Vec<Check>) {
    let Ok(endorsements) = Endorsements::of_enclave(evidence) else {
        return (Err(ProofFault::Collateral), Vec::new());
    };
    let appraisal = appraise_enclave(evidence, &endorsements, &judge.anchors(), at);
    let checks = appraisal.checks().to_vec();
    let genuine = match appraisal.into_result() {
        Ok(genuine) => genuine,
        Err(fault) => return (Err(ProofFault::Evidence(fault)), checks),
    };
    match judge {
        Judge::Genuine(_) if *genuine.report_data() == claims.report_data() => (Ok(genuine), checks),
        Judge::Genuine(_) => (Err(ProofFault::Unbound), checks),
        Judge::Policy(policy) => {
            let judged = genuine.judge(policy, Binding::Claims(claims), at);
            let checks = judged.checks().to_vec();
            let accepted = judged.into_result().map(|accepted| accepted.genuine().clone());
            (accepted.map_err(ProofFault::Evidence), checks)
        }
    }
}

/// The same for a statement that says nothing of time: the evidence is as old as the key that signed it, and the
/// key may have signed at any time since. So no policy bounds that age; it must not be from the future all the same.
pub(crate) fn appraise_undated(
    evidence: &Evidence,
    claims: &Claims,
    judge: Judge<'_>,
    at: UnixTime,
) -> (Result<Genuine, ProofFault>, Vec<Check>) {
    match judge {
        Judge::Policy(policy) => {
            let undated = Policy { max_evidence_age: Some(Age(u64::MAX)), ..policy.clone() };
            appraise(evidence, claims, Judge::Policy(&undated), at)
        }
        Judge::Genuine(_) => appraise(evidence, claims, judge, at),
    }
}
