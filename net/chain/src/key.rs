//! The key that pays for transactions. It is in no file of this crate, and in no message.

use alloy::{
    network::EthereumWallet,
    primitives::Address,
    signers::{k256::ecdsa::SigningKey, local::PrivateKeySigner},
};
use zeroize::Zeroizing;

/// An operator's secp256k1 key. It is wiped when dropped, and prints as its address.
pub struct OperatorKey(PrivateKeySigner);

impl OperatorKey {
    /// From the 32 bytes of the secret scalar, big endian.
    ///
    /// # Errors
    ///
    /// Zero, or not below the order of the group.
    pub fn from_bytes(secret: &Zeroizing<[u8; 32]>) -> Result<Self, KeyError> {
        let key = SigningKey::from_slice(secret.as_slice()).map_err(|_| KeyError)?;
        Ok(Self(PrivateKeySigner::from_signing_key(key)))
    }

    /// Who pays.
    pub fn address(&self) -> Address {
        self.0.address()
    }

    /// For a provider that signs by itself: deploying and tests. What must not happen twice goes
    /// through an [`Outbox`](crate::Outbox).
    pub fn wallet(&self) -> EthereumWallet {
        EthereumWallet::from(self.0.clone())
    }

    pub(crate) fn signer(&self) -> &PrivateKeySigner {
        &self.0
    }
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorKey({})", self.address())
    }
}

/// The bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these 32 bytes are no secp256k1 key")]
pub struct KeyError;
