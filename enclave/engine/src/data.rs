//! Why data is not run. Names say where; values are never quoted.

use crate::onnx::Name;
use glacier_wire::{
    Dtype,
    api::{Refusal, RefusalCode},
};

/// Data that is not well formed, or does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The model takes another number of inputs.
    #[error("the model takes {expected} inputs, found {found}")]
    Inputs {
        /// By the model.
        expected: u64,
        /// In the data.
        found: u64,
    },
    /// An input that the model needs is not there.
    #[error("input {0} is missing")]
    MissingInput(Name),
    /// An input that the model does not have, or has already.
    #[error("the model has no input {0} to fill")]
    UnknownInput(Name),
    /// Another element type than the model takes.
    #[error("input {input} takes {expected:?}, found {found:?}")]
    Dtype {
        /// Which input.
        input: Name,
        /// By the model.
        expected: Dtype,
        /// In the data.
        found: Dtype,
    },
    /// A tensor whose bytes and shape do not fit.
    #[error("input {0} has another number of bytes than its shape says")]
    Length(Name),
    /// Another number of dimensions.
    #[error("input {input} has {expected} dimensions, found {found}")]
    Rank {
        /// Which input.
        input: Name,
        /// By the model.
        expected: u64,
        /// In the data.
        found: u64,
    },
    /// Another extent of a dimension.
    #[error("dimension {axis} of input {input} is {expected}, found {found}")]
    Extent {
        /// Which input.
        input: Name,
        /// Which dimension, from 0.
        axis: u64,
        /// By the model.
        expected: u64,
        /// In the data.
        found: u64,
    },
    /// Shapes that the declarations allow but the graph cannot follow.
    #[error("data of this shape does not go through node {node} of the model")]
    Shapes {
        /// Where.
        node: Name,
    },
    /// The engine cannot compute this input: an index past the end of a table, for one.
    #[error("the model cannot compute this input")]
    Incomputable,
    /// A model output that is not a number.
    #[error("the model gives no number for row {row}")]
    NoNumber {
        /// In this window or request, from 0.
        row: u64,
    },
    /// Integers that the engine cannot hold.
    #[error("input {0} has integers that do not fit 32 bits")]
    Range(Name),
    /// Neither `.npy`, `.npz` nor CSV.
    #[error("the data is neither .npy, .npz nor CSV")]
    Format,
    /// The data ends early.
    #[error("the data ends early")]
    Truncated,
    /// Bytes after the end.
    #[error("the data goes on after its end")]
    Trailing,
    /// No rows at all.
    #[error("the data has no rows")]
    NoRows,
    /// A header that is not `.npy`'s.
    #[error("the .npy header is malformed")]
    NpyHeader,
    /// Column-major arrays.
    #[error("the .npy array is in Fortran order; save it in C order")]
    FortranOrder,
    /// An element type that is not read.
    #[error("the .npy element type is not supported; f4, f8, i1, i4, i8, u1 and b1 in little-endian order are")]
    NpyDtype,
    /// Floating point for an input of integers.
    #[error("input {0} takes integers, found floating point")]
    Fraction(Name),
    /// A value that is not finite, or does not fit the input's type.
    #[error("row {row} of input {input} has a value that is not finite or does not fit")]
    Element {
        /// Which input.
        input: Name,
        /// From 1.
        row: u64,
    },
    /// An archive that is not `.npz`.
    #[error("the .npz archive is malformed")]
    Npz,
    /// More bytes than are held at once.
    #[error("the data has too much in {what}: at most {max} is read")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// Inputs with different numbers of rows.
    #[error("input {0} has another number of rows than the others")]
    Rows(Name),
    /// A model of a fixed batch, and a number of rows that is no multiple of it.
    #[error("the model takes {batch} rows at a time, and the data is no multiple of that")]
    Batch {
        /// Rows.
        batch: u64,
    },
    /// An input that has no rows.
    #[error("input {0} has no dimension for rows: serve this model, or send .npz with rows")]
    NotRows(Name),
    /// A model that a table cannot feed.
    #[error("a CSV table feeds a model of one input with rows of one length; send .npz")]
    NotTable,
    /// A column that the model needs is not there.
    #[error("column {0} is missing")]
    MissingColumn(Name),
    /// A column that the model reads and that is wanted of it as well.
    #[error("column {0} is an input of the model: it cannot be what the model shall answer")]
    TargetIsInput(Name),
    /// A column by its place, past the last.
    #[error("there is no column {place}: the data has {columns}, counted from 0")]
    NoColumn {
        /// From 0.
        place: u64,
        /// In the data.
        columns: u64,
    },
    /// Answers that are neither numbers nor lists of them.
    #[error("{0} has rows of more than one dimension: wanted answers have one column or a few")]
    TargetShape(Name),
    /// A column name twice.
    #[error("column {0} is there twice")]
    DuplicateColumn(Name),
    /// Another number of columns than the model has inputs.
    #[error("the model takes {expected} columns, found {found}")]
    Columns {
        /// By the model.
        expected: u64,
        /// In the header.
        found: u64,
    },
    /// A row of another length than the header.
    #[error("row {row} has {found} cells, the header has {expected}")]
    Cells {
        /// From 1, the header not counted.
        row: u64,
        /// In the header.
        expected: u64,
        /// In the row.
        found: u64,
    },
    /// A cell that is no usable number.
    #[error("row {row}, column {column}: {fault}")]
    Cell {
        /// From 1, the header not counted.
        row: u64,
        /// Name in the header.
        column: Name,
        /// What is wrong.
        fault: CellFault,
    },
    /// Text that is not UTF-8.
    #[error("the header is not UTF-8")]
    Header,
}

/// What is wrong with a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellFault {
    /// Nothing in it.
    #[error("the cell is empty")]
    Empty,
    /// Words.
    #[error("the cell is not a number")]
    NotNumber,
    /// NaN or infinity, also by overflow.
    #[error("the cell is not a finite number")]
    NotFinite,
    /// Does not fit the input's element type.
    #[error("the number does not fit the model's input")]
    Range,
    /// A wanted answer that is not UTF-8.
    #[error("the cell is not text")]
    NotText,
    /// A wanted answer that is longer than the name of any class.
    #[error("the cell is too long to name a class")]
    Long,
}

impl From<DataError> for Refusal {
    fn from(error: DataError) -> Self {
        Refusal::new(RefusalCode::DataInvalid, error.to_string())
    }
}
