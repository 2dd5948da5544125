//! One step: follow what was sent, sign what waits, tell the chain.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::{BlockNumberOrTag, eip2718::Encodable2718 as _},
    primitives::{B256, Bytes, TxKind},
    providers::Provider as _,
    signers::SignerSync as _,
};
use tokio::time::Instant;

use super::{
    Contradiction, Intent, IntentId, OWN_KEYS, Outbox, OutboxError, Outcome, Progress,
    fees::Fees,
    record::{Floor, Record, Sent, State, Version},
    verify::{self, Found, User},
};
use crate::{
    Boxed,
    chain::{Chain, Head},
    revert,
};

impl Outbox {
    /// Takes one step with everything that is open, and tells what it did. To be called again and again:
    /// after a submission at once, and else about once a block.
    ///
    /// # Errors
    ///
    /// The chain does not answer, or contradicts what is known. What was not decided stays as it was.
    pub fn drive<'a>(&'a self, chain: &'a Chain) -> Boxed<'a, Result<Progress, OutboxError>> {
        Box::pin(async move {
            let _step = self.step.lock().await;
            chain.check_id().await?;
            self.store.bind(chain.id())?;
            let mut step = Step {
                outbox: self,
                chain,
                head: chain.head().await?,
                used: chain.provider().get_transaction_count(self.address()).await?,
                floor: self.store.floor()?,
                progress: Progress::default(),
            };
            step.check_floor()?;
            step.run().await?;
            step.progress.pending = self.store.open_records()?.len();
            Ok(step.progress)
        })
    }

    /// Drives until an intent is final, with a pause between steps. Faults of the chain that may pass are
    /// waited out.
    ///
    /// # Errors
    ///
    /// As [`Outbox::drive`], but for a chain that does not answer.
    pub fn settle<'a>(
        &'a self,
        chain: &'a Chain,
        id: IntentId,
        pause: Duration,
    ) -> Boxed<'a, Result<Outcome, OutboxError>> {
        Box::pin(async move {
            loop {
                match self.drive(chain).await {
                    Ok(progress) => {
                        for (id, why) in &progress.refused {
                            tracing::warn!(intent = id.0, why, "the chain does not take a transaction");
                        }
                    }
                    Err(OutboxError::Chain(crate::ChainError::Rpc(error))) => {
                        tracing::warn!(%error, "the chain does not answer");
                    }
                    Err(other) => return Err(other),
                }
                if let Some(outcome) = self.outcome(id)? {
                    return Ok(outcome);
                }
                tokio::time::sleep(pause).await;
            }
        })
    }

    async fn save(&self, records: Vec<(IntentId, Record)>, floor: Floor) -> Result<(), OutboxError> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || store.save(&records, floor)).await;
        done.unwrap_or(Err(OutboxError::Damaged))
    }

    fn sign(&self, chain: &Chain, intent: &Intent, nonce: u64, gas: u64, fees: Fees) -> Result<Version, OutboxError> {
        let transaction = TxEip1559 {
            chain_id: chain.id(),
            nonce,
            gas_limit: gas,
            max_fee_per_gas: fees.fee.into(),
            max_priority_fee_per_gas: fees.tip.into(),
            to: intent.to.map_or(TxKind::Create, TxKind::Call),
            value: intent.value,
            access_list: Default::default(),
            input: intent.data.clone(),
        };
        let signature = self.key.signer().sign_hash_sync(&transaction.signature_hash());
        let signed = TxEnvelope::from(transaction.into_signed(signature.map_err(|_| OutboxError::Signing)?));
        let raw = Bytes::from(signed.encoded_2718());
        Ok(Version { hash: *signed.tx_hash(), raw, fee: fees.fee, tip: fees.tip, signed_at: now() })
    }
}

struct Step<'a> {
    outbox: &'a Outbox,
    chain: &'a Chain,
    head: Head,
    /// Nonces that the chain says are used.
    used: u64,
    floor: Floor,
    progress: Progress,
}

impl Step<'_> {
    fn check_floor(&self) -> Result<(), Contradiction> {
        if self.used < self.floor.nonce {
            return Err(Contradiction::NonceWentBack { last: self.floor.nonce, now: self.used });
        }
        if self.head.number < self.floor.block {
            return Err(Contradiction::BlockWentBack { last: self.floor.block, now: self.head.number });
        }
        Ok(())
    }

    async fn run(&mut self) -> Result<(), OutboxError> {
        let records = self.outbox.store.open_records()?;
        let mut sent: Vec<_> = records.into_iter().filter_map(by_nonce).collect();
        sent.sort_by_key(|(nonce, ..)| *nonce);
        for (_, id, record) in sent {
            self.follow(id, record).await?;
        }
        self.fill().await?;
        self.tell().await
    }

    /// Sees what became of one intent that was sent.
    async fn follow(&mut self, id: IntentId, mut record: Record) -> Result<(), OutboxError> {
        let State::Sent(sent) = &mut record.state else { return Ok(()) };
        let owner = self.outbox.address();
        match verify::look(self.chain, owner, &self.head, &record.intent, sent).await? {
            Found::Final(outcome) => {
                let (nonce, hashes) = (sent.nonce, sent.versions.iter().map(|version| version.hash));
                let hashes: Vec<B256> = hashes.collect();
                if let Outcome::Mined(mined) | Outcome::Reverted { mined, .. } = &outcome {
                    self.floor.block = self.floor.block.max(mined.block);
                }
                self.floor.nonce = self.floor.nonce.max(nonce.saturating_add(1));
                self.close(id, record, outcome).await?;
                self.outbox.told().retain(|hash, _| !hashes.contains(hash));
                Ok(())
            }
            Found::Shallow(mined) if sent.mined == Some(mined) => Ok(()),
            Found::Shallow(mined) => {
                sent.mined = Some(mined);
                self.outbox.save(vec![(id, record)], self.floor).await
            }
            Found::Nowhere => {
                if sent.mined.take().is_some() {
                    // It is told again in this step.
                    self.outbox.told().retain(|hash, _| sent.versions.iter().all(|version| version.hash != *hash));
                    self.progress.dropped.push(id);
                    self.outbox.save(vec![(id, record.clone())], self.floor).await?;
                }
                self.absent(id, record).await
            }
        }
    }

    /// Nothing that was signed for this intent is in a block.
    async fn absent(&mut self, id: IntentId, mut record: Record) -> Result<(), OutboxError> {
        let State::Sent(sent) = &mut record.state else { return Ok(()) };
        if sent.nonce < self.used {
            return match verify::user(self.chain, self.outbox.address(), &self.head, sent).await? {
                Some(User::Foreign { depth }) if depth >= self.chain.confirmations() => {
                    self.floor.nonce = self.floor.nonce.max(sent.nonce.saturating_add(1));
                    record.superseded.extend(sent.versions.iter().map(|version| version.hash));
                    record.state = State::Queued;
                    self.outbox.save(vec![(id, record)], self.floor).await
                }
                Some(User::Foreign { .. }) => Ok(()),
                Some(User::Ours { transaction, block }) => {
                    let owner = self.outbox.address();
                    // It may have been mined after its receipt was asked for: then there is one now.
                    match verify::look(self.chain, owner, &self.head, &record.intent, sent).await? {
                        Found::Nowhere => Err(Contradiction::Withheld { transaction, block }.into()),
                        Found::Shallow(_) | Found::Final(_) => Ok(()),
                    }
                }
                None => Err(Contradiction::NonceUsedByNone { nonce: sent.nonce }.into()),
            };
        }
        // Whoever waits behind another is not helped by higher fees.
        if sent.nonce > self.used {
            return Ok(());
        }
        let Some(last) = sent.versions.last() else { return Ok(()) };
        let impatient = now().saturating_sub(last.signed_at) >= self.outbox.settings.bump_after.as_secs();
        if !impatient || sent.versions.len() >= MAX_VERSIONS {
            return Ok(());
        }
        let old = Fees { fee: last.fee, tip: last.tip };
        let Some(fees) = old.replacing(self.suggested().await?, &self.outbox.settings) else {
            self.progress.capped.push(id);
            return Ok(());
        };
        let version = self.outbox.sign(self.chain, &record.intent, sent.nonce, sent.gas, fees)?;
        sent.versions.push(version);
        self.outbox.save(vec![(id, record)], self.floor).await?;
        self.progress.bumped.push(id);
        Ok(())
    }

    /// Signs what waits, as far as there is room.
    async fn fill(&mut self) -> Result<(), OutboxError> {
        let records = self.outbox.store.open_records()?;
        let mut taken: BTreeSet<u64> = records.iter().filter_map(|(_, record)| nonce(record)).collect();
        let mut fees = None;
        let mut signed = Vec::new();
        for (id, mut record) in records {
            if !matches!(record.state, State::Queued) {
                continue;
            }
            if taken.len() >= self.outbox.settings.in_flight {
                break;
            }
            let gas = match self.gas(&record.intent).await? {
                Ok(gas) => gas,
                // What is before it may be what it needs.
                Err(_) if !taken.is_empty() => break,
                Err(refused) => {
                    self.close(id, record, refused).await?;
                    continue;
                }
            };
            let offered = match fees {
                Some(fees) => fees,
                None => *fees.insert(self.suggested().await?),
            };
            // The lowest that is free: so what others left open is closed, and nothing waits for it.
            let first = self.used.max(self.floor.nonce);
            let nonce = (first..).find(|nonce| !taken.contains(nonce)).ok_or(OutboxError::Damaged)?;
            let version = self.outbox.sign(self.chain, &record.intent, nonce, gas, offered)?;
            // As far back as the head may still go.
            let since = self.head.number.saturating_sub(self.chain.confirmations());
            record.state = State::Sent(Sent { nonce, gas, since, versions: vec![version], mined: None });
            taken.insert(nonce);
            signed.push((id, record));
        }
        if signed.is_empty() {
            return self.close_gap(&taken);
        }
        self.progress.signed.extend(signed.iter().map(|(id, _)| *id));
        self.outbox.save(signed, self.floor).await
    }

    /// What was signed waits for a nonce that nobody uses: a reorganisation dropped a transaction of others,
    /// or a service once told too high a number. A transfer of nothing to oneself takes it in the next step.
    fn close_gap(&self, taken: &BTreeSet<u64>) -> Result<(), OutboxError> {
        let Some(lowest) = taken.first().filter(|lowest| **lowest > self.used) else { return Ok(()) };
        tracing::warn!(from = self.used, to = lowest, "nonces are missing before what was sent");
        let owner = self.outbox.address();
        let key = format!("{OWN_KEYS}gap/{}", self.used);
        let intent = Intent { gas: Some(21_000), ..Intent::call(key, owner, Bytes::new()) };
        self.outbox.store.submit(intent).map(drop)
    }

    /// Tells the chain what it was not told lately by this process, in the order of nonces.
    async fn tell(&mut self) -> Result<(), OutboxError> {
        let mut sent: Vec<_> = self.outbox.store.open_records()?.into_iter().filter_map(by_nonce).collect();
        sent.sort_by_key(|(nonce, ..)| *nonce);
        for (nonce, id, record) in sent {
            let State::Sent(sent) = record.state else { continue };
            let Some(version) = sent.versions.last().filter(|_| sent.mined.is_none() && nonce >= self.used) else {
                continue;
            };
            let again = self.outbox.settings.repeat_after;
            if self.outbox.told().get(&version.hash).is_some_and(|told| told.elapsed() < again) {
                continue;
            }
            let answer: Result<B256, _> =
                self.chain.provider().raw_request("eth_sendRawTransaction".into(), [&version.raw]).await;
            match answer {
                Ok(answered) if answered != version.hash => {
                    return Err(Contradiction::Hash { sent: version.hash, answered }.into());
                }
                Ok(_) => drop(self.outbox.told().insert(version.hash, Instant::now())),
                Err(error) => match error.as_error_resp() {
                    Some(refusal) if is_known(&refusal.message) => {
                        self.outbox.told().insert(version.hash, Instant::now());
                    }
                    Some(refusal) => self.progress.refused.push((id, refusal.message.chars().take(200).collect())),
                    None => return Err(error.into()),
                },
            }
        }
        Ok(())
    }

    /// The limit of gas, or why there is none.
    async fn gas(&self, intent: &Intent) -> Result<Result<u64, Outcome>, OutboxError> {
        if let Some(gas) = intent.gas {
            return Ok(Ok(gas));
        }
        let request = verify::request(self.outbox.address(), intent);
        match self.chain.provider().estimate_gas(request).block(BlockNumberOrTag::Pending.into()).await {
            Ok(gas) => Ok(Ok(gas.saturating_add(gas.div_ceil(4)).min(MAX_GAS))),
            Err(error) => {
                let Some(answer) = error.as_error_resp().filter(|answer| is_revert(answer.code, &answer.message))
                else {
                    return Err(error.into());
                };
                let data = answer.as_revert_data().unwrap_or_default();
                let message = || answer.message.chars().take(200).collect();
                let reason = revert::reason(&data).unwrap_or_else(message);
                Ok(Err(Outcome::Refused { data, reason }))
            }
        }
    }

    async fn suggested(&self) -> Result<Fees, OutboxError> {
        let fees = self.chain.provider().estimate_eip1559_fees().await?;
        Ok(Fees::suggested(fees.max_fee_per_gas, fees.max_priority_fee_per_gas, &self.outbox.settings))
    }

    async fn close(&mut self, id: IntentId, mut record: Record, outcome: Outcome) -> Result<(), OutboxError> {
        record.state = State::Done(outcome);
        self.outbox.save(vec![(id, record)], self.floor).await?;
        self.progress.closed.push(id);
        self.outbox.closed.notify_waiters();
        Ok(())
    }
}

fn nonce(record: &Record) -> Option<u64> {
    match &record.state {
        State::Sent(sent) => Some(sent.nonce),
        _ => None,
    }
}

fn by_nonce((id, record): (IntentId, Record)) -> Option<(u64, IntentId, Record)> {
    Some((nonce(&record)?, id, record))
}

/// geth and its kin answer so to a transaction that waits with them already.
fn is_known(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("already known") || message.contains("already imported")
}

/// Code 3 is what most answer; some put the words under another.
fn is_revert(code: i64, message: &str) -> bool {
    code == 3 || message.to_ascii_lowercase().contains("revert")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// EIP-7825.
const MAX_GAS: u64 = 1 << 24;
/// Replacements of one transaction: an eighth each time is a factor of 40 in all.
const MAX_VERSIONS: usize = 32;
