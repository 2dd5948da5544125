//! Every signed struct hashes as an independent EIP-712 implementation hashes it.

use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain, sol};
use glacier_proof::{Checkpoint, Registration, WorkProof};
use glacier_wire::{
    Address, Commitment, Contribution, Digest, EnclaveId, Grant, Limits, LogHash, Manifest, ManifestHash, Measurement,
    PlatformKind, ProofHash, Recipient, Role, Settlement, UnixTime, Work,
};
use proptest::prelude::*;

mod typed {
    use super::sol;
    sol! {
        #[derive(Debug)]
        struct Contribution { address provider; bytes32 data; }
        #[derive(Debug)]
        struct Manifest {
            string work; address dataProvider; address modelProvider; bytes32 data; bytes32 model; bytes32 measurement;
            bytes32 enclaveId; bytes32[] recipients; uint64 memoryBytes; uint64 units; uint64 runs; uint64 notAfter;
            address payer; uint64 price; bytes32 salt; bytes32 plan; Contribution[] contributions;
        }
        #[derive(Debug)]
        struct Grant { bytes32 manifest; string role; address enclaveKey; uint64 uses; uint64 notAfter; bytes32 nonce; }
        #[derive(Debug)]
        struct WorkProof {
            bytes32 enclaveId; address enclaveKey; bytes32 measurement; string platform; string work; bytes32 manifest;
            bytes32 model; bytes32 input; bytes32 output; uint64 units; uint64 sequence; bytes32 previous;
            address payer; uint64 price;
        }
        #[derive(Debug)]
        struct Checkpoint { bytes32 enclaveId; address enclaveKey; uint64 size; bytes32 root; uint64 units; }
        #[derive(Debug)]
        struct Registration { address enclaveKey; address owner; uint32 number; }
    }
}

fn domain(chain_id: u64, ledger: Address) -> Eip712Domain {
    eip712_domain! { name: "Glacier", version: "1", chain_id: chain_id, verifying_contract: ledger.0.into(), }
}

#[test]
fn the_type_strings_are_the_ones_a_compiler_derives() {
    assert_eq!(typed::Manifest::eip712_encode_type(), Manifest::TYPE);
    assert_eq!(typed::Grant::eip712_encode_type(), Grant::TYPE);
    assert_eq!(typed::WorkProof::eip712_encode_type(), WorkProof::TYPE);
    assert_eq!(typed::Checkpoint::eip712_encode_type(), Checkpoint::TYPE);
    assert_eq!(typed::Registration::eip712_encode_type(), Registration::TYPE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn manifests_hash_alike(
        words in any::<[[u8; 32]; 6]>(), addresses in any::<[[u8; 20]; 4]>(), numbers in any::<[u64; 6]>(),
        contributions in prop::collection::vec(any::<([u8; 20], [u8; 32])>(), 0..3),
        recipients in prop::collection::vec(any::<[u8; 32]>(), 0..5), deployment in any::<bool>(),
    ) {
        let manifest = Manifest {
            work: if deployment { Work::Deployment } else { Work::Inference },
            data_provider: Address(addresses[0]), model_provider: Address(addresses[1]),
            data: Digest(words[0]), model: Digest(words[1]), measurement: Measurement(words[2]),
            enclave_id: EnclaveId(words[3]), recipients: recipients.iter().copied().map(Recipient).collect(),
            limits: Limits { memory: numbers[0], units: numbers[1], runs: numbers[2], not_after: UnixTime(numbers[3]) },
            settlement: Settlement { chain_id: numbers[4], ledger: Address(addresses[2]), payer: Address(addresses[3]), price: numbers[5] },
            salt: Digest(words[4]), plan: Digest(words[5]),
            contributions: contributions.iter()
                .map(|(provider, data)| Contribution { provider: Address(*provider), data: Digest(*data) }).collect(),
        };
        let theirs = typed::Manifest {
            work: manifest.work.as_str().into(), dataProvider: addresses[0].into(), modelProvider: addresses[1].into(),
            data: words[0].into(), model: words[1].into(), measurement: words[2].into(), enclaveId: words[3].into(),
            recipients: recipients.iter().map(|word| (*word).into()).collect(),
            memoryBytes: numbers[0], units: numbers[1], runs: numbers[2], notAfter: numbers[3],
            payer: addresses[3].into(), price: numbers[5], salt: words[4].into(), plan: words[5].into(),
            contributions: contributions.iter()
                .map(|(provider, data)| typed::Contribution { provider: (*provider).into(), data: (*data).into() }).collect(),
        };
        let hash = theirs.eip712_signing_hash(&domain(numbers[4], Address(addresses[2])));
        prop_assert_eq!(manifest.hash().0, hash.0);
    }

    #[test]
    fn grants_hash_alike(
        words in any::<[[u8; 32]; 2]>(), key in any::<[u8; 20]>(), ledger in any::<[u8; 20]>(),
        numbers in any::<[u64; 3]>(), data in any::<bool>(),
    ) {
        let grant = Grant {
            manifest: ManifestHash(words[0]), role: if data { Role::Data } else { Role::Model },
            enclave_key: Address(key), uses: numbers[0], not_after: UnixTime(numbers[1]), nonce: Digest(words[1]),
        };
        let theirs = typed::Grant {
            manifest: words[0].into(), role: grant.role.as_str().into(), enclaveKey: key.into(),
            uses: numbers[0], notAfter: numbers[1], nonce: words[1].into(),
        };
        let ours = glacier_wire::eip712::Domain { chain_id: numbers[2], verifying_contract: Address(ledger) };
        let hash = theirs.eip712_signing_hash(&domain(numbers[2], Address(ledger)));
        prop_assert_eq!(grant.digest(&ours), hash.0);
    }

    #[test]
    fn proofs_hash_alike(
        words in any::<[[u8; 32]; 7]>(), addresses in any::<[[u8; 20]; 3]>(), numbers in any::<[u64; 4]>(),
        simulated in any::<bool>(),
    ) {
        let proof = WorkProof {
            enclave_id: EnclaveId(words[0]), enclave_key: Address(addresses[0]), measurement: Measurement(words[1]),
            platform: if simulated { PlatformKind::Simulated } else { PlatformKind::Sgx }, work: Work::App,
            manifest: ManifestHash(words[2]), model: Digest(words[3]), input: Commitment(words[4]),
            output: Commitment(words[5]), units: numbers[0], sequence: numbers[1], previous: ProofHash(words[6]),
            settlement: Settlement { chain_id: numbers[2], ledger: Address(addresses[1]), payer: Address(addresses[2]), price: numbers[3] },
        };
        let theirs = typed::WorkProof {
            enclaveId: words[0].into(), enclaveKey: addresses[0].into(), measurement: words[1].into(),
            platform: proof.platform.as_str().into(), work: "app".into(), manifest: words[2].into(),
            model: words[3].into(), input: words[4].into(), output: words[5].into(), units: numbers[0],
            sequence: numbers[1], previous: words[6].into(), payer: addresses[2].into(), price: numbers[3],
        };
        let hash = theirs.eip712_signing_hash(&domain(numbers[2], Address(addresses[1])));
        prop_assert_eq!(proof.hash().0, hash.0);
    }

    #[test]
    fn checkpoints_hash_alike(words in any::<[[u8; 32]; 2]>(), addresses in any::<[[u8; 20]; 2]>(), numbers in any::<[u64; 3]>()) {
        let checkpoint = Checkpoint {
            enclave_id: EnclaveId(words[0]), enclave_key: Address(addresses[0]), size: numbers[0], root: LogHash(words[1]),
            units: numbers[1], chain_id: numbers[2], ledger: Address(addresses[1]),
        };
        let theirs = typed::Checkpoint {
            enclaveId: words[0].into(), enclaveKey: addresses[0].into(), size: numbers[0], root: words[1].into(),
            units: numbers[1],
        };
        let hash = theirs.eip712_signing_hash(&domain(numbers[2], Address(addresses[1])));
        prop_assert_eq!(checkpoint.digest(), hash.0);
    }

    #[test]
    fn registrations_hash_alike(addresses in any::<[[u8; 20]; 3]>(), chain_id in any::<u64>(), number in any::<u32>()) {
        let registration = Registration {
            chain_id, registry: Address(addresses[0]), enclave_key: Address(addresses[1]), owner: Address(addresses[2]), number,
        };
        let theirs = typed::Registration { enclaveKey: addresses[1].into(), owner: addresses[2].into(), number };
        let hash = theirs.eip712_signing_hash(&domain(chain_id, Address(addresses[0])));
        prop_assert_eq!(registration.digest(), hash.0);
    }
}
