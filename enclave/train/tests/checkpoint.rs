//! A checkpoint is of the rows that were signed, or nothing goes on from it. Whoever serves the data knows its key:
//! another file under the same key is as good as the signed one until its last byte has been read.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use glacier_train::{
    TrainError, build,
    data::Passes,
    protocol::{Limits, Order},
    run::{Watch, train},
    trainer::StepReport,
};
use glacier_wire::{
    Digest, Nonce,
    training::{EpochMetrics, Real, Target, TrainingPlan, TrainingRecord, Validation},
};
use std::{cell::Cell, io};

const ROWS: u64 = 20_000;
/// So much that the table is streamed, or held.
const STREAMED: u64 = 1 << 20;
const HELD: u64 = 1 << 26;

/// `y` says whether `a` is larger than `b`, or the contrary.
fn table(contrary: bool) -> Vec<u8> {
    let mut table = "a,b,y\n".to_owned();
    for row in 0..ROWS {
        let (a, b) = (row * 7919 % 100, row * 104_729 % 100);
        table += &format!("{a:02},{b:02},{}\n", u8::from((a > b) != contrary));
    }
    table.into_bytes()
}

/// Serves another table of the same length in some passes, counted from 1.
struct Host<'a> {
    passes: &'a Cell<u32>,
    lies_in: fn(u32) -> bool,
    tables: [&'a [u8]; 2],
    rest: &'a [u8],
}

impl Passes for Host<'_> {
    fn sources(&self) -> usize {
        1
    }

    fn open(&mut self, _: usize) -> Result<(), TrainError> {
        self.passes.set(self.passes.get() + 1);
        self.rest = self.tables[usize::from((self.lies_in)(self.passes.get()))];
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.rest, into)
    }
}

/// The owner pauses at the checkpoint of this number.
struct Pausing {
    at: u64,
    state: Option<Vec<u8>>,
}

impl Watch for Pausing {
    fn begun(&mut self, _: u64) -> Result<(), TrainError> {
        Ok(())
    }

    fn stepped(&mut self, _: &StepReport) -> Result<(), TrainError> {
        Ok(())
    }

    fn measured(&mut self, _: &EpochMetrics) -> Result<(), TrainError> {
        Ok(())
    }

    fn checkpoint(&mut self, number: u64, state: &[u8]) -> Result<(), TrainError> {
        if number != self.at {
            return Ok(());
        }
        self.state = Some(state.to_vec());
        Err(TrainError::Gone)
    }
}

/// One worker: from a state to the end or to the pause.
fn worker(
    memory: u64,
    state: Option<&[u8]>,
    pause: u64,
    lies_in: fn(u32) -> bool,
) -> Result<TrainingRecord, (TrainError, Option<Vec<u8>>)> {
    let (honest, contrary) = (table(false), table(true));
    assert_eq!(honest.len(), contrary.len());
    let names = ["a".to_owned(), "b".to_owned()];
    let model = build::logistic(build::Columns::Named(&names), build::Task::Classes(2), &[1; 32]).unwrap();
    let plan = TrainingPlan {
        epochs: 2,
        batch: 100,
        target: vec![Target::Name("y".into())],
        learning_rate: Real::new(0.01).unwrap(),
        shuffle: 16,
        threads: 1,
        checkpoint_every: 10,
        validation: Validation::None,
        ..TrainingPlan::default()
    };
    let order = Order {
        plan,
        limits: Limits { units: 1 << 40, memory, threads: 1, window: Limits::WINDOW },
        model: Digest([1; 32]),
        data: vec![(Digest([2; 32]), honest.len() as u64)],
        salt: Nonce([3; 32]),
        noise: None,
        averaged: false,
    };
    let (passes, mut watch) = (Cell::new(0), Pausing { at: pause, state: None });
    let host = Host { passes: &passes, lies_in, tables: [&honest, &contrary], rest: &[] };
    match train(&order, &model, host, state, &mut watch) {
        Ok((report, _)) => Ok(report.record),
        Err(error) => Err((error, watch.state)),
    }
}

/// The state at that checkpoint.
fn paused(memory: u64, at: u64, lies_in: fn(u32) -> bool) -> Vec<u8> {
    let (error, state) = worker(memory, None, at, lies_in).unwrap_err();
    assert_eq!(error, TrainError::Gone);
    state.unwrap()
}

fn refused(memory: u64, state: &[u8], lies_in: fn(u32) -> bool) -> TrainError {
    worker(memory, Some(state), 0, lies_in).unwrap_err().0
}

fn honest(_: u32) -> bool {
    false
}

fn always(_: u32) -> bool {
    true
}

/// Rows are counted in the first pass, learnt from in later ones.
fn after_the_count(pass: u32) -> bool {
    pass > 1
}

const OTHER_ROWS: TrainError = TrainError::Checkpoint("it was made from other rows");

/// 200 steps an epoch; the number of a checkpoint counts the ends of epochs too.
const MIDDLE: u64 = 50;
const LATE: u64 = 190;
const LAST_STEP: u64 = 200;
const SECOND: u64 = 251;

#[test]
fn a_pause_anywhere_changes_nothing_where_the_rows_are_the_signed_ones() {
    for memory in [STREAMED, HELD] {
        let whole = worker(memory, None, 0, honest).unwrap();
        for at in [MIDDLE, LAST_STEP, LAST_STEP + 1, SECOND] {
            let state = paused(memory, at, honest);
            assert_eq!(worker(memory, Some(&state), 0, honest).unwrap(), whole, "{memory} {at}");
        }
    }
}

#[test]
fn a_checkpoint_of_rows_that_were_served_in_one_pass_only_is_no_start() {
    for at in [MIDDLE, LATE] {
        let state = paused(STREAMED, at, after_the_count);
        assert_eq!(refused(STREAMED, &state, honest), OTHER_ROWS, "{at}");
        // Nor do such rows reach the end of their epoch where they are served again and again.
        assert_eq!(refused(STREAMED, &state, after_the_count), TrainError::Changed { set: 0 }, "{at}");
    }
}

/// The pass that the last step was made from is read again, to its end.
#[test]
fn the_end_of_an_epoch_is_not_reached_on_a_checkpoints_word() {
    let (error, state) = worker(STREAMED, None, LAST_STEP, after_the_count).unwrap_err();
    assert_eq!((error, state), (TrainError::Changed { set: 0 }, None));
    let state = paused(STREAMED, LAST_STEP, honest);
    assert_eq!(refused(STREAMED, &state, after_the_count), TrainError::Changed { set: 0 });
}

#[test]
fn a_checkpoint_of_rows_that_were_counted_once_is_of_those_rows_alone() {
    let other = TrainError::Checkpoint("it is of other data");
    for memory in [STREAMED, HELD] {
        let state = paused(memory, MIDDLE, always);
        assert_eq!(refused(memory, &state, honest), other, "{memory}");
    }
}
