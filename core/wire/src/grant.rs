//! One party's permission inside a ceremony.

use crate::{
    eip712::{Domain, StructHasher},
    id::{Address, Digest, ManifestHash, UnixTime},
    identity::{BadSignature, Identity, Signature},
};

/// In which capacity a party grants.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Role {
    /// Brings the data, receives the result.
    #[n(0)]
    Data,
    /// Brings the model.
    #[n(1)]
    Model,
}

impl Role {
    /// The word that is signed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Model => "model",
        }
    }
}

/// Permission to use one asset, for one manifest, in one enclave's one key epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// For this job.
    #[n(0)]
    pub manifest: ManifestHash,
    /// In this capacity.
    #[n(1)]
    pub role: Role,
    /// To the enclave that holds this key. The key lives in its memory only, so after a restart
    /// every old grant is void: there is no stored counter that a host could roll back.
    #[n(2)]
    pub enclave_key: Address,
    /// How often it may be used.
    #[n(3)]
    pub uses: u64,
    /// Until when.
    #[n(4)]
    pub not_after: UnixTime,
    /// Random: makes two otherwise equal grants different, so that a replay is recognised.
    #[n(5)]
    pub nonce: Digest,
}

impl Grant {
    /// The EIP-712 type.
    pub const TYPE: &str =
        "Grant(bytes32 manifest,string role,address enclaveKey,uint64 uses,uint64 notAfter,bytes32 nonce)";

    /// What is signed. `domain` is the manifest's.
    pub fn digest(&self, domain: &Domain) -> [u8; 32] {
        domain.digest(
            StructHasher::new(Self::TYPE)
                .word(&self.manifest.0)
                .string(self.role.as_str())
                .address(&self.enclave_key)
                .uint(self.uses)
                .uint(self.not_after.0)
                .word(&self.nonce.0)
                .finish(),
        )
    }

    /// Signs the grant.
    pub fn sign(self, domain: &Domain, identity: &Identity) -> SignedGrant {
        SignedGrant { signature: identity.sign(&self.digest(domain)), grant: self }
    }
}

/// A grant and its signature.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct SignedGrant {
    /// The permission.
    #[n(0)]
    pub grant: Grant,
    /// Over [`Grant::digest`].
    #[n(1)]
    pub signature: Signature,
}

impl SignedGrant {
    /// Whether `party` gave this grant.
    pub fn verify(&self, domain: &Domain, party: &Address) -> Result<(), BadSignature> {
        self.signature.verify(&self.grant.digest(domain), party)
    }
}
