//! The measurement of an enclave program.

use glacier_wire::Measurement;
use sha2::{Digest as _, Sha256};
use std::{
    io::{self, Read},
    path::Path,
};

/// Measurement of a program on the *simulated* platform: SHA-256("glacier/simulated-measurement/v1" ‖ 0 ‖
/// the bytes of its executable file). Nothing else goes in: no path, no time, no owner.
///
/// What it does not cover: the dynamic loader and the C library, which a dynamically linked program
/// takes from the system. A program linked statically is covered whole.
pub fn measure(program: &[u8]) -> Measurement {
    let mut hash = hasher();
    hash.update(program);
    Measurement(hash.finalize().into())
}

/// [`measure`] of a file's bytes.
pub fn measure_file(path: &Path) -> io::Result<Measurement> {
    measure_reader(std::fs::File::open(path)?)
}

pub(crate) fn measure_reader(mut program: impl Read) -> io::Result<Measurement> {
    let mut hash = hasher();
    let mut window = vec![0; 1 << 16];
    loop {
        match program.read(&mut window) {
            Ok(0) => return Ok(Measurement(hash.finalize().into())),
            Ok(len) => hash.update(window.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hasher() -> Sha256 {
    Sha256::new_with_prefix(b"glacier/simulated-measurement/v1\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_makes_another_measurement() {
        assert_ne!(measure(b"program"), measure(b"prograM"));
        assert_ne!(measure(b""), measure(b"\0"));
    }

    #[test]
    fn a_file_measures_as_its_bytes() {
        let path = std::env::current_exe().unwrap();
        assert_eq!(measure_file(&path).unwrap(), measure(&std::fs::read(&path).unwrap()));
    }
}
