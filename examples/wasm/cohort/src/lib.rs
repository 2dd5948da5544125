//! An app that runs inside an enclave on other people's tables: see `docs/wasm.md`.

mod cohort;

wit_bindgen::generate!({ world: "app", path: "../../../enclave/wasm/wit" });

struct Cohort;

impl Guest for Cohort {
    fn handle(_caller: String, path: String, body: Vec<u8>) -> Result<Vec<u8>, String> {
        cohort::answer(&path, &body)
    }
}

export!(Cohort);
