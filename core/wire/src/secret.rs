//! Secrets that travel: only ever inside the channel.

use alloc::boxed::Box;
use zeroize::Zeroize;

/// The 16-byte file key of an age file. Who has it can open that file and no other.
///
/// The bytes stay in one place on the heap: moving the key moves a pointer and leaves no copy behind.
pub struct FileKey(Box<[u8; 16]>);

impl FileKey {
    /// Wraps a key; the caller wipes its own copy.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self::copied(&bytes)
    }

    /// A second holder of the same key, for whoever needs it longer than its owner.
    pub fn duplicate(&self) -> Self {
        Self::copied(&self.0)
    }

    /// The key, for the cipher alone.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    fn copied(bytes: &[u8; 16]) -> Self {
        let mut key = Box::new([0; 16]);
        key.copy_from_slice(bytes);
        Self(key)
    }
}

impl Drop for FileKey {
    fn drop(&mut self) {
        self.0.zeroize();
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
        encoder.bytes(self.expose())?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for FileKey {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes: &[u8; 16] =
            decoder.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("file key of another length"))?;
        Ok(Self::copied(bytes))
    }
}
