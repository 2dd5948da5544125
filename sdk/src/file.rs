//! Files that are whole or not there: written beside their name, renamed when complete, never over another.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// A file that could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is a file of that name already.
    #[error("a file of that name exists already")]
    Exists,
    /// There is no file of that name.
    #[error("there is no such file")]
    Missing,
    /// The operating system does not permit it.
    #[error("permission denied")]
    Denied,
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// Something else that the operating system says.
    #[error("{0}")]
    Io(io::ErrorKind),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            kind => Self::Io(kind),
        }
    }
}

/// A file in the making. Dropped before [`NewFile::keep`], it leaves nothing behind.
pub(crate) struct NewFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    /// Begins a file that only its owner can read. Refuses a name that is taken.
    pub(crate) fn create(path: &Path) -> Result<Self, FileError> {
        if path.symlink_metadata().is_ok() {
            return Err(FileError::Exists);
        }
        Self::replacing(path)
    }

    /// Begins a file that is meant to take the place of another, by [`NewFile::replace`].
    pub(crate) fn replacing(path: &Path) -> Result<Self, FileError> {
        let mut name = path.file_name().ok_or(FileError::Missing)?.to_owned();
        let mut random = [0u8; 6];
        getrandom::fill(&mut random).map_err(|_| FileError::Io(io::ErrorKind::Other))?;
        name.push(format!(".{}.part", hex::encode(random)));
        let part = path.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { file: options.open(&part)?, part, path: path.to_owned(), kept: false })
    }

    /// Appends.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        Ok(self.file.write_all(bytes)?)
    }

    /// Puts the complete file in its place, durably. A name that was taken meanwhile is refused.
    pub(crate) fn keep(mut self) -> Result<(), FileError> {
        self.file.sync_all()?;
        // A hard link fails where the name is taken; a rename would silently replace it.
        match fs::hard_link(&self.part, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(FileError::Exists),
            // File systems without hard links.
            Err(_) if self.path.symlink_metadata().is_err() => {
                fs::rename(&self.part, &self.path)?;
                self.kept = true;
            }
            Err(error) => return Err(error.into()),
        }
        self.settle();
        Ok(())
    }

    /// Puts the complete file in its place, durably and over what was there.
    pub(crate) fn replace(mut self) -> Result<(), FileError> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.path)?;
        self.kept = true;
        self.settle();
        Ok(())
    }

    /// Makes the name itself durable. Not every file system can.
    fn settle(&self) {
        if let Some(parent) = self.path.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            if let Ok(directory) = File::open(parent) {
                let _ = directory.sync_all();
            }
        }
    }
}

/// Writes a new file that only its owner can read. It is whole, and durably so, or not there.
///
/// # Errors
/// A name that is taken, [`FileError::Exists`], or what the system says.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = NewFile::create(path)?;
    file.write_all(bytes)?;
    file.keep()
}

/// A folder of its own for files that are passed on or deleted. Gone with its value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, FileError> {
        let mut random = [0u8; 12];
        getrandom::fill(&mut random).map_err(|_| FileError::Io(io::ErrorKind::Other))?;
        let path = std::env::temp_dir().join(format!("glacier-{}", hex::encode(random)));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads a file whole; `None` when it has more than `max` bytes.
pub(crate) fn read_small(path: &Path, max: u64) -> Result<Option<Vec<u8>>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, b"mine").unwrap();
        assert_eq!(NewFile::create(&path).err(), Some(FileError::Exists));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn what_is_written_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_new(&path, b"mine").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write_new(&path, b"other"), Err(FileError::Exists));
    }

    #[test]
    fn a_name_taken_meanwhile_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"late").unwrap();
        fs::write(&path, b"mine").unwrap();
        assert_eq!(file.keep(), Err(FileError::Exists));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_of_a_file_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = NewFile::create(&dir.path().join("x")).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_kept_file_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
