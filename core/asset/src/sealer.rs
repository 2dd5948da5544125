//! Plaintext in, ciphertext out, and the digest of what came out.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use glacier_wire::{Digest, FileKey, Recipient};
use zeroize::Zeroizing;

use crate::{
    error::AssetError,
    header,
    identity::AgeIdentity,
    stream::{CHUNK_BYTES, NONCE_BYTES, PayloadKey, TAG_BYTES},
};

/// Seals one age file, in a stream and with memory for one chunk.
pub struct Sealer {
    key: PayloadKey,
    /// Header and nonce, until they have been written out.
    head: Vec<u8>,
    chunk: u64,
    /// Plaintext that may be the last chunk's.
    held: Zeroizing<Vec<u8>>,
    hasher: blake3::Hasher,
    ciphertext_bytes: u64,
    plaintext_bytes: u64,
}

/// What a sealed file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// BLAKE3 of the ciphertext file: its address.
    pub digest: Digest,
    /// Bytes of the file.
    pub ciphertext_bytes: u64,
    /// Bytes of its content.
    pub plaintext_bytes: u64,
}

/// A new file key from the system's randomness.
pub fn generate_file_key() -> Result<FileKey, AssetError> {
    let mut key = Zeroizing::new([0u8; 16]);
    SystemRandom::new().fill(&mut *key).map_err(|_| AssetError::Random)?;
    Ok(FileKey::new(*key))
}

impl Sealer {
    /// Most recipients of one file.
    pub const MAX_RECIPIENTS: usize = 256;

    /// Seals under `key`, which each of `recipients` can unwrap: the owner first of all, who otherwise
    /// could not open the file again. Sealing twice gives two different files.
    pub fn new(key: &FileKey, recipients: &[Recipient]) -> Result<Self, AssetError> {
        if recipients.is_empty() || recipients.len() > Self::MAX_RECIPIENTS {
            return Err(AssetError::RecipientCount);
        }
        let with_ephemeral = recipients.iter().map(|recipient| Ok((*recipient, AgeIdentity::generate()?)));
        let mut nonce = [0u8; NONCE_BYTES];
        SystemRandom::new().fill(&mut nonce).map_err(|_| AssetError::Random)?;
        let mut head = header::write(key, &with_ephemeral.collect::<Result<Vec<_>, AssetError>>()?)?;
        head.extend_from_slice(&nonce);
        Ok(Self {
            key: PayloadKey::new(key, &nonce)?,
            head,
            chunk: 0,
            held: Zeroizing::new(Vec::with_capacity(CHUNK_BYTES)),
            hasher: blake3::Hasher::new(),
            ciphertext_bytes: 0,
            plaintext_bytes: 0,
        })
    }

    /// Bytes of a file with this many recipients and this much content.
    pub fn ciphertext_len(recipients: usize, plaintext: u64) -> u64 {
        // Version line, "--- MAC" line, nonce; two lines a recipient; a tag a chunk, of which there is at least one.
        let head = 22u64.saturating_add(48).saturating_add(NONCE_BYTES as u64);
        let stanzas = (recipients as u64).saturating_mul(54 + 44);
        let tags = plaintext.div_ceil(CHUNK_BYTES as u64).max(1).saturating_mul(TAG_BYTES as u64);
        head.saturating_add(stanzas).saturating_add(tags).saturating_add(plaintext)
    }

    /// Takes the next content, of any length, and appends what it completes of the file to `out`.
    pub fn push(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), AssetError> {
        let before = out.len();
        out.append(&mut self.head);
        self.plaintext_bytes = self.plaintext_bytes.saturating_add(plaintext.len() as u64);
        let missing = CHUNK_BYTES.saturating_sub(self.held.len());
        let mut rest = plaintext;
        if !self.held.is_empty() {
            let (head, tail) = plaintext.split_at_checked(missing).unwrap_or((plaintext, &[]));
            self.held.extend_from_slice(head);
            rest = tail;
            if !rest.is_empty() {
                let held = core::mem::replace(&mut self.held, Zeroizing::new(Vec::with_capacity(CHUNK_BYTES)));
                self.seal(&held, false, out)?;
            }
        }
        // A chunk is written when it is known that another follows.
        while rest.len() > CHUNK_BYTES {
            let (chunk, tail) = rest.split_at_checked(CHUNK_BYTES).unwrap_or((rest, &[]));
            self.seal(chunk, false, out)?;
            rest = tail;
        }
        self.held.extend_from_slice(rest);
        self.account(before, out);
        Ok(())
    }

    /// Says that no more content comes, and appends the last of the file.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Sealed, AssetError> {
        let before = out.len();
        out.append(&mut self.head);
        let held = core::mem::take(&mut self.held);
        self.seal(&held, true, out)?;
        self.account(before, out);
        Ok(Sealed {
            digest: Digest(*self.hasher.finalize().as_bytes()),
            ciphertext_bytes: self.ciphertext_bytes,
            plaintext_bytes: self.plaintext_bytes,
        })
    }

    fn seal(&mut self, content: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), AssetError> {
        // Reserved first: a buffer that moved now would leave this chunk's plaintext behind.
        out.reserve(content.len().saturating_add(TAG_BYTES));
        let at = out.len();
        out.extend_from_slice(content);
        let tag = self.key.seal(self.chunk, last, out.get_mut(at..).unwrap_or_default())?;
        out.extend_from_slice(&tag);
        self.chunk = self.chunk.saturating_add(1);
        Ok(())
    }

    fn account(&mut self, before: usize, out: &[u8]) {
        let written = out.get(before..).unwrap_or_default();
        self.hasher.update(written);
        self.ciphertext_bytes = self.ciphertext_bytes.saturating_add(written.len() as u64);
    }
}
