//! A proof against a live chain: is its key registered, by a quote that still verifies, and is it settled?

use crate::{
    NodeLog,
    deployment::{DeployError, Realm},
    observer::{Entry, KeyStatus, Observer, ObserverError, covers, wire},
};
use glacier_attest::{Check, Collateral, CompactError, Endorsements, Genuine, Outcome, Verdict};
use glacier_proof::{Bundle, Judge, Settled, SettlementFault, SignedCheckpoint, root_of_path};
use glacier_wire::{EnclaveId, LogHash, PlatformKind, UnixTime};
use serde::Serialize;
use std::fmt;

/// How a proof is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What is asked of the registration's quote.
    pub judge: Judge<'a>,
    /// When it is judged.
    pub at: UnixTime,
    /// Vendor-signed collateral that judges it: JSON in the field names of `QuoteCollateralV3`.
    pub collateral: &'a [u8],
    /// Who is asked for the proof's path, where the bundle holds none to the settled head.
    pub node: Option<&'a NodeLog>,
}

macro_rules! checks {
    ($($(#[$doc:meta])* $variant:ident $word:literal,)*) => {
        /// What a chain is asked about a proof, in this order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum LiveCheckId {
            $($(#[$doc])* $variant,)*
        }

        impl LiveCheckId {
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
    /// The chain has the network's contracts, wired as they must be.
    Contracts "chain-contracts",
    /// The proof names this network's ledger, and is simulated if, and only if, the network is.
    Ledger "chain-ledger",
    /// The registry knows the key, as one of the proof's chip.
    Registered "chain-registered",
    /// The quote that the registry took is genuine, and accepted where a policy is given; it names the
    /// registration, the proof's chip and the proof's code.
    Quote "chain-quote",
    /// The chip is not barred.
    Standing "chain-standing",
    /// The proof stands in the settled log, at its number.
    Settled "chain-settled",
}

impl fmt::Display for LiveCheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for LiveCheckId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What speaks against a proof, or could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiveFault {
    /// Not the contracts that the deployment names.
    #[error("{0}")]
    Contracts(String),
    /// The proof counts elsewhere.
    #[error("the proof names ledger {ledger} of chain {chain_id}, which is not this network's")]
    ForeignLedger {
        /// In the proof.
        chain_id: u64,
        /// In the proof.
        ledger: glacier_wire::Address,
    },
    /// A simulated proof in a production network, or the other way round.
    #[error("the proof is {platform}, and the network's realm is {realm:?}")]
    ForeignRealm {
        /// Of the proof.
        platform: PlatformKind,
        /// Of the network.
        realm: Realm,
    },
    /// Nobody registered the key.
    #[error("the registry does not know the key")]
    Unregistered,
    /// The key is another chip's.
    #[error("the registry knows the key as chip {0}'s")]
    OtherChip(EnclaveId),
    /// The quote does not stand in the transaction: a contract registered the key.
    #[error("the quote does not stand in the registration's transaction")]
    NotShown,
    /// What the registry was shown is no quote.
    #[error("what the registry was shown is no quote: {0}")]
    NoQuote(CompactError),
    /// The collateral cannot be read.
    #[error("the collateral cannot be read")]
    Collateral,
    /// The quote does not hold, or is not the registration's.
    #[error("{0}")]
    Quote(SettlementFault),
    /// The registry has barred the chip.
    #[error("the registry has barred the chip")]
    Barred,
    /// The settled log ends before the proof.
    #[error("{size} proofs of the key are settled, and this is number {sequence}")]
    NotSettled {
        /// Settled.
        size: u64,
        /// From zero.
        sequence: u64,
    },
    /// In the settled log stands another proof at this number.
    #[error("another proof of this number is settled")]
    OtherProof,
    /// Nobody showed how the proof stands in the settled log.
    #[error("{0}")]
    NoPath(String),
    /// An earlier check did not pass.
    #[error("not reached")]
    NotReached,
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveCheck {
    /// Which.
    pub id: LiveCheckId,
    /// What it found: nothing, if it passed.
    pub fault: Option<LiveFault>,
}

impl LiveCheck {
    /// Pass, fail, or skipped: not to be told.
    pub fn outcome(&self) -> Outcome {
        match &self.fault {
            None => Outcome::Pass,
            Some(LiveFault::NotReached | LiveFault::NotShown | LiveFault::Collateral | LiveFault::NoPath(_)) => {
                Outcome::Skip
            }
            Some(LiveFault::Quote(SettlementFault::Quote(fault))) if fault.verdict == Verdict::Undetermined => {
                Outcome::Skip
            }
            Some(_) => Outcome::Fail,
        }
    }
}

impl Serialize for LiveCheck {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("LiveCheck", 3)?;
        out.serialize_field("id", &self.id)?;
        out.serialize_field("outcome", &self.outcome())?;
        out.serialize_field("reason", &self.fault.as_ref().map(ToString::to_string).unwrap_or_default())?;
        out.end()
    }
}

/// What a chain answered about a proof.
#[derive(Debug, Clone)]
#[must_use]
pub struct Live {
    /// Every check, in order.
    pub checks: Vec<LiveCheck>,
    /// The checks of the registration's quote, where it could be read.
    pub quote: Vec<Check>,
    /// What the registry says of key and chip.
    pub status: Option<KeyStatus>,
    /// What a bundle carries to be checked without the chain, where all of it was found.
    pub settled: Option<Settled>,
}

impl Live {
    /// What follows from the checks.
    pub fn verdict(&self) -> Verdict {
        let any = |outcome| self.checks.iter().any(|check| check.outcome() == outcome);
        match (any(Outcome::Fail), any(Outcome::Skip)) {
            (true, _) => Verdict::Rejected,
            (false, true) => Verdict::Undetermined,
            (false, false) => Verdict::Accepted,
        }
    }
}

impl Observer {
    /// Asks the chain about a proof. The proof's own checks are [`Bundle::verify`]'s.
    ///
    /// # Errors
    /// The chain does not answer.
    pub async fn look_up(&self, bundle: &Bundle, question: Question<'_>) -> Result<Live, ObserverError> {
        let proof = &bundle.proof.proof;
        let mut live = Live { checks: Vec::new(), quote: Vec::new(), status: None, settled: None };
        let contracts = match self.deployment().check(self.chain()).await {
            Ok(()) => Ok(()),
            Err(error @ (DeployError::Other(_) | DeployError::View(_))) => Err(LiveFault::Contracts(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let here = contracts.is_ok();
        push(&mut live, LiveCheckId::Contracts, contracts);
        push(&mut live, LiveCheckId::Ledger, self.names_ledger(bundle));
        if !here {
            for id in LiveCheckId::ALL.iter().skip(2) {
                push(&mut live, *id, Err(LiveFault::NotReached));
            }
            return Ok(live);
        }

        let entry = self.registration_of(&proof.enclave_key).await?;
        push(
            &mut live,
            LiveCheckId::Registered,
            match &entry {
                None => Err(LiveFault::Unregistered),
                Some(entry) if entry.enclave_id != proof.enclave_id => Err(LiveFault::OtherChip(entry.enclave_id)),
                Some(_) => Ok(()),
            },
        );
        let judged = match &entry {
            None => Err(LiveFault::NotReached),
            Some(entry) => judge(entry, &question).map(|(quote, outcome, checks)| {
                live.quote = checks;
                (quote, outcome)
            }),
        };
        let (quote, outcome) = match judged {
            Ok((quote, Ok(genuine))) => (Some(quote), names(&genuine, bundle)),
            Ok((_, Err(fault))) => (None, Err(LiveFault::Quote(fault))),
            Err(fault) => (None, Err(fault)),
        };
        push(&mut live, LiveCheckId::Quote, outcome);

        let status = self.status_of(&proof.enclave_key, &proof.enclave_id).await?;
        live.status = Some(status);
        push(&mut live, LiveCheckId::Standing, if status.barred { Err(LiveFault::Barred) } else { Ok(()) });

        let path = self.settled_path(bundle, question.node).await?;
        push(&mut live, LiveCheckId::Settled, path.as_ref().map(drop).map_err(Clone::clone));
        if let (Some(entry), Some(quote), Ok(path)) = (entry, quote, path) {
            live.settled = self.collect(bundle, entry, quote, path, question.collateral).await?;
        }
        Ok(live)
    }

    fn names_ledger(&self, bundle: &Bundle) -> Result<(), LiveFault> {
        let (proof, here) = (&bundle.proof.proof, self.deployment());
        let (chain_id, ledger) = (proof.settlement.chain_id, proof.settlement.ledger);
        if (chain_id, ledger) != (here.chain_id, wire(here.ledger)) {
            return Err(LiveFault::ForeignLedger { chain_id, ledger });
        }
        if (proof.platform == PlatformKind::Simulated) != (here.realm == Realm::Simulated) {
            return Err(LiveFault::ForeignRealm { platform: proof.platform, realm: here.realm });
        }
        Ok(())
    }

    /// The audit path to the settled head: from the bundle where it has one, else from the node. Believed only where it
    /// leads there.
    async fn settled_path(
        &self,
        bundle: &Bundle,
        node: Option<&NodeLog>,
    ) -> Result<Result<Vec<LogHash>, LiveFault>, ObserverError> {
        let proof = &bundle.proof.proof;
        let head = self.settled(&proof.enclave_key).await?;
        if proof.sequence >= head.size {
            return Ok(Err(LiveFault::NotSettled { size: head.size, sequence: proof.sequence }));
        }
        let logged = bundle.logged.as_ref().map(|logged| &logged.path);
        let settled = bundle.settled.as_ref().map(|settled| &settled.path);
        let leads = |path: &[LogHash]| covers(&head, proof, path) == Ok(true);
        if let Some(path) = logged.into_iter().chain(settled).find(|path| leads(path)) {
            return Ok(Ok(path.clone()));
        }
        let nobody = |why: String| Ok(Err(LiveFault::NoPath(why)));
        let Some(node) = node else {
            return nobody("no node was named that shows how the proof stands in the settled log".into());
        };
        let page = match node.inclusion(&proof.enclave_key, proof.sequence, head.size).await {
            Ok(Some(page)) => page,
            Ok(None) => return nobody("the node has not got the settled log".into()),
            Err(error) => return nobody(error.to_string()),
        };
        if leads(&page.path) {
            return Ok(Ok(page.path));
        }
        // A node that errs or lies shows nothing; one that shows what else is settled there, does.
        let root = root_of_path(head.size, proof.sequence, &page.proof, &page.path);
        if root.is_ok_and(|root| head.is(head.size, &root)) {
            return Ok(Err(LiveFault::OtherProof));
        }
        nobody("the node's path does not lead to the settled root".into())
    }

    /// What can be checked without the chain later: a signed head for the ledger, and what registers the key.
    async fn collect(
        &self,
        bundle: &Bundle,
        entry: Entry,
        quote: Vec<u8>,
        path: Vec<LogHash>,
        collateral: &[u8],
    ) -> Result<Option<Settled>, ObserverError> {
        let proof = &bundle.proof.proof;
        let settled = self.settled_checkpoint(&proof.enclave_key, &proof.enclave_id).await?;
        let make = |(checkpoint, path): (SignedCheckpoint, Vec<LogHash>)| Settled {
            checkpoint,
            path,
            registration: entry.registration,
            quote: quote.clone(),
            collateral: collateral.to_vec(),
        };
        let logged = bundle.logged.as_ref().map(|logged| (logged.checkpoint.clone(), logged.path.clone()));
        // A settlement proof by proof has no signed head; the one in the bundle, if it is for this ledger, does as well.
        let mut found = settled.map(|checkpoint| (checkpoint, path)).into_iter().chain(logged);
        Ok(found.find(|(checkpoint, path)| self.is_head_of(checkpoint, bundle, path)).map(make))
    }

    fn is_head_of(&self, signed: &SignedCheckpoint, bundle: &Bundle, path: &[LogHash]) -> bool {
        let (head, proof) = (&signed.checkpoint, &bundle.proof.proof);
        let here = (head.chain_id, head.ledger) == (self.deployment().chain_id, wire(self.deployment().ledger));
        let root = root_of_path(head.size, proof.sequence, &proof.hash(), path);
        here && head.enclave_key == proof.enclave_key && root == Ok(head.root) && signed.verify().is_ok()
    }
}

type Judged = (Vec<u8>, Result<Genuine, SettlementFault>, Vec<Check>);

/// The quote in full, whether it holds and carries the registration, and every check that was made of it.
pub(crate) fn judge(entry: &Entry, question: &Question<'_>) -> Result<Judged, LiveFault> {
    let material = crate::Material::parse(question.collateral).map_err(|_| LiveFault::Collateral)?;
    let collateral = Collateral::parse(question.collateral).map_err(|_| LiveFault::Collateral)?;
    let quote = entry.quote(material.issuers()).ok_or(LiveFault::NotShown)?.map_err(LiveFault::NoQuote)?;
    let endorsements = Endorsements::from(collateral);
    let (genuine, checks) = entry.registration.appraise(&quote, &endorsements, question.judge, question.at);
    let bound = genuine.and_then(|genuine| {
        let carries = *genuine.report_data() == entry.registration.report_data();
        if carries { Ok(genuine) } else { Err(SettlementFault::Unbound) }
    });
    Ok((quote, bound, checks))
}

/// Whether quote and proof name the same chip and code.
fn names(genuine: &Genuine, bundle: &Bundle) -> Result<(), LiveFault> {
    let proof = &bundle.proof.proof;
    if genuine.enclave_id() != Some(proof.enclave_id) {
        return Err(LiveFault::Quote(SettlementFault::OtherChip));
    }
    if genuine.measurement() != proof.measurement {
        return Err(LiveFault::Quote(SettlementFault::OtherCode));
    }
    Ok(())
}

fn push(live: &mut Live, id: LiveCheckId, outcome: Result<(), LiveFault>) {
    live.checks.push(LiveCheck { id, fault: outcome.err() });
}
