//! Ciphertext from the host, plaintext for the application, and the way back.

use crate::host::{HostError, HostPort};
use glacier_asset::{AssetError, CHUNK_BYTES, Header, Opener, Parsed, Sealer, generate_file_key, sealed_chunk_bytes};
use glacier_wire::{
    Commitment, Digest, FileKey, Recipient,
    api::{HOST_CHUNK, HostReply, HostRequest, Refusal, RefusalCode},
};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Reads that are under way at once, so that the host's disk and the cipher work side by side.
const READ_AHEAD: usize = 3;

/// Ciphertext bytes of one read: as many whole chunks as fit a frame.
const PIECE: usize = HOST_CHUNK.div_euclid(sealed_chunk_bytes()).saturating_mul(sealed_chunk_bytes());

/// Length of the payload nonce that follows an age header.
const NONCE: u64 = 16;

/// An encrypted asset whose header has been read. Memory stays at a few pieces, whatever its size.
pub struct AssetReader {
    host: Arc<HostPort>,
    asset: Digest,
    opener: Opener,
    head: Vec<u8>,
    ciphertext_len: u64,
    plaintext_len: u64,
}

impl AssetReader {
    pub(crate) async fn begin(host: Arc<HostPort>, asset: Digest, key: &FileKey) -> Result<Self, Refusal> {
        let (head, ciphertext_len) = read_head(&host, asset).await?;
        match plaintext_len(&head, ciphertext_len) {
            Ok(plaintext_len) => {
                Ok(Self { host, asset, opener: Opener::new(key), head, ciphertext_len, plaintext_len })
            }
            Err(fault) => Err(blame(&host, asset, ciphertext_len, fault).await),
        }
    }

    /// Bytes that the host holds.
    pub fn ciphertext_len(&self) -> u64 {
        self.ciphertext_len
    }

    /// Bytes that [`AssetReader::stream`] yields, if the asset is whole.
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Sends the plaintext piece by piece and returns the number of ciphertext bytes, once the
    /// digest of all of them has matched. Before that, nothing made of the plaintext may leave the
    /// enclave: the pieces are authentic under the key, but only the digest says that they are the
    /// asset that was signed. `progress` is told of ciphertext bytes as they are read.
    ///
    /// A receiver that hangs up ends the stream with [`RefusalCode::NotReady`].
    pub async fn stream(
        self,
        pieces: mpsc::Sender<Zeroizing<Vec<u8>>>,
        progress: impl Fn(u64) + Send,
    ) -> Result<u64, Refusal> {
        let Self { host, asset, mut opener, head, ciphertext_len, .. } = self;
        let mut offset = head.len() as u64;
        let mut ahead = VecDeque::new();
        let mut piece = head;
        loop {
            while ahead.len() < READ_AHEAD && offset < ciphertext_len {
                let len = ciphertext_len.saturating_sub(offset).min(PIECE as u64);
                let (host, at) = (host.clone(), offset);
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                ahead.push_back(tokio::spawn(async move { host.read(asset, at, len).await }));
                offset = offset.saturating_add(u64::from(len));
            }
            // Room for everything that this piece can complete, so that no half-filled copy is left behind.
            let mut plaintext = Zeroizing::new(Vec::with_capacity(piece.len().saturating_add(CHUNK_BYTES)));
            if let Err(fault) = opener.push(&piece, &mut plaintext) {
                return Err(blame(&host, asset, ciphertext_len, fault).await);
            }
            progress(piece.len() as u64);
            send(&pieces, plaintext).await?;
            match ahead.pop_front() {
                Some(read) => piece = read.await.map_err(|_| HostError::Broken)??,
                None => break,
            }
        }
        let mut plaintext = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES));
        match opener.finish(&mut plaintext) {
            Ok(opened) if opened.digest == asset => {
                send(&pieces, plaintext).await?;
                Ok(opened.ciphertext_bytes)
            }
            Ok(_) => Err(not_the_signed_one()),
            Err(fault) => Err(blame(&host, asset, ciphertext_len, fault).await),
        }
    }
}

/// The first bytes of an asset, more than any header has, and its length.
pub(crate) async fn read_head(host: &HostPort, asset: Digest) -> Result<(Vec<u8>, u64), HostError> {
    let ciphertext_len = host.size(asset).await?;
    let head_len = ciphertext_len.min(PIECE as u64);
    let head = host.read(asset, 0, u32::try_from(head_len).unwrap_or(u32::MAX)).await?;
    Ok((head, ciphertext_len))
}

async fn send(pieces: &mpsc::Sender<Zeroizing<Vec<u8>>>, plaintext: Zeroizing<Vec<u8>>) -> Result<(), Refusal> {
    if plaintext.is_empty() {
        return Ok(());
    }
    let gone = |_| Refusal::new(RefusalCode::NotReady, "nobody takes the asset any more");
    pieces.send(plaintext).await.map_err(gone)
}

/// Bytes of content in an age file of `ciphertext_len` bytes that begins with `head`.
fn plaintext_len(head: &[u8], ciphertext_len: u64) -> Result<u64, AssetError> {
    let header_len = match Header::parse(head)? {
        Parsed::Complete { len, .. } => len as u64,
        Parsed::NeedsMore => return Err(AssetError::Truncated),
    };
    let payload = ciphertext_len.checked_sub(header_len.saturating_add(NONCE)).ok_or(AssetError::Truncated)?;
    let sealed = sealed_chunk_bytes() as u64;
    let tag = sealed.saturating_sub(CHUNK_BYTES as u64);
    let tags = payload.div_ceil(sealed).saturating_mul(tag);
    payload.checked_sub(tags).ok_or(AssetError::Truncated)
}

/// Whose fault it is that an asset does not open. If the host's bytes are not the ones whose digest
/// was signed it is the host's; if they are, it is the key's or the file's.
async fn blame(host: &HostPort, asset: Digest, ciphertext_len: u64, fault: AssetError) -> Refusal {
    match digest(host, asset, ciphertext_len).await {
        Ok(found) if found == asset => match fault {
            AssetError::MacMismatch => Refusal::new(RefusalCode::AssetKey, "the released key does not open the asset"),
            fault => Refusal::new(RefusalCode::AssetMalformed, format!("the asset cannot be opened: {fault}")),
        },
        Ok(_) => not_the_signed_one(),
        Err(broken) => broken.into(),
    }
}

async fn digest(host: &HostPort, asset: Digest, ciphertext_len: u64) -> Result<Digest, HostError> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    while offset < ciphertext_len {
        let len = ciphertext_len.saturating_sub(offset).min(PIECE as u64);
        hasher.update(&host.read(asset, offset, u32::try_from(len).unwrap_or(u32::MAX)).await?);
        offset = offset.saturating_add(len);
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

fn not_the_signed_one() -> Refusal {
    Refusal::new(
        RefusalCode::AssetDigest,
        "the host's ciphertext is not the asset that was signed: altered, cut, reordered or exchanged",
    )
}

/// A result that is encrypted as it comes and stored by the host. One that is dropped unfinished is given up.
pub struct ResultWriter {
    upload: Upload,
    sealer: Sealer,
    pending: Vec<u8>,
}

/// A stored result.
#[derive(Debug, Clone, Copy)]
pub struct SealedResult {
    /// Names the age file, and commits to what is in it.
    pub digest: Digest,
    /// Ciphertext bytes.
    pub bytes: u64,
}

impl From<SealedResult> for Commitment {
    fn from(sealed: SealedResult) -> Self {
        sealed.digest.into()
    }
}

impl ResultWriter {
    pub(crate) async fn begin(host: Arc<HostPort>, recipients: &[Recipient]) -> Result<Self, Refusal> {
        // The key is dropped at once: only the recipients can unwrap it again.
        let key = generate_file_key().map_err(cannot_seal)?;
        Self::under(host, &key, recipients).await
    }

    /// Under a given key.
    pub(crate) async fn under(host: Arc<HostPort>, key: &FileKey, recipients: &[Recipient]) -> Result<Self, Refusal> {
        let sealer = Sealer::new(key, recipients).map_err(cannot_seal)?;
        Ok(Self { upload: Upload::begin(host).await?, sealer, pending: Vec::new() })
    }

    /// Appends to the result.
    pub async fn write(&mut self, plaintext: &[u8]) -> Result<(), Refusal> {
        self.sealer.push(plaintext, &mut self.pending).map_err(cannot_seal)?;
        Ok(self.upload.flush(&mut self.pending, PIECE).await?)
    }

    /// Ends the result and has the host keep it.
    pub async fn finish(mut self) -> Result<SealedResult, Refusal> {
        let sealed = self.sealer.finish(&mut self.pending).map_err(cannot_seal)?;
        self.upload.flush(&mut self.pending, 1).await?;
        self.upload.commit(sealed.digest).await?;
        Ok(SealedResult { digest: sealed.digest, bytes: sealed.ciphertext_bytes })
    }

    /// Gives the result up, and waits until the host has.
    pub async fn abort(self) {
        self.upload.abort().await;
    }
}

/// What the host stores. It has room for so many at once: one that is dropped is given up.
struct Upload {
    host: Arc<HostPort>,
    number: u64,
    /// Whether the host still holds it open.
    open: bool,
}

impl Upload {
    async fn begin(host: Arc<HostPort>) -> Result<Self, HostError> {
        // In a task of its own: what the host has begun for a caller who has gone is given up as well.
        let begun = tokio::spawn(async move {
            match host.call(HostRequest::Create).await? {
                HostReply::Created { upload } => Ok(Self { host, number: upload, open: true }),
                _ => Err(HostError::Broken),
            }
        });
        begun.await.map_err(|_| HostError::Broken)?
    }

    /// Sends pending ciphertext in frames, as long as there are `at_least` bytes of it.
    async fn flush(&self, pending: &mut Vec<u8>, at_least: usize) -> Result<(), HostError> {
        while pending.len() >= at_least {
            let rest = pending.split_off(pending.len().min(HOST_CHUNK));
            let data = std::mem::replace(pending, rest);
            self.host.call(HostRequest::Append { upload: self.number, data }).await?;
        }
        Ok(())
    }

    async fn commit(mut self, asset: Digest) -> Result<(), HostError> {
        self.host.call(HostRequest::Commit { upload: self.number, asset }).await?;
        self.open = false;
        Ok(())
    }

    async fn abort(mut self) {
        self.open = false;
        let _ = tokio::spawn(give_up(self.host.clone(), self.number)).await;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Without a runtime the enclave ends, and the host gives up all of its uploads.
        if self.open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(give_up(self.host.clone(), self.number));
        }
    }
}

async fn give_up(host: Arc<HostPort>, upload: u64) {
    let _ = host.call(HostRequest::Abort { upload }).await;
}

fn cannot_seal(fault: AssetError) -> Refusal {
    Refusal::new(RefusalCode::App, format!("the result cannot be encrypted: {fault}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use glacier_asset::AgeIdentity;
    use glacier_wire::{
        api::{HOST_FRAME, HostAnswer, HostCall, HostFault},
        cbor,
    };
    use std::{
        collections::HashSet,
        sync::Mutex,
        time::{Duration, Instant},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
        time::{sleep, timeout},
    };

    /// How many uploads the host holds open.
    type Open = Arc<Mutex<HashSet<u64>>>;

    /// A host that takes its time, and whose disk is full after so many pieces.
    fn host(pieces: usize) -> (Arc<HostPort>, Open) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let open = Open::default();
        let kept = open.clone();
        tokio::spawn(async move {
            let (mut begun, mut left) = (0, pieces);
            while let Ok(len) = ours.read_u32_le().await {
                let mut bytes = vec![0; len as usize];
                ours.read_exact(&mut bytes).await.unwrap();
                let HostCall { id, request } = cbor::decode(&bytes, HOST_FRAME).unwrap();
                sleep(Duration::from_millis(2)).await;
                let reply = match request {
                    HostRequest::Create => {
                        begun += 1;
                        kept.lock().unwrap().insert(begun);
                        HostReply::Created { upload: begun }
                    }
                    HostRequest::Append { .. } if left == 0 => HostReply::Failed { fault: HostFault::Full },
                    HostRequest::Append { .. } => {
                        left -= 1;
                        HostReply::Done
                    }
                    HostRequest::Commit { upload, .. } | HostRequest::Abort { upload } => {
                        let known = kept.lock().unwrap().remove(&upload);
                        if known { HostReply::Done } else { HostReply::Failed { fault: HostFault::Missing } }
                    }
                    other => panic!("{other:?}"),
                };
                let bytes = cbor::encode(&HostAnswer { id, reply });
                ours.write_all(&(bytes.len() as u32).to_le_bytes()).await.unwrap();
                ours.write_all(&bytes).await.unwrap();
            }
        });
        (HostPort::new(theirs), open)
    }

    async fn write(host: Arc<HostPort>) -> Result<SealedResult, Refusal> {
        let nobody = AgeIdentity::generate().unwrap().recipient();
        let mut file = ResultWriter::begin(host, &[nobody]).await?;
        file.write(&[7; 3 << 20]).await?;
        file.finish().await
    }

    async fn none_is_open(open: &Open) {
        let end = Instant::now() + Duration::from_secs(10);
        while !open.lock().unwrap().is_empty() {
            assert!(Instant::now() < end, "{:?}", open.lock().unwrap());
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn whenever_its_writer_is_dropped_an_upload_is_given_up() {
        let (host, open) = host(usize::MAX);
        for waited in 0..16 {
            // However far it comes in that time.
            let _ = timeout(Duration::from_millis(waited), write(host.clone())).await;
        }
        none_is_open(&open).await;
    }

    #[tokio::test]
    async fn an_upload_that_the_host_does_not_take_to_its_end_is_given_up() {
        for pieces in 0..3 {
            let (host, open) = host(pieces);
            assert_eq!(write(host).await.unwrap_err().code, RefusalCode::Host);
            none_is_open(&open).await;
        }
    }
}
