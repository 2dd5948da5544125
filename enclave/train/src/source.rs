//! Where batches come from.

use crate::{
    error::TrainError,
    tensor::{IntTensor, Tensor, Value},
};
use glacier_wire::Digest;

/// Gives the rows of a data set in batches, once an epoch, in an order that belongs to the epoch.
///
/// The same epoch gives the same rows in the same order, however many are asked for at once: that is what
/// makes a run repeat and go on after a checkpoint.
pub trait Source {
    /// Rows of an epoch, counted beforehand; pairs count once.
    fn rows(&self) -> u64;

    /// Goes to the start of an epoch, counted from 0. Validation rows come in one order in every epoch.
    fn begin(&mut self, epoch: u32) -> Result<(), TrainError>;

    /// The next rows: at most `rows` of them, fewer only at the end, and `None` after it.
    fn next(&mut self, rows: usize) -> Result<Option<Batch>, TrainError>;

    /// Names what all rows say, as they were counted: a checkpoint is of these rows and no others.
    fn content(&self) -> Digest;

    /// Names all that the epoch under way has read so far, where it reads anything that was not compared yet: a
    /// checkpoint is taken before the rest of that pass is known to be what was signed.
    fn passed(&self) -> Digest;

    /// Passes over rows that were used before a checkpoint.
    fn skip(&mut self, rows: u64) -> Result<(), TrainError> {
        let mut left = rows;
        while left > 0 {
            let wanted = usize::try_from(left.min(1024)).unwrap_or(1024);
            let Some(batch) = self.next(wanted)? else {
                return Err(TrainError::Rows { expected: rows, found: rows.saturating_sub(left) });
            };
            left = left.saturating_sub(batch.rows);
        }
        Ok(())
    }

    /// The rows at these places among this source's own, from 0 and in increasing order, for Poisson sampling: `None` where
    /// rows are only to be had in order.
    fn pick(&mut self, places: &[u64]) -> Result<Option<Batch>, TrainError> {
        let _ = places;
        Ok(None)
    }
}

/// Rows that go through the network together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// One for each input of the graph, rows along the first dimension. Of pairs, all first halves and then
    /// all second halves: twice as many.
    pub inputs: Vec<Value>,
    /// What the outputs should be.
    pub targets: Targets,
    /// How many; pairs count once.
    pub rows: u64,
    /// Which rows of the data these are, counted from 1, to name them in errors. May be empty: then their
    /// place in the epoch is named.
    pub numbers: Vec<u64>,
}

/// What the outputs should be, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// A class of each row (or of each element of it, as the output's shape says), counted from 0. A
    /// negative number marks an element that is not learnt from.
    Classes(Vec<i64>),
    /// Numbers, in the output's shape; a dimension of 1 may be left out.
    Numbers(Tensor),
    /// Rows are pairs, with or without a number that says how alike the halves are.
    Pairs(Option<Vec<f32>>),
}

impl Batch {
    /// One row by itself; `None` where inputs or targets have no such row.
    pub(crate) fn row(&self, place: usize) -> Option<Self> {
        let rows = usize::try_from(self.rows).ok()?;
        let halves =
            if matches!(self.targets, Targets::Pairs(_)) { vec![place, place.checked_add(rows)?] } else { vec![place] };
        let inputs = self.inputs.iter().map(|value| rows_of(value, &halves)).collect::<Option<_>>()?;
        let targets = match &self.targets {
            Targets::Classes(classes) => {
                let width = classes.len().checked_div(rows)?;
                Targets::Classes(slice(classes, width, place)?.to_vec())
            }
            Targets::Numbers(numbers) => {
                let mut shape = numbers.shape.clone();
                *shape.first_mut()? = 1;
                let width = numbers.data.len().checked_div(rows)?;
                Targets::Numbers(Tensor { shape, data: slice(&numbers.data, width, place)?.to_vec() })
            }
            Targets::Pairs(None) => Targets::Pairs(None),
            Targets::Pairs(Some(scores)) => Targets::Pairs(Some(vec![*scores.get(place)?])),
        };
        Some(Self { inputs, targets, rows: 1, numbers: self.numbers.get(place).copied().into_iter().collect() })
    }

    /// How row `place` of this batch, from 0, is called in errors. `before` rows of the epoch came before it.
    pub(crate) fn number(&self, place: usize, before: u64) -> u64 {
        let counted = before.saturating_add(place as u64).saturating_add(1);
        self.numbers.get(place).copied().unwrap_or(counted)
    }
}

/// Some rows of a value.
fn rows_of(value: &Value, places: &[usize]) -> Option<Value> {
    fn gather<T: Copy>(shape: &[usize], data: &[T], places: &[usize]) -> Option<(Vec<usize>, Vec<T>)> {
        let (rows, row) = shape.split_first()?;
        let width = data.len().checked_div(*rows)?;
        let mut chosen = Vec::with_capacity(width.checked_mul(places.len())?);
        for place in places {
            chosen.extend_from_slice(slice(data, width, *place)?);
        }
        Some((std::iter::once(places.len()).chain(row.iter().copied()).collect(), chosen))
    }
    match value {
        Value::Float(tensor) => {
            let (shape, data) = gather(&tensor.shape, &tensor.data, places)?;
            Some(Value::Float(Tensor { shape, data }))
        }
        Value::Int(tensor) => {
            let (shape, data) = gather(&tensor.shape, &tensor.data, places)?;
            Some(Value::Int(IntTensor { shape, data }))
        }
    }
}

fn slice<T>(data: &[T], width: usize, place: usize) -> Option<&[T]> {
    let start = place.checked_mul(width)?;
    data.get(start..start.checked_add(width)?)
}

/// Training rows, and the validation rows where there are any.
pub struct Sources<'a> {
    /// What is learnt from.
    pub training: &'a mut dyn Source,
    /// What is only measured.
    pub validation: Option<&'a mut dyn Source>,
}
