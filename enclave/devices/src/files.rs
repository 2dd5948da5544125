//! Files below a prefix, and the seam at which tests replace them.

use rustix::io::Errno;
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// What a device file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both, as control calls need.
    Both,
}

/// The few file operations that talking to device files takes. Paths are absolute, as on the real machine.
///
/// A trait, because what matters most cannot be had from plain files: `EBUSY` at a read, a counter
/// that moves, a driver that is not loaded.
pub trait Files: Send + Sync {
    /// Opens a file that exists.
    fn open(&self, path: &str, access: Access) -> Result<Box<dyn File>, Errno>;
    /// Makes a directory.
    fn make_dir(&self, path: &str) -> Result<(), Errno>;
    /// Removes a directory: in configfs one with attributes in it, elsewhere an empty one.
    fn remove_dir(&self, path: &str) -> Result<(), Errno>;
    /// Names in a directory, at most [`MAX_NAMES`].
    fn list(&self, path: &str) -> Result<Vec<String>, Errno>;
}

/// An open device file. One call is one system call.
pub trait File {
    /// At most `buffer.len()` bytes; zero at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// How many were taken.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno>;
}

/// Most names that are listed.
pub const MAX_NAMES: usize = 4096;

/// Why a device file was not read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system said no.
    #[error("{0}")]
    Os(Errno),
    /// It holds more than the interface may.
    #[error("it holds more than its interface may")]
    TooLong,
    /// It took a part of what was written as one request.
    #[error("it took a part of the request only")]
    Short,
    /// It holds something else than its interface says.
    #[error("it holds something else than its interface says")]
    Malformed,
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

/// Reads to the end, through short and interrupted reads, at most `max` bytes.
pub fn read(files: &dyn Files, path: &str, max: usize) -> Result<Vec<u8>, FileError> {
    let mut file = files.open(path, Access::Read)?;
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    let mut interrupted: u32 = 0;
    loop {
        let len = match file.read(&mut buffer) {
            Ok(0) => return Ok(content),
            Ok(len) => len,
            Err(Errno::INTR) if interrupted < MAX_INTERRUPTIONS => {
                interrupted = interrupted.saturating_add(1);
                continue;
            }
            Err(errno) => return Err(errno.into()),
        };
        let part = buffer.get(..len).ok_or(FileError::Malformed)?;
        if part.len() > max.saturating_sub(content.len()) {
            return Err(FileError::TooLong);
        }
        content.extend_from_slice(part);
    }
}

/// The same for text.
pub fn read_text(files: &dyn Files, path: &str, max: usize) -> Result<String, FileError> {
    String::from_utf8(read(files, path, max)?).map_err(|_| FileError::Malformed)
}

/// Writes all of `bytes` by one call, as interfaces demand that take each write for a request.
pub fn write_whole(files: &dyn Files, path: &str, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = files.open(path, Access::Write)?;
    let mut interrupted: u32 = 0;
    loop {
        match file.write(bytes) {
            Ok(len) if len == bytes.len() => return Ok(()),
            Ok(_) => return Err(FileError::Short),
            // Interrupted means: nothing was taken.
            Err(Errno::INTR) if interrupted < MAX_INTERRUPTIONS => interrupted = interrupted.saturating_add(1),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Interruptions that one read bears; a storm of signals must not hold it for ever.
const MAX_INTERRUPTIONS: u32 = 64;

/// The machine's own files, or a copy of them below some folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    prefix: PathBuf,
}

impl Root {
    /// This machine.
    pub fn system() -> Self {
        Self { prefix: PathBuf::from("/") }
    }

    /// A tree that was copied, or faked, below `prefix`.
    pub fn at(prefix: impl Into<PathBuf>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Whether this is the machine itself, where making a directory may mean something.
    pub fn is_system(&self) -> bool {
        self.prefix == Path::new("/")
    }

    /// Where `path` really is.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.prefix.join(path.trim_start_matches('/'))
    }
}

impl Files for Root {
    fn open(&self, path: &str, access: Access) -> Result<Box<dyn File>, Errno> {
        let mut options = fs::OpenOptions::new();
        options.read(access != Access::Write).write(access != Access::Read);
        // Opening must not wait for the other end of a pipe that somebody put in a device's place.
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        options.open(self.resolve(path)).map(|file| Box::new(Opened(file)) as Box<dyn File>).map_err(errno)
    }

    fn make_dir(&self, path: &str) -> Result<(), Errno> {
        fs::create_dir(self.resolve(path)).map_err(errno)
    }

    fn remove_dir(&self, path: &str) -> Result<(), Errno> {
        fs::remove_dir(self.resolve(path)).map_err(errno)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Errno> {
        let entries = fs::read_dir(self.resolve(path)).map_err(errno)?;
        let mut names = entries
            .take(MAX_NAMES)
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect::<Result<Vec<_>, _>>()
            .map_err(errno)?;
        names.sort_unstable();
        Ok(names)
    }
}

struct Opened(fs::File);

impl File for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.0.read(buffer).map_err(errno)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.0.write(bytes).map_err(errno)
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/sys/kernel")).unwrap();
        fs::write(dir.path().join("proc/sys/kernel/osrelease"), "6.16.0\n").unwrap();
        let root = Root::at(dir.path());
        (dir, root)
    }

    #[test]
    fn a_copied_tree_is_read_below_its_prefix() {
        let (_dir, root) = tree();
        assert_eq!(read_text(&root, crate::paths::KERNEL_RELEASE, 64).unwrap(), "6.16.0\n");
        assert_eq!(root.list("/proc/sys").unwrap(), ["kernel"]);
        assert_eq!(crate::Kernel::running(&root), Ok(crate::Kernel { major: 6, minor: 16 }));
    }

    #[test]
    fn an_absent_file_is_absent() {
        let (_dir, root) = tree();
        assert_eq!(read(&root, "/dev/sev-guest", 64), Err(FileError::Os(Errno::NOENT)));
    }

    #[test]
    fn one_byte_above_the_bound_is_refused() {
        let (_dir, root) = tree();
        assert_eq!(read(&root, crate::paths::KERNEL_RELEASE, 7).map(|text| text.len()), Ok(7));
        assert_eq!(read(&root, crate::paths::KERNEL_RELEASE, 6), Err(FileError::TooLong));
    }

    #[test]
    fn a_directory_is_no_file() {
        let (_dir, root) = tree();
        assert_eq!(read(&root, "/proc", 64), Err(FileError::Os(Errno::ISDIR)));
    }

    /// Gives these answers, one a call.
    struct Script(Vec<Result<Vec<u8>, Errno>>);

    impl Files for std::sync::Mutex<Script> {
        fn open(&self, _: &str, _: Access) -> Result<Box<dyn File>, Errno> {
            Ok(Box::new(Script(std::mem::take(&mut self.lock().unwrap().0))))
        }
        fn make_dir(&self, _: &str) -> Result<(), Errno> {
            Err(Errno::NOSYS)
        }
        fn remove_dir(&self, _: &str) -> Result<(), Errno> {
            Err(Errno::NOSYS)
        }
        fn list(&self, _: &str) -> Result<Vec<String>, Errno> {
            Err(Errno::NOSYS)
        }
    }

    impl File for Script {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let bytes = self.0.remove(0)?;
            buffer.get_mut(..bytes.len()).unwrap().copy_from_slice(&bytes);
            Ok(bytes.len())
        }
        fn write(&mut self, _: &[u8]) -> Result<usize, Errno> {
            self.0.remove(0).map(|taken| taken.len())
        }
    }

    fn script(answers: Vec<Result<Vec<u8>, Errno>>) -> std::sync::Mutex<Script> {
        std::sync::Mutex::new(Script(answers))
    }

    #[test]
    fn short_and_interrupted_reads_go_on() {
        let files = script(vec![Ok(vec![1]), Err(Errno::INTR), Ok(vec![2, 3])]);
        assert_eq!(read(&files, "/x", 3), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn a_storm_of_interruptions_ends() {
        let files = script(vec![Err(Errno::INTR); 1000]);
        assert_eq!(read(&files, "/x", 3), Err(FileError::Os(Errno::INTR)));
    }

    #[test]
    fn a_short_write_is_an_error() {
        assert_eq!(write_whole(&script(vec![Ok(vec![0; 63])]), "/x", &[0; 64]), Err(FileError::Short));
        assert_eq!(write_whole(&script(vec![Err(Errno::INTR), Ok(vec![0; 64])]), "/x", &[0; 64]), Ok(()));
    }
}
