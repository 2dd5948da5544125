//! Fixed-size ids, each its own type so that none can be passed for another.

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

/// Text that is not an id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// Not hexadecimal.
    #[error("not hexadecimal")]
    NotHex,
    /// Hexadecimal of another length than the id has.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// Bytes the id has.
        expected: usize,
        /// Bytes the text had.
        found: usize,
    },
    /// A word outside the closed list.
    #[error("unknown word")]
    Unknown,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All zero: "none" where a document allows it.
            pub const ZERO: Self = Self([0; $len]);

            /// Whether every byte is zero.
            pub fn is_zero(&self) -> bool {
                *self == Self::ZERO
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let bytes = hex::decode(digits).map_err(|_| ParseIdError::NotHex)?;
                let found = bytes.len();
                Ok(Self(bytes.try_into().map_err(|_| ParseIdError::Length { expected: $len, found })?))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.bytes(&self.0)?;
                Ok(())
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = decoder.bytes()?;
                Ok(Self(bytes.try_into().map_err(|_| minicbor::decode::Error::message("id of another length"))?))
            }
        }
    };
}

id!(
    /// BLAKE3 of an asset's age file. Because the file's header MAC commits to the file key, this
    /// names one plaintext without saying anything about it.
    Digest, 32, ""
);
id!(
    /// The code that runs: MRENCLAVE on SGX.
    Measurement, 32, ""
);
id!(
    /// Identity of the hardware (DESIGN vocabulary): see `glacier_attest::enclave_id`.
    EnclaveId, 32, ""
);
id!(
    /// EIP-712 digest of a [`Manifest`](crate::Manifest), domain included: what parties sign.
    ManifestHash, 32, ""
);
id!(
    /// Hiding and binding commitment to an input or an output.
    Commitment, 32, ""
);
id!(
    /// EIP-712 digest of one Work Proof, domain included: what the enclave signs and the next proof names.
    ProofHash, 32, ""
);
id!(
    /// Keccak-256 of a node of an enclave key's log of Work Proofs: a leaf, an inner node, or the root.
    LogHash, 32, ""
);
id!(
    /// Fresh random bytes chosen by one side of an exchange.
    Nonce, 32, ""
);
id!(
    /// Ethereum address of a secp256k1 key: last 20 bytes of the Keccak-256 of the public point.
    Address, 20, "0x"
);
id!(
    /// X25519 public key that results are encrypted to (an `age1…` recipient without its bech32 coat).
    Recipient, 32, ""
);

id!(
    /// SHA-256 of the certificate of a simulated platform's root.
    RootFingerprint, 32, ""
);

impl From<Digest> for Commitment {
    /// An age file's digest commits to its plaintext, so it serves as commitment unchanged.
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}

/// Seconds since 1970-01-01T00:00:00Z. A parameter everywhere: `core` has no clock.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct UnixTime(#[n(0)] pub u64);

/// What kind of hardware stands behind a statement.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
#[non_exhaustive]
pub enum PlatformKind {
    /// The software platform: no hardware protects anything.
    #[n(0)]
    Simulated,
    /// Intel SGX.
    #[n(1)]
    Sgx,
    /// Intel TDX.
    #[n(2)]
    Tdx,
    /// AMD SEV-SNP.
    #[n(3)]
    Snp,
    /// NVIDIA Confidential Computing GPU.
    #[n(4)]
    Nvidia,
}

impl PlatformKind {
    /// The word that outputs, policies and proofs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::Nvidia => "nvidia",
        }
    }
}

impl fmt::Display for PlatformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hex of raw bytes, for documents that people read.
pub mod hex_bytes {
    use super::*;

    /// As lower-case hexadecimal.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    /// From hexadecimal, with or without `0x`.
    ///
    /// # Errors
    /// Text that is none.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text: String = serde::Deserialize::deserialize(deserializer)?;
        hex::decode(text.strip_prefix("0x").unwrap_or(&text)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_form_round_trips() {
        let address = Address([0xab; 20]);
        assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        assert!(address.to_string().starts_with("0x"));
    }

    #[test]
    fn wrong_length_is_named() {
        assert_eq!("abcd".parse::<Digest>(), Err(ParseIdError::Length { expected: 32, found: 2 }));
        assert_eq!("xyz".parse::<Digest>(), Err(ParseIdError::NotHex));
    }
}
