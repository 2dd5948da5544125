//! The extension module under the package `glacier_tee`: the client bound to Python, and nothing of it done again.
//!
//! What Python code is good at (frames, callbacks, event loops, words for people) is in the package beside this.
//! Documents cross as JSON, arrays as arrays of bytes that neither side copies.

mod check;
mod error;
mod evidence;
mod key;
mod policy;
mod session;
mod task;
mod tensor;

/// The binding. What people use is `glacier_tee`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::{
        evidence::{verify_evidence, verify_proof},
        key::{Key, Keystore, open_sealed, seal},
        policy::Policy,
        session::{Session, connect, initial_model},
        task::Task,
    };

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
