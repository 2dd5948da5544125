//! A whole node on this machine for tests and benchmarks: chip, enclave and host as real processes
//! and sockets, simulated hardware, and a host that does what a hostile operator would.

mod ceremony;
mod process;
mod program;
mod recorder;
mod rig;

pub use ceremony::{random, refused, seal, sealed_key, soon};
pub use process::{children, kill};
pub use program::program;
pub use recorder::{Recorder, contains, read_all};
pub use rig::{Rig, Stopped};

/// The bundled model and data, and the labels that stay outside.
pub mod breast_cancer {
    use std::path::PathBuf;

    /// The ONNX classifier.
    pub fn model() -> PathBuf {
        file("model.onnx")
    }

    /// 569 rows of 30 features, with header.
    pub fn data() -> PathBuf {
        file("data.csv")
    }

    fn file(name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "..", "models", "breast-cancer", name].iter().collect()
    }
}
