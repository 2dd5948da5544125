//! The bytes that are measured are the bytes that run.

use crate::measure::measure_reader;
use glacier_wire::Measurement;
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{MemfdFlags, Mode, SealFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Seek},
    path::Path,
};

/// A program in memory that nobody can change any more: copied first, sealed second, measured third.
/// Whoever swaps the file on disk afterwards changes nothing, and before is seen in the measurement.
pub struct Image {
    memory: File,
    measurement: Measurement,
}

/// Largest program that is loaded.
const MAX_BYTES: u64 = 1 << 30;

impl Image {
    /// Copies, seals and measures the program at `path`.
    pub fn load(path: &Path) -> io::Result<Self> {
        let program = File::open(path)?;
        let mut memory = File::from(memfd()?);
        let copied = io::copy(&mut io::Read::take(program, MAX_BYTES), &mut memory)?;
        if copied == MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // A program that its user may execute but not read starts out non-dumpable: there is no
        // instant at which another process of the same user could attach to the enclave.
        rustix::fs::fchmod(&memory, Mode::XUSR | Mode::XGRP | Mode::XOTH)?;
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, seals)?;
        memory.rewind()?;
        let measurement = measure_reader(&mut memory)?;
        Ok(Self { memory, measurement })
    }

    /// Of exactly these bytes.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

fn memfd() -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("glacier-enclave", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag; there every memfd can be executed.
        Err(Errno::INVAL) => rustix::fs::memfd_create("glacier-enclave", flags),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_loaded_image_cannot_change() {
        let image = Image::load(&std::env::current_exe().unwrap()).unwrap();
        let mut memory = image.memory.try_clone().unwrap();
        assert_eq!(memory.write(&[0]).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(memory.set_len(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(rustix::fs::fcntl_add_seals(&image, SealFlags::FUTURE_WRITE), Err(Errno::PERM));
    }

    #[test]
    fn it_measures_as_the_file_does() {
        let path = std::env::current_exe().unwrap();
        assert_eq!(Image::load(&path).unwrap().measurement(), crate::measure_file(&path).unwrap());
    }
}
