//! The simulated vendor and chip of this machine, kept in a directory.

use crate::{
    chip::{Chip, Hardware, Seed},
    key::Key,
    vendor::{Certified, Vendor, VendorError},
};
use glacier_wire::UnixTime;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::{
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};
use zeroize::Zeroizing;

/// The vendor and the one chip of this machine. Made on first use; the same ever after, except for
/// the attestation key, which each start makes anew.
pub struct Home {
    /// The vendor.
    pub vendor: Vendor,
    /// The chip.
    pub chip: Chip,
}

/// The machine's simulated hardware cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The directory or a file in it cannot be read or written.
    #[error("the simulated hardware's directory is unusable: {0}")]
    Io(io::ErrorKind),
    /// Others may read the keys: whoever did can make any evidence under this root.
    #[error("others than their owner may read the simulated hardware's keys; remove the directory to make new ones")]
    Exposed,
    /// The file does not hold a vendor and a chip.
    #[error("the simulated hardware's file is malformed; remove the directory to make new hardware")]
    Malformed,
    /// Keys or certificates cannot be made.
    #[error(transparent)]
    Vendor(#[from] VendorError),
}

/// Secrets; readable by the owner alone.
const SECRETS: &str = "simulated-hardware.json";
/// The root, for `--trust-root`.
const ROOT: &str = "simulated-root.pem";
/// More than the file ever has.
const MAX_BYTES: u64 = 64 << 10;

impl Home {
    /// Opens the hardware kept in `directory`, making it if there is none. Two processes that come
    /// first together get the same one.
    pub fn open(directory: &Path, now: UnixTime) -> Result<Self, HomeError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(directory, flags, Mode::empty()).map_err(io::Error::from)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        match File::open(directory.join(SECRETS)) {
            Ok(file) => Kept::read(file)?.restore(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let vendor = Vendor::generate(now)?;
                let chip = vendor.chip(Hardware::new(Seed::random()), now)?;
                let home = Self { vendor, chip };
                write(directory, ROOT, home.vendor.root_pem().as_bytes(), 0o644)?;
                write(directory, SECRETS, &Kept::of(&home).to_json()?, 0o600)?;
                Ok(home)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl From<io::Error> for HomeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

/// The file. Everything in hexadecimal.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    simulated: bool,
    root: Pair,
    platform_ca: Pair,
    tcb_signing: Pair,
    pck: Pair,
    seed: Zeroizing<String>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    key: Zeroizing<String>,
    certificate: String,
}

impl Kept {
    fn of(home: &Home) -> Self {
        Self {
            simulated: true,
            root: Pair::of(&home.vendor.root),
            platform_ca: Pair::of(&home.vendor.platform_ca),
            tcb_signing: Pair::of(&home.vendor.tcb_signing),
            pck: Pair::of(home.chip.pck()),
            seed: Zeroizing::new(hex::encode(home.chip.hardware().seed.expose())),
        }
    }

    fn read(file: File) -> Result<Self, HomeError> {
        if file.metadata()?.mode() & 0o077 != 0 {
            return Err(HomeError::Exposed);
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(|_| HomeError::Malformed)
    }

    fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, HomeError> {
        serde_json::to_vec_pretty(self).map(Zeroizing::new).map_err(|_| HomeError::Malformed)
    }

    fn restore(&self) -> Result<Home, HomeError> {
        let vendor = Vendor {
            root: self.root.restore()?,
            platform_ca: self.platform_ca.restore()?,
            tcb_signing: self.tcb_signing.restore()?,
        };
        let seed = Zeroizing::new(hex::decode(&*self.seed).map_err(|_| HomeError::Malformed)?);
        let seed = Seed::new(seed.as_slice().try_into().map_err(|_| HomeError::Malformed)?);
        let chip = vendor.chip_with(Hardware::new(seed), self.pck.restore()?)?;
        Ok(Home { vendor, chip })
    }
}

impl Pair {
    fn of(certified: &Certified) -> Self {
        Self { key: Zeroizing::new(hex::encode(certified.key.pkcs8())), certificate: hex::encode(&certified.der) }
    }

    fn restore(&self) -> Result<Certified, HomeError> {
        let pkcs8 = Zeroizing::new(hex::decode(&*self.key).map_err(|_| HomeError::Malformed)?);
        Ok(Certified {
            key: Key::from_pkcs8(&pkcs8).map_err(|_| HomeError::Malformed)?,
            der: hex::decode(&self.certificate).map_err(|_| HomeError::Malformed)?,
        })
    }
}

/// Writes a whole file or none.
fn write(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = directory.join(format!(".{name}.unfinished"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&unfinished, flags, Mode::from_raw_mode(mode))?);
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, directory.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[test]
    fn the_hardware_is_the_same_at_the_second_start() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("chip");
        let (first, second) = (Home::open(&home, NOW).unwrap(), Home::open(&home, NOW).unwrap());
        assert_eq!(first.vendor.root_fingerprint(), second.vendor.root_fingerprint());
        assert_eq!(first.chip.enclave_id(), second.chip.enclave_id());
        assert_eq!(first.chip.serial(), second.chip.serial());
    }

    #[test]
    fn two_machines_have_two_roots_and_two_chips() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (Home::open(one.path(), NOW).unwrap(), Home::open(two.path(), NOW).unwrap());
        assert_ne!(one.vendor.root_fingerprint(), two.vendor.root_fingerprint());
        assert_ne!(one.chip.enclave_id(), two.chip.enclave_id());
    }

    #[test]
    fn keys_are_readable_by_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("chip");
        Home::open(&home, NOW).unwrap();
        assert_eq!(home.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(home.join(SECRETS).metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_that_others_can_read_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        Home::open(directory.path(), NOW).unwrap();
        std::fs::set_permissions(directory.path().join(SECRETS), PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(Home::open(directory.path(), NOW).err(), Some(HomeError::Exposed));
    }

    #[test]
    fn a_damaged_file_is_refused_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        Home::open(directory.path(), NOW).unwrap();
        let path = directory.path().join(SECRETS);
        let mut text = std::fs::read(&path).unwrap();
        text.truncate(text.len() / 2);
        std::fs::write(&path, &text).unwrap();
        assert_eq!(Home::open(directory.path(), NOW).err(), Some(HomeError::Malformed));
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }
}
