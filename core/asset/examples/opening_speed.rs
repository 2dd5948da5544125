//! Opening an asset, side by side with the AEAD primitive alone on the same bytes and the same core.
//!
//! `cargo run --release -p glacier-asset --example opening_speed [MIB] [ROUNDS]`

use std::{hint::black_box, num::NonZeroUsize, time::Instant};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use glacier_asset::{AgeIdentity, Opener, Sealer, generate_file_key};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mib: usize = arguments.next().as_deref().unwrap_or("256").parse()?;
    let rounds: usize = arguments.next().as_deref().unwrap_or("7").parse()?;
    let key = generate_file_key()?;
    let mut sealer = Sealer::new(&key, &[AgeIdentity::generate()?.recipient()])?;
    let mut file = Vec::with_capacity((mib << 20) + (mib << 8) + 4096);
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| at.wrapping_mul(2_654_435_761) as u8).collect();
    for _ in 0..mib {
        sealer.push(&block, &mut file)?;
    }
    sealer.finish(&mut file)?;

    // The same amount for the primitive alone: bare chunks and their tags.
    let cipher = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map_err(|_| "key")?);
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut bare = file.clone();
    let mut tags = Vec::new();
    for chunk in bare.chunks_mut(64 << 10) {
        tags.push(cipher.seal_in_place_separate_tag(nonce(), Aad::empty(), chunk).map_err(|_| "seal")?);
    }
    let mut plain = vec![0u8; 1 << 20];

    let mut best: [f64; 5] = [f64::MAX; 5];
    let mut note = |which: usize, from: Instant| best[which] = best[which].min(from.elapsed().as_secs_f64());
    for _ in 0..rounds {
        // The primitive at its best: one chunk that never leaves the cache.
        let from = Instant::now();
        for _ in 0..tags.len() {
            cipher
                .open_separate_gather(
                    nonce(),
                    Aad::empty(),
                    &bare[..64 << 10],
                    tags[0].as_ref(),
                    &mut plain[..64 << 10],
                )
                .map_err(|_| "open")?;
        }
        note(0, from);
        // The primitive over bytes that must be fetched from memory.
        let from = Instant::now();
        for (at, (sealed, tag)) in bare.chunks(64 << 10).zip(&tags).enumerate() {
            let plain = &mut plain[(at % 16) << 16..][..sealed.len()];
            cipher.open_separate_gather(nonce(), Aad::empty(), sealed, tag.as_ref(), plain).map_err(|_| "open")?;
        }
        note(1, from);
        let from = Instant::now();
        let mut hasher = blake3::Hasher::new();
        for run in file.chunks(1 << 20) {
            hasher.update(run);
        }
        black_box(hasher.finalize());
        note(2, from);
        for (which, threads) in [(3, 1), (4, 2)] {
            let mut opener = Opener::new(&key).with_threads(NonZeroUsize::new(threads).ok_or("threads")?);
            let mut out = vec![0; opener.room(2 << 20)];
            let from = Instant::now();
            for run in file.chunks(1 << 20) {
                black_box(opener.push_into(run, &mut out)?);
            }
            opener.finish_into(&mut out)?;
            note(which, from);
        }
    }
    let [primitive, cold, digest, opened, shared] = best;
    for (name, seconds) in [
        ("AEAD alone, one hot chunk", primitive),
        ("AEAD alone, over the file", cold),
        ("BLAKE3 alone", digest),
        ("open + digest, 1 thread", opened),
        ("open + digest, 2 threads", shared),
    ] {
        let gbps = file.len() as f64 / seconds / 1e9;
        println!("{name:28} {:8.1} ms {gbps:6.2} GB/s {:5.2}x", seconds * 1e3, seconds / cold);
    }
    Ok(())
}
