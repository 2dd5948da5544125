//! secp256k1 identities: parties, and the enclave's proof key. `ecrecover` checks them on chain.

use crate::{curve, id::Address};
use alloc::string::String;
use core::fmt;
use zeroize::Zeroizing;

/// Bytes that are no secp256k1 secret key (zero, or not below the group order).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secp256k1 secret key")]
pub struct BadKey;

/// A signature that does not recover to any key, or not to the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSignature {
    /// Out of range, high `s` (EIP-2), or a recovery id other than 27 and 28.
    #[error("malformed signature")]
    Malformed,
    /// A good signature of somebody else.
    #[error("signed by {found}, not by {expected}")]
    OtherSigner {
        /// Who should have signed.
        expected: Address,
        /// Who did, for these bytes.
        found: Address,
    },
}

/// `r ‖ s ‖ v`, 65 bytes, as wallets and `ecrecover` have it; `s` is in the lower half and `v` is 27 or 28.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 65]);

impl Signature {
    /// The address that signed `digest`.
    pub fn recover(&self, digest: &[u8; 32]) -> Result<Address, BadSignature> {
        let (body, v) = self.0.split_first_chunk::<64>().ok_or(BadSignature::Malformed)?;
        let odd = match v {
            [27] => false,
            [28] => true,
            _ => return Err(BadSignature::Malformed),
        };
        // EIP-2: the other `s` would be a second form of the same statement.
        if body.get(32..).is_none_or(|s| s > &HALF_ORDER[..]) {
            return Err(BadSignature::Malformed);
        }
        curve::recover(body, odd, digest).map(|point| address_of(&point)).ok_or(BadSignature::Malformed)
    }

    /// Whether `signer` signed `digest`.
    pub fn verify(&self, digest: &[u8; 32], signer: &Address) -> Result<(), BadSignature> {
        let found = self.recover(digest)?;
        if found != *signer {
            return Err(BadSignature::OtherSigner { expected: *signer, found });
        }
        Ok(())
    }
}

/// Half of the group order, rounded down: the largest `s` that EIP-2 allows.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e,
    0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// A secret key and its address. Wiped on drop.
pub struct Identity {
    secret: Zeroizing<[u8; 32]>,
    address: Address,
}

impl Identity {
    /// Takes 32 random bytes as secret key.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, BadKey> {
        let address = address_of(&curve::public(secret).ok_or(BadKey)?);
        Ok(Self { secret: Zeroizing::new(*secret), address })
    }

    /// Who this is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a digest (deterministic nonce, RFC 6979).
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        // The secret was a key when this was made; zeros are no signature of anybody.
        sign_with(&self.secret, digest).unwrap_or(Signature([0; 65]))
    }

    /// The secret, for the keystore alone.
    pub fn expose_secret(&self) -> Zeroizing<[u8; 32]> {
        self.secret.clone()
    }
}

/// Signs with a secret that its caller keeps elsewhere, in locked memory.
pub fn sign_with(secret: &[u8; 32], digest: &[u8; 32]) -> Result<Signature, BadKey> {
    let (signature, odd) = curve::sign(secret, digest).ok_or(BadKey)?;
    let mut bytes = [0u8; 65];
    let (body, v) = bytes.split_at_mut(64);
    body.copy_from_slice(&signature);
    v.copy_from_slice(&[if odd { 28 } else { 27 }]);
    Ok(Signature(bytes))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, ..)", self.address)
    }
}

fn address_of(point: &curve::Point) -> Address {
    let mut address = [0u8; 20];
    let hash = crate::eip712::keccak(point);
    for (to, from) in address.iter_mut().zip(hash.iter().skip(12)) {
        *to = *from;
    }
    Address(address)
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

impl serde::Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("0x{}", hex::encode(self.0)))
    }
}

impl<'de> serde::Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(&text)).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.try_into().map_err(|_| serde::de::Error::custom("a signature has 65 bytes"))?))
    }
}

impl<C> minicbor::Encode<C> for Signature {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Signature {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = decoder.bytes()?;
        Ok(Self(bytes.try_into().map_err(|_| minicbor::decode::Error::message("a signature has 65 bytes"))?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn address_of_a_known_key() {
        // The first key of the widely used development mnemonic "test test … junk".
        let secret = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let identity = Identity::from_secret(&hex::decode(secret).unwrap().try_into().unwrap()).unwrap();
        assert_eq!(identity.address().to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
    }

    #[test]
    fn a_signature_names_its_signer_and_no_other() {
        let (alice, bob) = (Identity::from_secret(&[1; 32]).unwrap(), Identity::from_secret(&[2; 32]).unwrap());
        let signature = alice.sign(&[7; 32]);
        assert_eq!(signature.verify(&[7; 32], &alice.address()), Ok(()));
        assert!(matches!(signature.verify(&[7; 32], &bob.address()), Err(BadSignature::OtherSigner { .. })));
        assert!(signature.verify(&[8; 32], &alice.address()).is_err());
    }

    #[test]
    fn the_second_form_of_a_signature_is_refused() {
        // (r, n - s) with the other v verifies just as well in plain ECDSA.
        let alice = Identity::from_secret(&[1; 32]).unwrap();
        let good = alice.sign(&[7; 32]);
        let n: [u8; 32] = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .unwrap()
            .try_into()
            .unwrap();
        let mut bytes = good.0;
        let mut borrow = 0i16;
        for i in (0..32).rev() {
            let d = i16::from(n[i]) - i16::from(good.0[32 + i]) - borrow;
            borrow = i16::from(d < 0);
            bytes[32 + i] = d.rem_euclid(256) as u8;
        }
        bytes[64] = 55 - bytes[64];
        assert_eq!(Signature(bytes).recover(&[7; 32]), Err(BadSignature::Malformed));
    }
}
