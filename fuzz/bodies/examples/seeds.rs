//! Writes the seeds where the fuzzer looks for them: `cargo run --example seeds FOLDER`.

use glacier_fuzz_bodies::BODIES;
use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let corpus = PathBuf::from(env::args_os().nth(1).ok_or(io::ErrorKind::InvalidInput)?);
    for body in BODIES {
        let folder = corpus.join(body.name);
        fs::create_dir_all(&folder)?;
        for (index, seed) in (body.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{index}")), seed)?;
        }
    }
    Ok(())
}
