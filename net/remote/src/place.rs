//! One file in one store.

use crate::RemoteError;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, http::HttpBuilder, path::Path};
use std::{fmt, sync::Arc};
use url::Url;

/// A file in a store that a URL names. Nothing was asked of the store yet.
#[derive(Clone)]
pub struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Within the store; empty where the store is this one address.
    pub(crate) path: Path,
    /// Whether the address itself may be what lets its holder in.
    pub(crate) signed: bool,
    name: String,
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
        let unfit = || RemoteError::Address(shown(address));
        let url = Url::parse(address).ok().filter(|_| Self::is_meant(address)).ok_or_else(unfit)?;
        let web = matches!(url.scheme(), "http" | "https");
        require_plain(&url, web)?;
        let named = Path::from_url_path(url.path()).map_err(|_| unfit())?;
        if url.path().ends_with('/') {
            return Err(unfit());
        }
        let name = named.filename().ok_or_else(unfit)?.to_owned();
        let incomplete = |error: object_store::Error| match RemoteError::from(error) {
            RemoteError::Store(why) => RemoteError::Settings(why),
            error => error,
        };
        if web {
            // The address goes out as it was typed, and to nobody else than it names: whose store stands behind it is
            // not guessed, so no credential of this machine is sent there. Without TLS only where it says so.
            let options = ClientOptions::new().with_allow_http(url.scheme() == "http");
            let store = HttpBuilder::new().with_url(url.as_str()).with_client_options(options).build();
            let store = Arc::new(store.map_err(incomplete)?);
            return Ok(Self { store, path: Path::default(), signed: url.query().is_some(), name, url });
        }
        let settings = settings.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (_, path) = ObjectStoreScheme::parse(&url).map_err(|_| unfit())?;
        if path.parts().next().is_none() {
            return Err(unfit());
        }
        let (store, path) = object_store::parse_url_opts(&url, settings).map_err(incomplete)?;
        Ok(Self { store: Arc::from(store), path, signed: false, name, url })
    }

    /// Its name without folders: what it would be called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address, without what could be a password.
    pub fn address(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.into()
    }

    /// Digest of the whole address: two that differ in anything name two files.
    pub fn identity(&self) -> String {
        blake3::hash(self.url.as_str().as_bytes()).to_hex().to_string()
    }
}

/// Refuses what would be dropped on the way: without it the address would name another file.
fn require_plain(url: &Url, web: bool) -> Result<(), RemoteError> {
    if url.fragment().is_some() {
        return Err(RemoteError::Part("a `#`, after which nothing is sent: write %23 where the name has one"));
    }
    // The container of `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH` stands there.
    let container = matches!(url.scheme(), "abfs" | "abfss");
    if url.password().is_some() || !(container || url.username().is_empty()) {
        return Err(RemoteError::Part(
            "a user name or a password: take them out, they would be seen in lists and logs",
        ));
    }
    if url.query().is_some() && !web {
        return Err(RemoteError::Part(
            "a `?`, which a store's address does not have: write %3F where the name has one",
        ));
    }
    Ok(())
}

/// An address for messages, without what could be a secret in it.
fn shown(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match address.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, rest)| rest)),
        None => address.to_owned(),
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
    fn nothing_of_an_address_is_dropped() {
        for address in [
            "https://me:secret@host/x.age",
            "https://secret@host/x.age",
            "https://host/x.age#secret",
            "s3://bucket/x.age?versionId=secret",
            "s3://bucket/x#secret",
        ] {
            let error = at(address).unwrap_err();
            assert!(matches!(error, RemoteError::Part(_)), "{address}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let [one, other] = ["https://host/get?id=7", "https://host/get?id=8"].map(|address| at(address).unwrap());
        assert_ne!(one.identity(), other.identity());
        assert_eq!((one.name(), one.address().as_str()), ("get", "https://host/get"));
        let container = at("abfss://c@a.dfs.core.windows.net/x");
        assert!(!matches!(container, Err(RemoteError::Part(_))), "{container:?}");
    }

    #[test]
    fn the_web_is_the_web_whoever_serves_it() {
        let signed = at("https://bucket.s3.eu-west-1.amazonaws.com/x.age?X-Amz-Signature=secret").unwrap();
        assert_eq!(signed.store.to_string(), "HttpStore");
        assert_eq!(at("https://account.blob.core.windows.net/c/x.age").unwrap().store.to_string(), "HttpStore");
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let shown = format!("{:?}", at("https://host/x.age?signature=secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        for unfit in ["https://me:secret@host/?a=secret", "https://me:secret@/x", "https://me:se@cret@host:x/?secret"] {
            let error = at(unfit).unwrap_err().to_string();
            assert!(!error.contains("secret") && !error.contains("cret@"), "{error}");
        }
    }
}
