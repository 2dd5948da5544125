//! A whole node on this machine for tests and benchmarks: chip, enclave and host as real processes
//! and sockets, simulated hardware, and a host that does what a hostile operator would.
//!
//! An application's own test: its program in an enclave, a host that spoils every fourth record after the
//! handshake by a seed, and a user whose every answer is right, or none.
//!
//! ```no_run
//! use glacier_testkit::{Chaos, Rig};
//! use std::sync::Arc;
//!
//! # async fn test() {
//! let host = Arc::new(Chaos::seeded(7).sparing(12));
//! let rig = Rig::with(env!("CARGO_PKG_NAME").into(), Some(host.clone())).await; // CARGO_BIN_EXE_… in yours
//! let session = rig.session(&rig.party("ada")).await;
//! match session.call_proved::<_, u64>("/answer", &()).await {
//!     Ok(answer) => assert_eq!(answer.value, 42),
//!     Err(_) => assert!(!host.acts().is_empty(), "an honest host's enclave answers"),
//! }
//! # }
//! ```

mod ceremony;
mod chaos;
mod process;
mod program;
mod recorder;
mod rig;

pub use ceremony::{random, refused, seal, sealed_key, soon};
pub use chaos::{Act, Chaos, Fault};
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
