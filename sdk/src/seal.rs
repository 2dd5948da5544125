//! Sealing files into assets and opening them again: in a stream, with flat memory, and never over another file.

use crate::{
    file::{FileError, NewFile},
    keystore::{Key, Keystore, KeystoreError, Note},
    source::Source,
};
use glacier_asset::{AgeIdentity, AssetError, Header, Opened, Opener, Parsed, Sealer, generate_file_key};
use glacier_wire::{Digest, Recipient};
use std::{io::Read, num::NonZeroUsize, path::Path, thread};
use zeroize::{Zeroize, Zeroizing};

/// A file that was not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The ciphertext is not an age file, was altered, or is not for this key.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// The source could not be read.
    #[error("cannot read: {0}")]
    Read(FileError),
    /// The target could not be written.
    #[error("cannot write: {0}")]
    Write(FileError),
    /// The file is another one than was asked for.
    #[error("the file is {found}, not {expected}")]
    Digest {
        /// Which it should be.
        expected: Digest,
        /// Which it is.
        found: Digest,
    },
    /// Larger than is opened in memory.
    #[error("the content has more than {max} bytes, which is as much as is opened in memory")]
    TooLarge {
        /// Bytes that are opened.
        max: u64,
    },
    /// The note about the sealed file could not be kept.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
}

/// A sealed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// BLAKE3 of the sealed file: its address.
    pub digest: Digest,
    /// Bytes of the sealed file.
    pub bytes: u64,
    /// Bytes of its content.
    pub content: u64,
    /// The age header at its beginning: with the owner's key it gives the file key again.
    pub header: Vec<u8>,
}

/// Bytes done, and bytes in all.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Bytes that are read at once: some chunks, so that several threads have work.
const WINDOW: usize = 16 * glacier_asset::sealed_chunk_bytes();

/// Seals `from` into the new file `to`, for `recipients`, who can each open it.
pub fn seal_file<'a>(
    from: impl Into<Source<'a>>,
    to: &Path,
    recipients: &[Recipient],
    progress: Progress<'_>,
) -> Result<Sealed, SealError> {
    let (mut source, total) = from.into().open()?;
    let mut target = NewFile::create(to).map_err(SealError::Write)?;
    let mut sealer = Sealer::new(&generate_file_key()?, recipients)?;
    let mut window = Zeroizing::new(vec![0u8; WINDOW]);
    let (mut out, mut header, mut done) = (Vec::with_capacity(2 * WINDOW), None, 0u64);
    loop {
        let plaintext = fill(&mut source, &mut window)?;
        if plaintext.is_empty() {
            break;
        }
        sealer.push(plaintext, &mut out)?;
        keep_header(&mut header, &out)?;
        target.write_all(&out).map_err(SealError::Write)?;
        out.clear();
        done = done.saturating_add(plaintext.len() as u64);
        progress(done, total.max(done));
    }
    let sealed = sealer.finish(&mut out)?;
    keep_header(&mut header, &out)?;
    target.write_all(&out).map_err(SealError::Write)?;
    target.keep().map_err(SealError::Write)?;
    Ok(Sealed {
        digest: sealed.digest,
        bytes: sealed.ciphertext_bytes,
        content: sealed.plaintext_bytes,
        header: header.unwrap_or_default(),
    })
}

/// Seals a file for its owner and notes in the keystore what is needed to release its key later.
pub fn seal_for(
    keystore: &Keystore,
    key: &Key,
    from: &Path,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Sealed, SealError> {
    let sealed = seal_file(from, to, &[key.recipient()], progress)?;
    let file = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    keystore.remember(&Note { digest: sealed.digest, file, key: key.name().clone(), header: sealed.header.clone() })?;
    Ok(sealed)
}

/// Opens the age file `from` into the new file `to`. Nothing is left of `to` unless the whole file is authentic.
pub fn open_file(from: &Path, to: &Path, identity: &AgeIdentity, progress: Progress<'_>) -> Result<Opened, SealError> {
    let mut target = NewFile::create(to).map_err(SealError::Write)?;
    let opened = stream(from, identity, progress, |plaintext| target.write_all(plaintext).map_err(SealError::Write))?;
    target.keep().map_err(SealError::Write)?;
    Ok(opened)
}

/// Opens the age file `from` in memory, if it is the file of that digest and has at most `max` bytes of content.
pub fn open_expected(
    from: &Path,
    expected: &Digest,
    identity: &AgeIdentity,
    max: u64,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut content = Zeroizing::new(Vec::new());
    let opened = stream(from, identity, &mut |_, _| {}, |plaintext| {
        let length = content.len().saturating_add(plaintext.len());
        if length as u64 > max {
            return Err(SealError::TooLarge { max });
        }
        if length > content.capacity() {
            // Grown by hand: a vector that moves leaves its old content behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(length.saturating_mul(2)));
            larger.extend_from_slice(&content);
            content = larger;
        }
        content.extend_from_slice(plaintext);
        Ok(())
    })?;
    if opened.digest != *expected {
        return Err(SealError::Digest { expected: *expected, found: opened.digest });
    }
    Ok(content)
}

/// Most bytes that a sealed file has whose content has at most `content`.
pub(crate) fn most_sealed(content: u64) -> u64 {
    Sealer::ciphertext_len(Sealer::MAX_RECIPIENTS, content)
}

/// The age header at the beginning of a sealed file.
pub fn read_header(from: &Path) -> Result<Vec<u8>, SealError> {
    let (mut source, _) = Source::File(from).open()?;
    let mut head = vec![0u8; Header::MAX_BYTES];
    let head = fill(&mut source, &mut head)?;
    match Header::parse(head)? {
        Parsed::Complete { len, .. } => Ok(head.get(..len).unwrap_or_default().to_vec()),
        Parsed::NeedsMore => Err(AssetError::Truncated.into()),
    }
}

fn stream(
    from: &Path,
    identity: &AgeIdentity,
    progress: Progress<'_>,
    mut take: impl FnMut(&[u8]) -> Result<(), SealError>,
) -> Result<Opened, SealError> {
    let header = match Header::parse(&read_header(from)?)? {
        Parsed::Complete { header, .. } => header,
        Parsed::NeedsMore => return Err(AssetError::Truncated.into()),
    };
    let (mut source, total) = Source::File(from).open()?;
    let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut opener = Opener::new(&header.unwrap(identity)?).with_threads(threads);
    let (mut window, mut done) = (vec![0u8; WINDOW], 0u64);
    let mut plaintext = Zeroizing::new(Vec::with_capacity(2 * WINDOW));
    loop {
        let ciphertext = fill(&mut source, &mut window)?;
        if ciphertext.is_empty() {
            break;
        }
        opener.push(ciphertext, &mut plaintext)?;
        take(&plaintext)?;
        plaintext.zeroize();
        done = done.saturating_add(ciphertext.len() as u64);
        progress(done, total.max(done));
    }
    let opened = opener.finish(&mut plaintext)?;
    take(&plaintext)?;
    Ok(opened)
}

/// Reads until the window is full or the file ends.
fn fill<'a>(source: &mut impl Read, window: &'a mut [u8]) -> Result<&'a [u8], SealError> {
    let mut filled = 0usize;
    while let Some(rest @ [_, ..]) = window.get_mut(filled..) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SealError::Read(error.into())),
        }
    }
    Ok(window.get(..filled).unwrap_or_default())
}

/// Takes the header off the first bytes that are written; it comes out whole, and first.
fn keep_header(header: &mut Option<Vec<u8>>, out: &[u8]) -> Result<(), SealError> {
    if header.is_none()
        && !out.is_empty()
        && let Parsed::Complete { len, .. } = Header::parse(out)?
    {
        *header = out.get(..len).map(<[u8]>::to_vec);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use std::fs;

    struct Here {
        folder: tempfile::TempDir,
        keystore: Keystore,
        key: Key,
    }

    impl Here {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let keystore = Keystore::open(folder.path().join("home")).unwrap();
            let key = keystore.create(&"owner".parse().unwrap()).unwrap();
            Self { folder, keystore, key }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join(name)
        }

        fn seal(&self, content: &[u8]) -> Sealed {
            fs::write(self.path("x"), content).unwrap();
            seal_for(&self.keystore, &self.key, &self.path("x"), &self.path("x.age"), &mut |_, _| {}).unwrap()
        }
    }

    #[test]
    fn what_was_sealed_is_opened() {
        for size in [0usize, 1, 65_536, 65_537, 3_000_000] {
            let here = Here::new();
            let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let sealed = here.seal(&content);
            assert_eq!(fs::metadata(here.path("x.age")).unwrap().len(), sealed.bytes);
            let mut last = (0, 0);
            open_file(&here.path("x.age"), &here.path("y"), here.key.age(), &mut |done, of| last = (done, of)).unwrap();
            assert_eq!(fs::read(here.path("y")).unwrap(), content);
            assert_eq!(last, (sealed.bytes, sealed.bytes));
        }
    }

    #[test]
    fn the_note_gives_the_file_key_again() {
        let here = Here::new();
        let sealed = here.seal(b"model");
        let key = here.keystore.file_key(&sealed.digest).unwrap();
        let mut out = Vec::new();
        let mut opener = Opener::new(&key);
        opener.push(&fs::read(here.path("x.age")).unwrap(), &mut out).unwrap();
        assert_eq!(opener.finish(&mut out).unwrap().digest, sealed.digest);
        assert_eq!(out, b"model");
        assert_eq!(here.keystore.notes().unwrap().len(), 1);
        assert_eq!(here.keystore.note(&sealed.digest).unwrap().file, "x");
        assert_eq!(read_header(&here.path("x.age")).unwrap(), sealed.header);
    }

    #[test]
    fn the_reference_implementation_opens_it() {
        let here = Here::new();
        here.seal(b"anybody's age opens this");
        let text = here.key.age().to_text().unwrap();
        let identity: age::x25519::Identity = text.parse().unwrap();
        assert_eq!(
            age::decrypt(&identity, &fs::read(here.path("x.age")).unwrap()).unwrap(),
            b"anybody's age opens this"
        );
    }

    #[test]
    fn an_existing_target_is_refused() {
        let here = Here::new();
        here.seal(b"x");
        let again = seal_file(&here.path("x"), &here.path("x.age"), &[here.key.recipient()], &mut |_, _| {});
        assert_eq!(again, Err(SealError::Write(FileError::Exists)));
    }

    #[test]
    fn nothing_is_left_of_an_altered_file() {
        let here = Here::new();
        here.seal(&[7; 200_000]);
        let mut bytes = fs::read(here.path("x.age")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(here.path("bad.age"), bytes).unwrap();
        let opened = open_file(&here.path("bad.age"), &here.path("y"), here.key.age(), &mut |_, _| {});
        assert_eq!(opened, Err(SealError::Asset(AssetError::ChunkTampered { chunk: 3 })));
        assert!(!here.path("y").exists());
    }

    #[test]
    fn somebody_elses_key_does_not_open_it() {
        let here = Here::new();
        here.seal(b"x");
        let other = AgeIdentity::generate().unwrap();
        let opened = open_file(&here.path("x.age"), &here.path("y"), &other, &mut |_, _| {});
        assert_eq!(opened, Err(SealError::Asset(AssetError::NoMatch)));
    }

    #[test]
    fn another_file_than_expected_is_refused() {
        let here = Here::new();
        let sealed = here.seal(b"x");
        let open = |digest: &Digest, max| open_expected(&here.path("x.age"), digest, here.key.age(), max);
        assert_eq!(open(&sealed.digest, 1).unwrap().as_slice(), b"x");
        assert_eq!(open(&sealed.digest, 0), Err(SealError::TooLarge { max: 0 }));
        assert!(matches!(open(&Digest([0; 32]), 1), Err(SealError::Digest { .. })));
    }
}
