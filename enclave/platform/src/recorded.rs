//! Evidence that real hardware made, from the vectors beside the checkout. Where they are not, tests
//! say so and have nothing to replay.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use glacier_wire::ReportData;
use std::path::{Path, PathBuf};

/// The folder of one vendor's vectors.
pub(crate) fn folder(kind: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors").join(kind);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no vectors");
    None
}

/// Evidence and the report data that its manifest names.
pub(crate) fn all(kind: &str) -> Vec<(Vec<u8>, ReportData)> {
    let Some(folder) = folder(kind) else { return Vec::new() };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let all: Vec<_> = manifest["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| {
            let text = entry["report_data"].as_str()?;
            let report_data = hex::decode(text).unwrap().try_into().unwrap();
            Some((std::fs::read(folder.join(entry["file"].as_str()?)).unwrap(), report_data))
        })
        .collect();
    assert!(!all.is_empty());
    all
}
