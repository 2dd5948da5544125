//! What an enclave has its hardware quote to be registered on a chain.

use glacier_wire::{
    Address, ReportData,
    eip712::{Domain, StructHasher},
};

/// "This key, drawn in this enclave, works for this owner." The registry checks the vendor's
/// signature over it, so nobody between enclave and contract is trusted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Chain of the registry.
    #[n(0)]
    pub chain_id: u64,
    /// The contract, `EnclaveRegistry`.
    #[n(1)]
    pub registry: Address,
    /// The key that signs Work Proofs and checkpoints.
    #[n(2)]
    pub enclave_key: Address,
    /// Who is paid, and who may withdraw the registration.
    #[n(3)]
    pub owner: Address,
    /// How often the chip was registered before, so that an old quote never registers again.
    #[n(4)]
    pub number: u32,
}

impl Registration {
    /// The EIP-712 type, fixed: the contract hashes the same string.
    pub const TYPE: &str = "Registration(address enclaveKey,address owner,uint32 number)";
    /// The second half of the report data begins with it: no quote that was made for anything else
    /// registers a key.
    pub const TAG: &[u8; 23] = b"glacier/registration/v1";

    /// The EIP-712 digest, domain included.
    pub fn digest(&self) -> [u8; 32] {
        let hash = StructHasher::new(Self::TYPE)
            .address(&self.enclave_key)
            .address(&self.owner)
            .uint(u64::from(self.number))
            .finish();
        Domain { chain_id: self.chain_id, verifying_contract: self.registry }.digest(hash)
    }

    /// What stands in the quote: the digest, then [`Registration::TAG`], then zeros.
    pub fn report_data(&self) -> ReportData {
        let mut data = [0; 64];
        for (to, from) in data.iter_mut().zip(self.digest()) {
            *to = from;
        }
        for (to, from) in data.iter_mut().skip(32).zip(Self::TAG) {
            *to = *from;
        }
        data
    }
}
