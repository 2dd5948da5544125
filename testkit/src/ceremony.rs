//! What parties do by hand in tests that spoil one step of it.

use crate::Rig;
use glacier::{
    Error, Key,
    asset::{Header, Parsed},
    wire::{Digest, FileKey, UnixTime, api::RefusalCode},
};
use std::path::{Path, PathBuf};

/// Seals a file for its owner and brings it to the node: its digest, and where the sealed file is.
pub async fn seal(rig: &Rig, owner: &Key, file: &Path, name: &str) -> (Digest, PathBuf) {
    let sealed = rig.home().join(format!("{}-{name}", Digest(random())));
    let done = glacier::seal_file(file, &sealed, &[owner.recipient()], &mut |_, _| ()).expect("the file is sealed");
    rig.node().upload(&done.digest, &sealed, &mut |_, _| ()).await.expect("the node takes ciphertext");
    (done.digest, sealed)
}

/// What opens a sealed file of this owner.
pub fn sealed_key(file: &Path, owner: &Key) -> FileKey {
    let header = glacier::seal::read_header(file).expect("a sealed file has a header");
    match Header::parse(&header) {
        Ok(Parsed::Complete { header, .. }) => header.unwrap(owner.age()).expect("the owner's own file"),
        other => panic!("{other:?}"),
    }
}

/// In ten minutes.
pub fn soon() -> UnixTime {
    UnixTime(glacier::verify::now().0 + 600)
}

/// Sixteen random bytes and sixteen zeros.
pub fn random() -> [u8; 32] {
    let key = glacier::asset::generate_file_key().expect("randomness");
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(key.expose());
    bytes
}

/// The enclave's word for its refusal.
///
/// # Panics
///
/// When the enclave did not refuse.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RefusalCode {
    match outcome {
        Err(error) => match error.refusal() {
            Some(refusal) => refusal.code,
            None => panic!("not refused by the enclave but: {error:?}"),
        },
        Ok(value) => panic!("not refused: {value:?}"),
    }
}
