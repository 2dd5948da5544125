//! What enclaves said of their applications' sealed state: the client's part of noticing that it was set back.

use crate::session::RequestError;
use glacier_wire::{EnclaveId, Measurement, api::StateHead};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The newest version of each state, by code and chip. In memory, or in a file that outlives the process.
#[derive(Debug, Clone, Default)]
pub struct StateMemory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

/// By code, chip and name.
type Known = BTreeMap<String, StateHead>;

impl StateMemory {
    /// Remembers in a file, which is made where there is none. Several processes may share it.
    ///
    /// # Errors
    /// The file cannot be read, or is not one of these: nothing is forgotten for that.
    pub fn open(file: &Path) -> io::Result<Self> {
        let known = read(file)?;
        Ok(Self(Arc::new(Inner { file: Some(file.to_owned()), known: Mutex::new(known) })))
    }

    /// What is known of this code on this chip.
    pub(crate) fn seen(&self, of: &Enclave) -> Vec<StateHead> {
        let known = self.lock();
        known.iter().filter(|(key, _)| key.starts_with(&of.0)).map(|(_, head)| head.clone()).collect()
    }

    /// Holds what an enclave says against what was known when it was asked, and remembers it.
    pub(crate) fn told(&self, of: &Enclave, asked: &[StateHead], told: Vec<StateHead>) -> Result<(), RequestError> {
        for head in told {
            let before = asked.iter().find(|known| known.name == head.name);
            if before.is_some_and(|known| {
                known.version > head.version || (known.version == head.version && known.digest != head.digest)
            }) {
                return Err(RequestError::SetBack { name: head.name });
            }
            let mut known = self.lock();
            let key = format!("{}{}", of.0, head.name);
            if known.get(&key).is_none_or(|known| known.version < head.version) {
                known.insert(key, head);
                if let Some(file) = &self.0.file {
                    write(file, &mut known).map_err(|error| RequestError::Memory(error.kind()))?;
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Code and chip, as a key begins.
#[derive(Debug, Clone)]
pub(crate) struct Enclave(String);

impl Enclave {
    pub(crate) fn new(measurement: Measurement, enclave_id: Option<EnclaveId>) -> Self {
        let chip = enclave_id.map(|id| id.to_string()).unwrap_or_default();
        Self(format!("{measurement}/{chip}/"))
    }
}

fn read(file: &Path) -> io::Result<Known> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Known::new()),
        Err(error) => Err(error),
    }
}

/// Takes in what other processes wrote meanwhile, and writes beside and moves into place.
fn write(file: &Path, known: &mut Known) -> io::Result<()> {
    let lock = fs::File::create(file.with_extension("lock"))?;
    lock.lock()?;
    for (key, head) in read(file)? {
        if known.get(&key).is_none_or(|known| known.version < head.version) {
            known.insert(key, head);
        }
    }
    let beside = file.with_extension("new");
    fs::write(&beside, serde_json::to_vec_pretty(known).map_err(io::Error::other)?)?;
    fs::rename(&beside, file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use glacier_wire::Digest;

    fn head(version: u64, digest: u8) -> StateHead {
        StateHead { name: "book".to_owned(), version, digest: Digest([digest; 32]) }
    }

    #[test]
    fn the_newest_is_remembered_by_code_and_chip_and_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("states.json");
        let one = Enclave::new(Measurement([1; 32]), Some(EnclaveId([1; 32])));
        let other = Enclave::new(Measurement([2; 32]), Some(EnclaveId([1; 32])));
        let memory = StateMemory::open(&file).unwrap();
        let beside = StateMemory::open(&file).unwrap();
        memory.told(&one, &[], vec![head(5, 1)]).unwrap();
        beside.told(&other, &[], vec![head(2, 2)]).unwrap();
        memory.told(&one, &[], vec![head(4, 4)]).unwrap();
        let again = StateMemory::open(&file).unwrap();
        assert_eq!((again.seen(&one), again.seen(&other)), (vec![head(5, 1)], vec![head(2, 2)]));
    }

    #[test]
    fn older_and_other_states_are_refused() {
        let memory = StateMemory::default();
        let enclave = Enclave::new(Measurement([1; 32]), None);
        let back = Err(RequestError::SetBack { name: "book".to_owned() });
        assert_eq!(memory.told(&enclave, &[head(5, 1)], vec![head(4, 1)]), back);
        assert_eq!(memory.told(&enclave, &[head(5, 1)], vec![head(5, 2)]), back);
        assert_eq!(memory.told(&enclave, &[head(5, 1)], vec![head(5, 1)]), Ok(()));
        assert_eq!(memory.told(&enclave, &[head(5, 1)], vec![head(9, 7)]), Ok(()));
    }
}
