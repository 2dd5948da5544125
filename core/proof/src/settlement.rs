//! From a proof to the registry's word: what a settled proof carries beside itself, and the check of it.
//!
//! ```text
//! proof ── audit path ──> signed head ── key ──> registration ── report data ──> quote ──> vendor's root
//! ```
//!
//! All of that is signed by the enclave or by the vendor, so it is checked without a chain. What only a
//! chain can say is not in it: that the registry took the registration, that the key is live, and that
//! the ledger settled the head.

use crate::{
    bundle::Bundle,
    checkpoint::{NotLogged, SignedCheckpoint},
    judge::Judge,
    log::verify_inclusion,
    registration::Registration,
    statement::SignedProof,
};
use alloc::{string::ToString, vec::Vec};
use core::fmt;
use glacier_attest::{
    Anchors, AppraisalError, Binding, Check, Collateral, Endorsements, Genuine, Outcome, Policy, Verdict, appraise,
};
use glacier_wire::{
    Address, BadSignature, LogHash, UnixTime,
    cbor::{self, CborError},
};

/// What stands behind a proof that was sent to a ledger.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct Settled {
    /// A head of the key's log, signed for the ledger, of the proof's time or later.
    #[n(0)]
    pub checkpoint: SignedCheckpoint,
    /// From the proof's leaf to the head's root, nearest first.
    #[n(1)]
    pub path: Vec<LogHash>,
    /// What the key was registered, or last renewed, by.
    #[n(2)]
    pub registration: Registration,
    /// The quote that says so, with its certificates.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "glacier_wire::hex_bytes")]
    pub quote: Vec<u8>,
    /// Vendor-signed collateral that judges the quote, in the field names of DCAP's `QuoteCollateralV3`.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "glacier_wire::hex_bytes")]
    pub collateral: Vec<u8>,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident $word:literal,)*) => {
        /// What is checked between a proof and the vendor's root, in this order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum SettlementCheckId {
            $($(#[$doc])* $variant,)*
        }

        impl SettlementCheckId {
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
    /// The key that the head names signed it.
    HeadSignature "head-signature",
    /// Proof, head and registration are for one chain, and proof and head for one ledger.
    HeadLedger "head-ledger",
    /// The proof stands in the head's log, at its number.
    HeadInclusion "head-inclusion",
    /// The registration's quote is genuine, and accepted where a policy is given.
    RegistrationQuote "registration-quote",
    /// The quote was made to register this key, on this chain, at this registry, and for nothing else.
    RegistrationBinding "registration-binding",
    /// The proof names the chip of the quote.
    RegistrationChip "registration-chip",
    /// The proof names the code of the quote.
    RegistrationCode "registration-code",
}

impl fmt::Display for SettlementCheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for SettlementCheckId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is wrong between a proof and the vendor's root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettlementFault {
    /// The head is not signed by the key that it names.
    #[error("{0}")]
    Signature(BadSignature),
    /// They name two chains or two ledgers.
    #[error("the {what} is for {found_ledger} of chain {found_chain}, the proof for {ledger} of chain {chain}")]
    OtherLedger {
        /// Head or registration.
        what: &'static str,
        /// Chain that it names.
        found_chain: u64,
        /// Contract that it names.
        found_ledger: Address,
        /// Chain of the proof.
        chain: u64,
        /// Ledger of the proof.
        ledger: Address,
    },
    /// The proof is not in the log of the head.
    #[error("{0}")]
    Log(NotLogged),
    /// The collateral cannot be read.
    #[error("the collateral cannot be read")]
    Collateral,
    /// The quote is not genuine or not accepted.
    #[error("{0}")]
    Quote(AppraisalError),
    /// The registration is of another key than the proof's.
    #[error("the registration is of the key {registered}, the proof is signed by {signer}")]
    OtherKey {
        /// In the registration.
        registered: Address,
        /// Of the proof.
        signer: Address,
    },
    /// The quote does not carry the registration.
    #[error("the quote does not commit to the registration")]
    Unbound,
    /// The proof names another chip than the quote.
    #[error("the proof names another chip than the registration's quote")]
    OtherChip,
    /// The proof names other code than the quote.
    #[error("the proof names other code than the registration's quote")]
    OtherCode,
    /// An earlier check did not pass.
    #[error("not reached")]
    NotReached,
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementCheck {
    /// Which.
    pub id: SettlementCheckId,
    /// What it found: nothing, if it passed.
    pub fault: Option<SettlementFault>,
}

impl SettlementCheck {
    /// Pass, fail, or skipped: not reached, or not to be judged.
    pub fn outcome(&self) -> Outcome {
        match &self.fault {
            None => Outcome::Pass,
            Some(SettlementFault::NotReached) => Outcome::Skip,
            Some(SettlementFault::Quote(fault)) if fault.verdict == Verdict::Undetermined => Outcome::Skip,
            Some(_) => Outcome::Fail,
        }
    }
}

impl serde::Serialize for SettlementCheck {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("SettlementCheck", 3)?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("outcome", &self.outcome())?;
        out.serialize_field("reason", &self.fault.as_ref().map(ToString::to_string).unwrap_or_default())?;
        out.end()
    }
}

/// A proof in a log whose key a genuine quote registers. Made by [`Settled::verify`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    registration: Registration,
    genuine: Genuine,
}

impl Registered {
    /// Of the key that signed the proof.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// What the registration's quote says of chip and code.
    pub fn genuine(&self) -> &Genuine {
        &self.genuine
    }
}

/// The finished list of checks.
#[derive(Debug, Clone)]
#[must_use]
pub struct SettlementAppraisal {
    /// Every check, in order.
    pub checks: Vec<SettlementCheck>,
    /// The checks of the quote, where the collateral could be read.
    pub quote: Vec<Check>,
    registered: Option<Registered>,
}

impl SettlementAppraisal {
    /// What follows from the checks.
    pub fn verdict(&self) -> Verdict {
        let any = |outcome| self.checks.iter().any(|check| check.outcome() == outcome);
        match (&self.registered, any(Outcome::Fail)) {
            (Some(_), _) => Verdict::Accepted,
            (None, true) => Verdict::Rejected,
            (None, false) => Verdict::Undetermined,
        }
    }

    /// The registration, if everything passed; else the first fault that is one.
    ///
    /// # Errors
    /// The check that stands in the way, a failed one before a skipped one.
    pub fn into_result(self) -> Result<Registered, (SettlementCheckId, SettlementFault)> {
        if let Some(registered) = self.registered {
            return Ok(registered);
        }
        let first = |outcome| self.checks.iter().find(|check| check.outcome() == outcome);
        let check = first(Outcome::Fail).or_else(|| first(Outcome::Skip));
        Err(check.map_or((SettlementCheckId::HeadSignature, SettlementFault::NotReached), |check| {
            (check.id, check.fault.clone().unwrap_or(SettlementFault::NotReached))
        }))
    }
}

impl Settled {
    /// Largest encoded form that is read. Genuine collateral is about 60 kB, a quote 5 kB.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Reads the encoded form.
    ///
    /// # Errors
    /// [`CborError`] if it is too large, or not such a document in its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, Self::MAX_BYTES)
    }

    /// Checks the chain from `signed`, whose own signature and evidence [`Bundle::verify`] checks, to the
    /// vendor's root. With a policy the question is whether the policy accepts the quote, its age
    /// aside: a registration is as old as its key. `at` is the time at which the quote is judged.
    pub fn verify(&self, signed: &SignedProof, judge: Judge<'_>, at: UnixTime) -> SettlementAppraisal {
        let (proof, head, registration) = (&signed.proof, &self.checkpoint.checkpoint, &self.registration);
        let mut checks = Vec::new();
        let mut push =
            |id, outcome: Result<(), SettlementFault>| checks.push(SettlementCheck { id, fault: outcome.err() });

        push(SettlementCheckId::HeadSignature, self.checkpoint.verify().map_err(SettlementFault::Signature));
        push(SettlementCheckId::HeadLedger, self.one_ledger(signed));
        push(
            SettlementCheckId::HeadInclusion,
            if (head.enclave_key, head.enclave_id) == (proof.enclave_key, proof.enclave_id) {
                verify_inclusion(&head.root, head.size, proof.sequence, &proof.hash(), &self.path)
                    .map_err(|error| SettlementFault::Log(NotLogged::Path(error)))
            } else {
                Err(SettlementFault::Log(NotLogged::OtherKey))
            },
        );

        let (genuine, quote) = self.appraise(judge, at);
        push(SettlementCheckId::RegistrationQuote, genuine.as_ref().map(|_| ()).map_err(Clone::clone));
        let genuine = genuine.ok();
        let mut compare = |id, outcome: &dyn Fn(&Genuine) -> Result<(), SettlementFault>| {
            push(id, genuine.as_ref().map_or(Err(SettlementFault::NotReached), outcome));
        };
        compare(SettlementCheckId::RegistrationBinding, &|genuine| {
            let other = SettlementFault::OtherKey { registered: registration.enclave_key, signer: proof.enclave_key };
            ensure(registration.enclave_key == proof.enclave_key, other)?;
            ensure(*genuine.report_data() == registration.report_data(), SettlementFault::Unbound)
        });
        compare(SettlementCheckId::RegistrationChip, &|genuine| {
            ensure(genuine.enclave_id() == Some(proof.enclave_id), SettlementFault::OtherChip)
        });
        compare(SettlementCheckId::RegistrationCode, &|genuine| {
            ensure(genuine.measurement() == proof.measurement, SettlementFault::OtherCode)
        });

        let passed = checks.len() == SettlementCheckId::ALL.len() && checks.iter().all(|check| check.fault.is_none());
        let registered = genuine.filter(|_| passed).map(|genuine| Registered { registration: *registration, genuine });
        SettlementAppraisal { checks, quote, registered }
    }

    fn one_ledger(&self, signed: &SignedProof) -> Result<(), SettlementFault> {
        let (of, head, registration) = (signed.proof.settlement, &self.checkpoint.checkpoint, &self.registration);
        let other = |what, found_chain, found_ledger| SettlementFault::OtherLedger {
            what,
            found_chain,
            found_ledger,
            chain: of.chain_id,
            ledger: of.ledger,
        };
        let same = (head.chain_id, head.ledger) == (of.chain_id, of.ledger);
        ensure(same, other("head", head.chain_id, head.ledger))?;
        // Which ledger belongs to a registry is on the chain; that both are on one chain is signed.
        let chain = registration.chain_id;
        ensure(chain == of.chain_id, other("registration", chain, registration.registry))
    }

    fn appraise(&self, judge: Judge<'_>, at: UnixTime) -> (Result<Genuine, SettlementFault>, Vec<Check>) {
        let Ok(collateral) = Collateral::parse(&self.collateral) else {
            return (Err(SettlementFault::Collateral), Vec::new());
        };
        self.registration.appraise(&self.quote, &Endorsements::from(collateral), judge, at)
    }
}

impl Bundle {
    /// Checks what the bundle says of its settlement; `None` if it says nothing.
    pub fn verify_settlement(&self, judge: Judge<'_>, at: UnixTime) -> Option<SettlementAppraisal> {
        self.settled.as_ref().map(|settled| settled.verify(&self.proof, judge, at))
    }
}

impl Registration {
    /// Whether a quote is genuine, and accepted where a policy is given, its age aside. That it carries this
    /// registration is for the caller to compare, unless a policy judged it. The checks of the quote come
    /// with the answer.
    ///
    /// # Errors
    /// [`SettlementFault::Quote`] with the check that stands in the way.
    pub fn appraise(
        &self,
        quote: &[u8],
        endorsements: &Endorsements,
        judge: Judge<'_>,
        at: UnixTime,
    ) -> (Result<Genuine, SettlementFault>, Vec<Check>) {
        let anchors = match judge {
            Judge::Policy(policy) => policy.anchors(),
            Judge::Genuine(anchors) => Anchors::clone(anchors),
        };
        let appraisal = appraise(quote, endorsements, &anchors, at);
        let checks = appraisal.checks().to_vec();
        let judged = match (appraisal.into_result(), judge) {
            (Err(fault), _) => return (Err(SettlementFault::Quote(fault)), checks),
            (Ok(genuine), Judge::Genuine(_)) => return (Ok(genuine), checks),
            (Ok(genuine), Judge::Policy(policy)) => {
                let ageless = Policy { max_evidence_age: None, ..policy.clone() };
                genuine.judge(&ageless, Binding::ReportData(&self.report_data()), at)
            }
        };
        let checks = judged.checks().to_vec();
        let accepted = judged.into_result().map(|accepted| accepted.genuine().clone());
        (accepted.map_err(SettlementFault::Quote), checks)
    }
}

fn ensure(holds: bool, fault: SettlementFault) -> Result<(), SettlementFault> {
    if holds { Ok(()) } else { Err(fault) }
}
