//! State that outlives the enclave's process: sealed, kept by the host, and read back only if it is
//! this job's.
//!
//! A checkpoint is an age file whose file key is derived from what this code gets from this chip alone
//! *and* from the keys that the parties released. So a host that starts the same enclave again cannot
//! have a checkpoint opened before every party has granted anew; and a party that knows its own key
//! cannot forge one. What a checkpoint cannot say is whether it is the newest: its number can be held
//! against the one that a party remembers.

use crate::{
    AssetReader, Context, ResultWriter,
    host::{HostError, HostPort},
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use glacier_asset::AgeIdentity;
use glacier_platform::SealingPurpose;
use glacier_wire::{
    Digest, FileKey, ManifestHash,
    api::{HostReply, HostRequest, Refusal, RefusalCode},
};
use std::sync::Arc;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// The checkpoints of one job. Holds the key that seals them.
pub struct Checkpoints {
    host: Arc<HostPort>,
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
        let chip = cx.platform_handle().sealing_key(SealingPurpose::App).map_err(cannot_seal)?;
        Self::under(cx.host(), chip.expose(), job, released)
    }

    pub(crate) fn under(
        host: Arc<HostPort>,
        chip: &[u8; 32],
        job: ManifestHash,
        released: &[&FileKey],
    ) -> Result<Self, Refusal> {
        let mut secret = Zeroizing::new(Vec::with_capacity(SECRET));
        secret.extend_from_slice(chip);
        released.iter().for_each(|key| secret.extend_from_slice(key.expose()));
        let mut key = Zeroizing::new([0u8; 16]);
        Salt::new(HKDF_SHA256, LABEL)
            .extract(&secret)
            .expand(&[&job.0], FileKeyLength)
            .and_then(|okm| okm.fill(&mut *key))
            .map_err(|_| cannot_seal("no key could be derived"))?;
        Ok(Self { host, job, key: FileKey::new(*key) })
    }

    /// Seals a state under a number and has the host keep it in place of the one before. When this
    /// returns, the host has said that it is on its disk.
    pub async fn keep(&self, number: u64, state: &[u8]) -> Result<(), Refusal> {
        // The format wants somebody who can unwrap the key: an identity that nobody has.
        let nobody = AgeIdentity::generate().map_err(cannot_seal)?.recipient();
        let mut file = ResultWriter::under(self.host.clone(), &self.key, &[nobody]).await?;
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
        match self.host.call(HostRequest::Keep { job: self.job, asset }).await? {
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
        let asset = match self.host.call(HostRequest::Recall { job: self.job }).await? {
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
        let _ = self.host.call(HostRequest::Forget { job: self.job }).await;
    }

    /// The same for whoever has no keys any more.
    pub async fn forget_job(cx: &Context, job: ManifestHash) {
        let _ = cx.host().call(HostRequest::Forget { job }).await;
    }

    async fn open(&self, asset: Digest) -> Result<Checkpoint, Refusal> {
        let reader = AssetReader::begin(self.host.clone(), asset, &self.key).await.map_err(forged)?;
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

pub(crate) fn cannot_seal(fault: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Platform, format!("a checkpoint cannot be sealed: {fault}"))
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

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
mod tests {
    use super::*;
    use glacier_wire::{
        api::{HOST_FRAME, HostAnswer, HostCall, HostFault},
        cbor,
    };
    use std::{collections::HashMap, sync::Mutex};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    /// What a host keeps, in the test's hands.
    #[derive(Default)]
    struct Kept {
        blobs: HashMap<Digest, Vec<u8>>,
        newest: HashMap<ManifestHash, Digest>,
        upload: Vec<u8>,
    }

    fn host() -> (Arc<HostPort>, Arc<Mutex<Kept>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let kept = Arc::new(Mutex::new(Kept::default()));
        tokio::spawn(answer(ours, kept.clone()));
        (HostPort::new(theirs), kept)
    }

    async fn answer(mut port: UnixStream, kept: Arc<Mutex<Kept>>) {
        while let Ok(len) = port.read_u32_le().await {
            let mut bytes = vec![0; len as usize];
            port.read_exact(&mut bytes).await.unwrap();
            let HostCall { id, request } = cbor::decode(&bytes, HOST_FRAME).unwrap();
            let reply = kept.lock().unwrap().reply(request);
            let bytes = cbor::encode(&HostAnswer { id, reply });
            port.write_all(&(bytes.len() as u32).to_le_bytes()).await.unwrap();
            port.write_all(&bytes).await.unwrap();
        }
    }

    impl Kept {
        fn reply(&mut self, request: HostRequest) -> HostReply {
            match request {
                HostRequest::Create => HostReply::Created { upload: 1 },
                HostRequest::Append { data, .. } => {
                    self.upload.extend(data);
                    HostReply::Done
                }
                HostRequest::Commit { asset, .. } => {
                    self.blobs.insert(asset, std::mem::take(&mut self.upload));
                    HostReply::Done
                }
                HostRequest::Keep { job, asset } => {
                    self.newest.insert(job, asset);
                    HostReply::Done
                }
                HostRequest::Recall { job } => HostReply::Recalled { asset: self.newest.get(&job).copied() },
                HostRequest::Forget { job } => {
                    self.newest.remove(&job);
                    HostReply::Done
                }
                HostRequest::Size { asset } => HostReply::Size { bytes: self.blobs[&asset].len() as u64 },
                HostRequest::Read { asset, offset, len } => {
                    HostReply::Data { data: self.blobs[&asset][offset as usize..][..len as usize].to_vec() }
                }
                _ => HostReply::Failed { fault: HostFault::Bad },
            }
        }
    }

    const JOB: ManifestHash = ManifestHash([7; 32]);

    fn checkpoints(host: &Arc<HostPort>, chip: u8, job: ManifestHash, party: u8) -> Checkpoints {
        let keys = [FileKey::new([party; 16]), FileKey::new([9; 16])];
        Checkpoints::under(host.clone(), &[chip; 32], job, &keys.each_ref()).unwrap()
    }

    async fn recall(checkpoints: &Checkpoints, at_least: u64) -> Result<Option<(u64, Vec<u8>)>, RefusalCode> {
        let Some(checkpoint) = checkpoints.recall(at_least).await.map_err(|refusal| refusal.code)? else {
            return Ok(None);
        };
        let number = checkpoint.number();
        let state = checkpoint.state(1 << 30).await.map_err(|refusal| refusal.code)?;
        Ok(Some((number, state.to_vec())))
    }

    #[tokio::test]
    async fn a_state_comes_back_to_a_later_start_of_the_same_enclave() {
        let (host, _) = host();
        let before = checkpoints(&host, 1, JOB, 2);
        assert_eq!(recall(&before, 0).await, Ok(None));
        let state: Vec<u8> = (0..3_000_001u32).map(|at| (at % 251) as u8).collect();
        before.keep(5, &state).await.unwrap();
        assert_eq!(recall(&checkpoints(&host, 1, JOB, 2), 5).await, Ok(Some((5, state))));
        before.keep(6, b"").await.unwrap();
        assert_eq!(recall(&before, 5).await, Ok(Some((6, Vec::new()))));
        before.forget().await;
        assert_eq!(recall(&before, 0).await, Ok(None));
    }

    #[tokio::test]
    async fn a_rolled_back_or_withheld_checkpoint_is_refused() {
        let (host, kept) = host();
        let checkpoints = checkpoints(&host, 1, JOB, 2);
        checkpoints.keep(1, b"one").await.unwrap();
        let one = kept.lock().unwrap().newest[&JOB];
        checkpoints.keep(2, b"two").await.unwrap();
        kept.lock().unwrap().newest.insert(JOB, one);
        assert_eq!(recall(&checkpoints, 2).await, Err(RefusalCode::CheckpointStale));
        // A party that was told of none has nothing to hold against it: training would go the same way again.
        assert_eq!(recall(&checkpoints, 0).await, Ok(Some((1, b"one".to_vec()))));
        kept.lock().unwrap().newest.clear();
        assert_eq!(recall(&checkpoints, 1).await, Err(RefusalCode::CheckpointStale));
    }

    #[tokio::test]
    async fn what_this_enclave_did_not_seal_for_this_job_is_refused() {
        let (host, kept) = host();
        let ours = checkpoints(&host, 1, JOB, 2);
        ours.keep(1, b"ours").await.unwrap();
        // Another chip, and parties that granted other keys, derive another key.
        assert_eq!(recall(&checkpoints(&host, 2, JOB, 2), 0).await, Err(RefusalCode::CheckpointForged));
        assert_eq!(recall(&checkpoints(&host, 1, JOB, 3), 0).await, Err(RefusalCode::CheckpointForged));
        let other = ManifestHash([8; 32]);
        checkpoints(&host, 1, other, 2).keep(9, b"another job's").await.unwrap();
        let theirs = kept.lock().unwrap().newest[&other];
        kept.lock().unwrap().newest.insert(JOB, theirs);
        assert_eq!(recall(&ours, 0).await, Err(RefusalCode::CheckpointForged));
    }

    #[tokio::test]
    async fn an_altered_or_cut_checkpoint_is_refused() {
        let (host, kept) = host();
        let checkpoints = checkpoints(&host, 1, JOB, 2);
        checkpoints.keep(1, &[5; 200_000]).await.unwrap();
        let asset = kept.lock().unwrap().newest[&JOB];
        let whole = kept.lock().unwrap().blobs[&asset].clone();
        for at in [10, 200, 100_000, whole.len() - 1] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            kept.lock().unwrap().blobs.insert(asset, altered);
            assert_eq!(recall(&checkpoints, 0).await, Err(RefusalCode::CheckpointForged), "at {at}");
            kept.lock().unwrap().blobs.insert(asset, whole[..at].to_vec());
            assert_eq!(recall(&checkpoints, 0).await, Err(RefusalCode::CheckpointForged), "cut at {at}");
        }
    }

    #[tokio::test]
    async fn a_state_beyond_the_jobs_memory_is_refused_before_it_is_read() {
        let (host, _) = host();
        let checkpoints = checkpoints(&host, 1, JOB, 2);
        checkpoints.keep(1, &[5; 1000]).await.unwrap();
        let checkpoint = checkpoints.recall(0).await.unwrap().unwrap();
        assert_eq!(checkpoint.state(999).await.unwrap_err().code, RefusalCode::MemoryLimit);
    }
}
