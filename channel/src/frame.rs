//! Length-prefixed CBOR documents on a stream: a little-endian `u32`, then that many bytes.

use crate::error::ChannelError;
use glacier_wire::cbor::{self, CborError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of the length prefix.
pub(crate) const PREFIX: usize = 4;

/// The document with its length in front.
pub(crate) fn encode<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, ChannelError> {
    let body = cbor::encode(value);
    let length = u32::try_from(body.len())
        .map_err(|_| ChannelError::Frame(CborError::TooLarge { found: body.len(), max: u32::MAX as usize }))?;
    Ok([length.to_le_bytes().as_slice(), &body].concat())
}

/// Writes one document and flushes.
pub(crate) async fn write<T: minicbor::Encode<()>>(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> Result<(), ChannelError> {
    stream.write_all(&encode(value)?).await?;
    Ok(stream.flush().await?)
}

/// Reads one document of at most `max` bytes. The length is judged before memory is taken.
pub(crate) async fn read<T>(stream: &mut (impl AsyncRead + Unpin), max: usize) -> Result<T, ChannelError>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    let length = stream.read_u32_le().await? as usize;
    if length > max {
        return Err(ChannelError::Frame(CborError::TooLarge { found: length, max }));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    cbor::decode(&body, max).map_err(ChannelError::Frame)
}
