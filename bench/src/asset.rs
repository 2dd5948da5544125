//! Opening an asset, beside the AEAD primitive alone; and its memory, whatever its size.

use crate::row::{Row, pair};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use glacier_asset::{AgeIdentity, Opener, Sealer, generate_file_key};
use glacier_wire::FileKey;
use std::error::Error;

const SIZE: usize = 64 << 20;
const CHUNK: usize = 64 << 10;
const PIECE: usize = 16 * (CHUNK + 16);
const ROUNDS: usize = 15;

pub(crate) fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = speed()?;
    rows.extend(memory()?);
    Ok(rows)
}

fn speed() -> Result<Vec<Row>, Box<dyn Error>> {
    let key = generate_file_key()?;
    let mut file = Vec::with_capacity(SIZE + (SIZE >> 8));
    let mut sealer = Sealer::new(&key, &[AgeIdentity::generate()?.recipient()])?;
    sealer.push(&vec![0x5a; SIZE], &mut file)?;
    sealer.finish(&mut file)?;

    let cipher = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(|_| "key")?);
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut bare = vec![0x5a; SIZE];
    let mut tags = Vec::new();
    for chunk in bare.chunks_mut(CHUNK) {
        tags.push(cipher.seal_in_place_separate_tag(nonce(), Aad::empty(), chunk).map_err(|_| "seal")?);
    }
    let mut plain = vec![0; PIECE];
    let mut out = vec![0; PIECE + 2 * CHUNK];
    let (ours, primitive) = pair(
        ROUNDS,
        || open(&key, file.chunks(PIECE), &mut out).map(|_| ()).is_ok(),
        || {
            bare.chunks(CHUNK).zip(&tags).enumerate().all(|(at, (sealed, tag))| {
                // Into a window that moves, as the opener's output does.
                let to = &mut plain[(at % 16) * CHUNK..][..sealed.len()];
                cipher.open_separate_gather(nonce(), Aad::empty(), sealed, tag.as_ref(), to).is_ok()
            })
        },
    );
    Ok(vec![Row {
        what: "asset open + digest, 64 MiB, one core".to_owned(),
        ours,
        beside: Some(("ChaCha20-Poly1305 alone".to_owned(), primitive)),
        aim: "<= 1.3",
    }])
}

fn open<'a>(key: &FileKey, pieces: impl Iterator<Item = &'a [u8]>, out: &mut [u8]) -> Result<u64, Box<dyn Error>> {
    let mut opener = Opener::new(key);
    for piece in pieces {
        opener.push_into(piece, out)?;
    }
    Ok(opener.finish_into(out)?.1.plaintext_bytes)
}

/// Seals and opens 64 MiB and 4 GiB as streams, and reads the process's peak each time. The peak
/// never sinks, so the larger asset comes second: what it adds is what its size costs.
fn memory() -> Result<Vec<Row>, Box<dyn Error>> {
    let base = peak_kib()?;
    let mut rows = Vec::new();
    for (what, size) in [("64 MiB", 64u64 << 20), ("4 GiB", 4 << 30)] {
        stream(size)?;
        let added = peak_kib()?.saturating_sub(base) as f64 / 1024.0;
        rows.push(Row {
            what: format!("asset of {what}, sealed and opened as a stream: peak memory + {added:.1} MiB"),
            ours: f64::NAN,
            beside: None,
            aim: "< 128 MiB",
        });
    }
    Ok(rows)
}

fn stream(size: u64) -> Result<(), Box<dyn Error>> {
    let key = generate_file_key()?;
    let mut sealer = Sealer::new(&key, &[AgeIdentity::generate()?.recipient()])?;
    let mut opener = Opener::new(&key);
    let block = vec![0x5a; 1 << 20];
    let mut sealed = Vec::new();
    let mut out = vec![0; 4 << 20];
    for _ in 0..size >> 20 {
        sealed.clear();
        sealer.push(&block, &mut sealed)?;
        opener.push_into(&sealed, &mut out)?;
    }
    sealed.clear();
    sealer.finish(&mut sealed)?;
    opener.push_into(&sealed, &mut out)?;
    let opened = opener.finish_into(&mut out)?.1;
    if opened.plaintext_bytes != size { Err("the stream lost bytes".into()) } else { Ok(()) }
}

fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
