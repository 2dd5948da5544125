//! Tensors from files (`.npy`, `.npz`, `.csv`), for requests to a deployment. Batch jobs send the file as it is.

use crate::{file::FileError, output::Format};
use glacier_wire::{Dtype, Tensor, TensorError};
use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

/// A file that is no table and no tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A file name that ends in none of the formats.
    #[error("no format is known by this file name")]
    Format,
    /// Larger than one request may be.
    #[error("the input has more than {max} bytes")]
    TooLarge {
        /// Bytes that are read.
        max: u64,
    },
    /// Not a `.npy` file of a version and layout that is read.
    #[error("not a .npy file in C order")]
    Npy,
    /// An element type that models do not take here.
    #[error("the array's element type is not one of f4 f8 i4 i8 i1 u1 b1, little-endian")]
    Dtype,
    /// A number that the model's input cannot be: a fraction where it takes whole numbers, or out of its range.
    #[error("the model takes {}, and the input holds what that cannot be", oip_datatype(*.0))]
    Unfit(Dtype),
    /// Not a ZIP archive, or an unreadable member.
    #[error("not a .npz file")]
    Npz,
    /// A cell that is not a number. Counted from 1, the header line included.
    #[error("line {line}, column {column}: not a number")]
    Cell {
        /// Line of the file.
        line: u64,
        /// Column of the line.
        column: u64,
    },
    /// A line with more or fewer cells than the first.
    #[error("line {line} has {found} cells, the first has {expected}")]
    Width {
        /// Line of the file.
        line: u64,
        /// Cells of the first line.
        expected: u64,
        /// Cells of this line.
        found: u64,
    },
    /// A column that the model wants.
    #[error("the input has no column `{0}`")]
    MissingColumn(String),
    /// A column that the model wants stands there twice.
    #[error("the input has the column `{0}` twice")]
    ColumnTwice(String),
    /// There are no rows.
    #[error("the input has no rows")]
    Empty,
    /// Shape and data do not fit.
    #[error("an array does not fit its shape: {0}")]
    Tensor(TensorError),
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Most bytes of one request's input.
pub const MAX_INPUT_BYTES: u64 = 256 << 20;

/// Reads the tensors of a file: one of a `.npy` or `.csv` (named ""), all of a `.npz` by their names.
///
/// A CSV becomes a matrix: of 64-bit integers where all its numbers are whole, else of 64-bit floats, so that
/// [`Model::fit`](crate::deployment::Model::fit) finds every digit that the model's own type holds. A first line that
/// holds any word is its header. Where there is a header and `features` is not empty, these columns are taken, in this order, and all
/// others are left out: so a table whose columns stand in another order than the model's is not
/// misread. Without a header the columns are taken as they stand.
pub fn read_tensors(path: &Path, features: &[String]) -> Result<Vec<Tensor>, InputError> {
    let format = Format::of(path).ok_or(InputError::Format)?;
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::from)?;
    read_bounded(file, MAX_INPUT_BYTES, &mut bytes)?;
    tensors_from(format, &bytes, features)
}

/// Reads the tensors of a file's bytes, as [`read_tensors`] does.
pub fn tensors_from(format: Format, bytes: &[u8], features: &[String]) -> Result<Vec<Tensor>, InputError> {
    match format {
        Format::Npy => Ok(vec![npy("", bytes)?]),
        Format::Npz => npz(bytes),
        Format::Csv => Ok(vec![csv(bytes, features)?]),
        Format::Json => Err(InputError::Format),
    }
}

/// How the Open Inference Protocol spells an element type.
pub(crate) fn oip_datatype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Fp64 => "FP64",
        Dtype::Int32 => "INT32",
        Dtype::Int64 => "INT64",
        Dtype::Int8 => "INT8",
        Dtype::Uint8 => "UINT8",
        Dtype::Bool => "BOOL",
        _ => "FP32",
    }
}

fn read_bounded(from: impl Read, max: u64, into: &mut Vec<u8>) -> Result<(), InputError> {
    from.take(max.saturating_add(1)).read_to_end(into).map_err(FileError::from)?;
    if into.len() as u64 > max {
        return Err(InputError::TooLarge { max });
    }
    Ok(())
}

fn npz(bytes: &[u8]) -> Result<Vec<Tensor>, InputError> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|_| InputError::Npz)?;
    let mut tensors = Vec::new();
    let mut left = MAX_INPUT_BYTES;
    for i in 0..archive.len() {
        let member = archive.by_index(i).map_err(|_| InputError::Npz)?;
        let name =
            member.name().ok().and_then(|name| Some(name.strip_suffix(".npy")?.to_owned())).ok_or(InputError::Npz)?;
        let mut data = Vec::new();
        read_bounded(member, left, &mut data)?;
        left = left.saturating_sub(data.len() as u64);
        tensors.push(npy(&name, &data)?);
    }
    if tensors.is_empty() { Err(InputError::Empty) } else { Ok(tensors) }
}

fn npy(name: &str, bytes: &[u8]) -> Result<Tensor, InputError> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or(InputError::Npy)?;
    let (len, rest) = match rest {
        [1, 0, a, b, rest @ ..] => (u32::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, 0, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]), rest),
        _ => return Err(InputError::Npy),
    };
    let (header, data) = rest.split_at_checked(len as usize).ok_or(InputError::Npy)?;
    let header = std::str::from_utf8(header).map_err(|_| InputError::Npy)?;
    if !header_value(header, "fortran_order")?.starts_with("False") {
        return Err(InputError::Npy);
    }
    let dtype = match quoted(header_value(header, "descr")?).ok_or(InputError::Dtype)? {
        "<f4" => Dtype::Fp32,
        "<f8" => Dtype::Fp64,
        "<i4" => Dtype::Int32,
        "<i8" => Dtype::Int64,
        "|i1" => Dtype::Int8,
        "|u1" => Dtype::Uint8,
        "|b1" => Dtype::Bool,
        _ => return Err(InputError::Dtype),
    };
    let (dims, _) = header_value(header, "shape")?
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .ok_or(InputError::Npy)?;
    let shape = dims
        .split(',')
        .map(str::trim)
        .filter(|extent| !extent.is_empty())
        .map(|extent| extent.parse::<u64>().map_err(|_| InputError::Npy))
        .collect::<Result<Vec<_>, _>>()?;
    Tensor::new(name, dtype, shape, data.to_vec()).map_err(InputError::Tensor)
}

/// What follows `'key':` in the header's Python literal.
fn header_value<'a>(header: &'a str, key: &str) -> Result<&'a str, InputError> {
    let (_, rest) = header.split_once(&format!("'{key}'")).ok_or(InputError::Npy)?;
    Ok(rest.trim_start().strip_prefix(':').ok_or(InputError::Npy)?.trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text.strip_prefix(quote)?.split_once(quote).map(|(word, _)| word)
}

fn csv(bytes: &[u8], features: &[String]) -> Result<Tensor, InputError> {
    // A byte order mark is no part of the first column's name.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let mut values = Numbers::Whole(Vec::new());
    let (mut width, mut rows, mut wanted) = (None, 0u64, None);
    for (line, record) in (1u64..).zip(reader.byte_records()) {
        let record = record.map_err(|_| InputError::Cell { line, column: 1 })?;
        let found = record.len() as u64;
        let expected = *width.get_or_insert(found);
        if found != expected {
            return Err(InputError::Width { line, expected, found });
        }
        if line == 1 && record.iter().any(|cell| number(cell).is_none()) {
            if !features.is_empty() {
                wanted = Some(features.iter().map(|name| column(&record, name)).collect::<Result<Vec<_>, _>>()?);
            }
            continue;
        }
        for place in 0..wanted.as_ref().map_or(record.len(), Vec::len) {
            let index = wanted.as_ref().and_then(|wanted: &Vec<usize>| wanted.get(place)).copied().unwrap_or(place);
            let column = (index as u64).saturating_add(1);
            let pushed = record.get(index).and_then(|cell| values.push(cell));
            pushed.ok_or(InputError::Cell { line, column })?;
        }
        rows = rows.saturating_add(1);
    }
    if rows == 0 {
        return Err(InputError::Empty);
    }
    let width = wanted.map_or(width.unwrap_or(0), |wanted| wanted.len() as u64);
    let (dtype, data) = values.finish();
    Tensor::new("", dtype, vec![rows, width], data).map_err(InputError::Tensor)
}

/// The numbers of a table: whole for as long as there is nothing else.
enum Numbers {
    Whole(Vec<i64>),
    Real(Vec<f64>),
}

impl Numbers {
    /// Appends the number that a cell says; `None` where it says none.
    fn push(&mut self, cell: &[u8]) -> Option<()> {
        if let Self::Whole(values) = self {
            if let Ok(value) = std::str::from_utf8(cell).ok()?.parse() {
                values.push(value);
                return Some(());
            }
            // What is rounded here is 2^53 or more: `Model::fit` makes no whole number of that again.
            *self = Self::Real(std::mem::take(values).into_iter().map(|value| value as f64).collect());
        }
        if let Self::Real(values) = self {
            values.push(number(cell)?);
        }
        Some(())
    }

    fn finish(self) -> (Dtype, Vec<u8>) {
        match self {
            Self::Whole(values) => (Dtype::Int64, values.into_iter().flat_map(i64::to_le_bytes).collect()),
            Self::Real(values) => (Dtype::Fp64, values.into_iter().flat_map(f64::to_le_bytes).collect()),
        }
    }
}

/// Where the header has the column.
fn column(header: &csv::ByteRecord, name: &str) -> Result<usize, InputError> {
    let mut places = header.iter().enumerate().filter(|(_, cell)| *cell == name.as_bytes()).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(InputError::MissingColumn(name.to_owned())),
        (Some(_), Some(_)) => Err(InputError::ColumnTwice(name.to_owned())),
    }
}

/// A finite number. `nan` and `inf` are words that a table says by mistake.
fn number(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell).ok()?.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn csv_with_and_without_header() {
        let with = tensors_from(Format::Csv, b"a,b\n1,2\n3,4.5\n", &[]).unwrap();
        assert_eq!(with, tensors_from(Format::Csv, b"1,2\n3,4.5", &[]).unwrap());
        assert_eq!(with[0].shape, [2, 2]);
        assert_eq!(with[0].dtype, Dtype::Fp64);
        assert_eq!(reals(&with[0]), [1.0, 2.0, 3.0, 4.5]);
    }

    fn reals(tensor: &Tensor) -> Vec<f64> {
        tensor.data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    fn wholes(tensor: &Tensor) -> Vec<i64> {
        assert_eq!(tensor.dtype, Dtype::Int64);
        tensor.data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn csv_keeps_every_digit() {
        let read = |text: &str| tensors_from(Format::Csv, text.as_bytes(), &[]).unwrap().remove(0);
        let ids = [16_777_217, -9_007_199_254_740_993, i64::MAX, i64::MIN];
        assert_eq!(wholes(&read(&ids.map(|id| id.to_string()).join("\n"))), ids);
        assert_eq!(
            reals(&read("16777217,0.1\n1e300,-0.30000000000000004\n")),
            [16_777_217.0, 0.1, 1e300, -0.300_000_000_000_000_04]
        );
        assert_eq!(reals(&read("9223372036854775808\n")), [9_223_372_036_854_775_808.0]);
    }

    #[test]
    fn csv_names_the_bad_cell() {
        assert_eq!(tensors_from(Format::Csv, b"a,b\n1,x\n", &[]), Err(InputError::Cell { line: 2, column: 2 }));
        assert_eq!(tensors_from(Format::Csv, b"a,b\n1,NaN\n", &[]), Err(InputError::Cell { line: 2, column: 2 }));
        assert_eq!(
            tensors_from(Format::Csv, b"a,b\n1\n", &[]),
            Err(InputError::Width { line: 2, expected: 2, found: 1 })
        );
        assert_eq!(tensors_from(Format::Csv, b"a,b\n", &[]), Err(InputError::Empty));
    }

    #[test]
    fn csv_columns_are_taken_by_the_models_names() {
        let read = |text: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Ok::<_, InputError>(wholes(&tensors_from(Format::Csv, text.as_bytes(), &names)?[0]))
        };
        assert_eq!(read("b,note,a\n2,x,1\n", &["a", "b"]), Ok(vec![1, 2]));
        assert_eq!(read("\u{feff}b,a\n2,1\n", &["a", "b"]), Ok(vec![1, 2]));
        assert_eq!(read("1,2\n", &["a", "b"]), Ok(vec![1, 2]));
        assert_eq!(read("a,c\n1,2\n", &["a", "b"]), Err(InputError::MissingColumn("b".to_owned())));
        assert_eq!(read("a,a\n1,2\n", &["a"]), Err(InputError::ColumnTwice("a".to_owned())));
    }

    #[test]
    fn npy_of_another_layout_is_refused() {
        let good = crate::output::npy(&Tensor::from_f32("", vec![2], &[1.0, 2.0]).unwrap());
        assert!(tensors_from(Format::Npy, &good, &[]).is_ok());
        let replaced = |from: &str, to: &str| {
            let at = good.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let mut bytes = good.clone();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            tensors_from(Format::Npy, &bytes, &[])
        };
        assert_eq!(replaced("False", "True "), Err(InputError::Npy));
        assert_eq!(replaced("<f4", ">f4"), Err(InputError::Dtype));
        assert_eq!(replaced("(2,)", "(3,)"), Err(InputError::Tensor(TensorError::Length { expected: 12, found: 8 })));
        assert!(matches!(tensors_from(Format::Npy, &good[..good.len() - 1], &[]), Err(InputError::Tensor(_))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_crash(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend_from_slice(&bytes);
            for format in [Format::Npy, Format::Npz, Format::Csv] {
                let _ = tensors_from(format, &bytes, &[]);
                let _ = tensors_from(format, &file, &[]);
            }
        }
    }
}
