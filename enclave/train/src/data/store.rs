//! Rows in memory.

use super::labels::{Answer, Decoder, Stored};
use crate::{
    error::TrainError,
    scale::Scale,
    source::{Batch, Targets},
    tensor::{IntTensor, Tensor, Value},
};
use glacier_engine::{
    DataError, Port,
    ingest::{Answers, Window},
    onnx::Name,
};
use glacier_wire::Dtype;
use std::ops::Range;

/// How a row lies in memory: floats in one list, integers in another, inputs first and then the answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) inputs: Vec<Slot>,
    /// Inputs of the graph: all of them, or half of them where rows are pairs.
    pub(super) ports: usize,
    pub(super) floats: usize,
    pub(super) ints: usize,
    pub(super) answers: usize,
    pub(super) classes: bool,
}

/// One input of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) float: bool,
    pub(super) shape: Vec<usize>,
    /// In the row's floats or integers.
    pub(super) range: Range<usize>,
}

impl Layout {
    pub(super) fn new(
        inputs: &[Port],
        rows: &[Vec<u64>],
        pairs: bool,
        answers: usize,
        classes: bool,
    ) -> Result<Self, TrainError> {
        let (mut floats, mut ints, mut slots) = (0usize, 0usize, Vec::with_capacity(inputs.len()));
        for (port, row) in inputs.iter().zip(rows) {
            let too_large = || DataError::TooLarge { what: "one row", max: MAX_ROW as u64 };
            let shape: Vec<usize> = row.iter().map(|extent| usize::try_from(*extent).unwrap_or(usize::MAX)).collect();
            let width = shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
            let width = width.filter(|width| *width <= MAX_ROW).ok_or_else(too_large)?;
            if width == 0 {
                return Err(DataError::NotRows(Name::new(&port.name)).into());
            }
            let float = matches!(port.dtype, Dtype::Fp32 | Dtype::Fp64);
            let end = if float { &mut floats } else { &mut ints };
            let start = *end;
            *end = end.saturating_add(width);
            if *end > MAX_ROW {
                return Err(too_large().into());
            }
            slots.push(Slot { name: port.name.clone(), float, shape, range: start..*end });
        }
        let end = if classes { &mut ints } else { &mut floats };
        *end = end.saturating_add(answers);
        let ports = if pairs { slots.len() / 2 } else { slots.len() };
        Ok(Self { inputs: slots, ports, floats, ints, answers, classes })
    }

    /// What one row takes.
    pub(super) fn bytes(&self) -> u64 {
        let (floats, ints) = (self.floats as u64, self.ints as u64);
        floats.saturating_mul(4).saturating_add(ints.saturating_mul(8)).saturating_add(PER_ROW)
    }
}

/// Most elements of one row.
const MAX_ROW: usize = 1 << 26;
/// Its number, and its place in the orders of training and of shuffling.
const PER_ROW: u64 = 16;

/// Rows of one layout, in pieces, so that they grow without being moved.
#[derive(Debug, Default)]
pub(super) struct Store {
    pieces: Vec<Piece>,
    /// Rows of a full piece.
    piece: usize,
    rows: usize,
}

#[derive(Debug, Default)]
struct Piece {
    floats: Vec<f32>,
    ints: Vec<i64>,
}

/// One row, borrowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) floats: &'a [f32],
    pub(super) ints: &'a [i64],
}

impl Store {
    pub(super) fn new(layout: &Layout) -> Self {
        const PIECE: u64 = 1 << 20;
        let piece = usize::try_from(PIECE.checked_div(layout.bytes()).unwrap_or(1)).unwrap_or(1).max(1);
        Self { pieces: Vec::new(), piece, rows: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn push(&mut self, row: Row<'_>) {
        if self.rows.checked_rem(self.piece) == Some(0) {
            let room = |width: usize| self.piece.saturating_mul(width);
            let (floats, ints) = (room(row.floats.len()), room(row.ints.len()));
            self.pieces.push(Piece { floats: Vec::with_capacity(floats), ints: Vec::with_capacity(ints) });
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.floats.extend_from_slice(row.floats);
            piece.ints.extend_from_slice(row.ints);
            self.rows = self.rows.saturating_add(1);
        }
    }

    pub(super) fn replace(&mut self, at: usize, row: Row<'_>) {
        let (number, place) = self.place(at);
        let Some(piece) = self.pieces.get_mut(number) else { return };
        if let Some(floats) = piece.floats.get_mut(span(place, row.floats.len())) {
            floats.copy_from_slice(row.floats);
        }
        if let Some(ints) = piece.ints.get_mut(span(place, row.ints.len())) {
            ints.copy_from_slice(row.ints);
        }
    }

    pub(super) fn row(&self, at: usize, layout: &Layout) -> Row<'_> {
        let (number, place) = self.place(at);
        let piece = self.pieces.get(number);
        let floats = piece.and_then(|piece| piece.floats.get(span(place, layout.floats)));
        let ints = piece.and_then(|piece| piece.ints.get(span(place, layout.ints)));
        Row { floats: floats.unwrap_or_default(), ints: ints.unwrap_or_default() }
    }

    /// Gives every class its final number.
    pub(super) fn renumber(&mut self, layout: &Layout, classes: &[i64]) {
        let first = layout.ints.saturating_sub(layout.answers);
        for piece in &mut self.pieces {
            for row in piece.ints.chunks_exact_mut(layout.ints.max(1)) {
                for class in row.iter_mut().skip(first) {
                    let place = usize::try_from(*class).ok();
                    *class = place.and_then(|place| classes.get(place)).copied().unwrap_or(*class);
                }
            }
        }
    }

    /// Bytes that are taken, used or not.
    pub(super) fn bytes(&self) -> u64 {
        let piece = |piece: &Piece| taken(&piece.floats).saturating_add(taken(&piece.ints));
        self.pieces.iter().map(piece).fold(0, u64::saturating_add)
    }

    fn place(&self, at: usize) -> (usize, usize) {
        (at.checked_div(self.piece).unwrap_or(0), at.checked_rem(self.piece).unwrap_or(0))
    }
}

fn span(row: usize, width: usize) -> Range<usize> {
    let start = row.saturating_mul(width);
    start..start.saturating_add(width)
}

/// A window of rows, taken apart.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    floats: Vec<f32>,
    ints: Vec<i64>,
    pub(super) rows: usize,
}

impl Parsed {
    /// Rows as they are stored; the first is number `first` from 1.
    pub(super) fn new(
        window: Window,
        layout: &Layout,
        decoder: &mut Decoder,
        names: &[Name],
        first: u64,
    ) -> Result<Self, TrainError> {
        let rows = usize::try_from(window.rows).unwrap_or(0);
        let mut floats = vec![0.0; rows.saturating_mul(layout.floats)];
        let mut ints = vec![0; rows.saturating_mul(layout.ints)];
        for (slot, tensor) in layout.inputs.iter().zip(window.inputs) {
            let width = slot.range.len();
            let bytes = tensor.data.chunks_exact(width.saturating_mul(tensor.dtype.size()).max(1));
            if slot.float {
                for (row, bytes) in floats.chunks_exact_mut(layout.floats.max(1)).zip(bytes) {
                    widen(row.get_mut(slot.range.clone()).unwrap_or_default(), bytes, tensor.dtype);
                }
            } else {
                for (row, bytes) in ints.chunks_exact_mut(layout.ints.max(1)).zip(bytes) {
                    whole(row.get_mut(slot.range.clone()).unwrap_or_default(), bytes, tensor.dtype);
                }
            }
        }
        let width = decoder.width();
        let answer = |at: usize| match &window.answers {
            Answers::Nothing => None,
            Answers::Cells(cells) => cells.get(at).map(|cell| Answer::Cell(cell)),
            Answers::Numbers(numbers) => numbers.get(at).map(|number| Answer::Number(*number)),
        };
        for row in 0..rows {
            for (column, name) in names.iter().enumerate() {
                let Some(answer) = answer(row.saturating_mul(width).saturating_add(column)) else { break };
                let stored = decoder.decode(answer, first.saturating_add(row as u64), name)?;
                match stored {
                    Stored::Class(class) => {
                        let start = layout.ints.saturating_sub(width).saturating_add(column);
                        if let Some(slot) = ints.get_mut(row.saturating_mul(layout.ints).saturating_add(start)) {
                            *slot = class;
                        }
                    }
                    Stored::Number(number) => {
                        let start = layout.floats.saturating_sub(width).saturating_add(column);
                        if let Some(slot) = floats.get_mut(row.saturating_mul(layout.floats).saturating_add(start)) {
                            *slot = number;
                        }
                    }
                }
            }
        }
        Ok(Self { floats, ints, rows })
    }

    pub(super) fn row(&self, at: usize, layout: &Layout) -> Row<'_> {
        let floats = self.floats.get(span(at, layout.floats)).unwrap_or_default();
        Row { floats, ints: self.ints.get(span(at, layout.ints)).unwrap_or_default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        taken(&self.floats).saturating_add(taken(&self.ints))
    }
}

fn widen(into: &mut [f32], bytes: &[u8], dtype: Dtype) {
    if dtype == Dtype::Fp64 {
        for (value, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
            *value = f64::from_le_bytes(*bytes) as f32;
        }
        return;
    }
    for (value, bytes) in into.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}

fn whole(into: &mut [i64], bytes: &[u8], dtype: Dtype) {
    for (value, bytes) in into.iter_mut().zip(bytes.chunks_exact(dtype.size())) {
        *value = match (dtype, bytes) {
            (Dtype::Int64, bytes) => bytes.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes)),
            (Dtype::Int32, bytes) => bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes).into()),
            (Dtype::Int8, [byte]) => byte.cast_signed().into(),
            (_, [byte]) => (*byte).into(),
            _ => 0,
        };
    }
}

/// Rows on their way into a batch.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    layout: &'a Layout,
    floats: Vec<Vec<f32>>,
    ints: Vec<Vec<i64>>,
    numbers: Vec<u64>,
    wanted: Vec<f32>,
    classes: Vec<i64>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(layout: &'a Layout) -> Self {
        let (floats, ints) = (vec![Vec::new(); layout.inputs.len()], vec![Vec::new(); layout.inputs.len()]);
        Self { layout, floats, ints, numbers: Vec::new(), wanted: Vec::new(), classes: Vec::new() }
    }

    pub(super) fn rows(&self) -> usize {
        self.numbers.len()
    }

    /// `number` counts the rows of the data from 1.
    pub(super) fn add(&mut self, row: Row<'_>, number: u64) {
        for ((slot, floats), ints) in self.layout.inputs.iter().zip(&mut self.floats).zip(&mut self.ints) {
            if slot.float {
                floats.extend_from_slice(row.floats.get(slot.range.clone()).unwrap_or_default());
            } else {
                ints.extend_from_slice(row.ints.get(slot.range.clone()).unwrap_or_default());
            }
        }
        let answers = self.layout.answers;
        if self.layout.classes {
            self.classes.extend_from_slice(row.ints.get(row.ints.len().saturating_sub(answers)..).unwrap_or_default());
        } else {
            let start = row.floats.len().saturating_sub(answers);
            self.wanted.extend_from_slice(row.floats.get(start..).unwrap_or_default());
        }
        self.numbers.push(number);
    }

    /// The batch, standardised; `None` when it has no rows.
    pub(super) fn finish(mut self, scale: Option<&Scale>) -> Option<Batch> {
        let (rows, layout) = (self.numbers.len(), self.layout);
        if rows == 0 {
            return None;
        }
        let pairs = layout.ports < layout.inputs.len();
        let mut inputs = Vec::with_capacity(layout.ports);
        for (at, slot) in layout.inputs.iter().enumerate().take(layout.ports) {
            // Halves of pairs lie one behind the other.
            let halves = [Some(at), pairs.then_some(at.saturating_add(layout.ports))].into_iter().flatten();
            let count = if pairs { rows.saturating_mul(2) } else { rows };
            let shape = std::iter::once(count).chain(slot.shape.iter().copied()).collect();
            inputs.push(if slot.float {
                let mut data = Vec::new();
                for half in halves {
                    join(&mut data, self.floats.get_mut(half));
                }
                if let Some(scale) = scale {
                    scale.apply(at, &mut data);
                }
                Value::Float(Tensor { shape, data })
            } else {
                let mut data = Vec::new();
                for half in halves {
                    join(&mut data, self.ints.get_mut(half));
                }
                Value::Int(IntTensor { shape, data })
            });
        }
        let targets = match (pairs, layout.classes) {
            (true, _) => Targets::Pairs((layout.answers > 0).then_some(self.wanted)),
            (false, true) => Targets::Classes(self.classes),
            (false, false) => Targets::Numbers(Tensor { shape: vec![rows, layout.answers], data: self.wanted }),
        };
        Some(Batch { inputs, targets, rows: rows as u64, numbers: self.numbers })
    }
}

/// Bytes that a list has taken, used or not.
pub(super) fn taken<T>(list: &Vec<T>) -> u64 {
    (list.capacity() as u64).saturating_mul(size_of::<T>() as u64)
}

fn join<T>(to: &mut Vec<T>, from: Option<&mut Vec<T>>) {
    let Some(from) = from else { return };
    if to.is_empty() {
        std::mem::swap(to, from);
    } else {
        to.append(from);
    }
}
