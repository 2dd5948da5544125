//! The newest checkpoint of a training that this party was told of: what a host must not go behind.

use crate::{context::Context, error::Failure};
use glacier_wire::ManifestHash;
use std::{fs, io::ErrorKind, path::PathBuf};

fn place(cx: &Context, job: &ManifestHash) -> PathBuf {
    cx.home.join("checkpoints").join(job.to_string())
}

/// Zero where there was none.
pub(crate) fn recall(cx: &Context, job: &ManifestHash) -> Result<u64, Failure> {
    let place = place(cx, job);
    match fs::read_to_string(&place) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let message = format!("{} holds no number", place.display());
            Failure::trouble("checkpoint", message, "remove it to let the training begin anew")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Failure::reading(&place, &error)),
    }
}

/// Never goes back.
pub(crate) fn remember(cx: &Context, job: &ManifestHash, checkpoint: u64) -> Result<(), Failure> {
    if checkpoint <= recall(cx, job)? {
        return Ok(());
    }
    let place = place(cx, job);
    let beside = place.with_extension("new");
    let written = fs::create_dir_all(cx.home.join("checkpoints"))
        .and_then(|()| fs::write(&beside, checkpoint.to_string()))
        .and_then(|()| fs::rename(&beside, &place));
    written.map_err(|error| Failure::writing(&place, &error))
}
