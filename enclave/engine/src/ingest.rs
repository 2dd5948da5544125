//! Windows of rows out of data bytes that nobody vouches for.
//!
//! The format is told from the first bytes: `\x93NUMPY` is one array for a model of one input,
//! `PK` is an archive of arrays named like the inputs, everything else is read as CSV. Arrays and
//! tables are read window by window, so they may be larger than memory; an archive keeps its
//! directory at its end and is held whole, up to [`MAX_NPZ`].
//!
//! [`read`] is for inference. [`Examples`] gives the same rows with the answers that are wanted of them,
//! for training, and is asked for them instead of handing them over.
//!
//! Numbers are converted to the input's element type: integers must fit, doubles are rounded to
//! singles, and floating point never becomes an integer. NaN and infinities are refused everywhere.

mod element;
mod examples;
mod npy;
mod table;

use crate::{
    data::DataError,
    info::{Dim, ModelInfo, Port},
    onnx::Name,
};
use glacier_wire::Tensor;
use std::io::{Chain, Cursor, Read};

pub use examples::{Answers, Column, Examples, Window};
pub use table::{MAX_COLUMNS, MAX_RECORD};

/// Largest `.npz` archive.
pub const MAX_NPZ: u64 = 1 << 30;

/// Takes windows of rows.
pub trait Sink {
    /// Why it takes no more.
    type Error: From<DataError>;

    /// Told once, before any window: the shape of one row of each input (in the model's order) and
    /// the number of rows, where the format says it. Answers how many rows it wants at once.
    fn begin(&mut self, row: &[Vec<u64>], rows: Option<u64>) -> Result<usize, Self::Error>;

    /// The inputs of the next `rows` rows, in the model's order.
    fn window(&mut self, rows: u64, inputs: Vec<Tensor>) -> Result<(), Self::Error>;
}

/// Reads all rows of `data` for the model that `info` describes.
pub fn read<S: Sink>(data: impl Read, info: &ModelInfo, sink: &mut S) -> Result<u64, S::Error> {
    let (format, data) = told(data)?;
    let rows = match format {
        Format::Npy => npy::read_one(data, info, sink),
        Format::Npz => npy::read_archive(data, info, sink),
        Format::Csv => table::read(data, info, sink),
    }?;
    if rows == 0 {
        return Err(DataError::NoRows.into());
    }
    Ok(rows)
}

/// Tells the format, and puts back what was read for that.
fn told<R: Read>(mut data: R) -> Result<(Format, Data<R>), DataError> {
    let mut magic = [0u8; 6];
    let mut have = 0usize;
    while have < magic.len() {
        match data.read(magic.get_mut(have..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => have = have.saturating_add(n),
            Err(_) => return Err(DataError::Truncated),
        }
    }
    let magic = magic.get(..have).unwrap_or_default().to_vec();
    let format = Format::of(&magic);
    Ok((format, Cursor::new(magic).chain(data)))
}

/// The stream with its first bytes put back.
type Data<R> = Chain<Cursor<Vec<u8>>, R>;

enum Format {
    Npy,
    Npz,
    Csv,
}

impl Format {
    fn of(magic: &[u8]) -> Self {
        match magic {
            b"\x93NUMPY" => Self::Npy,
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Self::Npz,
            _ => Self::Csv,
        }
    }
}

/// Rows that must go together: the first dimension, where the model fixes it.
fn batch(info: &ModelInfo) -> Result<Option<u64>, DataError> {
    let mut batch = None;
    for port in &info.inputs {
        let Some([rows, ..]) = port.dims.as_deref() else { return Err(DataError::NotRows(Name::new(&port.name))) };
        let Some(fixed) = rows.fixed() else { continue };
        if fixed == 0 || batch.is_some_and(|known| known != fixed) {
            return Err(DataError::NotRows(Name::new(&port.name)));
        }
        batch = Some(fixed);
    }
    Ok(batch)
}

/// How many rows are handed over at once, given what the sink wants.
fn window(wanted: usize, batch: Option<u64>) -> usize {
    batch.and_then(|batch| usize::try_from(batch).ok()).unwrap_or(wanted).max(1)
}

/// Holds the shape of a row against the input's declaration.
fn fits(port: &Port, row: &[u64]) -> Result<(), DataError> {
    let dims = port.dims.as_deref().unwrap_or_default();
    let input = || Name::new(&port.name);
    if dims.len() != row.len().saturating_add(1) {
        let found = row.len().saturating_add(1) as u64;
        return Err(DataError::Rank { input: input(), expected: dims.len() as u64, found });
    }
    for (axis, (dim, extent)) in dims.iter().skip(1).zip(row).enumerate() {
        if let Dim::Fixed { extent: expected } = dim
            && expected != extent
        {
            let axis = axis.saturating_add(1) as u64;
            return Err(DataError::Extent { input: input(), axis, expected: *expected, found: *extent });
        }
    }
    Ok(())
}
