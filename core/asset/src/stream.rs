//! STREAM: the payload's keys, nonces and chunks.

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use glacier_wire::FileKey;
use zeroize::{Zeroize, Zeroizing};

use crate::error::AssetError;

/// Plaintext bytes of a full chunk.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of a chunk's authentication tag.
pub(crate) const TAG_BYTES: usize = 16;
/// Ciphertext bytes of a full chunk.
pub(crate) const SEALED_CHUNK: usize = CHUNK_BYTES + TAG_BYTES;
/// Bytes of the payload's nonce.
pub(crate) const NONCE_BYTES: usize = 16;

/// Ciphertext bytes of a full chunk: what to push in multiples of when the caller may choose.
pub const fn sealed_chunk_bytes() -> usize {
    SEALED_CHUNK
}

/// Key of one payload.
pub(crate) struct PayloadKey(LessSafeKey);

impl PayloadKey {
    /// HKDF-SHA-256(file key, nonce, "payload").
    pub(crate) fn new(key: &FileKey, nonce: &[u8; NONCE_BYTES]) -> Result<Self, AssetError> {
        Ok(Self(cipher(&*derive(key.expose(), nonce, b"payload")?)?))
    }

    /// Opens one chunk into `plaintext`, which has the chunk's length without its tag and holds zeros after a failure.
    pub(crate) fn open(&self, chunk: u64, last: bool, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), AssetError> {
        let tampered = AssetError::ChunkTampered { chunk };
        let (body, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(tampered)?;
        self.0.open_separate_gather(nonce(chunk, last), Aad::empty(), body, tag, plaintext).map_err(|_| {
            plaintext.zeroize();
            tampered
        })
    }

    /// Seals one chunk in place.
    pub(crate) fn seal(&self, chunk: u64, last: bool, content: &mut [u8]) -> Result<[u8; TAG_BYTES], AssetError> {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(chunk, last), Aad::empty(), content)
            .map_err(|_| AssetError::Cipher)?;
        tag.as_ref().try_into().map_err(|_| AssetError::Cipher)
    }
}

/// 11 bytes of big-endian counter, then 1 for the last chunk.
fn nonce(chunk: u64, last: bool) -> Nonce {
    let [a, b, c, d, e, f, g, h] = chunk.to_be_bytes();
    Nonce::assume_unique_for_key([0, 0, 0, a, b, c, d, e, f, g, h, u8::from(last)])
}

/// HMAC-SHA-256 key of the header: HKDF-SHA-256(file key, no salt, "header").
pub(crate) fn header_key(key: &FileKey) -> Result<hmac::Key, AssetError> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &*derive(key.expose(), &[], b"header")?))
}

/// The key that wraps a file key for one X25519 recipient. It is used once, with nonce zero.
pub(crate) fn wrap_key(shared: &[u8], share: &[u8; 32], recipient: &[u8; 32]) -> Result<LessSafeKey, AssetError> {
    cipher(&*derive(shared, &[*share, *recipient].concat(), b"age-encryption.org/v1/X25519")?)
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, AssetError> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(|_| AssetError::Cipher)
}

fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, AssetError> {
    let mut out = Zeroizing::new([0u8; 32]);
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[info], Bytes32)
        .and_then(|okm| okm.fill(&mut *out))
        .map_err(|_| AssetError::Cipher)?;
    Ok(out)
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// Lengthens `buffer` by `more` zero bytes and returns them. A buffer that must move is wiped where it was.
pub(crate) fn extend(buffer: &mut Vec<u8>, more: usize) -> &mut [u8] {
    let before = buffer.len();
    let needed = before.saturating_add(more);
    if buffer.capacity() < needed {
        let mut moved = Vec::with_capacity(needed.max(buffer.capacity().saturating_mul(2)));
        moved.extend_from_slice(buffer);
        buffer.zeroize();
        *buffer = moved;
    }
    buffer.resize(needed, 0);
    buffer.get_mut(before..).unwrap_or_default()
}
