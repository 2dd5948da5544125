//! What is accepted: one door for files, texts and documents.

use crate::error::{Failure, Kind};
use glacier::{parse_policy, read_policy};
use pyo3::prelude::*;
use std::path::PathBuf;

/// What a party accepts. What it does not name is strict.
#[pyclass(module = "glacier_tee._native", frozen)]
pub(crate) struct Policy {
    pub(crate) inner: glacier::Policy,
}

#[pymethods]
impl Policy {
    /// Reads a TOML file.
    #[staticmethod]
    fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        match read_policy(&path) {
            Ok(inner) => Ok(Self { inner }),
            Err(error) => Err(Failure::from(error).about(&path.display().to_string()).raise(py)),
        }
    }

    /// Reads TOML.
    #[staticmethod]
    fn from_toml(py: Python<'_>, text: &str) -> PyResult<Self> {
        parse_policy(text).map(|inner| Self { inner }).map_err(|error| Failure::from(error).raise(py))
    }

    /// Reads a JSON object with the same members. It goes through the same door as TOML.
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        let unreadable = |error: String| {
            Failure::new(
                Kind::Policy,
                format!("the policy cannot be read: {error}"),
                "use text, numbers, booleans and lists",
            )
            .raise(py)
        };
        let table: toml::Table = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        let text = toml::to_string(&table).map_err(|error| unreadable(error.to_string()))?;
        Self::from_toml(py, &text)
    }

    /// The policy as TOML, every member named.
    fn to_toml(&self, py: Python<'_>) -> PyResult<String> {
        toml::to_string(&self.inner).map_err(|error| {
            Failure::new(Kind::Policy, error.to_string(), "report this: it should not happen").raise(py)
        })
    }

    fn __repr__(&self) -> String {
        let platforms: Vec<&str> = self.inner.platforms.iter().map(|platform| platform.as_str()).collect();
        let chips = match self.inner.enclave_ids.len() {
            0 => "any chip".to_owned(),
            1 => "1 chip".to_owned(),
            many => format!("{many} chips"),
        };
        format!("<Policy: {}, {} programs, {chips}>", platforms.join(" "), self.inner.measurements.len())
    }
}
