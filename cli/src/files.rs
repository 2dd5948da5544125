//! Files that are read whole, each with a bound.

use crate::{error::Failure, explain};
use glacier::policy::{Policy, read_policy};
use glacier_wire::Digest;
use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// A file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| Failure::reading(path, &error))?;
    if bytes.len() as u64 > max {
        let message = format!("{} has more than {max} bytes", path.display());
        return Err(Failure::trouble("file-size", message, "check that this is the file you mean"));
    }
    Ok(bytes)
}

/// A policy.
pub(crate) fn policy(path: &Path) -> Result<Policy, Failure> {
    read_policy(path).map_err(|error| explain::policy(path, error))
}

/// The digest that names a sealed file.
pub(crate) fn digest(path: &Path) -> Result<Digest, Failure> {
    let file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|error| Failure::reading(path, &error))?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// Refuses outputs that are there already: what would be lost at the end is found out before anything is sent.
pub(crate) fn require_absent<'a>(outputs: impl IntoIterator<Item = Option<&'a PathBuf>>) -> Result<(), Failure> {
    match outputs.into_iter().flatten().find(|path| path.exists()) {
        None => Ok(()),
        Some(path) => {
            let message = format!("{} exists already", path.display());
            Err(Failure::trouble("exists", message, "name another file, or move this one away"))
        }
    }
}

/// Writes a new file; an existing one is refused.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let file = File::options().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| Failure::writing(path, &error))
}
