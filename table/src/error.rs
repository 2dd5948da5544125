//! Why a table is not converted.

/// A table that is not well formed, or holds what the enclave does not read. Values are never quoted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Bytes of something else.
    #[error("the file is neither Parquet nor Arrow")]
    Format,
    /// A file that cannot be read, or nowhere to write to.
    #[error("the table cannot be read or written")]
    Io(#[from] std::io::Error),
    /// A Parquet file that is damaged, encrypted or compressed in a way that is not read.
    #[error(
        "the Parquet file cannot be read; Snappy, gzip and LZ4 compression are known here, Zstandard and Brotli are not"
    )]
    Parquet(#[source] parquet::errors::ParquetError),
    /// An Arrow file that is damaged or compressed in a way that is not read.
    #[error("the Arrow file cannot be read; LZ4 compression is known here, Zstandard is not")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// A column that no table cell can hold.
    #[error(
        "column {column:?} has type {kind}; a CSV cell holds a number or words: leave the column out, or turn it into numbers"
    )]
    Cell {
        /// Its name.
        column: String,
        /// Its type.
        kind: String,
    },
    /// A column that no array can hold.
    #[error(
        "column {column:?} has type {kind}; an array holds numbers or lists of them: leave the column out, or turn it into numbers"
    )]
    Element {
        /// Its name.
        column: String,
        /// Its type.
        kind: String,
    },
    /// A value that is not there.
    #[error("row {row} of column {column:?} has no value: fill it or leave the row out")]
    Missing {
        /// From 1.
        row: u64,
        /// Its name.
        column: String,
    },
    /// NaN or infinity.
    #[error("row {row} of column {column:?} is not a finite number")]
    NotFinite {
        /// From 1.
        row: u64,
        /// Its name.
        column: String,
    },
    /// An integer of more than 63 bits.
    #[error("row {row} of column {column:?} does not fit 64 bits with a sign")]
    Range {
        /// From 1.
        row: u64,
        /// Its name.
        column: String,
    },
    /// A list of another length than the first.
    #[error("row {row} of column {column:?} is a list of {found} elements, the first has {expected}")]
    Length {
        /// From 1.
        row: u64,
        /// Its name.
        column: String,
        /// Of the first row.
        expected: usize,
        /// Of this row.
        found: usize,
    },
    /// A column that an array shall have and the table has not.
    #[error("the table has no column {0:?}")]
    NoColumn(String),
    /// An array of no columns, or of several of which one is a list.
    #[error("array {0:?} takes one column, or several that are not lists")]
    Array(String),
    /// Two columns of one name.
    #[error("the table has two columns {0:?}")]
    Duplicate(String),
    /// No rows.
    #[error("the table has no rows")]
    NoRows,
}
