//! Settled heads against the logs that nodes publish.

use super::{Act, Contradiction, Finding, Histories, Round, WatchError, Watchman, memory::Seen, unknown};
use crate::{NodeLog, NodeLogError, node_log::NodeHead, observer::wire};
use glacier_proof::{Equivocation, SignedCheckpoint, SignedProof, verify_consistency, verify_inclusion};
use glacier_wire::{Address, ProofHash};
use std::collections::BTreeMap;

/// Pages of a node's proofs that one look reads.
const PAGES: usize = 16;

/// What one node shows of a key's log, checked against itself alone.
struct View<'a> {
    node: &'a NodeLog,
    head: NodeHead,
}

impl Watchman {
    pub(super) async fn look_at_logs(&mut self, round: &mut Round) -> Result<(), WatchError> {
        let ledger = (self.observer.deployment().chain_id, wire(self.observer.deployment().ledger));
        let proofs = self.new_proofs(round).await;
        let nodes = self.nodes.clone();
        for known in self.memory.keys() {
            let key = known.entry.registration.enclave_key;
            units(&known.heads, key, round);
            let mut views = Vec::new();
            for node in &nodes {
                match node.head(&key, ledger).await {
                    Ok(Some(head)) => views.push(View { node, head }),
                    Ok(None) => {}
                    Err(error) => round.unknown.push(silent(node, &key, error)),
                }
            }
            let mut found = Vec::new();
            for view in &views {
                if let Some(signed) = own_head(view, &key, ledger, round).await {
                    found.extend(Contradiction::of_heads_among(&known.heads, &signed));
                    self.memory.shown(signed);
                }
            }
            let heads = self.memory.of(&key).map(|known| known.heads.clone()).unwrap_or_default();
            found.extend(Contradiction::among(&heads));
            found.extend(disagreements(&views, &heads, &key, round).await);
            found.extend(misplaced(&views, &proofs, &key).await);
            if let Some(contradiction) = found.into_iter().next() {
                self.convict(contradiction, round).await?;
            }
            let settled = heads.iter().any(|seen| seen.settled);
            if settled && views.is_empty() && !nodes.is_empty() {
                round.unknown.push(unknown(format!("log of key {key}"), "no node shows it"));
            }
        }
        Ok(())
    }

    /// Proofs that came to the nodes since the last look, by key and number. Two that differ are told apart at once.
    async fn new_proofs(&mut self, round: &mut Round) -> BTreeMap<(Address, u64), Vec<SignedProof>> {
        let mut found: BTreeMap<_, Vec<SignedProof>> = BTreeMap::new();
        for node in self.nodes.clone() {
            let mut from = self.memory.proofs_of(&node.name());
            for _ in 0..PAGES {
                let (proofs, next) = match node.proofs(from).await {
                    Ok(page) => page,
                    Err(error) => {
                        round.unknown.push(unknown(format!("proofs at {}", node.name()), error));
                        break;
                    }
                };
                let known = |signed: &SignedProof| self.memory.of(&signed.proof.enclave_key).is_some();
                for signed in proofs.into_iter().filter(|signed| known(signed) && signed.verify().is_ok()) {
                    let place = found.entry((signed.proof.enclave_key, signed.proof.sequence)).or_default();
                    if !place.iter().any(|other| other.proof == signed.proof) {
                        place.push(signed);
                    }
                }
                if next <= from {
                    break;
                }
                from = next;
            }
            self.memory.read_proofs(node.name(), from);
        }
        found
    }

    /// Takes a contradiction to the ledger.
    async fn convict(&self, contradiction: Contradiction, round: &mut Round) -> Result<(), WatchError> {
        let (key, enclave_id) = contradiction.about();
        // The registry's word counts, whatever chip the statements name.
        let enclave_id = self.memory.of(&key).map_or(enclave_id, |known| known.entry.enclave_id);
        let deployment = self.observer.deployment();
        let act = if self.observer.status_of(&key, &enclave_id).await?.barred {
            Act::Already
        } else if !contradiction.is_for(deployment.chain_id, &wire(deployment.ledger)) {
            Act::Reported
        } else {
            let keys = self.keys_of(&enclave_id);
            let name = format!("convict/{key}/{}", contradiction.kind());
            self.act_raw(&name, deployment.ledger, contradiction.call(keys)).await?
        };
        round.findings.push(Finding::Fork { key, enclave_id, contradiction, act });
        Ok(())
    }
}

/// The head that a node shows as signed, if it is: for this ledger, by this key, of the log that the node shows.
async fn own_head(
    view: &View<'_>,
    key: &Address,
    ledger: (u64, Address),
    round: &mut Round,
) -> Option<SignedCheckpoint> {
    let mut contradicts = |what| round.findings.push(Finding::FalseAnswer { key: *key, node: view.node.name(), what });
    let signed = view.head.checkpoint.clone()?;
    let head = &signed.checkpoint;
    if head.enclave_key != *key || (head.chain_id, head.ledger) != ledger || signed.verify().is_err() {
        contradicts("the head that it shows is not the key's for this ledger");
        return None;
    }
    // What is signed is evidence, whatever the node's own log says.
    if head.size > view.head.size {
        contradicts("its log is shorter than the head that it shows");
    } else {
        match view.node.consistency(key, head.size, view.head.size).await {
            Ok(Some(path)) if verify_consistency(&head.head(), &view.head.head(), &path).is_ok() => {}
            Ok(_) => contradicts("its log does not begin with the head that it shows"),
            Err(error) => round.unknown.push(silent(view.node, key, error)),
        }
    }
    Some(signed)
}

/// Nodes whose log does not begin with a signed head. Where another node has that head's log, both together convict.
async fn disagreements(views: &[View<'_>], heads: &[Seen], key: &Address, round: &mut Round) -> Vec<Contradiction> {
    let mut found = Vec::new();
    // Of what is settled the newest is the claim that all others stand on; older ones were looked at when they were new.
    let newest = heads.iter().rev().filter(|seen| seen.settled).take(2);
    for seen in newest {
        let settled = seen.signed.checkpoint.head();
        let (mut agree, mut differ) = (Vec::new(), Vec::new());
        for view in views {
            if view.head.size < settled.size {
                round.unknown.push(unknown(
                    format!("log of key {key} at {}", view.node.name()),
                    format!("it has {} proofs, and {} are settled", view.head.size, settled.size),
                ));
                continue;
            }
            match view.node.consistency(key, settled.size, view.head.size).await {
                Ok(Some(path)) if verify_consistency(&settled, &view.head.head(), &path).is_ok() => agree.push(view),
                Ok(_) => differ.push(view),
                Err(error) => round.unknown.push(silent(view.node, key, error)),
            }
        }
        for view in differ {
            let (node, shown) = (view.node.name(), view.head.head());
            round.findings.push(Finding::OtherLog { key: *key, node, settled, shown });
            let Some(other) = view.head.checkpoint.as_ref().filter(|other| other.verify().is_ok()) else { continue };
            for honest in &agree {
                found.extend(histories((&seen.signed, honest.node), (other, view.node), key).await);
            }
        }
    }
    found
}

/// The last proof that two signed heads both have a place for, as two nodes show it: logs are chained, so two that differ
/// anywhere differ there.
async fn histories(
    (one, at): (&SignedCheckpoint, &NodeLog),
    (other, there): (&SignedCheckpoint, &NodeLog),
    key: &Address,
) -> Option<Contradiction> {
    let index = one.checkpoint.size.min(other.checkpoint.size).checked_sub(1)?;
    let page = at.inclusion(key, index, one.checkpoint.size).await.ok()??;
    let elsewhere = there.inclusion(key, index, other.checkpoint.size).await.ok()??;
    Contradiction::of_histories(Histories {
        one: one.clone(),
        other: other.clone(),
        index,
        leaves: [page.proof, elsewhere.proof],
        paths: [page.path, elsewhere.path],
    })
}

/// Proofs that differ from each other at one number, or from what a signed head has there.
async fn misplaced(
    views: &[View<'_>],
    proofs: &BTreeMap<(Address, u64), Vec<SignedProof>>,
    key: &Address,
) -> Vec<Contradiction> {
    let mut found = Vec::new();
    for signed in proofs.range((*key, 0)..=(*key, u64::MAX)) {
        let ((_, sequence), [proof, others @ ..]) = (signed.0, signed.1.as_slice()) else { continue };
        if let [other, ..] = others {
            let statements = Equivocation::Proofs { one: proof.clone(), other: other.clone() };
            found.extend(Contradiction::of_statements(statements));
        }
        for view in views {
            let Some(checkpoint) = view.head.checkpoint.as_ref().filter(|head| head.checkpoint.size > *sequence) else {
                continue;
            };
            let size = checkpoint.checkpoint.size;
            let Ok(Some(page)) = view.node.inclusion(key, *sequence, size).await else { continue };
            let leaf: ProofHash = page.proof;
            let root = &checkpoint.checkpoint.root;
            if leaf == proof.proof.hash() || verify_inclusion(root, size, *sequence, &leaf, &page.path).is_err() {
                continue;
            }
            let (checkpoint, path, proof) = (checkpoint.clone(), page.path, proof.clone());
            found.extend(Contradiction::of_statements(Equivocation::Leaf { checkpoint, leaf, path, proof }));
        }
    }
    found
}

/// Work that is settled is never settled back.
fn units(heads: &[Seen], key: Address, round: &mut Round) {
    let mut settled: Vec<_> = heads.iter().filter(|seen| seen.settled).map(|seen| &seen.signed.checkpoint).collect();
    settled.sort_by_key(|head| head.size);
    for pair in settled.windows(2) {
        if let [from, to] = pair
            && from.units > to.units
        {
            round.findings.push(Finding::UnitsFell { key, from: from.units, to: to.units });
        }
    }
}

fn silent(node: &NodeLog, key: &Address, error: NodeLogError) -> super::Unknown {
    unknown(format!("log of key {key} at {}", node.name()), error)
}
