//! Training examples out of data bytes, in the order that a plan and its seed give.
//!
//! The first pass counts rows, learns classes and what standardisation needs, and takes a digest of every
//! data set. Rows that fit the memory are kept from then on; otherwise each epoch reads the data again.
//! Which of the two it is changes nothing: order, split and batches follow from data, plan and seed alone.
//!
//! Shuffling: `shuffle` rows lie in a window; one of them, drawn at random, is used, and the next row of
//! the data takes its place. A window of all rows is a full shuffle (Fisher and Yates).

mod labels;
mod store;
mod stream;

use crate::{
    error::TrainError,
    scale::{Fit, Scale},
    seed::{self, Purpose},
    source::{Batch, Source},
};
use glacier_engine::{
    ModelInfo,
    ingest::Column,
    onnx::{Graph, list, set_metadata},
};
use glacier_wire::Digest;
use labels::Decoder;
use std::cell::{RefCell, RefMut};
use store::{Gathering, Layout, Parsed, Store, taken};
use stream::Stream;

pub use stream::{Bytes, Passes};

/// What wanted answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Classes, by name or counted from 0.
    Classes {
        /// How many the model tells apart, if that is known.
        count: Option<u64>,
    },
    /// Numbers.
    Numbers,
}

/// How data is read for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Columns or arrays with the wanted answers; none where rows are wanted for their own sake.
    pub wanted: Vec<Column>,
    /// What those are.
    pub goal: Goal,
    /// Names of the classes, in their order. `None`: the model's, else what the data shows, sorted.
    pub labels: Option<Vec<String>>,
    /// Why names of classes may not come from the data, where they may not.
    pub unnamed: Option<&'static str>,
    /// Rows are pairs: beside each input there is one whose name goes on with this.
    pub pair_suffix: Option<String>,
    /// Share of the rows that is kept for validation, from 0 to 1; the seed draws which.
    pub validation: f64,
    /// What order and split are drawn from.
    pub seed: [u8; 32],
    /// Rows that are shuffled together; 0 keeps the order of the data.
    pub shuffle: u32,
    /// Bring each input column to mean 0 and deviation 1.
    pub standardise: bool,
    /// Bytes that rows may take in memory.
    pub memory: u64,
}

/// A data set, or several of them one behind the other, ready to be learnt from.
pub struct Examples<P> {
    shared: RefCell<Shared<P>>,
    rows: [u64; 2],
    held: bool,
    scale: Option<Scale>,
    labels: Option<Vec<String>>,
    content: Digest,
}

struct Shared<P> {
    stream: Stream<P>,
    seed: [u8; 32],
    shuffle: u32,
    split: Split,
    decoder: Decoder,
    layout: Layout,
    scale: Option<Scale>,
    /// All rows, where they fit.
    held: Option<Held>,
    pass: Option<Pass>,
}

/// All rows, and which of them are whose.
struct Held {
    rows: Store,
    parts: [Vec<u32>; 2],
}

/// Whom a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Training,
    Validation,
}

/// One way through one part of the rows.
struct Pass {
    part: Part,
    chance: seed::Stream,
    /// Most rows that lie in the window.
    window: usize,
    /// What lies in it: places in `held`, or in `rows`.
    slots: Vec<u32>,
    /// Of the window's rows, where rows are not held.
    rows: Store,
    numbers: Vec<u64>,
    /// Read, but not yet used.
    parsed: Parsed,
    /// Rows of the data before it.
    before: u64,
    /// Next row, in `parsed` or of the held part.
    next: usize,
    full: bool,
}

impl<P: Passes> Examples<P> {
    /// Makes the first pass over `passes` for the model that `graph` is.
    ///
    /// # Errors
    /// Data that is not well formed or does not fit the model; labels out of range; no rows left for a
    /// part; a window that does not fit the memory.
    pub fn open(passes: P, graph: &Graph, reading: Reading) -> Result<Self, TrainError> {
        let info = info(graph, reading.pair_suffix.as_deref());
        let pairs = reading.pair_suffix.is_some();
        if pairs && matches!(reading.goal, Goal::Classes { .. }) && !reading.wanted.is_empty() {
            return Err(TrainError::Unfit("rows that are pairs have numbers as targets, not classes"));
        }
        let labels = reading.labels.clone().or_else(|| graph.labels.clone());
        let mut stream = Stream::new(passes, info, reading.wanted.clone(), reading.memory);
        let Some(first) = stream.next()? else { return Err(glacier_engine::DataError::NoRows.into()) };

        let split = Split::new(&reading);
        let mut decoder = Decoder::new(&reading.goal, stream.names().len(), labels.as_deref(), reading.unnamed);
        let (answers, classes) = (decoder.width(), decoder.classifies());
        let layout = Layout::new(stream.inputs(), stream.shape(), pairs, answers, classes)?;
        let mut fit = reading.standardise.then(|| {
            let inputs = layout.inputs.iter().take(layout.ports);
            Fit::new(inputs.map(|slot| slot.float.then_some((slot.name.as_str(), slot.shape.as_slice()))))
        });
        let mut held = Some(Held { rows: Store::new(&layout), parts: [Vec::new(), Vec::new()] });
        let (mut counts, mut window) = ([0u64; 2], Some(first));
        while let Some((before, rows)) = window {
            let names = stream.names().to_vec();
            let parsed = Parsed::new(rows, &layout, &mut decoder, &names, before.saturating_add(1))?;
            for at in 0..parsed.rows {
                let (row, number) = (parsed.row(at, &layout), before.saturating_add(at as u64));
                let part = split.part(number);
                count(&mut counts, part);
                if let (Some(fit), Part::Training) = (&mut fit, part) {
                    for (at, slot) in layout.inputs.iter().enumerate().filter(|(_, slot)| slot.float) {
                        let port = at.checked_rem(layout.ports).unwrap_or(at);
                        fit.add(port, row.floats.get(slot.range.clone()).unwrap_or_default());
                    }
                }
                let full = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
                let fits = full.saturating_mul(layout.bytes()) <= reading.memory && full <= u64::from(u32::MAX);
                held = held.filter(|_| fits);
                if let Some(held) = &mut held {
                    let place = u32::try_from(held.rows.rows()).unwrap_or(u32::MAX);
                    held.rows.push(row);
                    held.of(part).push(place);
                }
            }
            window = stream.next()?;
        }
        if let (Some(classes), Some(held)) = (decoder.learnt()?, &mut held) {
            held.rows.renumber(&layout, &classes);
        }
        let [training, validation] = counts;
        if (training == 0 && reading.validation < 1.0) || (validation == 0 && reading.validation > 0.0) {
            return Err(TrainError::Split);
        }
        let window = u64::from(reading.shuffle).max(1).min(training).saturating_mul(layout.bytes());
        if held.is_none() && window > reading.memory {
            return Err(TrainError::Window { rows: reading.shuffle.max(1), limit: reading.memory });
        }
        let scale = fit.map(Fit::finish);
        let labels = decoder.names().map(<[String]>::to_vec);
        let (is_held, content) = (held.is_some(), stream.content());
        let Reading { seed, shuffle, .. } = reading;
        let shared = Shared { stream, seed, shuffle, split, decoder, layout, scale: scale.clone(), held, pass: None };
        Ok(Self { shared: RefCell::new(shared), rows: counts, held: is_held, scale, labels, content })
    }

    /// The rows that are learnt from.
    pub fn training(&self) -> Rows<'_, P> {
        Rows { examples: self, part: Part::Training }
    }

    /// The rows that are only measured, if any are kept for that.
    pub fn validation(&self) -> Option<Rows<'_, P>> {
        let [_, rows] = self.rows;
        (rows > 0).then_some(Rows { examples: self, part: Part::Validation })
    }

    /// Whether all rows are in memory.
    pub fn held(&self) -> bool {
        self.held
    }

    /// Names of the classes, if they have any.
    pub fn labels(&self) -> Option<&[String]> {
        self.labels.as_deref()
    }

    /// Means and deviations of the training rows, if rows are standardised.
    pub fn scale(&self) -> Option<&Scale> {
        self.scale.as_ref()
    }

    /// Brings these rows to the scale of others: a data set that is held out is measured as the one that was
    /// learnt from.
    #[must_use]
    pub fn with_scale(mut self, scale: Option<Scale>) -> Self {
        self.shared.borrow_mut().scale.clone_from(&scale);
        self.scale = scale;
        self
    }

    /// Bytes that rows take in memory at this moment.
    pub fn bytes(&self) -> u64 {
        let shared = self.shared.borrow();
        let held = shared.held.as_ref().map_or(0, Held::bytes);
        held.saturating_add(shared.pass.as_ref().map_or(0, Pass::bytes))
    }

    /// The refined model as whoever gave the data uses it: it standardises its inputs itself, and says what
    /// its classes are called.
    pub fn export(&self, model: &[u8]) -> Result<Vec<u8>, TrainError> {
        let model = match &self.scale {
            Some(scale) => scale.export(model)?,
            None => model.to_vec(),
        };
        match &self.labels {
            Some(labels) => Ok(set_metadata(&model, &[("glacier.labels", &list(labels))])?),
            None => Ok(model),
        }
    }
}

/// One part of the rows. Going to the start of one part leaves the other wherever it was: it has to be
/// begun again.
pub struct Rows<'a, P> {
    examples: &'a Examples<P>,
    part: Part,
}

impl<P: Passes> Rows<'_, P> {
    fn shared(&self) -> Result<RefMut<'_, Shared<P>>, TrainError> {
        self.examples.shared.try_borrow_mut().map_err(|_| TrainError::Ended)
    }
}

impl<P: Passes> Source for Rows<'_, P> {
    fn rows(&self) -> u64 {
        let [training, validation] = self.examples.rows;
        match self.part {
            Part::Training => training,
            Part::Validation => validation,
        }
    }

    fn begin(&mut self, epoch: u32) -> Result<(), TrainError> {
        let (part, rows) = (self.part, self.rows());
        self.shared()?.begin(part, epoch, rows)
    }

    fn next(&mut self, rows: usize) -> Result<Option<Batch>, TrainError> {
        let part = self.part;
        let mut shared = self.shared()?;
        let Shared { stream, split, decoder, layout, scale, held, pass, .. } = &mut *shared;
        let pass = pass.as_mut().filter(|pass| pass.part == part).ok_or(TrainError::Ended)?;
        let mut supply = Supply { stream, split: *split, decoder, layout, held };
        let mut batch = Gathering::new(supply.layout);
        while batch.rows() < rows.max(1) && pass.draw(&mut supply, Some(&mut batch))? {}
        Ok(batch.finish(scale.as_ref()))
    }

    fn content(&self) -> Digest {
        self.examples.content
    }

    fn passed(&self) -> Digest {
        // Rows that are held were compared when they were read, all of them.
        let streamed = self.shared().ok().filter(|shared| shared.held.is_none());
        streamed.map_or(Digest::ZERO, |shared| shared.stream.passed())
    }

    fn skip(&mut self, rows: u64) -> Result<(), TrainError> {
        let part = self.part;
        let mut shared = self.shared()?;
        let Shared { stream, split, decoder, layout, held, pass, .. } = &mut *shared;
        let pass = pass.as_mut().filter(|pass| pass.part == part).ok_or(TrainError::Ended)?;
        let mut supply = Supply { stream, split: *split, decoder, layout, held };
        for found in 0..rows {
            if !pass.draw(&mut supply, None)? {
                return Err(TrainError::Rows { expected: rows, found });
            }
        }
        Ok(())
    }

    fn pick(&mut self, places: &[u64]) -> Result<Option<Batch>, TrainError> {
        let (part, rows) = (self.part, self.rows());
        let mut shared = self.shared()?;
        let Shared { layout, scale, held, .. } = &mut *shared;
        let Some(held) = held else { return Ok(None) };
        let mut batch = Gathering::new(layout);
        for place in places {
            let at = usize::try_from(*place).ok().and_then(|place| held.of(part).get(place).copied());
            let at = at.ok_or(TrainError::Rows { expected: rows, found: *place })?;
            batch.add(held.rows.row(at as usize, layout), u64::from(at).saturating_add(1));
        }
        Ok(batch.finish(scale.as_ref()))
    }
}

impl<P: Passes> Shared<P> {
    fn begin(&mut self, part: Part, epoch: u32, rows: u64) -> Result<(), TrainError> {
        if self.held.is_none() {
            self.stream.restart()?;
        }
        // Validation rows come in the order of the data.
        let window = if part == Part::Training { u64::from(self.shuffle).max(1).min(rows) } else { 1 };
        self.pass = Some(Pass {
            part,
            chance: seed::Stream::new(&seed::key(&self.seed, Purpose::Shuffle, epoch.into())),
            window: usize::try_from(window).unwrap_or(usize::MAX),
            slots: Vec::new(),
            rows: Store::new(&self.layout),
            numbers: Vec::new(),
            parsed: Parsed::default(),
            before: 0,
            next: 0,
            full: false,
        });
        Ok(())
    }
}

/// Where a pass gets its rows.
struct Supply<'a, P> {
    stream: &'a mut Stream<P>,
    split: Split,
    decoder: &'a mut Decoder,
    layout: &'a Layout,
    held: &'a mut Option<Held>,
}

impl Pass {
    /// Uses one row; false when there are no more. Draws the same numbers whether or not rows are held.
    fn draw<'l, P: Passes>(
        &mut self,
        supply: &mut Supply<'l, P>,
        batch: Option<&mut Gathering<'l>>,
    ) -> Result<bool, TrainError> {
        while !self.full {
            match self.load(supply, None)? {
                Some(row) => self.slots.push(row),
                None => self.full = true,
            }
            self.full |= self.slots.len() >= self.window;
        }
        let at = usize::try_from(self.chance.below(self.slots.len() as u64)).unwrap_or(0);
        let Some(row) = self.slots.get(at).copied() else { return Ok(false) };
        if let Some(batch) = batch {
            match supply.held {
                Some(held) => batch.add(held.rows.row(row as usize, supply.layout), u64::from(row).saturating_add(1)),
                None => {
                    let number = self.numbers.get(row as usize).copied().unwrap_or(0);
                    batch.add(self.rows.row(row as usize, supply.layout), number);
                }
            }
        }
        match self.load(supply, Some(row))? {
            Some(fresh) => {
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = fresh;
                }
            }
            None => drop(self.slots.swap_remove(at)),
        }
        Ok(true)
    }

    /// Brings in the next row of the part: in the room of row `old`, if rows are not held.
    fn load<P: Passes>(&mut self, supply: &mut Supply<'_, P>, old: Option<u32>) -> Result<Option<u32>, TrainError> {
        if let Some(held) = supply.held {
            let row = held.of(self.part).get(self.next).copied();
            self.next = self.next.saturating_add(1);
            return Ok(row);
        }
        loop {
            while self.next < self.parsed.rows {
                let at = self.next;
                self.next = at.saturating_add(1);
                let number = self.before.saturating_add(at as u64);
                if supply.split.part(number) != self.part {
                    continue;
                }
                let (row, number) = (self.parsed.row(at, supply.layout), number.saturating_add(1));
                let place = match old {
                    Some(old) => {
                        self.rows.replace(old as usize, row);
                        if let Some(slot) = self.numbers.get_mut(old as usize) {
                            *slot = number;
                        }
                        old
                    }
                    None => {
                        self.rows.push(row);
                        self.numbers.push(number);
                        u32::try_from(self.numbers.len().saturating_sub(1)).unwrap_or(u32::MAX)
                    }
                };
                return Ok(Some(place));
            }
            let Some((before, window)) = supply.stream.next()? else { return Ok(None) };
            let names = supply.stream.names().to_vec();
            let first = before.saturating_add(1);
            self.parsed = Parsed::new(window, supply.layout, supply.decoder, &names, first)?;
            (self.before, self.next) = (before, 0);
        }
    }

    fn bytes(&self) -> u64 {
        let lists = taken(&self.slots).saturating_add(taken(&self.numbers));
        lists.saturating_add(self.rows.bytes()).saturating_add(self.parsed.bytes())
    }
}

impl Held {
    fn of(&mut self, part: Part) -> &mut Vec<u32> {
        let [training, validation] = &mut self.parts;
        match part {
            Part::Training => training,
            Part::Validation => validation,
        }
    }

    fn bytes(&self) -> u64 {
        let lists = self.parts.iter().map(taken).fold(0, u64::saturating_add);
        lists.saturating_add(self.rows.bytes())
    }
}

fn count(counts: &mut [u64; 2], part: Part) {
    let [training, validation] = counts;
    let count = if part == Part::Training { training } else { validation };
    *count = count.saturating_add(1);
}

/// Whom a row is for: its number and the seed say it, so it is the same in every pass and after a restart.
#[derive(Debug, Clone, Copy)]
struct Split {
    share: f64,
    key: [u8; 32],
}

impl Split {
    fn new(reading: &Reading) -> Self {
        Self { share: reading.validation, key: seed::key(&reading.seed, Purpose::Split, 0) }
    }

    /// `number` counts the rows of the data from 0.
    fn part(&self, number: u64) -> Part {
        let drawn = || {
            let hash = blake3::keyed_hash(&self.key, &number.to_le_bytes());
            hash.as_bytes().first_chunk().copied().map_or(0, u32::from_le_bytes)
        };
        let validates = self.share > 0.0 && f64::from(drawn()) < self.share * 4_294_967_296.0;
        if validates { Part::Validation } else { Part::Training }
    }
}

/// What reading needs to know of the model.
fn info(graph: &Graph, pair_suffix: Option<&str>) -> ModelInfo {
    let ports = || graph.inputs.iter().map(|(_, port)| port.clone());
    let partners = pair_suffix.into_iter().flat_map(|suffix| {
        ports().map(move |mut port| {
            port.name.push_str(suffix);
            port
        })
    });
    ModelInfo {
        engine: String::new(),
        inputs: ports().chain(partners).collect(),
        outputs: Vec::new(),
        features: graph.features.clone(),
        labels: graph.labels.clone(),
        parameters: graph.parameters,
        units_per_row: None,
    }
}

#[cfg(test)]
mod tests;
