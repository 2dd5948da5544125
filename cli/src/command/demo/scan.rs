//! Looks for what is private in what the host saw.

use std::collections::HashMap;

/// Bytes of one piece. A piece that turns up by chance in a gigabyte of ciphertext: one in 2^97.
const PIECE: usize = 16;
/// Pieces with fewer different bytes (runs of zeros, say) are found anywhere and mean nothing.
const MIN_DIFFERENT: usize = 6;

/// All pieces of some secrets, and which of them were seen.
pub(super) struct Scan {
    pieces: HashMap<[u8; PIECE], bool>,
}

impl Scan {
    /// Looks for every run of 16 bytes of `secrets`, at every offset.
    pub(super) fn for_secrets<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let pieces = secrets.into_iter().flat_map(|secret| secret.array_windows()).filter(|piece| telling(piece));
        Self { pieces: pieces.map(|piece| (*piece, false)).collect() }
    }

    /// Goes through one contiguous thing that the host had.
    pub(super) fn look_at(&mut self, bytes: &[u8]) {
        for window in bytes.array_windows() {
            if let Some(seen) = self.pieces.get_mut(window) {
                *seen = true;
            }
        }
    }

    /// How many pieces are looked for.
    pub(super) fn pieces(&self) -> u64 {
        self.pieces.len() as u64
    }

    /// How many of them were seen.
    pub(super) fn found(&self) -> u64 {
        self.pieces.values().filter(|seen| **seen).count() as u64
    }
}

fn telling(piece: &[u8; PIECE]) -> bool {
    let mut different = [false; 256];
    piece.iter().for_each(|byte| different[usize::from(*byte)] = true);
    different.iter().filter(|seen| **seen).count() >= MIN_DIFFERENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_piece_at_any_offset() {
        let mut scan = Scan::for_secrets([b"0123456789abcdefXYZ".as_slice()]);
        assert_eq!(scan.pieces(), 4);
        scan.look_at(b"noise 123456789abcdefX noise");
        assert_eq!(scan.found(), 1);
    }

    #[test]
    fn finds_nothing_where_nothing_is() {
        let mut scan = Scan::for_secrets([b"0123456789abcdefXYZ".as_slice()]);
        scan.look_at(b"0123456789abcde_0123456789abcde");
        assert_eq!(scan.found(), 0);
    }

    #[test]
    fn runs_of_one_byte_say_nothing() {
        assert_eq!(Scan::for_secrets([[0; 64].as_slice()]).pieces(), 0);
    }
}
