//! One file in one store.

use crate::RemoteError;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, http::HttpBuilder, path::Path};
use std::{fmt, sync::Arc};
use url::Url;

/// A file in a store that a URL names. Nothing was asked of the store yet.
#[derive(Clone)]
pub struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    url: Url,
}

/// What this crate reads from the environment, by the first part of a variable's name.
const SETTINGS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// What an address may begin with.
const SCHEMES: [&str; 10] = ["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "https", "http"];

impl Remote {
    /// Whether a text is meant as an address rather than as a path on this machine.
    pub fn is_meant(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()))
    }

    /// The file at an address, with the settings of this process's environment.
    ///
    /// # Errors
    /// [`RemoteError::Address`], [`RemoteError::Settings`].
    pub fn at(address: &str) -> Result<Self, RemoteError> {
        let settings = std::env::vars().filter(|(name, _)| SETTINGS.iter().any(|prefix| name.starts_with(prefix)));
        Self::with(address, settings)
    }

    /// The same with these settings, named as the environment names them.
    ///
    /// # Errors
    /// [`RemoteError::Address`], [`RemoteError::Settings`].
    pub fn with(address: &str, settings: impl IntoIterator<Item = (String, String)>) -> Result<Self, RemoteError> {
        let unfit = || RemoteError::Address(address.to_owned());
        let url = Url::parse(address).ok().filter(|_| Self::is_meant(address)).ok_or_else(unfit)?;
        let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|_| unfit())?;
        if path.parts().next().is_none() || url.path().ends_with('/') {
            return Err(unfit());
        }
        let settings = settings.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let incomplete = |error: object_store::Error| match RemoteError::from(error) {
            RemoteError::Store(why) => RemoteError::Settings(why),
            error => error,
        };
        let (store, path): (Arc<dyn ObjectStore>, Path) = match scheme {
            ObjectStoreScheme::Http => {
                // Without TLS only where the address says so. The query stays out: the path alone names the file.
                let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
                let origin = url.origin().ascii_serialization();
                let store = HttpBuilder::new().with_url(origin).with_client_options(options).build();
                (Arc::new(store.map_err(incomplete)?), path)
            }
            _ => {
                let (store, path) = object_store::parse_url_opts(&url, settings).map_err(incomplete)?;
                (Arc::from(store), path)
            }
        };
        Ok(Self { store, path, url })
    }

    /// Its name without folders: what it would be called here.
    pub fn name(&self) -> &str {
        self.path.filename().unwrap_or("file")
    }

    /// Its address, without what could be a password.
    pub fn address(&self) -> String {
        let mut url = self.url.clone();
        let _ = url.set_password(None);
        url.set_query(None);
        url.into()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.address()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(address: &str) -> Result<Remote, RemoteError> {
        Remote::with(address, [("AWS_REGION".to_owned(), "eu-west-1".to_owned())])
    }

    #[test]
    fn addresses_are_told_from_paths() {
        for address in
            ["s3://bucket/rows.age", "gs://b/x", "az://c/x", "abfss://c@a.dfs.core.windows.net/x", "https://h/x"]
        {
            assert!(Remote::is_meant(address), "{address}");
        }
        for path in ["rows.age", "/tmp/s3", "C://x", "file:///x", "memory:///x", "s3:rows"] {
            assert!(!Remote::is_meant(path), "{path}");
        }
    }

    #[test]
    fn an_address_names_one_file() {
        assert_eq!(at("s3://bucket/a/rows.age").unwrap().name(), "rows.age");
        for address in ["s3://bucket", "s3://bucket/", "s3://bucket/folder/", "https://host/", "rows.age", "s3://"] {
            assert!(matches!(at(address), Err(RemoteError::Address(_))), "{address}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let shown = format!("{:?}", at("https://me:secret@host/x.age?signature=secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
