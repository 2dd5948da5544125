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
    Header { key: FileKey, held: Vec<u8> },
    Payload(Payload),
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
            stage: Stage::Header { key: key.duplicate(), held: Vec::new() },
        }
    }

    /// Lets each push of several chunks use up to `threads` threads, the caller's included.
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = threads;
        self
    }

    /// Takes the next ciphertext bytes, of any number, and appends the plaintext they complete to `out`.
    /// On an error nothing of this push is in `out`.
    pub fn push(&mut self, ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), AssetError> {
        let before = out.len();
        let room = self.room(ciphertext.len());
        let result = self.push_into(ciphertext, extend(out, room));
        // An upper bound was reserved; what was not written, or was wiped, is cut off again.
        out.truncate(before.saturating_add(*result.as_ref().unwrap_or(&0)));
        result.map(drop)
    }

    /// The same into memory of fixed size, which saves clearing it first: at least [`room`](Self::room)
    /// bytes of it. Returns how many were written. On an error `out` holds nothing of this push.
    ///
    /// Fastest with pushes of many [`sealed_chunk_bytes`](crate::sealed_chunk_bytes): whole chunks are
    /// opened from `ciphertext` into `out` without a copy in between.
    pub fn push_into(&mut self, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AssetError> {
        if out.len() < self.room(ciphertext.len()) {
            return Err(AssetError::NoRoom);
        }
        let result = self.advance(ciphertext, &mut Output { rest: &mut *out, written: 0 });
        self.settle(result, out)
    }

    /// The most plaintext bytes that a push of this many ciphertext bytes completes.
    pub fn room(&self, ciphertext: usize) -> usize {
        let held = match &self.stage {
            Stage::Header { held, .. } | Stage::Payload(Payload { held, .. }) => held.len(),
            Stage::Failed(_) => 0,
        };
        (held.saturating_add(ciphertext).saturating_sub(1) / SEALED_CHUNK).saturating_mul(CHUNK_BYTES)
    }

    /// Says that no more bytes come, and appends the last plaintext: at most [`CHUNK_BYTES`].
    pub fn finish(self, out: &mut Vec<u8>) -> Result<Opened, AssetError> {
        let before = out.len();
        let result = self.finish_into(extend(out, CHUNK_BYTES));
        out.truncate(before.saturating_add(result.as_ref().map_or(0, |(written, _)| *written)));
        result.map(|(_, opened)| opened)
    }

    /// The same into at least [`CHUNK_BYTES`] of memory. Returns how many were written, too.
    pub fn finish_into(mut self, out: &mut [u8]) -> Result<(usize, Opened), AssetError> {
        let result = self.close(&mut Output { rest: &mut *out, written: 0 });
        let written = self.settle(result, out)?;
        let opened = Opened {
            digest: Digest(*self.hasher.finalize().as_bytes()),
            ciphertext_bytes: self.ciphertext_bytes,
            plaintext_bytes: self.plaintext_bytes,
        };
        Ok((written, opened))
    }

    fn settle(&mut self, result: Result<usize, AssetError>, out: &mut [u8]) -> Result<usize, AssetError> {
        match result {
            Ok(written) => self.plaintext_bytes = self.plaintext_bytes.saturating_add(written as u64),
            Err(error) => {
                out.zeroize();
                self.stage = Stage::Failed(error);
            }
        }
        result
    }

    fn advance(&mut self, ciphertext: &[u8], out: &mut Output<'_>) -> Result<usize, AssetError> {
        let position = self.ciphertext_bytes;
        self.ciphertext_bytes = position.saturating_add(ciphertext.len() as u64);
        match &mut self.stage {
            Stage::Failed(error) => return Err(*error),
            Stage::Payload(payload) => {
                let mut digest = Window { hasher: &mut self.hasher, start: position, position, bytes: ciphertext };
                payload.push(self.threads, ciphertext, &mut digest, out)?;
                digest.catch_up();
            }
            Stage::Header { key, held } => {
                self.hasher.update(ciphertext);
                // The payload's first bytes may come with the header: what is held is bounded all the same.
                let room = Header::MAX_BYTES.saturating_add(NONCE_BYTES).saturating_sub(held.len());
                let (taken, rest) = ciphertext.split_at_checked(room).unwrap_or((ciphertext, &[]));
                held.extend_from_slice(taken);
                let Parsed::Complete { header, len } = Header::parse(held)? else { return Ok(0) };
                header.verify(key)?;
                let Some((nonce, begun)) = held.get(len..).and_then(|after| after.split_first_chunk()) else {
                    return Ok(0);
                };
                let mut payload =
                    Payload { key: PayloadKey::new(key, nonce)?, chunk: 0, held: Vec::with_capacity(SEALED_CHUNK) };
                for part in [begun, rest] {
                    payload.push(self.threads, part, &mut Window::hashed_already(&mut self.hasher), out)?;
                }
                self.stage = Stage::Payload(payload);
            }
        }
        Ok(out.written)
    }

    fn close(&mut self, out: &mut Output<'_>) -> Result<usize, AssetError> {
        match &self.stage {
            Stage::Failed(error) => Err(*error),
            Stage::Header { .. } => Err(AssetError::Truncated),
            Stage::Payload(Payload { key, chunk, held }) => {
                let content = held.len().checked_sub(TAG_BYTES).ok_or(AssetError::Truncated)?;
                if let Err(error) = key.open(*chunk, true, held, out.take(content)?) {
                    // A full chunk that opens as one with a successor: the successors are missing.
                    return Err(if opens(key, *chunk, false, held) { AssetError::Truncated } else { error });
                }
                if content == 0 && *chunk > 0 {
                    return Err(AssetError::Malformed(Malformed::EmptyFinalChunk));
                }
                Ok(out.written)
            }
        }
    }
}

/// Chunks after the header.
struct Payload {
    key: PayloadKey,
    /// Index of the chunk that `held` begins.
    chunk: u64,
    /// Ciphertext of a chunk that is incomplete, or of which it is not known whether it is the last.
    held: Vec<u8>,
}

impl Payload {
    /// Opens all chunks of which it is certain that another follows.
    fn push(
        &mut self,
        threads: NonZeroUsize,
        ciphertext: &[u8],
        digest: &mut Window<'_>,
        out: &mut Output<'_>,
    ) -> Result<(), AssetError> {
        let missing = SEALED_CHUNK.saturating_sub(self.held.len());
        let mut rest = ciphertext;
        if !self.held.is_empty() {
            let Some((head, tail)) = ciphertext.split_at_checked(missing).filter(|(_, tail)| !tail.is_empty()) else {
                self.held.extend_from_slice(ciphertext);
                return Ok(());
            };
            self.held.extend_from_slice(head);
            open_inner(&self.key, self.chunk, &self.held, out.take(CHUNK_BYTES)?)?;
            self.chunk = self.chunk.saturating_add(1);
            self.held.clear();
            rest = tail;
        }
        let whole = rest.len().saturating_sub(1) / SEALED_CHUNK;
        let (run, tail) = rest.split_at_checked(whole.saturating_mul(SEALED_CHUNK)).unwrap_or((rest, &[]));
        let plaintext = out.take(whole.saturating_mul(CHUNK_BYTES))?;
        if threads.get() > 1 && whole > 1 {
            let shared = open_shared(threads, &self.key, self.chunk, run, plaintext, || digest.catch_up());
            // Several threads may have failed; the error to report is the first in the order of the file.
            shared.or_else(|_| open_run(&self.key, self.chunk, run, plaintext, &mut || ()))?;
        } else {
            let mut done = ciphertext.len().saturating_sub(rest.len());
            open_run(&self.key, self.chunk, run, plaintext, &mut || {
                done = done.saturating_add(SEALED_CHUNK);
                digest.reached(done);
            })?;
        }
        self.chunk = self.chunk.saturating_add(whole as u64);
        self.held.extend_from_slice(tail);
        Ok(())
    }
}

/// Where the plaintext of one push goes.
struct Output<'a> {
    rest: &'a mut [u8],
    written: usize,
}

impl<'a> Output<'a> {
    fn take(&mut self, len: usize) -> Result<&'a mut [u8], AssetError> {
        let (taken, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(len).ok_or(AssetError::NoRoom)?;
        self.rest = rest;
        self.written = self.written.saturating_add(len);
        Ok(taken)
    }
}

/// Ciphertext that the digest has yet to see. It is hashed after it was opened, while it is still in
/// the core's cache, and in aligned pieces, which BLAKE3's wide lanes want.
struct Window<'a> {
    hasher: &'a mut blake3::Hasher,
    /// Where the push begins in the file.
    start: u64,
    /// Where `bytes`, the rest of the push, begins in the file.
    position: u64,
    bytes: &'a [u8],
}

impl<'a> Window<'a> {
    /// Fastest of 64 KiB to 1 MiB where the second-level cache has 1 MiB.
    const PIECE: u64 = 128 << 10;

    fn hashed_already(hasher: &'a mut blake3::Hasher) -> Self {
        Self { hasher, start: 0, position: 0, bytes: &[] }
    }

    /// The first `opened` bytes of the push have been opened.
    fn reached(&mut self, opened: usize) {
        let end = self.start.saturating_add(opened as u64);
        let aligned = end.saturating_sub(end % Self::PIECE).saturating_sub(self.position);
        let Some((piece, rest)) = usize::try_from(aligned).ok().and_then(|len| self.bytes.split_at_checked(len)) else {
            return;
        };
        if !piece.is_empty() {
            self.hasher.update(piece);
            self.position = self.position.saturating_add(aligned);
            self.bytes = rest;
        }
    }

    fn catch_up(&mut self) {
        self.hasher.update(core::mem::take(&mut self.bytes));
    }
}

/// Opens whole chunks of which none is the last, and calls `after` after each.
fn open_run(
    key: &PayloadKey,
    first: u64,
    sealed: &[u8],
    plaintext: &mut [u8],
    after: &mut impl FnMut(),
) -> Result<(), AssetError> {
    for ((chunk, sealed), plaintext) in
        (first..).zip(sealed.chunks(SEALED_CHUNK)).zip(plaintext.chunks_mut(CHUNK_BYTES))
    {
        open_inner(key, chunk, sealed, plaintext)?;
        after();
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
