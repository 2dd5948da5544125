//! Cells of a table as text.

use crate::error::TableError;
use arrow_array::{
    Array,
    cast::AsArray as _,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use arrow_schema::DataType;
use std::io::Write as _;

/// Whether a cell can hold it: numbers, truth values, words.
pub(crate) fn is_cell(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_cell(values),
        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        kind => kind.is_integer() || matches!(kind, DataType::Float32 | DataType::Float64),
    }
}

/// One column of a batch.
pub(crate) struct Cells<'a> {
    array: &'a dyn Array,
    name: &'a str,
    /// Rows before this batch.
    before: u64,
    /// Where a row's value lies, for columns that keep each distinct value once.
    keys: Option<Vec<usize>>,
    values: &'a dyn Array,
}

impl<'a> Cells<'a> {
    pub(crate) fn new(array: &'a dyn Array, name: &'a str, before: u64) -> Result<Self, TableError> {
        let dictionary = array.as_any_dictionary_opt();
        let keys = dictionary.map(|dictionary| dictionary.normalized_keys());
        let values = dictionary.map_or(array, |dictionary| dictionary.values().as_ref());
        if !is_cell(values.data_type()) {
            return Err(TableError::Cell { column: name.to_owned(), kind: array.data_type().to_string() });
        }
        Ok(Self { array, name, before, keys, values })
    }

    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), TableError> {
        let number = self.before.saturating_add(row as u64).saturating_add(1);
        let at = match &self.keys {
            Some(keys) => keys.get(row).copied().unwrap_or(usize::MAX),
            None => row,
        };
        if self.array.is_null(row) || at >= self.values.len() || self.values.is_null(at) {
            return Err(TableError::Missing { row: number, column: self.name.to_owned() });
        }
        let finite = |finite: bool| match finite {
            true => Ok(()),
            false => Err(TableError::NotFinite { row: number, column: self.name.to_owned() }),
        };
        macro_rules! number {
            ($kind:ty) => {
                write!(out, "{}", self.values.as_primitive::<$kind>().value(at))?
            };
        }
        match self.values.data_type() {
            DataType::Boolean => out.push(if self.values.as_boolean().value(at) { b'1' } else { b'0' }),
            DataType::Int8 => number!(Int8Type),
            DataType::Int16 => number!(Int16Type),
            DataType::Int32 => number!(Int32Type),
            DataType::Int64 => number!(Int64Type),
            DataType::UInt8 => number!(UInt8Type),
            DataType::UInt16 => number!(UInt16Type),
            DataType::UInt32 => number!(UInt32Type),
            DataType::UInt64 => number!(UInt64Type),
            DataType::Float32 => {
                finite(self.values.as_primitive::<Float32Type>().value(at).is_finite())?;
                number!(Float32Type);
            }
            DataType::Float64 => {
                finite(self.values.as_primitive::<Float64Type>().value(at).is_finite())?;
                number!(Float64Type);
            }
            DataType::Utf8 => quoted(self.values.as_string::<i32>().value(at).as_bytes(), out),
            DataType::LargeUtf8 => quoted(self.values.as_string::<i64>().value(at).as_bytes(), out),
            DataType::Utf8View => quoted(self.values.as_string_view().value(at).as_bytes(), out),
            kind => return Err(TableError::Cell { column: self.name.to_owned(), kind: kind.to_string() }),
        }
        Ok(())
    }
}

/// Words as RFC 4180 has them.
pub(crate) fn quoted(words: &[u8], out: &mut Vec<u8>) {
    if !words.is_empty() && !words.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        out.extend_from_slice(words);
        return;
    }
    out.push(b'"');
    for byte in words {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
