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
    // Memory first: what the other leaves to the allocator would hide what this one takes.
    let mut rows = memory()?;
    rows.extend(speed()?);
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

/// Seals and opens assets as streams, and reads the process's peak each time, against what it held
/// just before.
fn memory() -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for (what, size) in [("64 MiB", 64u64 << 20), ("4 GiB", 4 << 30)] {
        // Sets the peak back to what is resident now (proc(5), clear_refs).
        std::fs::write("/proc/self/clear_refs", "5")?;
        let base = kib("VmHWM:")?;
        stream(size)?;
        let added = kib("VmHWM:")?.saturating_sub(base) as f64 / 1024.0;
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

fn kib(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).ok_or("/proc/self/status lacks a field")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
