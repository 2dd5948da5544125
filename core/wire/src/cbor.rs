//! Deterministic CBOR (RFC 8949 §4.2): one value has one encoding, and every read has a bound.

use alloc::vec::Vec;

/// Why bytes are not the wanted document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// Larger than the document may be.
    #[error("{found} bytes, at most {max} are read")]
    TooLarge {
        /// Bytes that came.
        found: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// Not CBOR of the wanted shape.
    #[error("not a document of this kind")]
    Malformed,
    /// The right shape in another than its one encoding, or bytes after its end.
    #[error("not in the one allowed encoding")]
    NotCanonical,
}

/// The one encoding of `value`.
pub fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing into a Vec is infallible (`Infallible` is the writer's error type) and our `Encode`
    // implementations add no errors of their own.
    let _ = minicbor::encode(value, &mut out);
    out
}

/// Reads a document of at most `max` bytes and refuses every encoding but [`encode`]'s.
pub fn decode<T>(bytes: &[u8], max: usize) -> Result<T, CborError>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    if bytes.len() > max {
        return Err(CborError::TooLarge { found: bytes.len(), max });
    }
    let value: T = minicbor::decode(bytes).map_err(|_| CborError::Malformed)?;
    if encode(&value) != bytes {
        return Err(CborError::NotCanonical);
    }
    Ok(value)
}
