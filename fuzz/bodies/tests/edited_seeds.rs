//! Every body on edits of its seeds: what the fuzzer does for hours, for a few seconds and on stable.

use glacier_fuzz_bodies::{BODIES, Body};
use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};

/// One edit of a document.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    // Bytes that are special to CBOR, DER, JSON and little-endian lengths come up more often than chance has it.
    let byte = prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff, 0x9f, 0xbf, b'"', b'\n'])];
    let at = any::<Index>;
    prop_oneof![
        (at(), byte.clone()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), 0..8u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (at(), vec(byte, 1..12)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), 1..40usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (at(), 1..40usize).prop_map(|(at, len)| Edit::Repeat(at, len)),
        at().prop_map(Edit::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        return;
    }
    let end = |at: usize, len: usize| (at + len).min(bytes.len());
    match edit {
        Edit::Set(at, byte) => *at.get_mut(bytes) = *byte,
        Edit::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
        Edit::Insert(at, new) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Edit::Remove(at, len) => {
            let at = at.index(bytes.len());
            bytes.drain(at..end(at, *len));
        }
        Edit::Repeat(at, len) => {
            let at = at.index(bytes.len());
            let piece = bytes[at..end(at, *len)].to_vec();
            bytes.splice(at..at, piece);
        }
        Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
    }
}

fn hammer(body: &Body) {
    let seeds = (body.seeds)();
    assert!(!seeds.is_empty(), "{} has no seed", body.name);
    for seed in &seeds {
        (body.check)(seed);
    }
    (body.check)(&[]);
    let mut runner = TestRunner::new(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() });
    let edited = (prop::sample::select(seeds), vec(edit(), 1..6)).prop_map(|(mut bytes, edits)| {
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        bytes
    });
    let outcome = runner.run(&edited, |bytes| {
        (body.check)(&bytes);
        Ok(())
    });
    assert!(outcome.is_ok(), "{}: {outcome:?}", body.name);
}

#[test]
fn every_body_holds_on_edits_of_its_seeds() {
    for body in BODIES {
        hammer(body);
    }
}

/// A seed that no parser takes would make its body check nothing.
#[test]
fn the_seeds_are_well_formed() {
    use glacier_wire::{Claims, Evidence, SignedManifest, api, cbor};
    let all = |name: &str, takes: fn(&[u8]) -> bool| {
        let body = BODIES.iter().find(|body| body.name == name).unwrap();
        assert!((body.seeds)().iter().all(|seed| takes(seed)), "{name}");
    };
    all("wire_manifest", |seed| SignedManifest::decode(seed).is_ok_and(|signed| signed.verify().is_ok()));
    all("wire_job_file", |seed| serde_json::from_slice::<SignedManifest>(seed).is_ok());
    all("wire_join", |seed| cbor::decode::<api::Join>(seed, api::Join::MAX_BYTES).is_ok());
    all("wire_claims", |seed| Claims::decode(seed).is_ok());
    all("wire_evidence", |seed| cbor::decode::<Evidence>(seed, Evidence::MAX_BYTES).is_ok());
    all("wire_host_call", |seed| cbor::decode::<api::HostCall>(seed, api::HOST_FRAME).is_ok());
    all("wire_host_answer", |seed| cbor::decode::<api::HostAnswer>(seed, api::HOST_FRAME).is_ok());
    all("wire_outputs", |seed| cbor::decode::<glacier_wire::Outputs>(seed, 1 << 20).is_ok());
    all("proof_statement", |seed| {
        cbor::decode::<glacier_proof::SignedProof>(seed, 4096).is_ok_and(|signed| signed.verify().is_ok())
    });
    all("proof_checkpoint", |seed| {
        glacier_proof::SignedCheckpoint::decode(seed).is_ok_and(|signed| signed.verify().is_ok())
    });
    all("proof_equivocation", |seed| glacier_proof::Equivocation::decode(seed).is_ok_and(|fork| fork.verify().is_ok()));
    all("proof_bundle", |seed| glacier_proof::Bundle::decode(seed).is_ok());
    all("platform_cert_table", |seed| glacier_platform::CertTable::parse(seed).is_ok());
    all("platform_chip_call", |seed| {
        cbor::decode::<glacier_platform::simulated::ChipCall>(seed, glacier_platform::simulated::CALL_MAX).is_ok()
    });
    all("platform_chip_answer", |seed| {
        cbor::decode::<glacier_platform::simulated::ChipAnswer>(seed, glacier_platform::simulated::ANSWER_MAX).is_ok()
    });
    all("engine_model", |seed| glacier_engine::onnx::Graph::read(seed).is_ok());
    all("asset_header", |seed| {
        matches!(glacier_asset::Header::parse(seed), Ok(glacier_asset::Parsed::Complete { .. }))
    });
    all("attest_evidence", |seed| glacier_attest::Format::detect(seed).is_some());
    all("attest_rim", |seed| glacier_attest::Rim::parse(seed).is_ok());
    all("attest_collateral", |seed| glacier_attest::Collateral::parse(seed).is_ok());
}

/// The fuzzer's targets and the bodies are the same list.
#[test]
fn every_body_is_a_fuzz_target() {
    let manifest = include_str!("../../Cargo.toml");
    for body in BODIES {
        assert!(manifest.contains(&format!("name = \"{}\"", body.name)), "{} is no fuzz target", body.name);
    }
    assert_eq!(manifest.matches("[[bin]]").count(), BODIES.len());
}
