//! Keys and what they opened, on the owner's disk: one file per key, readable by its owner alone.
//!
//! A key is two secrets under one name: a secp256k1 identity that signs, and an age identity that
//! opens sealed files. Of a sealed file only its age header is kept, which is public; the file key
//! is unwrapped from it when it is released. So whoever has the key files has everything, and
//! nothing else here is secret. The files are not encrypted: put the folder on an encrypted disk.

use crate::file::{self, FileError, NewFile};
use glacier_asset::{AgeIdentity, AssetError, Header, Parsed};
use glacier_wire::{Address, Digest, FileKey, Identity, Recipient};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};
use zeroize::Zeroizing;

/// A keystore that says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// Neither `GLACIER_HOME` nor `HOME` is set.
    #[error("there is no home directory to keep keys in")]
    NoHome,
    /// Others may read the file or folder.
    #[error("others on this machine may read {}", .0.display())]
    Open(PathBuf),
    /// There is a key of that name already.
    #[error("a key named {0} exists already")]
    Exists(KeyName),
    /// There is no key of that name.
    #[error("there is no key named {0}")]
    Missing(KeyName),
    /// The key file is not one, or was changed by hand.
    #[error("the file of key {0} is damaged")]
    Damaged(KeyName),
    /// The key file was written by a later version.
    #[error("the file of key {name} has version {version}")]
    Version {
        /// Of the key.
        name: KeyName,
        /// Of the file.
        version: u64,
    },
    /// This keystore has not sealed that file.
    #[error("no key here has sealed {0}")]
    UnknownAsset(Digest),
    /// The note about a sealed file is damaged, or is about another file.
    #[error("the note about asset {0} is damaged")]
    DamagedNote(Digest),
    /// The key that the note names does not open the file.
    #[error("the file key cannot be unwrapped: {0}")]
    Unwrap(AssetError),
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes")]
    Random,
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Name of a key: a lower-case letter or digit, then up to 63 of these, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Text that is no [`KeyName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's name has 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit")]
pub struct BadKeyName;

impl KeyName {
    /// The key that is used when none is named.
    pub fn default_key() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for KeyName {
    type Err = BadKeyName;

    fn from_str(text: &str) -> Result<Self, BadKeyName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = text.bytes().next().is_some_and(plain);
        let rest = text.bytes().all(|byte| plain(byte) || b"._-".contains(&byte));
        if first && rest && text.len() <= 64 { Ok(Self(text.to_owned())) } else { Err(BadKeyName) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for KeyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A named key with its secrets.
pub struct Key {
    name: KeyName,
    identity: Identity,
    age: AgeIdentity,
}

impl Key {
    /// Its name in the keystore.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The identity that signs.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The identity that opens sealed files.
    pub fn age(&self) -> &AgeIdentity {
        &self.age
    }

    /// Who this is, to manifests.
    pub fn address(&self) -> Address {
        self.identity.address()
    }

    /// Who this is, to sealed files.
    pub fn recipient(&self) -> Recipient {
        self.age.recipient()
    }

    /// A key that no keystore knows.
    pub fn generate(name: KeyName) -> Result<Self, KeystoreError> {
        // One in 2^128 draws is no secp256k1 key.
        for _ in 0..4 {
            let mut secret = Zeroizing::new([0u8; 32]);
            getrandom::fill(secret.as_mut()).map_err(|_| KeystoreError::Random)?;
            if let Ok(identity) = Identity::from_secret(&secret) {
                let age = AgeIdentity::generate().map_err(|_| KeystoreError::Random)?;
                return Ok(Self { name, identity, age });
            }
        }
        Err(KeystoreError::Random)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("address", &self.address()).finish_non_exhaustive()
    }
}

/// What is kept about a file that was sealed here. None of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of the sealed file.
    pub digest: Digest,
    /// Name of the file that was sealed, without its folder.
    pub file: String,
    /// The key that can open it.
    pub key: KeyName,
    /// The sealed file's age header, as it stands at the file's beginning.
    pub header: Vec<u8>,
}

/// A folder of keys and of notes about sealed files.
#[derive(Debug, Clone)]
pub struct Keystore {
    keys: PathBuf,
    assets: PathBuf,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    version: u64,
    address: Address,
    recipient: &'a str,
    // Borrowed from the buffer that is wiped: the parser makes no second copy.
    secp256k1: &'a str,
    age: &'a str,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteFile {
    version: u64,
    digest: Digest,
    file: String,
    key: String,
    header: String,
}

const VERSION: u64 = 1;
const MAX_KEY_BYTES: u64 = 4096;
const MAX_NOTE_BYTES: u64 = 256 << 10;

impl Keystore {
    /// `$GLACIER_HOME`, or `~/.glacier`.
    pub fn default_home() -> Result<PathBuf, KeystoreError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("GLACIER_HOME").or_else(|| Some(set("HOME")?.join(".glacier"))).ok_or(KeystoreError::NoHome)
    }

    /// Opens the keystore in a folder; makes the folder if there is none. Refuses one that others may read.
    pub fn open(home: impl AsRef<Path>) -> Result<Self, KeystoreError> {
        let store = Self { keys: home.as_ref().join("keys"), assets: home.as_ref().join("assets") };
        for folder in [&store.keys, &store.assets] {
            make_private(folder)?;
            require_private(folder)?;
        }
        Ok(store)
    }

    /// Makes a key. An existing one is never replaced.
    pub fn create(&self, name: &KeyName) -> Result<Key, KeystoreError> {
        let key = Key::generate(name.clone())?;
        let taken = |error: FileError| {
            if error == FileError::Exists { KeystoreError::Exists(name.clone()) } else { error.into() }
        };
        let mut file = NewFile::create(&self.key_path(name)).map_err(taken)?;
        let identity = Zeroizing::new(hex::encode(*key.identity.expose_secret()));
        let age = key.age.to_text().map_err(|_| KeystoreError::Random)?;
        let text = Zeroizing::new(format!(
            "{{\n  \"version\": {VERSION},\n  \"address\": \"{}\",\n  \"recipient\": \"{}\",\n  \"secp256k1\": \"{}\",\n  \"age\": \"{}\"\n}}\n",
            key.address(),
            glacier_asset::print_recipient(&key.recipient()),
            *identity,
            *age,
        ));
        file.write_all(text.as_bytes())?;
        file.keep().map_err(taken)?;
        Ok(key)
    }

    /// Loads a key. Refuses a file that others may read.
    pub fn load(&self, name: &KeyName) -> Result<Key, KeystoreError> {
        let path = self.key_path(name);
        let damaged = || KeystoreError::Damaged(name.clone());
        let bytes = match file::read_small(&path, MAX_KEY_BYTES) {
            Ok(bytes) => Zeroizing::new(bytes.ok_or_else(damaged)?),
            Err(FileError::Missing) => return Err(KeystoreError::Missing(name.clone())),
            Err(error) => return Err(error.into()),
        };
        require_private(&path)?;
        let file: KeyFile<'_> = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if file.version != VERSION {
            return Err(KeystoreError::Version { name: name.clone(), version: file.version });
        }
        let mut secret = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(file.secp256k1, secret.as_mut()).map_err(|_| damaged())?;
        let key = Key {
            name: name.clone(),
            identity: Identity::from_secret(&secret).map_err(|_| damaged())?,
            age: AgeIdentity::parse(file.age).map_err(|_| damaged())?,
        };
        if key.address() != file.address || glacier_asset::print_recipient(&key.recipient()) != file.recipient {
            return Err(damaged());
        }
        Ok(key)
    }

    /// The key of that name, made if there is none.
    pub fn load_or_create(&self, name: &KeyName) -> Result<Key, KeystoreError> {
        match self.load(name) {
            Err(KeystoreError::Missing(_)) => self.create(name),
            other => other,
        }
    }

    /// Names of all keys, sorted.
    pub fn list(&self) -> Result<Vec<KeyName>, KeystoreError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.keys).map_err(FileError::from)? {
            let name = entry.map_err(FileError::from)?.file_name();
            // Files that are no keys are none of our business.
            names.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok()));
        }
        names.sort();
        Ok(names)
    }

    /// Takes note of a sealed file, so that its file key can be released later. The same note twice is one note.
    pub fn remember(&self, note: &Note) -> Result<(), KeystoreError> {
        let text = serde_json::to_vec_pretty(&NoteFile {
            version: VERSION,
            digest: note.digest,
            file: note.file.clone(),
            key: note.key.0.clone(),
            header: hex::encode(&note.header),
        });
        let mut file = NewFile::replacing(&self.note_path(&note.digest))?;
        file.write_all(&text.map_err(|_| KeystoreError::DamagedNote(note.digest))?)?;
        Ok(file.replace()?)
    }

    /// What is known about a sealed file.
    pub fn note(&self, digest: &Digest) -> Result<Note, KeystoreError> {
        let damaged = || KeystoreError::DamagedNote(*digest);
        let bytes = match file::read_small(&self.note_path(digest), MAX_NOTE_BYTES) {
            Ok(bytes) => bytes.ok_or_else(damaged)?,
            Err(FileError::Missing) => return Err(KeystoreError::UnknownAsset(*digest)),
            Err(error) => return Err(error.into()),
        };
        let file: NoteFile = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if file.version != VERSION || file.digest != *digest {
            return Err(damaged());
        }
        Ok(Note {
            digest: *digest,
            file: file.file,
            key: file.key.parse().map_err(|_| damaged())?,
            header: hex::decode(&file.header).map_err(|_| damaged())?,
        })
    }

    /// Notes of all sealed files, by digest.
    pub fn notes(&self) -> Result<Vec<Note>, KeystoreError> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.assets).map_err(FileError::from)? {
            let name = entry.map_err(FileError::from)?.file_name();
            digests.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<Digest>().ok()));
        }
        digests.sort();
        digests.iter().map(|digest| self.note(digest)).collect()
    }

    /// The file key of a file that was sealed here.
    pub fn file_key(&self, digest: &Digest) -> Result<FileKey, KeystoreError> {
        let note = self.note(digest)?;
        match Header::parse(&note.header).map_err(KeystoreError::Unwrap)? {
            Parsed::Complete { header, len } if len == note.header.len() => {
                header.unwrap(self.load(&note.key)?.age()).map_err(KeystoreError::Unwrap)
            }
            _ => Err(KeystoreError::DamagedNote(*digest)),
        }
    }

    fn key_path(&self, name: &KeyName) -> PathBuf {
        self.keys.join(format!("{name}.json"))
    }

    fn note_path(&self, digest: &Digest) -> PathBuf {
        self.assets.join(format!("{digest}.json"))
    }
}

#[cfg(unix)]
fn make_private(folder: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn require_private(path: &Path) -> Result<(), KeystoreError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(FileError::from)?.permissions().mode();
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeystoreError::Open(path.to_owned())) }
}

// Elsewhere the folder inherits its protection from the user's profile, which has no portable question to ask.
#[cfg(not(unix))]
fn make_private(folder: &Path) -> Result<(), FileError> {
    Ok(fs::create_dir_all(folder)?)
}

#[cfg(not(unix))]
fn require_private(_: &Path) -> Result<(), KeystoreError> {
    Ok(())
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn store() -> (tempfile::TempDir, Keystore) {
        let home = tempfile::tempdir().unwrap();
        let store = Keystore::open(home.path().join("home")).unwrap();
        (home, store)
    }

    fn name(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_loaded_as_it_was_made() {
        let (_home, store) = store();
        let made = store.create(&name("hospital")).unwrap();
        let loaded = store.load(&name("hospital")).unwrap();
        assert_eq!((made.address(), made.recipient()), (loaded.address(), loaded.recipient()));
        assert_eq!(store.list().unwrap(), [name("hospital")]);
    }

    #[test]
    fn files_and_folders_are_private() {
        let (_home, store) = store();
        store.create(&name("a")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&store.key_path(&name("a"))), 0o600);
        assert_eq!((mode(&store.keys), mode(&store.assets)), (0o700, 0o700));
    }

    #[test]
    fn a_key_is_never_replaced() {
        let (_home, store) = store();
        let first = store.create(&name("a")).unwrap().address();
        assert_eq!(store.create(&name("a")).err(), Some(KeystoreError::Exists(name("a"))));
        assert_eq!(store.load(&name("a")).unwrap().address(), first);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let (home, store) = store();
        store.create(&name("a")).unwrap();
        let path = store.key_path(&name("a"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(store.load(&name("a")).err(), Some(KeystoreError::Open(path)));
        fs::set_permissions(&store.keys, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Keystore::open(home.path().join("home")), Err(KeystoreError::Open(_))));
    }

    #[test]
    fn a_missing_key_is_named() {
        assert_eq!(store().1.load(&name("a")).err(), Some(KeystoreError::Missing(name("a"))));
    }

    #[test]
    fn a_key_file_that_was_changed_is_damaged() {
        let (_home, store) = store();
        let key = store.create(&name("a")).unwrap();
        let path = store.key_path(&name("a"));
        let good = fs::read_to_string(&path).unwrap();
        let other = Key::generate(name("b")).unwrap();
        for bad in [
            good.replace(&key.address().to_string(), &other.address().to_string()),
            good.replace("\"version\"", "\"extra\": 1, \"version\""),
            good[..good.len() / 2].to_owned(),
            " ".repeat(5000),
        ] {
            fs::write(&path, bad).unwrap();
            assert_eq!(store.load(&name("a")).err(), Some(KeystoreError::Damaged(name("a"))));
        }
        fs::write(&path, good.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert_eq!(store.load(&name("a")).err(), Some(KeystoreError::Version { name: name("a"), version: 2 }));
    }

    #[test]
    fn names_that_leave_the_folder_are_no_names() {
        for bad in ["", "../a", "a/b", ".a", "A", "a b", &"a".repeat(65)] {
            assert_eq!(bad.parse::<KeyName>(), Err(BadKeyName), "{bad:?}");
        }
    }

    #[test]
    fn an_asset_nobody_sealed_is_unknown() {
        let digest = Digest([1; 32]);
        assert_eq!(store().1.file_key(&digest).err(), Some(KeystoreError::UnknownAsset(digest)));
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = Key::generate(name("a")).unwrap();
        let text = format!("{key:?}");
        assert!(!text.contains(&hex::encode(*key.identity.expose_secret())));
        assert!(!text.contains(key.age.to_text().unwrap().as_str()));
    }
}
