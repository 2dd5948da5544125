//! Every way an asset can be wrong.

/// Why an asset was not opened or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssetError {
    /// The file ends before its header, its nonce or its final chunk does.
    #[error("the file ends early")]
    Truncated,
    /// The header is larger than [`Header::MAX_BYTES`](crate::Header::MAX_BYTES).
    #[error("the header is larger than is read")]
    HeaderTooLarge,
    /// Not an age v1 file.
    #[error("not an age file: {0}")]
    Malformed(Malformed),
    /// No recipient of the file has this identity.
    #[error("the file is not encrypted to this identity")]
    NoMatch,
    /// The file key is not this file's, or the header was altered.
    #[error("the key does not fit the header")]
    MacMismatch,
    /// A chunk was altered, cut, moved or exchanged.
    #[error("chunk {chunk} is not what was sealed in its place")]
    ChunkTampered {
        /// Which, from zero.
        chunk: u64,
    },
    /// Bytes follow the final chunk.
    #[error("bytes follow the end of the file")]
    TrailingData,
    /// Not an `age1…` recipient, or a point that nothing can be encrypted to.
    #[error("not an age recipient")]
    BadRecipient,
    /// Not an `AGE-SECRET-KEY-1…` identity.
    #[error("not an age identity")]
    BadIdentity,
    /// age needs at least one recipient; see [`Sealer::MAX_RECIPIENTS`](crate::Sealer::MAX_RECIPIENTS) for the most.
    #[error("no recipient, or too many")]
    RecipientCount,
    /// The system's random generator failed.
    #[error("no randomness")]
    Random,
    /// The caller's memory is smaller than [`Opener::room`](crate::Opener::room).
    #[error("not enough room for the plaintext")]
    NoRoom,
    /// A primitive failed where it cannot by its contract.
    #[error("a cipher failed")]
    Cipher,
}

/// What exactly is not as the age specification has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The first line is not `age-encryption.org/v1`.
    #[error("unknown version line")]
    Version,
    /// A line that is neither a stanza nor the MAC.
    #[error("no stanza where one must begin")]
    Stanza,
    /// A stanza argument that is empty or holds other than visible ASCII.
    #[error("bad stanza argument")]
    Argument,
    /// A body that is not canonical unpadded base64 in lines of 64 columns.
    #[error("bad stanza body")]
    Body,
    /// A header without a stanza.
    #[error("no recipients")]
    NoStanza,
    /// The MAC line is not 32 bytes of canonical base64.
    #[error("bad MAC line")]
    MacLine,
    /// An X25519 stanza of another shape than the specification's, or with a low-order share.
    #[error("bad X25519 stanza")]
    X25519,
    /// An empty final chunk after a chunk with content.
    #[error("empty final chunk")]
    EmptyFinalChunk,
}
