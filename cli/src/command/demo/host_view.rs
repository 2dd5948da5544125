//! What the host had of it all: every byte that it stored or passed on.

use super::{
    act::{self, Asset},
    scan::Scan,
    stage::Stage,
    story::{Story, short},
};
use crate::{
    checks::mark,
    error::Failure,
    units::{Size, grouped},
};
use glacier::{Finished, Format};
use glacier_attest::Outcome;
use glacier_wire::Digest;
use serde::Serialize;
use std::{fs, io, path::Path};

/// What was found when looking through it.
#[derive(Serialize)]
pub(super) struct HostView {
    stored: Vec<Stored>,
    stored_bytes: u64,
    relayed_bytes: u64,
    connections: u64,
    /// Pieces of plaintext and of keys that were looked for, at every offset.
    private_pieces: u64,
    private_found: u64,
    /// The same search for what must be there: the ciphertext.
    ciphertext_pieces: u64,
    ciphertext_found: u64,
}

/// Ciphertext that the host keeps.
#[derive(Serialize)]
pub(super) struct Stored {
    what: &'static str,
    digest: Digest,
    bytes: u64,
}

impl Stored {
    pub(super) fn new(what: &'static str, digest: Digest, bytes: u64) -> Self {
        Self { what, digest, bytes }
    }
}

impl HostView {
    /// Nothing private was seen, by a search that does find what is there.
    pub(super) fn clean(&self) -> bool {
        self.private_pieces > 0
            && self.private_found == 0
            && self.ciphertext_pieces > 0
            && self.ciphertext_found == self.ciphertext_pieces
    }

    pub(super) fn tell(&self, story: &Story) {
        for Stored { what, digest, bytes } in &self.stored {
            story.row(what, format_args!("{} of ciphertext, {}", Size(*bytes), short(&digest.to_string())));
        }
        story.row(
            "relayed",
            format_args!("{} of TLS and ciphertext in {} connections", Size(self.relayed_bytes), self.connections),
        );
        let outcome = if self.private_found == 0 { Outcome::Pass } else { Outcome::Fail };
        story.say(format_args!(
            "{} searched all {} that it stored or relayed for any 16 bytes of data, model, results and keys: \
             {} of {} pieces found.",
            mark(outcome),
            Size(self.stored_bytes + self.relayed_bytes),
            grouped(self.private_found),
            grouped(self.private_pieces)
        ));
        let outcome = if self.ciphertext_found == self.ciphertext_pieces { Outcome::Pass } else { Outcome::Fail };
        story.say(format_args!(
            "{} the same search for the ciphertext, to see that it works: {} of {} pieces found.",
            mark(outcome),
            grouped(self.ciphertext_found),
            grouped(self.ciphertext_pieces)
        ));
    }
}

/// Looks through everything for what a private inference must hide.
pub(super) fn look(stage: &Stage, finished: &Finished, assets: [&Asset; 2]) -> Result<HostView, Failure> {
    let results = &finished.results;
    let labels =
        results.to_bytes(Format::Csv).map_err(|error| crate::explain::output(Path::new("labels.csv"), error))?;
    let mut private: Vec<&[u8]> = vec![act::DATA, act::MODEL, &labels];
    private.extend(results.tensors.iter().map(|tensor| tensor.data.as_slice()));
    let read = |asset: &Asset| fs::read(&asset.file).map_err(|error| Failure::reading(&asset.file, &error));
    let ciphertext = assets.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut stored: Vec<_> = assets
        .into_iter()
        .zip(&ciphertext)
        .map(|(asset, bytes)| Stored::new(asset.facts.role.as_str(), asset.digest, bytes.len() as u64))
        .collect();
    stored.push(Stored::new("labels", Digest(finished.proof.proof().output.0), finished.sealed_bytes));
    search(stage, private, &ciphertext, stored)
}

/// Looks for pieces of what is private, and of the stage's keys, in all that the host stored or relayed; and to
/// see that such a search finds what is there, for the ciphertext.
pub(super) fn search(
    stage: &Stage,
    private: Vec<&[u8]>,
    ciphertext: &[Vec<u8>],
    stored: Vec<Stored>,
) -> Result<HostView, Failure> {
    let keys = stage.secrets();
    let keys = keys.iter().map(|key| key.as_slice());
    let mut private = Scan::for_secrets(private.into_iter().chain(keys));
    let mut control = Scan::for_secrets(ciphertext.iter().map(Vec::as_slice));
    let mut stored_bytes = 0;
    each_file(&stage.state, &mut |bytes| {
        private.look_at(bytes);
        control.look_at(bytes);
        stored_bytes += bytes.len() as u64;
    })
    .map_err(|error| Failure::reading(&stage.state, &error))?;
    let mut relayed_bytes = 0;
    stage.wire.each(|bytes| {
        private.look_at(bytes);
        control.look_at(bytes);
        relayed_bytes += bytes.len() as u64;
    });
    Ok(HostView {
        stored,
        stored_bytes,
        relayed_bytes,
        connections: stage.wire.connections() as u64,
        private_pieces: private.pieces(),
        private_found: private.found(),
        ciphertext_pieces: control.pieces(),
        ciphertext_found: control.found(),
    })
}

fn each_file(folder: &Path, show: &mut impl FnMut(&[u8])) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => each_file(&entry.path(), show)?,
            kind if kind.is_file() => show(&fs::read(entry.path())?),
            // Sockets hold nothing.
            _ => {}
        }
    }
    Ok(())
}
