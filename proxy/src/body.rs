//! Bodies that clients send and take, compressed or not.

use crate::fault::Fault;
use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::io::{Read, Write};

/// The body, inflated: at most `max` bytes before and after.
pub(crate) async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, Fault> {
    let whole = Limited::new(body, max).collect().await.map_err(|fault| {
        if fault.is::<LengthLimitError>() { Fault::too_large(max) } else { Fault::bad("the body ends early") }
    })?;
    let bytes = whole.to_bytes();
    match headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes()) {
        None | Some(b"" | b"identity") => Ok(bytes),
        Some(b"gzip") => inflate(GzDecoder::new(&bytes[..]), max),
        Some(b"deflate") => inflate(ZlibDecoder::new(&bytes[..]), max),
        Some(_) => {
            Err(Fault::new(415, "encoding", "the body's encoding is not known", "send it plain, gzip or deflate"))
        }
    }
}

fn inflate(from: impl Read, max: usize) -> Result<Bytes, Fault> {
    let most = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).map_err(|_| Fault::bad("the compressed body cannot be read"))?;
    if bytes.len() > max { Err(Fault::too_large(max)) } else { Ok(bytes.into()) }
}

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    /// What the client asks for. One that merely can take compressed answers gets them plain: to the same machine,
    /// compression only costs.
    pub(crate) fn wanted(headers: &HeaderMap) -> Option<Self> {
        match headers.get(header::ACCEPT_ENCODING)?.as_bytes() {
            b"gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let (out, level) = (Vec::new(), Compression::fast());
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out, level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(out, level);
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_compressed_comes_out_and_bombs_do_not() {
        let plain = vec![7u8; 5000];
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, encoding.as_str().parse().unwrap());
            let packed = encoding.encode(&plain).unwrap();
            assert!(packed.len() < 200);
            let read = async |max| read(&headers, Body::from(packed.clone()), max).await;
            assert_eq!(read(5000).await.unwrap(), plain);
            assert_eq!(read(4999).await.unwrap_err().status, 413);
            assert_eq!(super::read(&headers, Body::from("no"), 5000).await.unwrap_err().status, 400);
        }
    }
}
