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

/// Refuses outputs that are there already, and two under one name: what would be lost at the end is found out before
/// anything is sent.
pub(crate) fn require_absent<'a>(outputs: impl IntoIterator<Item = Option<&'a PathBuf>>) -> Result<(), Failure> {
    let mut named = Vec::new();
    for path in outputs.into_iter().flatten() {
        if path.symlink_metadata().is_ok() {
            let message = format!("{} exists already", path.display());
            return Err(Failure::trouble("exists", message, "name another file, or move this one away"));
        }
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        if named.contains(&whole) {
            let message = format!("{} is named twice", path.display());
            return Err(Failure::trouble("usage", message, "name a file of its own for each output"));
        }
        named.push(whole);
    }
    Ok(())
}

/// Writes a new file for others to read; an existing one is refused.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let file = File::options().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| Failure::writing(path, &error))
}

/// Writes a new file that its owner alone can read, such as a model: whole or not at all. An existing one is refused.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    glacier::write_new(path, bytes).map_err(|error| explain::file_write(path, error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_new_and_each_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let [new, other, taken] = ["new", "other", "taken"].map(|name| folder.path().join(name));
        std::fs::write(&taken, b"mine").unwrap();
        let code = |outputs: [Option<&PathBuf>; 2]| require_absent(outputs).err().map(|failure| failure.code);
        assert_eq!(code([Some(&new), Some(&other)]), None);
        assert_eq!(code([Some(&new), None]), None);
        assert_eq!(code([Some(&new), Some(&taken)]).as_deref(), Some("exists"));
        assert_eq!(code([Some(&new), Some(&new)]).as_deref(), Some("usage"));
        let same = folder.path().join("./new");
        assert_eq!(code([Some(&new), Some(&same)]).as_deref(), Some("usage"));
    }
}
