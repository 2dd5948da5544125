//! Files where people keep them: S3-compatible stores, Azure Blob Storage, Google Cloud Storage, HTTP.
//!
//! | address | where | credentials, from the environment |
//! |---|---|---|
//! | `s3://BUCKET/KEY` | Amazon S3, or what `AWS_ENDPOINT` names | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, … |
//! | `az://CONTAINER/PATH`, `abfss://…` | Azure Blob Storage | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`, … |
//! | `gs://BUCKET/PATH` | Google Cloud Storage | `GOOGLE_SERVICE_ACCOUNT`, `GOOGLE_APPLICATION_CREDENTIALS`, … |
//! | `https://…`, `http://…` | any server, with the query as typed; `http` without TLS | none |
//!
//! A store can fail and cannot lie: sealed assets are believed by their digest, and what is not sealed is its
//! owner's own. Nothing here knows a key.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod error;
mod fetch;
mod part;
mod place;
mod put;

pub use error::RemoteError;
pub use place::Remote;

/// Told how many bytes are there, and of how many.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Bytes of one request. A cut connection costs at most this much for each request under way.
const PIECE: u64 = 8 << 20;
/// Requests under way at once.
const AT_ONCE: usize = 4;
/// Most bytes of a file that is fetched: how many there are is the server's word alone.
const MAX: u64 = 256 << 30;
