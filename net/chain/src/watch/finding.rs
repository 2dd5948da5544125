//! What a watchman found, and what it could not find out.

use super::contradiction::Contradiction;
use alloy::primitives::{B256, U256};
use glacier_proof::Head;
use glacier_wire::{Address, EnclaveId};
use serde::Serialize;
use std::fmt;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// A key is live by a quote that does not hold: not genuine, no longer current, or below the floor.
    QuoteRefused {
        /// The key.
        key: Address,
        /// Its chip.
        enclave_id: EnclaveId,
        /// Why.
        reason: String,
    },
    /// The registry keeps something else of a key than its quote says.
    OtherThanQuoted {
        /// The key.
        key: Address,
        /// The chip that the registry names.
        enclave_id: EnclaveId,
        /// In what they differ.
        what: &'static str,
    },
    /// The vendor revoked a chip that is registered.
    ChipRevoked {
        /// The chip.
        enclave_id: EnclaveId,
        /// Its keys.
        keys: Vec<Address>,
        /// What was done about it.
        act: Act,
    },
    /// One key signed two histories.
    Fork {
        /// The key.
        key: Address,
        /// The chip that the registry names.
        enclave_id: EnclaveId,
        /// What shows it, to anybody.
        contradiction: Contradiction,
        /// What was done about it.
        act: Act,
    },
    /// A node publishes another log than the settled one. One of the two histories is not the key's only one; who
    /// wrote the other is not shown by this alone.
    OtherLog {
        /// The key.
        key: Address,
        /// The node.
        node: String,
        /// What is settled.
        settled: Head,
        /// What the node shows.
        shown: Head,
    },
    /// A node's own answers contradict each other.
    FalseAnswer {
        /// The key.
        key: Address,
        /// The node.
        node: String,
        /// In what.
        what: &'static str,
    },
    /// A later settled head counts less work than an earlier one.
    UnitsFell {
        /// The key.
        key: Address,
        /// Of the earlier head.
        from: u64,
        /// Of the later.
        to: u64,
    },
    /// A root that pays is not what the chain's events give.
    FalseRoot {
        /// Up to which epoch it claims to pay.
        epoch: u32,
        /// The root.
        found: B256,
        /// What the events give.
        expected: B256,
        /// What it pays in all, in units of 10^-18.
        total: U256,
        /// What the events give in all.
        expected_total: U256,
        /// Whether it pays already, so that no veto helps.
        in_force: bool,
        /// What was done about it.
        act: Act,
    },
}

/// What was done about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Act {
    /// Nothing: there is no key to pay with, no right to it, or nothing that helps.
    Reported,
    /// The chain took it, in this transaction.
    Done(B256),
    /// Somebody did it before.
    Already,
    /// The chain refused it.
    Refused(String),
}

/// Something that could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// About what.
    pub about: String,
    /// Why not.
    pub reason: String,
}

/// What one look around brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Round {
    /// The last block that was looked at.
    pub block: u64,
    /// Keys that were looked at.
    pub keys: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What could not be told.
    pub unknown: Vec<Unknown>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuoteRefused { key, enclave_id, reason } => {
                write!(f, "key {key} of chip {enclave_id} is live by a quote that does not hold: {reason}")
            }
            Self::OtherThanQuoted { key, enclave_id, what } => {
                write!(f, "the registry keeps another {what} of key {key} of chip {enclave_id} than its quote says")
            }
            Self::ChipRevoked { enclave_id, keys, act } => {
                write!(f, "the vendor revoked chip {enclave_id}, which has {} keys here: {act}", keys.len())
            }
            Self::Fork { key, enclave_id, contradiction, act } => {
                write!(f, "key {key} of chip {enclave_id} signed two histories ({}): {act}", contradiction.kind())
            }
            Self::OtherLog { key, node, settled, shown } => write!(
                f,
                "{node} shows a log of key {key} with {} proofs that does not begin with the {} that are settled",
                shown.size, settled.size
            ),
            Self::FalseAnswer { key, node, what } => write!(f, "{node} contradicts itself about key {key}: {what}"),
            Self::UnitsFell { key, from, to } => {
                write!(f, "key {key} settled {to} units in all after it had settled {from}")
            }
            Self::FalseRoot { epoch, found, expected, in_force, act, .. } => {
                let state = if *in_force { "in force" } else { "proposed" };
                write!(f, "the root {state} for epoch {epoch} is {found}, and the events give {expected}: {act}")
            }
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported => f.write_str("reported"),
            Self::Done(transaction) => write!(f, "acted, in transaction {transaction}"),
            Self::Already => f.write_str("done before"),
            Self::Refused(reason) => write!(f, "the chain refused to act: {reason}"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.reason)
    }
}
