//! age files.

use glacier_asset::{AgeIdentity, AssetError, FileKey, Header, Opened, Opener, Parsed, Sealer};

/// The key under which the seeds are sealed: edits of the payload then reach the payload's code.
const KEY: [u8; 16] = [7; 16];

/// What follows a header does not change it, and what is cut from it makes it incomplete, not wrong.
pub(crate) fn header(bytes: &[u8]) {
    if let Ok(Parsed::Complete { header, len }) = Header::parse(bytes) {
        let own = bytes.get(..len).expect("a header is no longer than what it was read from");
        assert_eq!(Header::parse(own), Ok(Parsed::Complete { header, len }));
        assert_eq!(Header::parse(&own[..len - 1]), Ok(Parsed::NeedsMore));
    }
}

/// The outcome does not depend on the pieces in which a file comes, and plaintext is shorter than its file.
pub(crate) fn opener(bytes: &[u8]) {
    let (whole, plaintext) = open(bytes, bytes.len().max(1));
    let (pieces, from_pieces) = open(bytes, 1 + bytes.len() / 3);
    assert_eq!(whole, pieces);
    if let Ok(opened) = whole {
        assert_eq!(plaintext, from_pieces);
        assert_eq!(opened.ciphertext_bytes, bytes.len() as u64);
        assert_eq!(opened.plaintext_bytes, plaintext.len() as u64);
        assert!(plaintext.len() < bytes.len());
    }
}

fn open(bytes: &[u8], piece: usize) -> (Result<Opened, AssetError>, Vec<u8>) {
    let mut opener = Opener::new(&FileKey::new(KEY));
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        if let Err(error) = opener.push(piece, &mut out) {
            return (Err(error), out);
        }
    }
    (opener.finish(&mut out), out)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    [0, 100, 70_000].into_iter().filter_map(|len| seal(&vec![5; len]).ok()).collect()
}

fn seal(content: &[u8]) -> Result<Vec<u8>, AssetError> {
    let owner = AgeIdentity::from_secret([3; 32])?;
    let mut out = Vec::new();
    let mut sealer = Sealer::new(&FileKey::new(KEY), &[owner.recipient()])?;
    sealer.push(content, &mut out)?;
    sealer.finish(&mut out)?;
    Ok(out)
}
