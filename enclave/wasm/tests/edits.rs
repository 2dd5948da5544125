//! Edited components: whatever they are, they are refused, or end within their limits.

use glacier_wasm::{Call, Component, Limits};
use std::{fs, path::PathBuf};

const LIMITS: Limits = Limits { fuel: 300_000, memory: 4 << 20, answer: 1 << 16 };

/// The bundled app; its code is what a compiler writes.
fn seed() -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "examples", "wasm", "cohort.wasm"].iter().collect();
    fs::read(path).expect("the bundled app")
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn an_edited_component_is_refused_or_ends() {
    let (seed, mut dice) = (seed(), Dice(7));
    let (mut refused, mut ran) = (0, 0);
    for round in 0..150 {
        let mut bytes = seed.clone();
        for _ in 0..=round % 4 {
            let at = dice.roll(bytes.len());
            match dice.roll(3) {
                0 => bytes[at] ^= 1 << dice.roll(8),
                1 => bytes[at] = dice.roll(256) as u8,
                _ => {
                    bytes.remove(at);
                }
            }
        }
        match Component::compile(&bytes) {
            Err(_) => refused += 1,
            Ok(component) => {
                let call = Call { caller: "0x00", path: "/", body: b"a,b\n1,2\n3,4\n5,6\n7,8\n9,10\n" };
                let called = component.call(&call, &LIMITS);
                assert!(called.fuel <= LIMITS.fuel);
                assert_eq!(component.call(&call, &LIMITS), called, "edits of round {round}");
                ran += 1;
            }
        }
    }
    assert!(refused > 10 && ran > 5, "{refused} refused, {ran} ran: the edits are all of one kind");
}
