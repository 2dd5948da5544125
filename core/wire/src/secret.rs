//! Secrets that travel: only ever inside the channel.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The 16-byte file key of an age file. Who has it can open that file and no other.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct FileKey([u8; 16]);

impl FileKey {
    /// Wraps a key; the caller wipes its own copy.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key, for the cipher alone.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl core::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FileKey(..)")
    }
}

impl<C> minicbor::Encode<C> for FileKey {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for FileKey {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = decoder.bytes()?;
        Ok(Self(bytes.try_into().map_err(|_| minicbor::decode::Error::message("file key of another length"))?))
    }
}
