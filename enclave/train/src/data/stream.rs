//! Passes over data sets that somebody else holds.

use crate::error::TrainError;
use blake3::Hasher;
use glacier_engine::{
    CellFault, DataError, ModelInfo, Port,
    ingest::{self, Answers, Column, Window},
    onnx::Name,
};
use glacier_wire::Digest;
use std::io::{self, Read};

/// Data sets that can be read from their start as often as it takes: one of each provider.
///
/// Whoever implements this is not believed: a pass that gives other bytes than the first one did is refused.
pub trait Passes {
    /// How many data sets.
    fn sources(&self) -> usize;

    /// Goes to the start of one of them, counted from 0.
    fn open(&mut self, source: usize) -> Result<(), TrainError>;

    /// Reads on in the one that was opened last; nothing at its end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Nothing more is asked of the one that was opened last, wherever it stands: an archive goes on after its
    /// last array.
    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Data sets in memory.
#[derive(Debug, Clone)]
pub struct Bytes<T> {
    sources: Vec<T>,
    open: usize,
    place: usize,
}

impl<T: AsRef<[u8]>> Bytes<T> {
    /// In the order in which they are read.
    pub fn new(sources: Vec<T>) -> Self {
        Self { sources, open: 0, place: 0 }
    }
}

impl<T: AsRef<[u8]>> Passes for Bytes<T> {
    fn sources(&self) -> usize {
        self.sources.len()
    }

    fn open(&mut self, source: usize) -> Result<(), TrainError> {
        (self.open, self.place) = (source, 0);
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.sources.get(self.open).map(AsRef::as_ref).unwrap_or_default();
        let mut rest = bytes.get(self.place..).unwrap_or_default();
        let read = rest.read(into)?;
        self.place = self.place.saturating_add(read);
        Ok(read)
    }
}

/// Windows of all data sets, one behind the other.
pub(super) struct Stream<P> {
    info: ModelInfo,
    wanted: Vec<Column>,
    memory: u64,
    state: State<P>,
    several: bool,
    source: usize,
    /// Rows before this one.
    rows: u64,
    /// Of the current data set.
    own: Own,
    /// What the first pass found in each.
    known: Vec<Seen>,
    shape: Option<Vec<Vec<u64>>>,
    names: Vec<Name>,
    window: u64,
}

enum State<P> {
    Idle(P),
    Reading(Box<ingest::Examples<Reader<P>>>),
    /// After an error: nothing is read any more.
    Broken,
}

struct Reader<P>(P);

impl<P: Passes> Read for Reader<P> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

#[derive(Default)]
struct Own {
    rows: u64,
    content: Hasher,
}

/// A data set as it was in the first pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    rows: u64,
    content: [u8; 32],
}

impl<P: Passes> Stream<P> {
    pub(super) fn new(passes: P, info: ModelInfo, wanted: Vec<Column>, memory: u64) -> Self {
        let several = passes.sources() > 1;
        let (state, own, known) = (State::Idle(passes), Own::default(), Vec::new());
        let (shape, names) = (None, Vec::new());
        Self { info, wanted, memory, state, several, source: 0, rows: 0, own, known, shape, names, window: 1 }
    }

    /// Goes back to the start of the first data set.
    pub(super) fn restart(&mut self) -> Result<(), TrainError> {
        self.state = match std::mem::replace(&mut self.state, State::Broken) {
            State::Idle(passes) => State::Idle(passes),
            State::Reading(reading) => State::Idle(reading.into_source().0),
            State::Broken => return Err(TrainError::Ended),
        };
        (self.source, self.rows, self.own) = (0, 0, Own::default());
        Ok(())
    }

    /// The next window, and how many rows came before it; `None` after the last data set.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Window)>, TrainError> {
        loop {
            let mut reading = match std::mem::replace(&mut self.state, State::Broken) {
                State::Reading(reading) => reading,
                State::Idle(passes) if self.source >= passes.sources() => {
                    self.state = State::Idle(passes);
                    return Ok(None);
                }
                State::Idle(passes) => Box::new(self.open(passes)?),
                State::Broken => return Err(TrainError::Ended),
            };
            let window = reading.next(self.window).map_err(|error| self.blame(error))?;
            if let Some(window) = window {
                let before = self.rows;
                self.state = State::Reading(reading);
                self.own.take(&window);
                self.rows = self.rows.saturating_add(window.rows);
                return Ok(Some((before, window)));
            }
            let own = std::mem::take(&mut self.own);
            let seen = Seen { rows: own.rows, content: *own.content.finalize().as_bytes() };
            match self.known.get(self.source) {
                None => self.known.push(seen),
                Some(known) if *known == seen => {}
                Some(_) => return Err(TrainError::Changed { set: self.source as u64 }),
            }
            self.state = State::Idle(reading.into_source().0);
            self.source = self.source.saturating_add(1);
        }
    }

    /// What the first pass has found, in all data sets.
    pub(super) fn content(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(b"glacier/training-rows/v1\0");
        for seen in &self.known {
            hasher.update(&seen.rows.to_le_bytes()).update(&seen.content);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// What this pass has read so far. Data sets that it has passed were compared at their ends.
    pub(super) fn passed(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(b"glacier/training-pass/v1\0").update(&(self.source as u64).to_le_bytes());
        hasher.update(&self.own.rows.to_le_bytes()).update(self.own.content.finalize().as_bytes());
        Digest(*hasher.finalize().as_bytes())
    }

    /// Inputs that the data has to fill.
    pub(super) fn inputs(&self) -> &[Port] {
        &self.info.inputs
    }

    /// Shape of one row of each input, known from the first window on.
    pub(super) fn shape(&self) -> &[Vec<u64>] {
        self.shape.as_deref().unwrap_or_default()
    }

    /// What the wanted answers of one row are called.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    fn open(&mut self, mut passes: P) -> Result<ingest::Examples<Reader<P>>, TrainError> {
        passes.open(self.source)?;
        let reading = ingest::Examples::open(Reader(passes), &self.info, &self.wanted, self.memory);
        let reading = reading.map_err(|error| self.blame(error))?;
        let Some(known) = &self.shape else {
            let elements = |row: &Vec<u64>| row.iter().fold(1u64, |product, extent| product.saturating_mul(*extent));
            let row = reading.shape().iter().map(elements).fold(1, u64::saturating_add).saturating_mul(8);
            self.window = WINDOW_BYTES.checked_div(row).unwrap_or(1).clamp(1, WINDOW_ROWS);
            self.shape = Some(reading.shape().to_vec());
            self.names = reading.answers().to_vec();
            return Ok(reading);
        };
        for ((port, known), found) in self.info.inputs.iter().zip(known).zip(reading.shape()) {
            if known.len() != found.len() {
                let (expected, found) = (known.len() as u64, found.len() as u64);
                return Err(self.blame(DataError::Rank { input: Name::new(&port.name), expected, found }));
            }
            if let Some((axis, (expected, found))) =
                known.iter().zip(found).enumerate().find(|(_, (known, found))| known != found)
            {
                let (input, axis) = (Name::new(&port.name), (axis as u64).saturating_add(1));
                return Err(self.blame(DataError::Extent { input, axis, expected: *expected, found: *found }));
            }
        }
        if reading.answers().len() != self.names.len() {
            let (expected, found) = (self.names.len() as u64, reading.answers().len() as u64);
            return Err(self.blame(DataError::Columns { expected, found }));
        }
        Ok(reading)
    }

    /// Says whose data it is, where there are several.
    fn blame(&self, error: DataError) -> TrainError {
        let error = match error {
            DataError::Cell { row, column, fault: CellFault::NotNumber } => TrainError::Words { row, column },
            error => error.into(),
        };
        if !self.several {
            return error;
        }
        TrainError::Source { set: self.source as u64, error: Box::new(error) }
    }
}

impl Own {
    /// All that the rows say, so that the same rows in another order are other rows.
    fn take(&mut self, window: &Window) {
        self.rows = self.rows.saturating_add(window.rows);
        self.content.update(&window.rows.to_le_bytes());
        for tensor in &window.inputs {
            self.content.update(&tensor.data);
        }
        match &window.answers {
            Answers::Nothing => {}
            Answers::Cells(cells) => {
                for cell in cells {
                    self.content.update(&(cell.len() as u64).to_le_bytes()).update(cell.as_bytes());
                }
            }
            Answers::Numbers(numbers) => {
                for number in numbers {
                    self.content.update(&number.to_bits().to_le_bytes());
                }
            }
        }
    }
}

/// Most rows and about the most bytes that are parsed at once.
const WINDOW_ROWS: u64 = 4096;
const WINDOW_BYTES: u64 = 1 << 20;
