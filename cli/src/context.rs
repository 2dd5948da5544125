//! Working values that every command shares: whose keys, and how to speak.

use crate::{args::Global, error::Failure, explain::keystore, output::Output};
use glacier::keystore::{BadKeyName, Key, KeyName, Keystore};
use glacier_wire::UnixTime;
use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

/// Who acts, on whose key store, speaking how.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) home: PathBuf,
    key_name: KeyName,
}

impl Context {
    pub(crate) fn resolve(global: Global, output: Output) -> Result<Self, Failure> {
        let home = match global.home {
            Some(home) => home,
            None => Keystore::default_home().map_err(keystore)?,
        };
        let key_name = key_name(&global.key)?;
        Ok(Self { output, home, key_name })
    }

    /// The keys of this home.
    pub(crate) fn keystore(&self) -> Result<Keystore, Failure> {
        Keystore::open(&self.home).map_err(keystore)
    }

    /// The key that `--key` names, made where there is none: who runs a node is paid to it.
    pub(crate) fn operator(&self) -> Result<Key, Failure> {
        self.keystore()?.load_or_create(&self.key_name).map_err(keystore)
    }

    /// The key that `--key` names.
    pub(crate) fn key(&self) -> Result<Key, Failure> {
        self.keystore()?.load(&self.key_name).map_err(keystore)
    }
}

/// A name of a key, as it was typed.
pub(crate) fn key_name(text: &str) -> Result<KeyName, Failure> {
    text.parse().map_err(|error: BadKeyName| {
        Failure::trouble("usage", format!("`{text}` is no name of a key"), error.to_string())
    })
}

/// This machine's clock. Judging at another moment is the caller's to ask for.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(since.as_secs())
}
