//! What every parser of foreign bytes must hold whatever it is fed: it returns, and what it accepts
//! it writes back as the same bytes.
//!
//! Each body is one function from bytes; it panics when the property breaks. The fuzz targets in
//! `fuzz/fuzz_targets` call them under libFuzzer, `tests/edited_seeds.rs` on stable with a few
//! thousand edits of [`seeds`](Body::seeds).

mod asset;
mod attest;
mod engine;
mod measure;
mod platform;
mod proof;
mod rim;
mod wire;

/// One property and documents to start from.
pub struct Body {
    /// Also the name of the fuzz target.
    pub name: &'static str,
    /// Panics when the property does not hold for these bytes.
    pub check: fn(&[u8]),
    /// Well-formed documents: edits of these get further than random bytes.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every body.
pub const BODIES: &[Body] = &[
    Body { name: "asset_header", check: asset::header, seeds: asset::seeds },
    Body { name: "asset_opener", check: asset::opener, seeds: asset::seeds },
    Body { name: "attest_collateral", check: attest::collateral, seeds: attest::collaterals },
    Body { name: "attest_endorsements", check: attest::endorsements, seeds: attest::endorsement_seeds },
    Body { name: "attest_evidence", check: attest::evidence, seeds: attest::evidence_seeds },
    Body { name: "attest_rim", check: rim::manifest, seeds: rim::manifests },
    Body { name: "engine_edits", check: engine::edits, seeds: engine::model_seeds },
    Body { name: "engine_examples", check: engine::examples, seeds: engine::examples_seeds },
    Body { name: "engine_model", check: engine::model, seeds: engine::model_seeds },
    Body { name: "engine_rows", check: engine::rows, seeds: engine::rows_seeds },
    Body { name: "measure_event_log", check: measure::event_log, seeds: measure::event_log_seeds },
    Body { name: "measure_firmware", check: measure::firmware, seeds: measure::firmware_seeds },
    Body { name: "measure_kernel", check: measure::kernel, seeds: measure::kernel_seeds },
    Body { name: "platform_cert_table", check: platform::cert_table, seeds: platform::cert_table_seeds },
    Body { name: "platform_chip_answer", check: platform::chip_answer, seeds: platform::chip_answer_seeds },
    Body { name: "platform_chip_call", check: platform::chip_call, seeds: platform::chip_call_seeds },
    Body { name: "proof_bundle", check: proof::bundle, seeds: proof::bundle_seeds },
    Body { name: "proof_checkpoint", check: proof::checkpoint, seeds: proof::checkpoint_seeds },
    Body { name: "proof_equivocation", check: proof::equivocation, seeds: proof::equivocation_seeds },
    Body { name: "proof_statement", check: proof::statement, seeds: proof::statement_seeds },
    Body { name: "wire_app_result", check: wire::app_result, seeds: wire::app_result_seeds },
    Body { name: "wire_claims", check: wire::claims, seeds: wire::claims_seeds },
    Body { name: "wire_evidence", check: wire::evidence, seeds: wire::evidence_seeds },
    Body { name: "wire_host_answer", check: wire::host_answer, seeds: wire::host_answer_seeds },
    Body { name: "wire_host_call", check: wire::host_call, seeds: wire::host_call_seeds },
    Body { name: "wire_job_file", check: wire::job_file, seeds: wire::job_file_seeds },
    Body { name: "wire_join", check: wire::join, seeds: wire::join_seeds },
    Body { name: "wire_manifest", check: wire::manifest, seeds: wire::manifest_seeds },
    Body { name: "wire_outputs", check: wire::outputs, seeds: wire::outputs_seeds },
];

/// Runs one body by name, for the fuzz targets.
///
/// # Panics
/// When there is no such body, and when its property does not hold.
pub fn check(name: &str, bytes: &[u8]) {
    match BODIES.iter().find(|body| body.name == name) {
        Some(body) => (body.check)(bytes),
        None => panic!("no fuzz body is called {name}"),
    }
}
