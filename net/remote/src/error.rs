//! Why a file did not come or go.

use std::io;

/// A transfer that did not happen. Messages name the store's answer, never a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No address of a file in a store.
    #[error("`{0}` is not the address of a file in a store: s3://, gs://, az://, https:// or http:// and a path are")]
    Address(String),
    /// The address holds what no request would carry, or what must not be written into one.
    #[error("the address holds {0}")]
    Part(&'static str),
    /// The settings in the environment do not make a client.
    #[error("the store's settings in the environment are not complete: {0}")]
    Settings(String),
    /// There is no such file.
    #[error("there is no such file in the store")]
    Missing,
    /// The store does not let this caller.
    #[error("the store refuses these credentials, or has none: {0}")]
    Denied(String),
    /// The file has more bytes than are fetched, or the server says so.
    #[error("the store says that the file has more than {max} bytes")]
    TooLarge {
        /// Bytes that are fetched.
        max: u64,
    },
    /// The file was replaced while it was fetched.
    #[error("the file was replaced while it was fetched")]
    Changed,
    /// The store cannot do what this takes.
    #[error("the store cannot take files: {0}")]
    ReadOnly(String),
    /// Anything else that the store or the way to it says.
    #[error("the store does not answer as it should: {0}")]
    Store(String),
    /// A file on this machine.
    #[error("{0}")]
    File(#[from] io::Error),
}

impl From<object_store::Error> for RemoteError {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Self::Missing,
            E::Precondition { .. } | E::NotModified { .. } => Self::Changed,
            E::PermissionDenied { source, .. } | E::Unauthenticated { source, .. } => Self::Denied(root(&*source)),
            E::NotSupported { source } => Self::ReadOnly(root(&*source)),
            E::NotImplemented { operation, .. } => Self::ReadOnly(format!("it has no {operation}")),
            error => Self::Store(root(&error)),
        }
    }
}

/// The innermost cause: the outer ones repeat it with addresses of the client's own types.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    text.chars().take(300).collect()
}
