//! Files that commands read, wherever people keep them: on this machine, or in a store that a URL names.

use crate::{
    context::Context,
    error::{Exit, Failure},
    progress,
};
use glacier_remote::{Remote, RemoteError};
use std::{
    fs::{self, DirBuilder},
    ops::Deref,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// A file that is on this machine for as long as this lives.
#[derive(Debug)]
pub(crate) struct Local {
    path: PathBuf,
    /// Whether it was fetched: then it goes when the command ends, and what people keep elsewhere stays there.
    fetched: bool,
}

impl Context {
    /// The file that was typed; fetched first, in pieces and resumably, where that is a URL.
    pub(crate) async fn bring(&self, typed: &Path) -> Result<Local, Failure> {
        let Some(remote) = remote(typed)? else { return Ok(Local { path: typed.to_owned(), fetched: false }) };
        let named = blake3::hash(remote.address().as_bytes()).to_hex();
        let folder = self.home.join("fetched").join(named.get(..16).unwrap_or_default());
        let writing = |error| Failure::writing(&folder, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(writing)?;
        let path = folder.join(remote.name());
        // Of a command that was killed: the store may have a newer one.
        let _ = fs::remove_file(&path);
        let bar = progress::bytes(self.output, "fetching", 0);
        let fetched = remote.fetch(&path, &mut progress::follow(&bar)).await;
        bar.finish_and_clear();
        fetched.map_err(|error| explain(&remote, error))?;
        Ok(Local { path, fetched: true })
    }

    /// Brings a file to the store that a URL names.
    pub(crate) async fn put(&self, file: &Path, remote: &Remote) -> Result<(), Failure> {
        let bar = progress::bytes(self.output, "storing", 0);
        let put = remote.put(file, &mut progress::follow(&bar)).await;
        bar.finish_and_clear();
        put.map(|_| ()).map_err(|error| explain(remote, error))
    }
}

/// The file in a store that a URL names; `None` for a path.
pub(crate) fn remote(typed: &Path) -> Result<Option<Remote>, Failure> {
    let Some(address) = typed.to_str().filter(|text| Remote::is_meant(text)) else { return Ok(None) };
    Remote::at(address).map(Some).map_err(|error| failure(error.to_string(), &error))
}

impl Deref for Local {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if self.fetched {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn explain(remote: &Remote, error: RemoteError) -> Failure {
    failure(format!("{}: {error}", remote.address()), &error)
}

fn failure(message: String, error: &RemoteError) -> Failure {
    let (code, help) = match error {
        RemoteError::Address(_) => ("usage", "such as s3://BUCKET/rows.age"),
        RemoteError::Settings(_) => ("store-settings", "set them as `docs/assets.md` lists, such as AWS_REGION"),
        RemoteError::Missing => ("store-missing", "check bucket and name"),
        RemoteError::Denied(_) => ("store-denied", "check the credentials in the environment, and what they may do"),
        RemoteError::Changed => ("store-changed", "run the command again: it fetches what is there now"),
        RemoteError::ReadOnly(_) => ("store-read-only", "name a store that takes files: s3://, gs:// or az://"),
        RemoteError::File(_) => ("file", "check the disk, and the folder that --home names"),
        _ => ("store", "check the address, and the endpoint in the environment; what came is kept for the next try"),
    };
    Failure { exit: Exit::Trouble, ..Failure::trouble(code, message, help) }
}
