//! Arrays: `.npy` (NEP 1) and `.npz`.

use super::{Data, MAX_NPZ, Sink, batch, element, fits, window};
use crate::{
    data::DataError,
    info::{ModelInfo, Port},
    onnx::Name,
};
use glacier_wire::{Dtype, Tensor};
use std::io::{Cursor, Read};

/// Longest header; NumPy's own is below 1 KiB for any array but of structures.
const MAX_HEADER: usize = 64 << 10;
/// Most bytes of one row.
const MAX_ROW: u64 = 256 << 20;

pub(super) fn read_one<R: Read, S: Sink>(data: Data<R>, info: &ModelInfo, sink: &mut S) -> Result<u64, S::Error> {
    let [port] = info.inputs.as_slice() else {
        return Err(DataError::Inputs { expected: info.inputs.len() as u64, found: 1 }.into());
    };
    let array = Array::open(data, port)?;
    read(vec![(port, array)], info, sink)
}

pub(super) fn read_archive<R: Read, S: Sink>(data: Data<R>, info: &ModelInfo, sink: &mut S) -> Result<u64, S::Error> {
    let mut bytes = Vec::new();
    let held = data.take(MAX_NPZ.saturating_add(1)).read_to_end(&mut bytes);
    held.map_err(|_| DataError::Truncated)?;
    if bytes.len() as u64 > MAX_NPZ {
        return Err(DataError::TooLarge { what: "the .npz archive", max: MAX_NPZ }.into());
    }
    let open = || zip::ZipArchive::new(Cursor::new(bytes.as_slice())).map_err(|_| DataError::Npz);
    let directory = open()?;
    let input =
        |name: &str| name.strip_suffix(".npy").and_then(|name| info.inputs.iter().find(|port| port.name == name));
    for name in directory.file_names() {
        let name = name.map_err(|_| DataError::Npz)?;
        if input(&name).is_none() {
            return Err(DataError::UnknownInput(Name::new(&name)).into());
        }
    }
    // An open entry borrows its archive, and all inputs are read side by side.
    let mut archives = Vec::with_capacity(info.inputs.len());
    for _ in &info.inputs {
        archives.push(directory.clone());
    }
    let mut arrays = Vec::with_capacity(info.inputs.len());
    for (port, archive) in info.inputs.iter().zip(&mut archives) {
        let name = format!("{}.npy", port.name);
        let at = archive.index_for_name(&name).ok_or_else(|| DataError::MissingInput(Name::new(&port.name)))?;
        let entry = archive.by_index(at).map_err(|_| DataError::Npz)?;
        arrays.push((port, Array::open(entry, port)?));
    }
    read(arrays, info, sink)
}

fn read<R: Read, S: Sink>(mut arrays: Vec<(&Port, Array<R>)>, info: &ModelInfo, sink: &mut S) -> Result<u64, S::Error> {
    let batch = batch(info)?;
    let rows = arrays.first().map_or(0, |(_, array)| array.rows);
    if let Some((port, _)) = arrays.iter().find(|(_, array)| array.rows != rows) {
        return Err(DataError::Rows(Name::new(&port.name)).into());
    }
    if let Some(batch) = batch.filter(|batch| rows.checked_rem(*batch) != Some(0)) {
        return Err(DataError::Batch { batch }.into());
    }
    let shapes: Vec<Vec<u64>> = arrays.iter().map(|(_, array)| array.row.clone()).collect();
    let step = window(sink.begin(&shapes, Some(rows))?, batch) as u64;
    let mut done = 0u64;
    while done < rows {
        let count = step.min(rows.saturating_sub(done));
        let mut inputs = Vec::with_capacity(arrays.len());
        for (port, array) in &mut arrays {
            inputs.push(array.take(port, done, count)?);
        }
        sink.window(count, inputs)?;
        done = done.saturating_add(count);
    }
    for (_, array) in &mut arrays {
        array.close()?;
    }
    Ok(done)
}

/// An array whose rows are read in order.
pub(super) struct Array<R> {
    source: R,
    pub(super) dtype: Dtype,
    pub(super) rows: u64,
    /// Shape of one row.
    pub(super) row: Vec<u64>,
    /// Elements of one row.
    pub(super) width: u64,
}

impl<R: Read> Array<R> {
    pub(super) fn open(source: R, port: &Port) -> Result<Self, DataError> {
        let array = Self::of_rows(source, &port.name)?;
        fits(port, &array.row)?;
        Ok(array)
    }

    /// Any array that has rows; `name` is for errors.
    pub(super) fn of_rows(mut source: R, name: &str) -> Result<Self, DataError> {
        let mut start = [0u8; 8];
        source.read_exact(&mut start).map_err(|_| DataError::Truncated)?;
        let len = match start {
            [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => {
                let mut len = [0u8; 2];
                source.read_exact(&mut len).map_err(|_| DataError::Truncated)?;
                u16::from_le_bytes(len).into()
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => {
                let mut len = [0u8; 4];
                source.read_exact(&mut len).map_err(|_| DataError::Truncated)?;
                u32::from_le_bytes(len) as usize
            }
            _ => return Err(DataError::NpyHeader),
        };
        if len > MAX_HEADER {
            return Err(DataError::TooLarge { what: "the .npy header", max: MAX_HEADER as u64 });
        }
        let mut header = vec![0u8; len];
        source.read_exact(&mut header).map_err(|_| DataError::Truncated)?;
        let header = Header::parse(str::from_utf8(&header).map_err(|_| DataError::NpyHeader)?)?;
        let [rows, row @ ..] = header.shape.as_slice() else {
            return Err(DataError::NotRows(Name::new(name)));
        };
        let too_large = DataError::TooLarge { what: "one row", max: MAX_ROW };
        let width = crate::meter::product(row).filter(|width| *width <= MAX_ROW / 8).ok_or(too_large)?;
        // Rows of nothing could be promised without end.
        if width == 0 {
            return Err(DataError::NotRows(Name::new(name)));
        }
        Ok(Self { source, dtype: header.dtype, rows: *rows, row: row.to_vec(), width })
    }

    /// The next `count` rows, of which the first is number `done` from 0.
    pub(super) fn take(&mut self, port: &Port, done: u64, count: u64) -> Result<Tensor, DataError> {
        let bytes = self.raw(count)?;
        let data = element::convert(bytes, self.dtype, port, done.saturating_add(1), self.width)?;
        let shape = std::iter::once(count).chain(self.row.iter().copied()).collect();
        Tensor::new(port.name.clone(), port.dtype, shape, data).map_err(|_| DataError::Length(Name::new(&port.name)))
    }

    /// The next `count` rows as they stand.
    pub(super) fn raw(&mut self, count: u64) -> Result<Vec<u8>, DataError> {
        let need = self.width.checked_mul(count).and_then(|n| n.checked_mul(self.dtype.size() as u64));
        let need = need.and_then(|need| usize::try_from(need).ok()).ok_or(DataError::Truncated)?;
        // Grown as bytes come: a header may promise what does not follow.
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(need as u64).read_to_end(&mut bytes);
        if read.map_err(|_| DataError::Truncated)? < need {
            return Err(DataError::Truncated);
        }
        Ok(bytes)
    }

    pub(super) fn into_source(self) -> R {
        self.source
    }

    pub(super) fn close(&mut self) -> Result<(), DataError> {
        match self.source.read(&mut [0u8; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(DataError::Trailing),
            Err(_) => Err(DataError::Truncated),
        }
    }
}

/// The dictionary in front of an array.
#[derive(Debug, PartialEq)]
struct Header {
    dtype: Dtype,
    shape: Vec<u64>,
}

impl Header {
    /// Reads the one form that NumPy writes: three keys, in any order.
    fn parse(text: &str) -> Result<Self, DataError> {
        let body = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let mut rest = body.ok_or(DataError::NpyHeader)?.trim();
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, tail) = quoted(rest).ok_or(DataError::NpyHeader)?;
            let tail = tail.trim_start().strip_prefix(':').ok_or(DataError::NpyHeader)?.trim_start();
            let (fresh, tail) = match key {
                "descr" => {
                    // A structured type is a list here.
                    let (value, tail) = quoted(tail).ok_or(DataError::NpyDtype)?;
                    (descr.replace(value).is_none(), tail)
                }
                "fortran_order" => {
                    let (value, tail) = match tail.strip_prefix("False") {
                        Some(tail) => (false, tail),
                        None => (true, tail.strip_prefix("True").ok_or(DataError::NpyHeader)?),
                    };
                    (fortran.replace(value).is_none(), tail)
                }
                "shape" => {
                    let inner = tail.strip_prefix('(').ok_or(DataError::NpyHeader)?;
                    let (value, tail) = inner.split_once(')').ok_or(DataError::NpyHeader)?;
                    (shape.replace(dims(value)?).is_none(), tail)
                }
                _ => return Err(DataError::NpyHeader),
            };
            if !fresh {
                return Err(DataError::NpyHeader);
            }
            let tail = tail.trim_start();
            rest = match tail.strip_prefix(',') {
                Some(tail) => tail.trim_start(),
                None if tail.is_empty() => tail,
                None => return Err(DataError::NpyHeader),
            };
        }
        let (Some(descr), Some(fortran), Some(shape)) = (descr, fortran, shape) else {
            return Err(DataError::NpyHeader);
        };
        // For fewer than two dimensions the orders are the same, and NumPy says either.
        if fortran && shape.len() > 1 {
            return Err(DataError::FortranOrder);
        }
        let dtype = match descr {
            "<f4" => Dtype::Fp32,
            "<f8" => Dtype::Fp64,
            "<i4" => Dtype::Int32,
            "<i8" => Dtype::Int64,
            "|i1" => Dtype::Int8,
            "|u1" => Dtype::Uint8,
            "|b1" => Dtype::Bool,
            _ => return Err(DataError::NpyDtype),
        };
        Ok(Self { dtype, shape })
    }
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text.strip_prefix(quote)?.split_once(quote)
}

fn dims(text: &str) -> Result<Vec<u64>, DataError> {
    let text = text.trim();
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let dims = text.split(',').take(Tensor::MAX_RANK.saturating_add(1)).map(|dim| dim.trim().parse::<u64>());
    let dims: Vec<u64> = dims.collect::<Result<_, _>>().map_err(|_| DataError::NpyHeader)?;
    if dims.len() > Tensor::MAX_RANK {
        return Err(DataError::NpyHeader);
    }
    Ok(dims)
}
