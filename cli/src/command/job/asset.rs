//! An asset as people name it.

use crate::{error::Failure, files};
use glacier_wire::Digest;
use std::{path::PathBuf, str::FromStr};

/// A sealed file at hand, or the digest of one that somebody else has.
#[derive(Debug, Clone)]
pub(crate) enum AssetRef {
    File(PathBuf),
    Digest(Digest),
}

/// A component at hand, or the digest of its content.
#[derive(Debug, Clone)]
pub(crate) enum CodeRef {
    File(PathBuf),
    Digest(Digest),
}

impl FromStr for CodeRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Digest))
    }
}

impl CodeRef {
    /// What a manifest names the component by. A sealed file is not what the enclave will run.
    pub(crate) fn digest(&self) -> Result<Digest, Failure> {
        match self {
            Self::Digest(digest) => Ok(*digest),
            Self::File(path) => {
                crate::command::serve::require_plain(path)?;
                files::digest(path)
            }
        }
    }
}

impl FromStr for AssetRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Digest))
    }
}

impl AssetRef {
    /// The digest that names it. A file that was not sealed is no asset.
    pub(crate) fn digest(&self) -> Result<Digest, Failure> {
        match self {
            Self::Digest(digest) => Ok(*digest),
            Self::File(path) => {
                glacier::seal::read_header(path).map_err(|error| match error {
                    glacier::seal::SealError::Asset(why) => Failure::not_a(
                        "a sealed asset",
                        path,
                        why,
                        format!("seal it first: glacier seal {}", path.display()),
                    ),
                    error => crate::explain::seal(path, path, error),
                })?;
                files::digest(path)
            }
        }
    }
}
