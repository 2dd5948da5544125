//! A measurement register: 48 bytes of SHA-384.

use alloc::string::String;
use core::{fmt, str::FromStr};
use serde::Serialize;
use sha2::{Digest, Sha384};

/// 48 bytes, as MRTD, an RTMR or an SNP measurement holds them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register([u8; 48]);

impl Register {
    /// What an RTMR holds before anything extends it.
    pub const ZERO: Self = Self([0; 48]);

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }

    /// The register after `event`: SHA-384(register ‖ event), as TDG.MR.RTMR.EXTEND computes it.
    #[must_use]
    pub fn extend(&self, event: &Self) -> Self {
        Self::of_parts(&[&self.0, &event.0])
    }

    /// SHA-384 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hash = Sha384::new();
        parts.iter().for_each(|part| hash.update(part));
        Self(hash.finalize().into())
    }
}

impl From<[u8; 48]> for Register {
    fn from(bytes: [u8; 48]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Register({self})")
    }
}

impl Serialize for Register {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Not 96 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a register is 96 hexadecimal digits")]
pub struct ParseRegisterError;

impl FromStr for Register {
    type Err = ParseRegisterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 48];
        let text: String = text.to_ascii_lowercase();
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseRegisterError)?;
        Ok(Self(bytes))
    }
}
