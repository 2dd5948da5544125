//! Evidence, sealing, randomness and the sandbox; the only crate that may use unsafe.
