//! Ciphertext in, plaintext out, and the digest of what went in.

use core::num::NonZeroUsize;
use std::{sync::Mutex, thread};

use glacier_wire::{Digest, FileKey};
use zeroize::Zeroize;

use crate::{
    error::{AssetError, Malformed},
    header::{Header, Parsed},
    stream::{CHUNK_BYTES, NONCE_BYTES, PayloadKey, SEALED_CHUNK, TAG_BYTES, extend},
};

/// Opens one age file with its file key, in a stream and with memory for one chunk.
///
/// Plaintext is appended to the caller's buffer, which the caller wipes; nothing of it is kept here.
/// After an error every further call returns that error.
pub struct Opener {
    threads: NonZeroUsize,
    hasher: blake3::Hasher,
    ciphertext_bytes: u64,
    plaintext_bytes: u64,
    stage: Stage,
}

/// What a whole, authentic file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// BLAKE3 of the ciphertext file: compare it with the one that was signed.
    pub digest: Digest,
    /// Bytes of the file.
    pub ciphertext_bytes: u64,
    /// Bytes of its content.
    pub plaintext_bytes: u64,
}

enum Stage {
    Header {
        key: FileKey,
        held: Vec<u8>,
    },
    Payload {
        key: PayloadKey,
        /// Index of the chunk that `held` begins.
        chunk: u64,
        /// Ciphertext of a chunk that is incomplete, or of which it is not known whether it is the last.
        held: Vec<u8>,
    },
    Failed(AssetError),
}

impl Opener {
    /// Opens with `key`. Every age file has one; which stanza brought it does not matter here.
    pub fn new(key: &FileKey) -> Self {
        Self {
            threads: NonZeroUsize::MIN,
            hasher: blake3::Hasher::new(),
            ciphertext_bytes: 0,
            plaintext_bytes: 0,
            stage: Stage::Header { key: FileKey::new(*key.expose()), held: Vec::new() },
        }
    }

    /// Lets each push of several chunks use up to `threads` threads, the caller's included.
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Takes the next ciphertext bytes, of any number, and appends the plaintext they complete to `out`.
    ///
    /// Fastest with pushes of many [`sealed_chunk_bytes`](crate::sealed_chunk_bytes): whole chunks are
    /// opened from `ciphertext` into `out` without a copy in between. On an error nothing of this push is in `out`.
    pub fn push(&mut self, ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), AssetError> {
        let before = out.len();
        let result = self.advance(ciphertext, out);
        self.settle(result, before, out)
    }

    /// Says that no more bytes come, and appends the last plaintext.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Opened, AssetError> {
        let before = out.len();
        let result = self.close(out);
        self.settle(result, before, out)?;
        Ok(Opened {
            digest: Digest(*self.hasher.finalize().as_bytes()),
            ciphertext_bytes: self.ciphertext_bytes,
            plaintext_bytes: self.plaintext_bytes,
        })
    }

    fn settle(&mut self, result: Result<(), AssetError>, before: usize, out: &mut Vec<u8>) -> Result<(), AssetError> {
        if let Err(error) = result {
            out.get_mut(before..).unwrap_or_default().zeroize();
            out.truncate(before);
            self.stage = Stage::Failed(error);
        }
        self.plaintext_bytes = self.plaintext_bytes.saturating_add(out.len().saturating_sub(before) as u64);
        result
    }

    fn advance(&mut self, ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), AssetError> {
        self.ciphertext_bytes = self.ciphertext_bytes.saturating_add(ciphertext.len() as u64);
        match &mut self.stage {
            Stage::Failed(error) => Err(*error),
            Stage::Payload { key, chunk, held } => {
                payload(&mut self.hasher, self.threads, key, chunk, held, ciphertext, out)
            }
            Stage::Header { key, held } => {
                self.hasher.update(ciphertext);
                // The payload's first bytes may come with the header: what is held is bounded all the same.
                let room = Header::MAX_BYTES.saturating_add(NONCE_BYTES).saturating_sub(held.len());
                let (taken, rest) = ciphertext.split_at_checked(room).unwrap_or((ciphertext, &[]));
                held.extend_from_slice(taken);
                let Parsed::Complete { header, len } = Header::parse(held)? else { return Ok(()) };
                header.verify(key)?;
                let Some((nonce, begun)) = held.get(len..).and_then(|after| after.split_first_chunk()) else {
                    return Ok(());
                };
                let key = PayloadKey::new(key, nonce)?;
                let begun = begun.to_vec();
                let (mut chunk, mut held) = (0, Vec::with_capacity(SEALED_CHUNK));
                // These bytes are in the digest already.
                let unhashed = &mut blake3::Hasher::new();
                for part in [begun.as_slice(), rest] {
                    payload(unhashed, self.threads, &key, &mut chunk, &mut held, part, out)?;
                }
                self.stage = Stage::Payload { key, chunk, held };
                Ok(())
            }
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), AssetError> {
        match &self.stage {
            Stage::Failed(error) => Err(*error),
            Stage::Header { .. } => Err(AssetError::Truncated),
            Stage::Payload { key, chunk, held } => {
                let content = held.len().checked_sub(TAG_BYTES).ok_or(AssetError::Truncated)?;
                if let Err(error) = key.open(*chunk, true, held, extend(out, content)) {
                    // A full chunk that opens as one with a successor: the successors are missing.
                    return Err(if opens(key, *chunk, false, held) { AssetError::Truncated } else { error });
                }
                if content == 0 && *chunk > 0 {
                    return Err(AssetError::Malformed(Malformed::EmptyFinalChunk));
                }
                Ok(())
            }
        }
    }
}

/// Hashes and opens payload bytes; the last 1 to [`SEALED_CHUNK`] of them are held, as they may be the last chunk.
fn payload(
    hasher: &mut blake3::Hasher,
    threads: NonZeroUsize,
    key: &PayloadKey,
    chunk: &mut u64,
    held: &mut Vec<u8>,
    ciphertext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), AssetError> {
    let missing = SEALED_CHUNK.saturating_sub(held.len());
    let (head, body) = match ciphertext.split_at_checked(missing) {
        Some((head, body)) if !held.is_empty() && !body.is_empty() => (head, body),
        _ if !held.is_empty() => {
            hasher.update(ciphertext);
            held.extend_from_slice(ciphertext);
            return Ok(());
        }
        _ => (&[][..], ciphertext),
    };
    if !held.is_empty() {
        held.extend_from_slice(head);
        open_run(key, *chunk, held, extend(out, CHUNK_BYTES))?;
        *chunk = chunk.saturating_add(1);
        held.clear();
    }
    let whole = body.len().saturating_sub(1) / SEALED_CHUNK;
    let (run, tail) = body.split_at_checked(whole.saturating_mul(SEALED_CHUNK)).unwrap_or((body, &[]));
    let plaintext = extend(out, whole.saturating_mul(CHUNK_BYTES));
    if threads.get() > 1 && whole > 1 {
        open_shared(threads, key, *chunk, run, plaintext, || {
            hasher.update(ciphertext);
        })?;
    } else {
        hasher.update(ciphertext);
        open_run(key, *chunk, run, plaintext)?;
    }
    *chunk = chunk.saturating_add(whole as u64);
    held.extend_from_slice(tail);
    Ok(())
}

/// Opens whole chunks of which none is the last.
fn open_run(key: &PayloadKey, first: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), AssetError> {
    for ((chunk, sealed), plaintext) in
        (first..).zip(sealed.chunks(SEALED_CHUNK)).zip(plaintext.chunks_mut(CHUNK_BYTES))
    {
        open_inner(key, chunk, sealed, plaintext)?;
    }
    Ok(())
}

/// The same on several threads, the caller's doing `meanwhile` first.
fn open_shared(
    threads: NonZeroUsize,
    key: &PayloadKey,
    first: u64,
    sealed: &[u8],
    plaintext: &mut [u8],
    meanwhile: impl FnOnce(),
) -> Result<(), AssetError> {
    let helpers = threads.get().min(sealed.len() / SEALED_CHUNK).saturating_sub(1);
    let queue = Mutex::new((first..).zip(sealed.chunks(SEALED_CHUNK)).zip(plaintext.chunks_mut(CHUNK_BYTES)));
    let work = || -> Result<(), AssetError> {
        loop {
            let next = queue.lock().map_err(|_| AssetError::Cipher)?.next();
            let Some(((chunk, sealed), plaintext)) = next else { return Ok(()) };
            open_inner(key, chunk, sealed, plaintext)?;
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
        meanwhile();
        let mine = work();
        running.into_iter().fold(mine, |result, helper| result.and(helper.join().unwrap_or(Err(AssetError::Cipher))))
    })
}

fn open_inner(key: &PayloadKey, chunk: u64, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), AssetError> {
    key.open(chunk, false, sealed, plaintext).map_err(|error| {
        // It was sealed as the last chunk, yet bytes follow it.
        if opens(key, chunk, true, sealed) { AssetError::TrailingData } else { error }
    })
}

/// Only asked to name an error: the plaintext is wiped.
fn opens(key: &PayloadKey, chunk: u64, last: bool, sealed: &[u8]) -> bool {
    let mut plaintext = vec![0; sealed.len().saturating_sub(TAG_BYTES)];
    let opens = key.open(chunk, last, sealed, &mut plaintext).is_ok();
    plaintext.zeroize();
    opens
}
