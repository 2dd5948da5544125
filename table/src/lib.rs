//! Parquet and Arrow files as the formats that the enclave reads, before they are sealed.
//!
//! This runs on the machine of whoever owns the data, so that the enclave need not trust the parsers of
//! two large formats. Rows are converted batch by batch: memory does not grow with the file.
//!
//! - [`to_csv`] keeps names, words and numbers; every number reads back as the same number.
//! - [`to_npz`] puts columns together as the arrays that a model takes, lists of one length included.
//!
//! What cannot be converted is refused by the column's name and type, missing values by row.

mod cell;
mod error;
mod npz;
mod open;

use std::{
    fs::File,
    io::{BufWriter, Write},
};

pub use error::TableError;
pub use npz::{Array, to_npz};
pub use open::{Field, Format, Table};

/// Writes a whole table as CSV with a header; gives the number of rows.
///
/// # Errors
/// A file that is not well formed; a column of lists, dates or other things that are neither numbers nor
/// words; missing values, NaN and infinities.
pub fn to_csv(file: &File, out: impl Write) -> Result<u64, TableError> {
    let table = Table::open(file)?;
    let mut out = BufWriter::new(out);
    let mut line = Vec::new();
    for (at, field) in table.fields().iter().enumerate() {
        if !cell::is_cell(&field.kind) {
            return Err(TableError::Cell { column: field.name.clone(), kind: field.kind.to_string() });
        }
        if at > 0 {
            line.push(b',');
        }
        cell::quoted(field.name.as_bytes(), &mut line);
    }
    line.push(b'\n');
    out.write_all(&line)?;
    let mut rows = 0u64;
    for batch in table.batches(None, BATCH)? {
        let batch = batch?;
        let columns: Vec<cell::Cells<'_>> = batch
            .columns()
            .iter()
            .zip(table.fields())
            .map(|(array, field)| cell::Cells::new(array.as_ref(), &field.name, rows))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            line.clear();
            for (at, column) in columns.iter().enumerate() {
                if at > 0 {
                    line.push(b',');
                }
                column.write(row, &mut line)?;
            }
            line.push(b'\n');
            out.write_all(&line)?;
        }
        rows = rows.saturating_add(batch.num_rows() as u64);
    }
    out.flush()?;
    Ok(rows)
}

/// Rows that are converted at once.
const BATCH: usize = 1024;
