//! A host that spoils what it carries, by a seed: the same seed spoils the same records.

use glacier_host::danger::{Direction, Meddler};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is done to one record of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It never arrives.
    Drop,
    /// It arrives twice.
    Replay,
    /// One bit of it is another.
    Alter,
    /// It arrives after the one behind it.
    Reorder,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Drop, Self::Replay, Self::Alter, Self::Reorder];
}

/// One thing that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Act {
    /// Of which connection, from one.
    pub connection: u64,
    /// Which way.
    pub direction: Direction,
    /// To which TLS record of that direction, from zero.
    pub record: u64,
    /// What.
    pub fault: Fault,
}

/// Spoils about one record in so many. What it does depends on the seed and on the record's place alone, not on
/// how the bytes happen to arrive: it takes the stream apart into TLS records first.
pub struct Chaos {
    seed: u64,
    one_in: u64,
    spared: u64,
    faults: Vec<Fault>,
    lanes: Mutex<HashMap<(u64, Direction), Lane>>,
    acts: Mutex<Vec<Act>>,
}

#[derive(Default)]
struct Lane {
    /// The beginning of a record whose rest has not come.
    pending: Vec<u8>,
    records: u64,
    /// To be sent behind the next.
    held: Vec<u8>,
}

impl Chaos {
    /// Spoils one record in four, in every way.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            one_in: 4,
            spared: 0,
            faults: Fault::ALL.to_vec(),
            lanes: Mutex::default(),
            acts: Mutex::default(),
        }
    }

    /// Spoils one record in so many.
    pub fn one_in(mut self, records: u64) -> Self {
        self.one_in = records.max(1);
        self
    }

    /// Spoils in these ways alone.
    pub fn only(mut self, faults: &[Fault]) -> Self {
        self.faults = faults.to_vec();
        self
    }

    /// Leaves the first records of each direction alone: so many that the handshake passes, for instance.
    pub fn sparing(mut self, records: u64) -> Self {
        self.spared = records;
        self
    }

    /// What was done so far, in the order of connection, direction and record.
    pub fn acts(&self) -> Vec<Act> {
        let mut acts = lock(&self.acts).clone();
        acts.sort_by_key(|act| (act.connection, act.direction == Direction::ToClient, act.record));
        acts
    }

    fn pass(&self, lane: &mut Lane, act: Act, mut record: Vec<u8>, to: &mut Vec<u8>) {
        let draw = mix([self.seed, act.connection, u64::from(act.direction == Direction::ToClient), act.record]);
        let spoil = act.record >= self.spared && !self.faults.is_empty() && draw.is_multiple_of(self.one_in);
        if !spoil {
            to.append(&mut record);
            to.append(&mut lane.held);
            return;
        }
        let fault = self.faults[(draw >> 16) as usize % self.faults.len()];
        lock(&self.acts).push(Act { fault, ..act });
        match fault {
            Fault::Drop => {}
            Fault::Replay => to.extend_from_slice(&[record.as_slice(), &record].concat()),
            Fault::Alter => {
                // Behind the header: a length that never comes would be a drop.
                let at = HEADER + (draw >> 32) as usize % (record.len() - HEADER).max(1);
                if let Some(byte) = record.get_mut(at) {
                    *byte ^= 1 << ((draw >> 24) & 7);
                }
                to.append(&mut record);
            }
            Fault::Reorder => {
                lane.held.append(&mut record);
                return;
            }
        }
        to.append(&mut lane.held);
    }
}

impl Meddler for Chaos {
    fn relayed(&self, connection: u64, direction: Direction, bytes: &mut Vec<u8>) {
        let mut lanes = lock(&self.lanes);
        let lane = lanes.entry((connection, direction)).or_default();
        lane.pending.append(bytes);
        while let Some(header) = lane.pending.first_chunk::<HEADER>() {
            let end = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
            if lane.pending.len() < end {
                break;
            }
            let rest = lane.pending.split_off(end);
            let record = std::mem::replace(&mut lane.pending, rest);
            let act = Act { connection, direction, record: lane.records, fault: Fault::Drop };
            lane.records += 1;
            self.pass(lane, act, record, bytes);
        }
    }
}

/// SplitMix64 over all of them.
fn mix(parts: [u64; 4]) -> u64 {
    parts.into_iter().fold(0, |state, part| {
        let mut word = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kind, version and length of a TLS record.
const HEADER: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn spoiled(seed: u64, cuts: usize) -> (Vec<u8>, Vec<Act>) {
        let chaos = Chaos::seeded(seed).one_in(2);
        let stream: Vec<u8> = (0..40u8).flat_map(|number| [23, 3, 3, 0, 2, number, number]).collect();
        let mut out = Vec::new();
        for piece in stream.chunks(cuts) {
            let mut piece = piece.to_vec();
            chaos.relayed(1, Direction::ToEnclave, &mut piece);
            out.append(&mut piece);
        }
        (out, chaos.acts())
    }

    #[test]
    fn a_seed_spoils_the_same_records_however_the_bytes_arrive() {
        assert_eq!(spoiled(7, 1), spoiled(7, 100));
        assert_ne!(spoiled(7, 1), spoiled(8, 1));
        let faults: std::collections::HashSet<_> = spoiled(7, 9).1.iter().map(|act| act.fault).collect();
        assert_eq!(faults.len(), 4, "each of the faults occurs");
    }

    #[test]
    fn who_spoils_nothing_passes_everything_on() {
        let chaos = Chaos::seeded(1).only(&[]);
        let mut bytes = vec![22, 3, 1, 0, 1, 9, 23, 3, 3, 0, 0];
        chaos.relayed(1, Direction::ToClient, &mut bytes);
        assert_eq!(bytes, [22, 3, 1, 0, 1, 9, 23, 3, 3, 0, 0]);
    }
}
