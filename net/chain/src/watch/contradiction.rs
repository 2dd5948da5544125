//! What convicts a key on the chain.

use super::memory::Seen;
use crate::{contracts::WorkLedger, operator::compact_signature};
use alloy::{
    primitives::{Address, B256, U256, keccak256},
    sol_types::SolCall,
};
use glacier_proof::{Equivocation, SignedCheckpoint, SignedProof, leaf_hash, verify_inclusion};
use glacier_wire::{EnclaveId, LogHash, ProofHash};
use serde::{Deserialize, Serialize};

/// Statements of one key that an honest enclave never makes both. Whoever is shown them need believe nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Contradiction {
    /// Two signed statements.
    Statements(Box<Equivocation>),
    /// Two signed heads of different sizes whose logs differ.
    Histories(Box<Histories>),
}

/// Two heads whose logs have different proofs at one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histories {
    /// One.
    pub one: SignedCheckpoint,
    /// The other.
    pub other: SignedCheckpoint,
    /// Number at which they differ.
    pub index: u64,
    /// What stands there in each.
    pub leaves: [ProofHash; 2],
    /// Audit path in each, nearest first.
    pub paths: [Vec<LogHash>; 2],
}

impl Contradiction {
    /// Two heads of one size, if they differ in anything that is signed.
    pub(crate) fn of_heads(one: &SignedCheckpoint, other: &SignedCheckpoint) -> Option<Self> {
        let (head, elsewhere) = (&one.checkpoint, &other.checkpoint);
        let same_place = (head.size, head.enclave_key, head.chain_id, head.ledger)
            == (elsewhere.size, elsewhere.enclave_key, elsewhere.chain_id, elsewhere.ledger);
        let signed = one.verify().is_ok() && other.verify().is_ok();
        (same_place && head != elsewhere && signed).then(|| {
            let statements = Equivocation::Checkpoints { one: one.clone(), other: other.clone() };
            Self::Statements(Box::new(statements))
        })
    }

    /// A head and those that were seen before.
    pub(super) fn of_heads_among(seen: &[Seen], signed: &SignedCheckpoint) -> Option<Self> {
        seen.iter().find_map(|other| Self::of_heads(&other.signed, signed))
    }

    /// Any two of the heads that were seen.
    pub(super) fn among(seen: &[Seen]) -> Option<Self> {
        seen.iter().find_map(|one| Self::of_heads_among(seen, &one.signed))
    }

    /// The key that signed, and the chip that it names.
    pub(super) fn about(&self) -> (glacier_wire::Address, EnclaveId) {
        let of_head = |signed: &SignedCheckpoint| (signed.checkpoint.enclave_key, signed.checkpoint.enclave_id);
        match self {
            Self::Statements(statements) => match statements.as_ref() {
                Equivocation::Proofs { one, .. } => (one.proof.enclave_key, one.proof.enclave_id),
                Equivocation::Checkpoints { one, .. } => of_head(one),
                Equivocation::Leaf { checkpoint, .. } => of_head(checkpoint),
            },
            Self::Histories(histories) => of_head(&histories.one),
        }
    }

    /// Two heads with a proof each of what stands at `index`, if these differ.
    pub(crate) fn of_histories(histories: Histories) -> Option<Self> {
        let Histories { one, other, index, leaves: [leaf, other_leaf], paths: [path, other_path] } = &histories;
        let stands = |signed: &SignedCheckpoint, leaf: &ProofHash, path: &[LogHash]| {
            let head = &signed.checkpoint;
            signed.verify().is_ok() && verify_inclusion(&head.root, head.size, *index, leaf, path).is_ok()
        };
        let one_key = one.checkpoint.enclave_key == other.checkpoint.enclave_key;
        let differ = leaf != other_leaf && stands(one, leaf, path) && stands(other, other_leaf, other_path);
        (one_key && differ).then(|| Self::Histories(Box::new(histories)))
    }

    /// Two proofs of one number, or a proof and a head that has another one there.
    pub(crate) fn of_statements(statements: Equivocation) -> Option<Self> {
        statements.verify().is_ok().then(|| Self::Statements(Box::new(statements)))
    }

    /// In a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Statements(statements) => match statements.as_ref() {
                Equivocation::Proofs { .. } => "two-proofs",
                Equivocation::Checkpoints { .. } => "two-heads",
                Equivocation::Leaf { .. } => "other-leaf",
            },
            Self::Histories(_) => "two-histories",
        }
    }

    /// The call of the ledger that convicts. `keys` are other keys of the chip, which end with it.
    pub(crate) fn call(&self, keys: Vec<Address>) -> Vec<u8> {
        match self {
            Self::Statements(statements) => match statements.as_ref() {
                Equivocation::Proofs { one, other } => {
                    WorkLedger::proveTwoProofsCall { one: signed_proof(one), other: signed_proof(other), keys }
                        .abi_encode()
                }
                Equivocation::Checkpoints { one, other } => {
                    WorkLedger::proveTwoHeadsCall { one: signed_head(one), other: signed_head(other), keys }
                        .abi_encode()
                }
                Equivocation::Leaf { checkpoint, leaf, path, proof } => WorkLedger::proveOtherLeafCall {
                    head: signed_head(checkpoint),
                    proof: signed_proof(proof),
                    leaf: leaf_hash(leaf).0.into(),
                    path: words(path),
                    keys,
                }
                .abi_encode(),
            },
            Self::Histories(histories) => WorkLedger::proveTwoHistoriesCall {
                one: signed_head(&histories.one),
                other: signed_head(&histories.other),
                index: histories.index,
                leaves: histories.leaves.map(|leaf| leaf_hash(&leaf).0.into()),
                path: words(&histories.paths[0]),
                otherPath: words(&histories.paths[1]),
                keys,
            }
            .abi_encode(),
        }
    }

    /// Whether this ledger can judge it: heads of another one it cannot, proofs of any it can.
    pub(crate) fn is_for(&self, chain_id: u64, ledger: &glacier_wire::Address) -> bool {
        let here =
            |signed: &SignedCheckpoint| (signed.checkpoint.chain_id, &signed.checkpoint.ledger) == (chain_id, ledger);
        match self {
            Self::Statements(statements) => match statements.as_ref() {
                Equivocation::Proofs { .. } => true,
                Equivocation::Checkpoints { one, other } => here(one) && here(other),
                Equivocation::Leaf { checkpoint, .. } => here(checkpoint),
            },
            Self::Histories(histories) => here(&histories.one) && here(&histories.other),
        }
    }
}

fn signed_head(signed: &SignedCheckpoint) -> WorkLedger::SignedHead {
    let head = &signed.checkpoint;
    let (r, vs) = compact_signature(&signed.signature.0);
    WorkLedger::SignedHead {
        head: WorkLedger::Checkpoint {
            enclaveId: head.enclave_id.0.into(),
            enclaveKey: head.enclave_key.0.into(),
            size: head.size,
            root: head.root.0.into(),
            units: head.units,
        },
        r,
        vs,
    }
}

fn signed_proof(signed: &SignedProof) -> WorkLedger::SignedProof {
    let proof = &signed.proof;
    let (r, vs) = compact_signature(&signed.signature.0);
    WorkLedger::SignedProof {
        proof: WorkLedger::WorkProof {
            enclaveId: proof.enclave_id.0.into(),
            enclaveKey: proof.enclave_key.0.into(),
            measurement: proof.measurement.0.into(),
            platform: keccak256(proof.platform.as_str()),
            work: keccak256(proof.work.as_str()),
            manifest: proof.manifest.0.into(),
            model: proof.model.0.into(),
            input: proof.input.0.into(),
            output: proof.output.0.into(),
            units: proof.units,
            sequence: proof.sequence,
            previous: proof.previous.0.into(),
            payer: proof.settlement.payer.0.into(),
            price: proof.settlement.price,
        },
        chainId: U256::from(proof.settlement.chain_id),
        ledger: proof.settlement.ledger.0.into(),
        r,
        vs,
    }
}

fn words(path: &[LogHash]) -> Vec<B256> {
    path.iter().map(|node| B256::from(node.0)).collect()
}
