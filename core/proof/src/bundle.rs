//! A proof with everything that a stranger needs to check it, and the check.

use crate::{
    checkpoint::{Checkpoint, Logged, NotLogged},
    judge::{self, Judge},
    settlement::Settled,
    statement::{SignedProof, WorkProof},
};
use alloc::vec::Vec;
use core::fmt;
use glacier_attest::{AppraisalError, Check, Genuine, Outcome, Verdict};
use glacier_wire::{
    Address, BadSignature, Commitment, Evidence, Manifest, ManifestError, PlatformKind, SignedManifest, UnixTime, Work,
    cbor::{self, CborError},
    federation::FederationRecord,
    training::TrainingRecord,
};

/// A Work Proof, the evidence of the enclave that signed it, and the manifest it was done under.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
pub struct Bundle {
    /// The statement.
    #[n(0)]
    pub proof: SignedProof,
    /// Says which chip and which code hold the key that signed.
    #[n(1)]
    pub evidence: Evidence,
    /// What the parties signed. Absent for an application's proof without manifest.
    #[n(2)]
    pub manifest: Option<SignedManifest>,
    /// Where the proof stands in the log of its key: with it, its holder can demand from any later
    /// head of that log that it continues this one. Absent where the enclave gave none.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<Logged>,
    /// What stands behind a proof that was sent to a ledger: its key's registration. Absent where nobody
    /// put it there. [`Bundle::verify`] does not look at it, [`Bundle::verify_settlement`] does.
    #[n(4)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// How a training went: what its proof's output commits to. Absent for all other work.
    #[n(5)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
    /// How a federation went: what its proof's output commits to. Absent for all other work.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federation: Option<FederationRecord>,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident $word:literal,)*) => {
        /// What is checked of a proof, in this order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProofCheckId {
            $($(#[$doc])* $variant,)*
        }

        impl ProofCheckId {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word that outputs use.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

checks! {
    /// The key that the proof names signed it.
    ProofSignature "proof-signature",
    /// The first proof of a key has no predecessor, every other has one.
    ProofSequence "proof-sequence",
    /// The evidence was made to announce keys, not for another purpose.
    EvidencePurpose "evidence-purpose",
    /// The evidence commits to the key that signed.
    EvidenceKey "evidence-key",
    /// The evidence is genuine, and accepted where a policy is given.
    Evidence "evidence",
    /// The proof names the chip of the evidence.
    EnclaveId "enclave-id",
    /// The proof names the code of the evidence.
    Measurement "measurement",
    /// The proof says *simulated* if, and only if, the evidence is.
    Platform "platform",
    /// All parties of the manifest signed it.
    ManifestSignatures "manifest-signatures",
    /// The proof is about this manifest, its model, its data and its settlement; a training's or federation's also
    /// about the record in the bundle, and that about the manifest's plan, model and data, as a run of that plan goes.
    ManifestBinding "manifest-binding",
    /// The key signed the head of its log that the bundle holds. Skipped, and nothing is held against
    /// the proof, where the bundle holds none.
    CheckpointSignature "checkpoint-signature",
    /// The proof stands in that log, at its number. Skipped as the check before.
    LogInclusion "log-inclusion",
}

impl fmt::Display for ProofCheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for ProofCheckId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is wrong with a proof, or was not there to be checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFault {
    /// The signature is not the named key's.
    #[error("{0}")]
    Signature(BadSignature),
    /// Number and predecessor contradict each other.
    #[error("sequence number and predecessor contradict each other")]
    Sequence,
    /// The claims cannot be read.
    #[error("the claims cannot be read: {0}")]
    Claims(CborError),
    /// The evidence was made for something else.
    #[error("the evidence was not made to announce an enclave's keys")]
    Purpose,
    /// The evidence speaks of another key.
    #[error("the evidence commits to the key {committed}, the proof is signed by {signer}")]
    OtherKey {
        /// In the evidence.
        committed: Address,
        /// Of the proof.
        signer: Address,
    },
    /// The evidence is not genuine or not accepted.
    #[error("{0}")]
    Evidence(AppraisalError),
    /// The quote does not commit to the claims.
    #[error("the quote does not commit to the claims")]
    Unbound,
    /// The collateral, or another vendor-signed document, cannot be read.
    #[error("the collateral cannot be read")]
    Collateral,
    /// The proof names another chip than the evidence.
    #[error("the proof names another chip than the evidence")]
    OtherChip,
    /// The proof names other code than the evidence.
    #[error("the proof names other code than the evidence")]
    OtherCode,
    /// The proof names another platform than the evidence.
    #[error("the proof says {said}, the evidence is {is}")]
    OtherPlatform {
        /// In the proof.
        said: PlatformKind,
        /// In the evidence.
        is: PlatformKind,
    },
    /// The manifest is not complete.
    #[error("{0}")]
    Manifest(ManifestError),
    /// The proof names a manifest that is not in the bundle.
    #[error("the manifest that the proof names is missing")]
    NoManifest,
    /// The bundle has a manifest that the proof does not name.
    #[error("the proof is about another manifest")]
    OtherManifest,
    /// The proof contradicts its manifest.
    #[error("the proof contradicts its manifest in its {0}")]
    Contradiction(&'static str),
    /// The checkpoint is another key's, or the proof is not in its log.
    #[error("{0}")]
    Log(NotLogged),
    /// The bundle holds no head of the log. A proof is good without one: who needs to know that it is
    /// in a log asks [`VerifiedProof::checkpoint`].
    #[error("the bundle holds no head of the enclave's log")]
    Unlogged,
    /// An earlier check did not pass.
    #[error("not reached")]
    NotReached,
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofCheck {
    /// Which.
    pub id: ProofCheckId,
    /// What it found: nothing, if it passed.
    pub fault: Option<ProofFault>,
}

impl ProofCheck {
    /// Whether the proof is no worse for it: it passed, or it asks of something that a proof may lack.
    fn holds(&self) -> bool {
        matches!(self.fault, None | Some(ProofFault::Unlogged))
    }

    /// Pass, fail, or skipped: not reached, or nothing there to check.
    pub fn outcome(&self) -> Outcome {
        match &self.fault {
            None => Outcome::Pass,
            Some(ProofFault::NotReached | ProofFault::Unlogged) => Outcome::Skip,
            Some(ProofFault::Evidence(fault)) if fault.verdict == Verdict::Undetermined => Outcome::Skip,
            Some(_) => Outcome::Fail,
        }
    }
}

impl serde::Serialize for ProofCheck {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use alloc::string::ToString;
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("ProofCheck", 3)?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("outcome", &self.outcome())?;
        out.serialize_field("reason", &self.fault.as_ref().map(ToString::to_string).unwrap_or_default())?;
        out.end()
    }
}

/// A proof that has passed every check. Made by [`Bundle::verify`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProof {
    signed: SignedProof,
    checkpoint: Option<Checkpoint>,
}

impl VerifiedProof {
    /// What has been proved.
    pub fn proof(&self) -> &WorkProof {
        &self.signed.proof
    }

    /// The head of the log in which the proof was shown to stand; `None` if its bundle held none.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }
}

/// The finished list of checks of one proof.
#[derive(Debug, Clone)]
#[must_use]
pub struct ProofAppraisal {
    /// Every check, in order.
    pub checks: Vec<ProofCheck>,
    /// The checks of the evidence, where it could be read.
    pub evidence: Vec<Check>,
    verified: Option<VerifiedProof>,
}

impl ProofAppraisal {
    /// What follows from the checks.
    pub fn verdict(&self) -> Verdict {
        let any = |outcome| self.checks.iter().any(|check| check.outcome() == outcome);
        match (&self.verified, any(Outcome::Fail)) {
            (Some(_), _) => Verdict::Accepted,
            (None, true) => Verdict::Rejected,
            (None, false) => Verdict::Undetermined,
        }
    }

    /// The proof, if everything passed; else the first fault that is one.
    pub fn into_result(self) -> Result<VerifiedProof, (ProofCheckId, ProofFault)> {
        if let Some(verified) = self.verified {
            return Ok(verified);
        }
        let first = |outcome| self.checks.iter().find(|check| check.outcome() == outcome);
        let check = first(Outcome::Fail).or_else(|| first(Outcome::Skip));
        Err(check.map_or((ProofCheckId::ProofSignature, ProofFault::NotReached), |check| {
            (check.id, check.fault.clone().unwrap_or(ProofFault::NotReached))
        }))
    }
}

impl Bundle {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = Evidence::MAX_BYTES
        .saturating_add(Settled::MAX_BYTES)
        .saturating_add(SignedManifest::MAX_BYTES)
        .saturating_add(TrainingRecord::MAX_BYTES)
        .saturating_add(FederationRecord::MAX_BYTES)
        .saturating_add(16 << 10);

    /// Reads the encoded form.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, Self::MAX_BYTES)
    }

    /// Checks the whole chain: proof, key, evidence, vendor's root, manifest. With a policy the
    /// question is whether the policy accepts the enclave; without one it is only whether the
    /// enclave is genuine under `anchors`. `at` is the time at which the evidence is judged, its age aside: that
    /// bounds how long a quote introduces an enclave, and a proof may be years old.
    pub fn verify(&self, judge: Judge<'_>, at: UnixTime) -> ProofAppraisal {
        let mut checks = Vec::new();
        let mut push = |id, outcome: Result<(), ProofFault>| checks.push(ProofCheck { id, fault: outcome.err() });
        let proof = &self.proof.proof;

        push(ProofCheckId::ProofSignature, self.proof.verify().map(|_| ()).map_err(ProofFault::Signature));
        let first = proof.sequence == 0;
        push(ProofCheckId::ProofSequence, ensure(first == proof.previous.is_zero(), ProofFault::Sequence));

        let claims = judge::claims(&self.evidence);
        push(
            ProofCheckId::EvidencePurpose,
            match &claims {
                Ok(claims) => judge::announces_keys(claims),
                Err(fault) => Err(fault.clone()),
            },
        );
        push(
            ProofCheckId::EvidenceKey,
            match &claims {
                Ok(claims) => ensure(
                    claims.enclave_key == proof.enclave_key,
                    ProofFault::OtherKey { committed: claims.enclave_key, signer: proof.enclave_key },
                ),
                Err(_) => Err(ProofFault::NotReached),
            },
        );

        let (genuine, evidence) = match &claims {
            Ok(claims) => judge::appraise_undated(&self.evidence, claims, judge, at),
            Err(_) => (Err(ProofFault::NotReached), Vec::new()),
        };
        push(ProofCheckId::Evidence, genuine.as_ref().map(|_| ()).map_err(Clone::clone));
        let genuine = genuine.ok();
        let mut compare = |id, outcome: &dyn Fn(&Genuine) -> Result<(), ProofFault>| {
            push(id, genuine.as_ref().map_or(Err(ProofFault::NotReached), outcome));
        };
        compare(ProofCheckId::EnclaveId, &|genuine| {
            ensure(genuine.enclave_id() == Some(proof.enclave_id), ProofFault::OtherChip)
        });
        compare(ProofCheckId::Measurement, &|genuine| {
            ensure(genuine.measurement() == proof.measurement, ProofFault::OtherCode)
        });
        compare(ProofCheckId::Platform, &|genuine| {
            let is = genuine.platform();
            ensure(is == proof.platform, ProofFault::OtherPlatform { said: proof.platform, is })
        });

        let (signatures, binding) = self.check_manifest();
        push(ProofCheckId::ManifestSignatures, signatures);
        push(ProofCheckId::ManifestBinding, binding);

        let (signature, inclusion) = self.check_log();
        push(ProofCheckId::CheckpointSignature, signature);
        push(ProofCheckId::LogInclusion, inclusion);

        let passed = checks.len() == ProofCheckId::ALL.len() && checks.iter().all(ProofCheck::holds);
        let verified = passed.then(|| VerifiedProof {
            signed: self.proof.clone(),
            checkpoint: self.logged.as_ref().map(|logged| logged.checkpoint.checkpoint.clone()),
        });
        ProofAppraisal { checks, evidence, verified }
    }

    /// Whether the head of the log is signed, and whether the proof is in that log.
    fn check_log(&self) -> (Result<(), ProofFault>, Result<(), ProofFault>) {
        let Some(logged) = &self.logged else { return (Err(ProofFault::Unlogged), Err(ProofFault::Unlogged)) };
        let signature = logged.checkpoint.verify().map_err(ProofFault::Signature);
        (signature, logged.includes(&self.proof).map_err(ProofFault::Log))
    }

    /// Whether the manifest is signed by all, and whether the proof is about it.
    fn check_manifest(&self) -> (Result<(), ProofFault>, Result<(), ProofFault>) {
        let proof = &self.proof.proof;
        let Some(signed) = &self.manifest else {
            // Only an application's proof may stand alone.
            let alone = proof.manifest.is_zero() && proof.work == Work::App;
            return (ensure(alone, ProofFault::NoManifest), ensure(alone, ProofFault::NoManifest));
        };
        let hash = match signed.verify() {
            Ok(hash) => hash,
            Err(fault) => return (Err(ProofFault::Manifest(fault)), Err(ProofFault::NotReached)),
        };
        let manifest = &signed.manifest;
        let contradiction = [
            ("kind of work", manifest.work == proof.work),
            ("code", manifest.measurement == proof.measurement),
            ("chip", manifest.enclave_id == proof.enclave_id),
            ("model", manifest.model == proof.model),
            ("settlement", manifest.settlement == proof.settlement),
            ("data", !reads_data(manifest) || manifest.input() == proof.input),
            ("units", proof.units <= manifest.limits.units),
            ("training record", self.fits_record(signed)),
            ("federation record", self.fits_federation(signed)),
        ]
        .into_iter()
        .find(|(_, holds)| !holds);
        let binding = match contradiction {
            _ if hash != proof.manifest => Err(ProofFault::OtherManifest),
            Some((what, _)) => Err(ProofFault::Contradiction(what)),
            None => Ok(()),
        };
        (Ok(()), binding)
    }
}

impl Bundle {
    /// Whether the training record is the one that the proof commits to, and of this manifest.
    fn fits_record(&self, signed: &SignedManifest) -> bool {
        let (proof, manifest) = (&self.proof.proof, &signed.manifest);
        match &self.training {
            None => manifest.work != Work::Training,
            Some(record) => {
                manifest.work == Work::Training
                    && Commitment::from(record.digest()) == proof.output
                    && record.check().is_ok()
                    && record.plan == manifest.plan
                    && signed.plan.as_ref().is_some_and(|plan| record.fits(plan).is_ok())
                    && record.model == manifest.model
                    && record.data.iter().copied().eq(manifest.data_sets().map(|set| set.data))
                    && record.units == proof.units
            }
        }
    }

    /// The same of the record of a federation.
    fn fits_federation(&self, signed: &SignedManifest) -> bool {
        let (proof, manifest) = (&self.proof.proof, &signed.manifest);
        match (&self.federation, &signed.federation) {
            (None, None) => manifest.work != Work::Federation,
            (Some(record), Some(plan)) => {
                manifest.work == Work::Federation
                    && Commitment::from(record.digest()) == proof.output
                    && record.check(manifest, plan).is_ok()
                    && record.units == proof.units
            }
            _ => false,
        }
    }
}

/// Whether a manifest of this kind of work names the data.
fn reads_data(manifest: &Manifest) -> bool {
    match manifest.work {
        Work::Inference | Work::Training | Work::Federation => true,
        Work::App => !manifest.data.is_zero(),
        _ => false,
    }
}

fn ensure(holds: bool, fault: ProofFault) -> Result<(), ProofFault> {
    if holds { Ok(()) } else { Err(fault) }
}
