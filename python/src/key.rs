//! Keys, key stores, and the files that they seal.

use crate::error::{Failure, Kind};
use glacier::{
    KeyName,
    asset::{parse_recipient, print_recipient},
    open_file, seal_file,
    wire::Recipient,
};
use pyo3::prelude::*;
use std::{path::PathBuf, sync::Arc};

/// A named key. Its secrets stay in here: no method gives them out.
#[pyclass(module = "glacier_tee._native", frozen)]
pub(crate) struct Key {
    pub(crate) inner: Arc<glacier::Key>,
}

#[pymethods]
impl Key {
    /// A key that no key store knows: it lives as long as this object.
    #[staticmethod]
    #[pyo3(signature = (name = "session"))]
    fn generate(py: Python<'_>, name: &str) -> PyResult<Self> {
        let key = glacier::Key::generate(parse_name(py, name)?);
        key.map(Self::from).map_err(|error| Failure::from(error).raise(py))
    }

    /// Its name.
    #[getter]
    fn name(&self) -> String {
        self.inner.name().to_string()
    }

    /// Who this is, to manifests and enclaves.
    #[getter]
    fn address(&self) -> String {
        self.inner.address().to_string()
    }

    /// Who this is, to sealed files: an age recipient.
    #[getter]
    fn recipient(&self) -> String {
        print_recipient(&self.inner.recipient())
    }

    fn __repr__(&self) -> String {
        format!("<Key {:?}: {}>", self.name(), self.address())
    }
}

impl From<glacier::Key> for Key {
    fn from(key: glacier::Key) -> Self {
        Self { inner: Arc::new(key) }
    }
}

/// A folder of keys, readable by its owner alone.
#[pyclass(module = "glacier_tee._native", frozen)]
pub(crate) struct Keystore {
    inner: glacier::Keystore,
    home: PathBuf,
}

#[pymethods]
impl Keystore {
    /// Opens the key store in a folder, or in $GLACIER_HOME, or in ~/.glacier. Makes the folder if there is none.
    #[new]
    #[pyo3(signature = (home = None))]
    fn new(py: Python<'_>, home: Option<PathBuf>) -> PyResult<Self> {
        let open = || {
            let home = home.map_or_else(glacier::Keystore::default_home, Ok)?;
            Ok(Self { inner: glacier::Keystore::open(&home)?, home })
        };
        open().map_err(|error: glacier::keystore::KeystoreError| Failure::from(error).raise(py))
    }

    /// Makes a key. An existing one is never replaced.
    fn create(&self, py: Python<'_>, name: &str) -> PyResult<Key> {
        let key = self.inner.create(&parse_name(py, name)?);
        key.map(Key::from).map_err(|error| Failure::from(error).raise(py))
    }

    /// Loads a key.
    #[pyo3(signature = (name = "default"))]
    fn load(&self, py: Python<'_>, name: &str) -> PyResult<Key> {
        let key = self.inner.load(&parse_name(py, name)?);
        key.map(Key::from).map_err(|error| Failure::from(error).raise(py))
    }

    /// The key of that name, made if there is none.
    #[pyo3(signature = (name = "default"))]
    fn load_or_create(&self, py: Python<'_>, name: &str) -> PyResult<Key> {
        let key = self.inner.load_or_create(&parse_name(py, name)?);
        key.map(Key::from).map_err(|error| Failure::from(error).raise(py))
    }

    /// Names of all keys, sorted.
    fn names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let names = self.inner.list().map_err(|error| Failure::from(error).raise(py))?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    fn __repr__(&self) -> String {
        format!("<Keystore {:?}>", self.home.display().to_string())
    }
}

/// Encrypts the file `source` into the new file `target` for all recipients, who can each open it. Its digest.
#[pyfunction]
pub(crate) fn seal(py: Python<'_>, source: PathBuf, target: PathBuf, recipients: Vec<String>) -> PyResult<String> {
    let parsed: Option<Vec<Recipient>> = recipients.iter().map(|text| parse_recipient(text).ok()).collect();
    let recipients = parsed.filter(|recipients| !recipients.is_empty()).ok_or_else(|| {
        Failure::new(Kind::Seal, "these are no recipients", "a recipient begins with age1: Key.recipient is one")
            .raise(py)
    })?;
    let sealed = py.detach(|| seal_file(&source, &target, &recipients, &mut |_, _| {}));
    sealed.map(|sealed| sealed.digest.to_string()).map_err(|error| Failure::from(error).raise(py))
}

/// Decrypts the file `source` into the new file `target`, which is there only if all of it is authentic.
#[pyfunction]
pub(crate) fn open_sealed(py: Python<'_>, source: PathBuf, target: PathBuf, key: &Key) -> PyResult<u64> {
    let opened = py.detach(|| open_file(&source, &target, key.inner.age(), &mut |_, _| {}));
    opened.map(|opened| opened.plaintext_bytes).map_err(|error| Failure::from(error).raise(py))
}

fn parse_name(py: Python<'_>, name: &str) -> PyResult<KeyName> {
    name.parse().map_err(|error: glacier::keystore::BadKeyName| {
        Failure::new(Kind::Key, error.to_string(), "choose such a name").raise(py)
    })
}
