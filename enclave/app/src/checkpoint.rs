//! State that outlives the enclave's process: sealed, kept by the host, and read back only if it is
//! this job's.
//!
//! A checkpoint is an age file whose file key is derived from what this code gets from this chip alone
//! *and* from the keys that the parties released. So a host that starts the same enclave again cannot
//! have a checkpoint opened before every party has granted anew; and a party that knows its own key
//! cannot forge one. What a checkpoint cannot say is whether it is the newest: its number can be held
//! against the one that a party remembers.

use crate::{AssetReader, Context, ResultWriter, host::HostError};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use glacier_asset::AgeIdentity;
use glacier_platform::SealingPurpose;
use glacier_wire::{
    Digest, FileKey, ManifestHash,
    api::{HostReply, HostRequest, Refusal, RefusalCode},
};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// The checkpoints of one job. Holds the key that seals them.
pub struct Checkpoints {
    cx: Context,
    job: ManifestHash,
    key: FileKey,
}

/// A checkpoint whose number is known, and whose state can be read.
pub struct Checkpoint {
    number: u64,
    len: u64,
    head: Zeroizing<Vec<u8>>,
    pieces: mpsc::Receiver<Zeroizing<Vec<u8>>>,
    opening: tokio::task::JoinHandle<Result<u64, Refusal>>,
}

impl Checkpoints {
    /// Derives the key of a job's checkpoints from the chip's and the parties' keys, in the order of the
    /// manifest. Blocks while the platform derives its part.
    ///
    /// # Errors
    /// [`RefusalCode::Platform`] where the platform has no sealing key (TDX): nothing is kept there, rather
    /// than kept under what a party could forge.
    pub fn new(cx: &Context, job: ManifestHash, released: &[&FileKey]) -> Result<Self, Refusal> {
        let unable = |fault: &dyn std::fmt::Display| {
            Refusal::new(RefusalCode::Platform, format!("checkpoints cannot be sealed: {fault}"))
        };
        let chip = cx.platform_handle().sealing_key(SealingPurpose::App).map_err(|fault| unable(&fault))?;
        let mut secret = Zeroizing::new(Vec::with_capacity(SECRET));
        secret.extend_from_slice(chip.expose());
        released.iter().for_each(|key| secret.extend_from_slice(key.expose()));
        let mut key = Zeroizing::new([0u8; 16]);
        Salt::new(HKDF_SHA256, LABEL)
            .extract(&secret)
            .expand(&[&job.0], FileKeyLength)
            .and_then(|okm| okm.fill(&mut *key))
            .map_err(|_| unable(&"no key could be derived"))?;
        Ok(Self { cx: cx.clone(), job, key: FileKey::new(*key) })
    }

    /// Seals a state under a number and has the host keep it in place of the one before. When this
    /// returns, the host has said that it is on its disk.
    pub async fn keep(&self, number: u64, state: &[u8]) -> Result<(), Refusal> {
        // The format wants somebody who can unwrap the key: an identity that nobody has.
        let nobody = AgeIdentity::generate()
            .map_err(|fault| Refusal::new(RefusalCode::Platform, format!("a checkpoint cannot be sealed: {fault}")))?
            .recipient();
        let mut file = ResultWriter::under(self.cx.host(), &self.key, &[nobody]).await?;
        let written = async {
            file.write(&self.job.0).await?;
            file.write(&number.to_le_bytes()).await?;
            for piece in state.chunks(PIECE) {
                file.write(piece).await?;
            }
            Ok::<_, Refusal>(())
        };
        if let Err(refusal) = written.await {
            file.abort().await;
            return Err(refusal);
        }
        let asset = file.finish().await?.digest;
        match self.cx.host().call(HostRequest::Keep { job: self.job, asset }).await? {
            HostReply::Done => Ok(()),
            _ => Err(HostError::Broken.into()),
        }
    }

    /// The checkpoint that the host brings back, if it brings one. `at_least` is the newest number that a
    /// party was told of.
    ///
    /// # Errors
    /// [`RefusalCode::CheckpointStale`] where it is older, or not there although there was one;
    /// [`RefusalCode::CheckpointForged`] where it is not one that this enclave sealed for this job.
    pub async fn recall(&self, at_least: u64) -> Result<Option<Checkpoint>, Refusal> {
        let asset = match self.cx.host().call(HostRequest::Recall { job: self.job }).await? {
            HostReply::Recalled { asset } => asset,
            _ => return Err(HostError::Broken.into()),
        };
        let Some(asset) = asset else { return stale(0, at_least).map(|()| None) };
        let checkpoint = self.open(asset).await?;
        stale(checkpoint.number, at_least)?;
        Ok(Some(checkpoint))
    }

    /// The job has ended: the host may remove what it kept.
    pub async fn forget(&self) {
        let _ = self.cx.host().call(HostRequest::Forget { job: self.job }).await;
    }

    async fn open(&self, asset: Digest) -> Result<Checkpoint, Refusal> {
        let reader = AssetReader::begin(self.cx.host(), asset, &self.key).await.map_err(forged)?;
        let len = reader.plaintext_len().checked_sub(HEAD as u64).ok_or_else(|| forged(()))?;
        let (sender, mut pieces) = mpsc::channel(2);
        let opening = tokio::spawn(reader.stream(sender, |_| ()));
        let mut head = Zeroizing::new(Vec::new());
        while head.len() < HEAD {
            let Some(piece) = pieces.recv().await else { return Err(forged(())) };
            head.extend_from_slice(&piece);
        }
        let rest = Zeroizing::new(head.split_off(HEAD));
        let (job, number) = head.split_first_chunk::<32>().ok_or_else(|| forged(()))?;
        let number: [u8; 8] = number.try_into().map_err(forged)?;
        if *job != self.job.0 {
            return Err(forged(()));
        }
        Ok(Checkpoint { number: u64::from_le_bytes(number), len, head: rest, pieces, opening })
    }
}

impl Checkpoint {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its state, all of it authentic.
    ///
    /// # Errors
    /// [`RefusalCode::CheckpointForged`] where it is cut or altered; [`RefusalCode::MemoryLimit`] where it
    /// is longer than `most` bytes.
    pub async fn state(mut self, most: u64) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let too_large = || Refusal::new(RefusalCode::MemoryLimit, "the checkpoint is larger than the job may hold");
        let len = usize::try_from(self.len).ok().filter(|_| self.len <= most).ok_or_else(too_large)?;
        let mut state = Zeroizing::new(Vec::new());
        state.try_reserve_exact(len).map_err(|_| too_large())?;
        state.extend_from_slice(&self.head);
        while let Some(piece) = self.pieces.recv().await {
            if state.len().saturating_add(piece.len()) > len {
                return Err(forged(()));
            }
            state.extend_from_slice(&piece);
        }
        self.opening.await.map_err(forged)?.map_err(forged)?;
        if state.len() == len { Ok(state) } else { Err(forged(())) }
    }
}

fn stale(found: u64, at_least: u64) -> Result<(), Refusal> {
    if found >= at_least {
        return Ok(());
    }
    let found = if found == 0 { "none".to_owned() } else { format!("number {found}") };
    let detail = format!("the party was told of checkpoint {at_least}, and the host brings back {found}");
    Err(Refusal::new(RefusalCode::CheckpointStale, detail))
}

/// Whatever is wrong with it, it is the host's doing: nobody else touches it.
fn forged<T>(_: T) -> Refusal {
    let detail = "the host's checkpoint is not one that this enclave sealed for this job: altered, cut or exchanged";
    Refusal::new(RefusalCode::CheckpointForged, detail)
}

struct FileKeyLength;

impl KeyType for FileKeyLength {
    fn len(&self) -> usize {
        16
    }
}

const LABEL: &[u8] = b"glacier checkpoint key v1";
/// A chip's key and those of as many parties as a manifest can name.
const SECRET: usize = 32 + 16 * 20;
/// Job and number.
const HEAD: usize = 32 + 8;
/// Bytes of state that are enciphered at once.
const PIECE: usize = 1 << 20;
