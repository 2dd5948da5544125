//! Tables: CSV with a header (RFC 4180), read with fixed buffers.

use super::{Sink, batch, element, element::Number, fits, window};
use crate::{
    data::{CellFault, DataError},
    info::{Dim, ModelInfo, Port},
    onnx::Name,
};
use csv_core::ReadRecordResult;
use glacier_wire::{Dtype, Tensor};
use std::{collections::HashMap, io::Read};

/// Most columns.
pub const MAX_COLUMNS: usize = 1 << 16;
/// Longest record, header included.
pub const MAX_RECORD: usize = 4 << 20;

pub(super) fn read<R: Read, S: Sink>(data: R, info: &ModelInfo, sink: &mut S) -> Result<u64, S::Error> {
    let [port] = info.inputs.as_slice() else { return Err(DataError::NotTable.into()) };
    let mut records = Records::new(data);
    let header = records.header()?;
    let wanted = columns(&header, info, port)?;
    let (batch, row) = (batch(info)?, row_shape(port, wanted.len() as u64)?);
    fits(port, &row)?;
    let step = window(sink.begin(std::slice::from_ref(&row), None)?, batch) as u64;
    let mut rows = 0u64;
    let (mut data, mut count) = (Vec::new(), 0u64);
    loop {
        let more = records.next()?;
        if more {
            rows = rows.saturating_add(1);
            records.check(rows, header.len())?;
            for at in &wanted {
                let cell = records.cell(*at);
                parse(cell, port.dtype, &mut data).map_err(|fault| {
                    let column = Name::new(header.get(*at).map_or("", String::as_str));
                    DataError::Cell { row: rows, column, fault }
                })?;
            }
            count = count.saturating_add(1);
        }
        if count > 0 && (count == step || !more) {
            if let Some(batch) = batch.filter(|batch| count != *batch) {
                return Err(DataError::Batch { batch }.into());
            }
            let shape = std::iter::once(count).chain(row.iter().copied()).collect();
            let tensor = Tensor::new(port.name.clone(), port.dtype, shape, std::mem::take(&mut data));
            let tensor = tensor.map_err(|_| DataError::Length(Name::new(&port.name)))?;
            sink.window(count, vec![tensor])?;
            count = 0;
        }
        if !more {
            return Ok(rows);
        }
    }
}

/// Places of the model's columns in the header.
fn columns(header: &[String], info: &ModelInfo, port: &Port) -> Result<Vec<usize>, DataError> {
    let mut places = HashMap::new();
    for (at, name) in header.iter().enumerate() {
        if places.insert(name.as_str(), at).is_some() {
            return Err(DataError::DuplicateColumn(Name::new(name)));
        }
    }
    let Some(features) = &info.features else {
        let expected = width(port)?.unwrap_or(header.len() as u64);
        if expected != header.len() as u64 {
            return Err(DataError::Columns { expected, found: header.len() as u64 });
        }
        return Ok((0..header.len()).collect());
    };
    let place =
        |name: &String| places.get(name.as_str()).copied().ok_or_else(|| DataError::MissingColumn(Name::new(name)));
    features.iter().map(place).collect()
}

/// Columns that one row of the input takes; `None` when any number goes.
pub(super) fn width(port: &Port) -> Result<Option<u64>, DataError> {
    match port.dims.as_deref() {
        Some([_, Dim::Free { .. }]) => Ok(None),
        Some([_, rest @ ..]) if !rest.is_empty() => {
            let fixed: Option<Vec<u64>> = rest.iter().map(Dim::fixed).collect();
            fixed.as_deref().and_then(crate::meter::product).map(Some).ok_or(DataError::NotTable)
        }
        _ => Err(DataError::NotTable),
    }
}

/// Shape of one row: the cells in order fill the input's fixed dimensions.
pub(super) fn row_shape(port: &Port, columns: u64) -> Result<Vec<u64>, DataError> {
    match width(port)? {
        None => Ok(vec![columns]),
        Some(expected) if expected != columns => Err(DataError::Columns { expected, found: columns }),
        Some(_) => Ok(port.dims.iter().flatten().skip(1).filter_map(Dim::fixed).collect()),
    }
}

pub(super) fn parse(cell: &[u8], dtype: Dtype, out: &mut Vec<u8>) -> Result<(), CellFault> {
    let cell = str::from_utf8(cell.trim_ascii()).map_err(|_| CellFault::NotNumber)?;
    if cell.is_empty() {
        return Err(CellFault::Empty);
    }
    if matches!(dtype, Dtype::Fp32 | Dtype::Fp64) {
        let value: f64 = cell.parse().map_err(|_| CellFault::NotNumber)?;
        return element::push(out, dtype, Number::Float(value)).ok_or(CellFault::NotFinite);
    }
    let value: i64 = cell.parse().map_err(|_| match cell.parse::<f64>() {
        Ok(_) => CellFault::Range,
        Err(_) => CellFault::NotNumber,
    })?;
    element::push(out, dtype, Number::Int(value)).ok_or(CellFault::Range)
}

/// Records out of a stream; no record grows past its buffers.
pub(super) struct Records<R> {
    source: R,
    parser: csv_core::Reader,
    input: Vec<u8>,
    /// What of `input` has not been parsed.
    start: usize,
    end: usize,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Cells of the current record.
    cells: usize,
}

impl<R: Read> Records<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            parser: csv_core::Reader::new(),
            input: vec![0; 64 << 10],
            start: 0,
            end: 0,
            text: vec![0; MAX_RECORD],
            ends: vec![0; MAX_COLUMNS],
            cells: 0,
        }
    }

    pub(super) fn header(&mut self) -> Result<Vec<String>, DataError> {
        if !self.next()? {
            return Err(DataError::NoRows);
        }
        let name = |at| str::from_utf8(self.cell(at)).map(|name| name.trim().to_owned()).map_err(|_| DataError::Header);
        (0..self.cells).map(name).collect()
    }

    /// Moves to the next record; false at the end.
    pub(super) fn next(&mut self) -> Result<bool, DataError> {
        let (mut text, mut ends) = (0usize, 0usize);
        loop {
            if self.start == self.end {
                self.start = 0;
                self.end = self.source.read(&mut self.input).map_err(|_| DataError::Truncated)?;
            }
            let input = self.input.get(self.start..self.end).unwrap_or_default();
            let (to, stops) = (self.text.get_mut(text..), self.ends.get_mut(ends..));
            let (result, read, wrote, stopped) =
                self.parser.read_record(input, to.unwrap_or_default(), stops.unwrap_or_default());
            self.start = self.start.saturating_add(read);
            text = text.saturating_add(wrote);
            ends = ends.saturating_add(stopped);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    return Err(DataError::TooLarge { what: "one record", max: MAX_RECORD as u64 });
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(DataError::TooLarge { what: "columns", max: MAX_COLUMNS as u64 });
                }
                ReadRecordResult::Record => {
                    self.cells = ends;
                    return Ok(true);
                }
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    pub(super) fn check(&self, row: u64, expected: usize) -> Result<(), DataError> {
        if self.cells != expected {
            return Err(DataError::Cells { row, expected: expected as u64, found: self.cells as u64 });
        }
        Ok(())
    }

    pub(super) fn cell(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(0);
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn into_source(self) -> R {
        self.source
    }
}
