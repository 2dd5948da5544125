//! Columns as the arrays of an archive.

use crate::{
    error::TableError,
    open::{Field, Table},
};
use arrow_array::{
    Array as _, RecordBatch,
    cast::AsArray as _,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use arrow_schema::DataType;
use std::{
    fs::File,
    io::{BufWriter, Seek, Write},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// One array of the archive: an input of the model, or what it shall answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Its name.
    pub name: String,
    /// Columns that lie side by side in it: `[rows, columns]`. One column alone is `[rows]`, one of lists
    /// of a length `[rows, length]`.
    pub columns: Vec<String>,
}

/// Writes columns as an archive of arrays; gives the number of rows.
///
/// The file is read once to count its rows and measure its lists, and once for each array. Elements keep
/// their type where `.npy` has it among those that the enclave reads; columns of different types side by
/// side become doubles.
///
/// # Errors
/// A file that is not well formed; columns that are not there, or hold neither numbers nor lists of them;
/// lists of different lengths; missing values, NaN and infinities, integers of more than 63 bits.
pub fn to_npz(file: &File, out: impl Write + Seek, arrays: &[Array]) -> Result<u64, TableError> {
    let table = Table::open(file)?;
    let plans: Vec<Plan<'_>> = arrays.iter().map(|array| Plan::new(array, table.fields())).collect::<Result<_, _>>()?;
    let mut archive = ZipWriter::new(BufWriter::new(out));
    let mut total = None;
    for plan in plans {
        let (rows, width) = plan.measure(&table)?;
        total = Some(rows);
        // Stored: what is sealed next does not shrink, and the enclave reads it without inflating.
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        archive.start_file(format!("{}.npy", plan.array.name), options).map_err(zipped)?;
        archive.write_all(&header(plan.kind, rows, width))?;
        let (mut bytes, mut done) = (Vec::new(), 0u64);
        for batch in table.batches(Some(&plan.places), BATCH)? {
            let batch = batch?;
            bytes.clear();
            plan.fill(&batch, done, width, &mut bytes)?;
            archive.write_all(&bytes)?;
            done = done.saturating_add(batch.num_rows() as u64);
        }
    }
    archive.finish().map_err(zipped)?.flush()?;
    total.ok_or(TableError::NoRows)
}

/// Rows that are converted at once; a row may be an image.
const BATCH: usize = 256;

/// Element type of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    U8,
    I8,
    I32,
    I64,
    F32,
    F64,
}

struct Plan<'a> {
    array: &'a Array,
    /// In the table, ascending: that is how batches have them.
    places: Vec<usize>,
    /// Of each wanted column, its place in a batch.
    order: Vec<usize>,
    fields: Vec<&'a Field>,
    list: bool,
    kind: Kind,
}

impl<'a> Plan<'a> {
    fn new(array: &'a Array, table: &'a [Field]) -> Result<Self, TableError> {
        let mut wanted = Vec::with_capacity(array.columns.len());
        for name in &array.columns {
            let place = table.iter().position(|field| field.name == *name);
            wanted.push(place.ok_or_else(|| TableError::NoColumn(name.clone()))?);
        }
        let mut places = wanted.clone();
        places.sort_unstable();
        places.dedup();
        if wanted.is_empty() || places.len() != wanted.len() {
            return Err(TableError::Array(array.name.clone()));
        }
        let order = wanted.iter().map(|place| places.binary_search(place).unwrap_or(0)).collect();
        let fields: Vec<&Field> = wanted.iter().filter_map(|place| table.get(*place)).collect();
        let mut kinds = Vec::with_capacity(fields.len());
        let mut list = false;
        for field in &fields {
            let element = match &field.kind {
                DataType::FixedSizeList(element, _) | DataType::List(element) | DataType::LargeList(element) => {
                    list = true;
                    element.data_type()
                }
                kind => kind,
            };
            let unfit = || TableError::Element { column: field.name.clone(), kind: field.kind.to_string() };
            kinds.push(kind(element).ok_or_else(unfit)?);
        }
        if list && fields.len() > 1 {
            return Err(TableError::Array(array.name.clone()));
        }
        let first = kinds.first().copied().unwrap_or(Kind::F64);
        let kind = if kinds.iter().all(|kind| *kind == first) { first } else { Kind::F64 };
        Ok(Self { array, places, order, fields, list, kind })
    }

    /// Rows, and elements of one.
    fn measure(&self, table: &Table<'_>) -> Result<(u64, Option<usize>), TableError> {
        let (mut rows, mut length) = (0u64, None);
        for batch in table.batches(Some(&self.places), BATCH)? {
            let batch = batch?;
            if length.is_none() && self.list && batch.num_rows() > 0 {
                length =
                    batch.columns().first().filter(|column| column.is_valid(0)).and_then(|column| lengths(column, 0));
            }
            rows = rows.saturating_add(batch.num_rows() as u64);
        }
        if rows == 0 {
            return Err(TableError::NoRows);
        }
        let several = (self.fields.len() > 1).then_some(self.fields.len());
        Ok((rows, if self.list { Some(length.unwrap_or(0)) } else { several }))
    }

    fn fill(&self, batch: &RecordBatch, done: u64, width: Option<usize>, out: &mut Vec<u8>) -> Result<(), TableError> {
        let mut columns = Vec::with_capacity(self.order.len());
        for (place, field) in self.order.iter().zip(&self.fields) {
            let unfit = || TableError::Element { column: field.name.clone(), kind: field.kind.to_string() };
            columns.push((*field, batch.columns().get(*place).ok_or_else(unfit)?));
        }
        for row in 0..batch.num_rows() {
            let number = done.saturating_add(row as u64).saturating_add(1);
            for (field, column) in &columns {
                let missing = || TableError::Missing { row: number, column: field.name.clone() };
                if column.is_null(row) {
                    return Err(missing());
                }
                if !self.list {
                    element(column.as_ref(), row, self.kind, field, number, out)?;
                    continue;
                }
                let values = list(column.as_ref(), row).ok_or_else(missing)?;
                let (expected, found) = (width.unwrap_or(0), values.len());
                if expected != found {
                    return Err(TableError::Length { row: number, column: field.name.clone(), expected, found });
                }
                for at in 0..found {
                    if values.is_null(at) {
                        return Err(missing());
                    }
                    element(values.as_ref(), at, self.kind, field, number, out)?;
                }
            }
        }
        Ok(())
    }
}

fn kind(element: &DataType) -> Option<Kind> {
    Some(match element {
        DataType::Boolean => Kind::Bool,
        DataType::UInt8 => Kind::U8,
        DataType::Int8 => Kind::I8,
        DataType::Int16 | DataType::UInt16 | DataType::Int32 => Kind::I32,
        DataType::UInt32 | DataType::Int64 | DataType::UInt64 => Kind::I64,
        DataType::Float32 => Kind::F32,
        DataType::Float64 => Kind::F64,
        _ => return None,
    })
}

fn list(column: &dyn arrow_array::Array, row: usize) -> Option<arrow_array::ArrayRef> {
    Some(match column.data_type() {
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(row),
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        _ => return None,
    })
}

fn lengths(column: &arrow_array::ArrayRef, row: usize) -> Option<usize> {
    list(column.as_ref(), row).map(|values| values.len())
}

/// Appends one element as type `to`.
fn element(
    values: &dyn arrow_array::Array,
    at: usize,
    to: Kind,
    field: &Field,
    row: u64,
    out: &mut Vec<u8>,
) -> Result<(), TableError> {
    let column = || field.name.clone();
    let int = |value: i64, out: &mut Vec<u8>| match to {
        Kind::F64 => out.extend_from_slice(&(value as f64).to_le_bytes()),
        Kind::F32 => out.extend_from_slice(&(value as f32).to_le_bytes()),
        Kind::I64 => out.extend_from_slice(&value.to_le_bytes()),
        Kind::I32 => out.extend_from_slice(&(value as i32).to_le_bytes()),
        // Only a column of that very type gets there.
        Kind::Bool | Kind::U8 | Kind::I8 => out.push(value as u8),
    };
    macro_rules! int {
        ($kind:ty) => {
            int(i64::from(values.as_primitive::<$kind>().value(at)), out)
        };
    }
    match values.data_type() {
        DataType::Boolean => int(i64::from(values.as_boolean().value(at)), out),
        DataType::Int8 => int!(Int8Type),
        DataType::Int16 => int!(Int16Type),
        DataType::Int32 => int!(Int32Type),
        DataType::Int64 => int!(Int64Type),
        DataType::UInt8 => int!(UInt8Type),
        DataType::UInt16 => int!(UInt16Type),
        DataType::UInt32 => int!(UInt32Type),
        DataType::UInt64 => {
            let value = i64::try_from(values.as_primitive::<UInt64Type>().value(at));
            int(value.map_err(|_| TableError::Range { row, column: column() })?, out);
        }
        DataType::Float32 | DataType::Float64 => {
            let single = values.as_primitive_opt::<Float32Type>().map(|values| values.value(at));
            let double = values.as_primitive_opt::<Float64Type>().map(|values| values.value(at));
            let value = double.unwrap_or_else(|| single.unwrap_or(f32::NAN).into());
            if !value.is_finite() {
                return Err(TableError::NotFinite { row, column: column() });
            }
            match single.filter(|_| to == Kind::F32) {
                Some(single) => out.extend_from_slice(&single.to_le_bytes()),
                None => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        kind => return Err(TableError::Element { column: column(), kind: kind.to_string() }),
    }
    Ok(())
}

/// The header of NEP 1, version 1.
fn header(kind: Kind, rows: u64, width: Option<usize>) -> Vec<u8> {
    let descr = match kind {
        Kind::Bool => "|b1",
        Kind::U8 => "|u1",
        Kind::I8 => "|i1",
        Kind::I32 => "<i4",
        Kind::I64 => "<i8",
        Kind::F32 => "<f4",
        Kind::F64 => "<f8",
    };
    let shape = width.map_or(format!("({rows},)"), |width| format!("({rows}, {width})"));
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, length and text together are a multiple of 64.
    let padded = text.len().saturating_add(11).next_multiple_of(64).saturating_sub(11);
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(padded.saturating_add(1) as u16).to_le_bytes());
    out.extend_from_slice(format!("{text:<padded$}\n").as_bytes());
    out
}

fn zipped(error: zip::result::ZipError) -> TableError {
    TableError::Io(error.into())
}
