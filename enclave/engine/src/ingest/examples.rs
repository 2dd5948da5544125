//! Rows with the answers that are wanted of them.

use super::{
    Data, Format, MAX_NPZ, element,
    element::Number,
    fits,
    npy::Array,
    table::{Records, parse, row_shape, width},
    told,
};
use crate::{
    data::{CellFault, DataError},
    info::{ModelInfo, Port},
    onnx::{Graph, Name},
};
use flate2::{Crc, read::DeflateDecoder};
use glacier_wire::{Dtype, Tensor};
use std::{
    collections::{HashMap, HashSet},
    io::{self, Cursor, Read},
    sync::Arc,
};

/// Where the wanted answer of a row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// Column of a table, or array of an archive. A single array has no names: there it is the last column.
    Name(String),
    /// Column of a table or of a single array, from 0.
    Place(u64),
}

/// Rows in the order of the data.
#[derive(Debug)]
pub struct Window {
    /// How many.
    pub rows: u64,
    /// The model's inputs for them, in its order.
    pub inputs: Vec<Tensor>,
    /// What is wanted, row by row.
    pub answers: Answers,
}

/// Wanted answers, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// None are wanted.
    Nothing,
    /// Cells of a table, as they stand but for blanks around them; none is empty.
    Cells(Vec<String>),
    /// Elements of arrays, all finite.
    Numbers(Vec<f64>),
}

/// Reads examples out of a stream.
///
/// A table gives its columns by the model's features, as for inference, or in order without the wanted
/// ones; a single array has the model's columns and the wanted ones side by side; an archive has an array
/// for each input and for each wanted answer.
pub struct Examples<R> {
    shape: Vec<Vec<u64>>,
    ports: Vec<Port>,
    rows: Option<u64>,
    done: u64,
    names: Vec<Name>,
    format: Open<R>,
}

enum Open<R> {
    Table { records: Box<Records<Data<R>>>, header: Vec<String>, inputs: Vec<usize>, answers: Vec<usize> },
    Array { array: Array<Data<R>>, answers: Vec<usize> },
    Archive { source: R, inputs: Vec<Array<Entry>>, answers: Vec<Array<Entry>> },
}

impl<R: Read> Examples<R> {
    /// Tells the format and reads up to the first row. An archive is held whole, up to `memory` bytes.
    ///
    /// # Errors
    /// Data that is not well formed, or does not fit the model; wanted columns that are not there.
    pub fn open(data: R, info: &ModelInfo, wanted: &[Column], memory: u64) -> Result<Self, DataError> {
        let (format, data) = told(data)?;
        let ports = info.inputs.clone();
        let (shape, rows, names, format) = match format {
            Format::Csv => table(data, info, wanted)?,
            Format::Npy => array(data, info, wanted)?,
            Format::Npz => archive(data, info, wanted, memory)?,
        };
        Ok(Self { shape, ports, rows, done: 0, names, format })
    }

    /// Shape of one row of each input, in the model's order.
    pub fn shape(&self) -> &[Vec<u64>] {
        &self.shape
    }

    /// Number of rows, where the format says it ahead.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// What the wanted answers of one row are called.
    pub fn answers(&self) -> &[Name] {
        &self.names
    }

    /// The stream, wherever it stands.
    pub fn into_source(self) -> R {
        match self.format {
            Open::Table { records, .. } => records.into_source().into_inner().1,
            Open::Array { array, .. } => array.into_source().into_inner().1,
            Open::Archive { source, .. } => source,
        }
    }

    /// The next rows, at most `count` of them (at least one); `None` after the last.
    ///
    /// # Errors
    /// Data that is not well formed or ends early, values that do not fit, no rows at all.
    pub fn next(&mut self, count: u64) -> Result<Option<Window>, DataError> {
        let left = self.rows.map(|rows| rows.saturating_sub(self.done));
        let count = left.map_or(count.max(1), |left| left.min(count.max(1)));
        let first = self.done.saturating_add(1);
        let window = match &mut self.format {
            Open::Table { records, header, inputs, answers } => {
                let (Some(port), Some(row)) = (self.ports.first(), self.shape.first()) else { return Ok(None) };
                cells(records, header, (inputs, answers), port, row, self.done, count)?
            }
            Open::Array { array, answers } => {
                let (Some(port), Some(row)) = (self.ports.first(), self.shape.first()) else { return Ok(None) };
                columns(array, answers, &self.names, port, row, first, count)?
            }
            Open::Archive { inputs, answers, .. } => {
                let mut tensors = Vec::with_capacity(inputs.len());
                for (port, array) in self.ports.iter().zip(inputs.iter_mut()) {
                    tensors.push(array.take(port, self.done, count)?);
                }
                Window { rows: count, inputs: tensors, answers: side_by_side(answers, &self.names, first, count)? }
            }
        };
        self.done = self.done.saturating_add(window.rows);
        if window.rows > 0 {
            return Ok(Some(window));
        }
        match &mut self.format {
            Open::Table { .. } => {}
            Open::Array { array, .. } => array.close()?,
            Open::Archive { inputs, answers, .. } => {
                inputs.iter_mut().chain(answers).try_for_each(Array::close)?;
            }
        }
        if self.done == 0 { Err(DataError::NoRows) } else { Ok(None) }
    }
}

type Opened<R> = (Vec<Vec<u64>>, Option<u64>, Vec<Name>, Open<R>);

fn table<R: Read>(data: Data<R>, info: &ModelInfo, wanted: &[Column]) -> Result<Opened<R>, DataError> {
    let [port] = info.inputs.as_slice() else { return Err(DataError::NotTable) };
    let mut records = Records::new(data);
    let header = records.header()?;
    let mut places = HashMap::new();
    for (at, name) in header.iter().enumerate() {
        if places.insert(name.as_str(), at).is_some() {
            return Err(DataError::DuplicateColumn(Name::new(name)));
        }
    }
    let place =
        |name: &String| places.get(name.as_str()).copied().ok_or_else(|| DataError::MissingColumn(Name::new(name)));
    let mut answers = Vec::with_capacity(wanted.len());
    for column in wanted {
        answers.push(match column {
            Column::Name(name) => place(name)?,
            Column::Place(at) => within(*at, header.len())?,
        });
    }
    let named = |at: usize| Name::new(header.get(at).map_or("", String::as_str));
    let taken = distinct(&answers).map_err(|at| DataError::DuplicateColumn(named(at)))?;
    let inputs: Vec<usize> = match &info.features {
        Some(features) => features.iter().map(place).collect::<Result<_, _>>()?,
        None => (0..header.len()).filter(|at| !taken.contains(at)).collect(),
    };
    if let Some(at) = inputs.iter().find(|at| taken.contains(at)) {
        return Err(DataError::TargetIsInput(named(*at)));
    }
    if let Some(expected) = width(port)?.filter(|expected| *expected != inputs.len() as u64) {
        return Err(DataError::Columns { expected, found: inputs.len() as u64 });
    }
    let row = row_shape(port, inputs.len() as u64)?;
    fits(port, &row)?;
    let names = answers.iter().map(|at| named(*at)).collect();
    Ok((vec![row], None, names, Open::Table { records: Box::new(records), header, inputs, answers }))
}

fn array<R: Read>(data: Data<R>, info: &ModelInfo, wanted: &[Column]) -> Result<Opened<R>, DataError> {
    let [port] = info.inputs.as_slice() else {
        return Err(DataError::Inputs { expected: info.inputs.len() as u64, found: 1 });
    };
    if wanted.is_empty() {
        let array = Array::open(data, port)?;
        let opened = (vec![array.row.clone()], Some(array.rows), Vec::new());
        return Ok((opened.0, opened.1, opened.2, Open::Array { array, answers: Vec::new() }));
    }
    let array = Array::of_rows(data, &port.name)?;
    let [columns] = array.row.as_slice() else {
        let (expected, found) = (2, (array.row.len() as u64).saturating_add(1));
        return Err(DataError::Rank { input: Name::new(&port.name), expected, found });
    };
    let total = usize::try_from(*columns).unwrap_or(usize::MAX);
    let mut answers = Vec::with_capacity(wanted.len());
    for column in wanted {
        answers.push(match column {
            Column::Name(_) => total.checked_sub(1).ok_or(DataError::NotTable)?,
            Column::Place(at) => within(*at, total)?,
        });
    }
    let named = |at: usize| Name::new(&at.to_string());
    distinct(&answers).map_err(|at| DataError::DuplicateColumn(named(at)))?;
    let row = row_shape(port, columns.saturating_sub(answers.len() as u64))?;
    fits(port, &row)?;
    let names = answers.iter().map(|at| named(*at)).collect();
    Ok((vec![row], Some(array.rows), names, Open::Array { array, answers }))
}

fn archive<R: Read>(data: Data<R>, info: &ModelInfo, wanted: &[Column], memory: u64) -> Result<Opened<R>, DataError> {
    let most = MAX_NPZ.min(memory);
    let mut bytes = Vec::new();
    let mut data = data.take(most.saturating_add(1));
    data.read_to_end(&mut bytes).map_err(|_| DataError::Truncated)?;
    if bytes.len() as u64 > most {
        return Err(DataError::TooLarge { what: "the .npz archive", max: most });
    }
    let source = data.into_inner().into_inner().1;
    let bytes: Arc<[u8]> = bytes.into();
    let mut entries = Vec::with_capacity(wanted.len());
    for column in wanted {
        match column {
            Column::Name(name) => entries.push(name.clone()),
            Column::Place(place) => return Err(DataError::MissingInput(Name::new(&place.to_string()))),
        }
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(&*bytes)).map_err(|_| DataError::Npz)?;
    let known: HashSet<&str> = info.inputs.iter().map(|port| port.name.as_str()).collect();
    if let Some(name) = entries.iter().find(|name| known.contains(name.as_str())) {
        return Err(DataError::TargetIsInput(Name::new(name)));
    }
    let known: HashSet<&str> = known.into_iter().chain(entries.iter().map(String::as_str)).collect();
    if known.len() != info.inputs.len().saturating_add(entries.len()) {
        return Err(DataError::DuplicateColumn(Name::new(entries.first().map_or("", String::as_str))));
    }
    for name in archive.file_names() {
        let name = name.map_err(|_| DataError::Npz)?;
        if !name.strip_suffix(".npy").is_some_and(|name| known.contains(name)) {
            return Err(DataError::UnknownInput(Name::new(&name)));
        }
    }
    let mut inputs = Vec::with_capacity(info.inputs.len());
    for port in &info.inputs {
        inputs.push(Array::open(Entry::open(&mut archive, &bytes, &port.name)?, port)?);
    }
    let (mut answers, mut names) = (Vec::with_capacity(entries.len()), Vec::new());
    for name in &entries {
        let array = Array::of_rows(Entry::open(&mut archive, &bytes, name)?, name)?;
        if array.row.len() > 1 {
            return Err(DataError::TargetShape(Name::new(name)));
        }
        if (names.len() as u64).saturating_add(array.width) > MAX_ANSWERS as u64 {
            return Err(DataError::TooLarge { what: "wanted answers", max: MAX_ANSWERS as u64 });
        }
        names.extend((0..array.width).map(|_| Name::new(name)));
        answers.push(array);
    }
    let rows = inputs.first().map_or(0, |array| array.rows);
    let all = info.inputs.iter().map(|port| &port.name).chain(&entries).zip(inputs.iter().chain(&answers));
    if let Some((name, _)) = all.into_iter().find(|(_, array)| array.rows != rows) {
        return Err(DataError::Rows(Name::new(name)));
    }
    let shape = inputs.iter().map(|array| array.row.clone()).collect();
    Ok((shape, Some(rows), names, Open::Archive { source, inputs, answers }))
}

/// Most wanted answers of one row.
const MAX_ANSWERS: usize = 1 << 16;

fn within(place: u64, columns: usize) -> Result<usize, DataError> {
    let at = usize::try_from(place).ok().filter(|at| *at < columns);
    at.ok_or(DataError::NoColumn { place, columns: columns as u64 })
}

fn distinct(places: &[usize]) -> Result<HashSet<usize>, usize> {
    let mut seen = HashSet::new();
    match places.iter().find(|at| !seen.insert(**at)) {
        Some(twice) => Err(*twice),
        None => Ok(seen),
    }
}

/// Up to `count` rows of a table, the first of which is number `done` from 0.
fn cells<R: Read>(
    records: &mut Records<R>,
    header: &[String],
    (inputs, answers): (&[usize], &[usize]),
    port: &Port,
    row: &[u64],
    done: u64,
    count: u64,
) -> Result<Window, DataError> {
    let (mut data, mut wanted, mut rows) = (Vec::new(), Vec::new(), 0u64);
    while rows < count && records.next()? {
        rows = rows.saturating_add(1);
        let number = done.saturating_add(rows);
        records.check(number, header.len())?;
        let fault = |at: usize, fault| {
            let column = Name::new(header.get(at).map_or("", String::as_str));
            DataError::Cell { row: number, column, fault }
        };
        for at in inputs {
            parse(records.cell(*at), port.dtype, &mut data).map_err(|what| fault(*at, what))?;
        }
        for at in answers {
            let cell = str::from_utf8(records.cell(*at)).map_err(|_| fault(*at, CellFault::NotText))?.trim();
            if cell.is_empty() {
                return Err(fault(*at, CellFault::Empty));
            }
            if cell.len() > Graph::MAX_NAME {
                return Err(fault(*at, CellFault::Long));
            }
            wanted.push(cell.to_owned());
        }
    }
    let answers = if answers.is_empty() { Answers::Nothing } else { Answers::Cells(wanted) };
    Ok(Window { rows, inputs: vec![tensor(port, rows, row, data)?], answers })
}

/// The next `count` rows of an array, the first of which is number `first` from 1.
fn columns<R: Read>(
    array: &mut Array<R>,
    answers: &[usize],
    names: &[Name],
    port: &Port,
    row: &[u64],
    first: u64,
    count: u64,
) -> Result<Window, DataError> {
    if answers.is_empty() {
        let inputs = vec![array.take(port, first.saturating_sub(1), count)?];
        return Ok(Window { rows: count, inputs, answers: Answers::Nothing });
    }
    let (bytes, size) = (array.raw(count)?, array.dtype.size());
    let length = usize::try_from(array.width).unwrap_or(usize::MAX).saturating_mul(size);
    let (mut kept, mut wanted) = (Vec::with_capacity(bytes.len()), Vec::new());
    for (number, line) in (first..).zip(bytes.chunks_exact(length.max(1))) {
        for (at, element) in line.chunks_exact(size).enumerate() {
            if !answers.contains(&at) {
                kept.extend_from_slice(element);
            }
        }
        for (at, name) in answers.iter().zip(names) {
            let element = line.chunks_exact(size).nth(*at).unwrap_or_default();
            wanted.push(answer(element, array.dtype, name, number)?);
        }
    }
    let width = array.width.saturating_sub(answers.len() as u64);
    let data = element::convert(kept, array.dtype, port, first, width)?;
    Ok(Window { rows: count, inputs: vec![tensor(port, count, row, data)?], answers: Answers::Numbers(wanted) })
}

/// The wanted answers of the next `count` rows out of arrays of their own.
fn side_by_side(arrays: &mut [Array<Entry>], names: &[Name], first: u64, count: u64) -> Result<Answers, DataError> {
    if arrays.is_empty() {
        return Ok(Answers::Nothing);
    }
    let mut taken = Vec::with_capacity(arrays.len());
    for array in arrays.iter_mut() {
        let length = usize::try_from(array.width).unwrap_or(usize::MAX).saturating_mul(array.dtype.size());
        taken.push((array.raw(count)?, length, array.dtype));
    }
    let mut wanted = Vec::new();
    for (number, at) in (first..).zip(0..usize::try_from(count).unwrap_or(usize::MAX)) {
        let mut names = names.iter();
        for (bytes, length, dtype) in &taken {
            let line = bytes.get(at.saturating_mul(*length)..).and_then(|rest| rest.get(..*length));
            for element in line.unwrap_or_default().chunks_exact(dtype.size()) {
                let name = names.next().cloned().unwrap_or_else(|| Name::new(""));
                wanted.push(answer(element, *dtype, &name, number)?);
            }
        }
    }
    Ok(Answers::Numbers(wanted))
}

fn answer(element: &[u8], dtype: Dtype, name: &Name, row: u64) -> Result<f64, DataError> {
    #[allow(clippy::cast_precision_loss, reason = "classes are small, and numbers become singles anyway")]
    let value = match element::number(element, dtype) {
        Some(Number::Int(value)) => Some(value as f64),
        Some(Number::Float(value)) => Some(value).filter(|value| value.is_finite()),
        None => None,
    };
    value.ok_or_else(|| DataError::Element { input: name.clone(), row })
}

fn tensor(port: &Port, rows: u64, row: &[u64], data: Vec<u8>) -> Result<Tensor, DataError> {
    let shape = std::iter::once(rows).chain(row.iter().copied()).collect();
    Tensor::new(port.name.clone(), port.dtype, shape, data).map_err(|_| DataError::Length(Name::new(&port.name)))
}

/// One array of an archive with a place of its own in it, so that all are read side by side.
pub(super) struct Entry {
    data: Inflate,
    sum: Crc,
    expected: u32,
}

enum Inflate {
    Stored(Slice),
    Deflated(Box<DeflateDecoder<Slice>>),
}

impl Entry {
    fn open(archive: &mut zip::ZipArchive<Cursor<&[u8]>>, bytes: &Arc<[u8]>, name: &str) -> Result<Self, DataError> {
        let at = archive.index_for_name(&format!("{name}.npy"));
        let at = at.ok_or_else(|| DataError::MissingInput(Name::new(name)))?;
        let entry = archive.by_index(at).map_err(|_| DataError::Npz)?;
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start.and_then(|start| start.checked_add(usize::try_from(entry.compressed_size()).ok()?));
        let (Some(start), Some(end)) = (start, end) else { return Err(DataError::Npz) };
        if end > bytes.len() || entry.encrypted() {
            return Err(DataError::Npz);
        }
        let slice = Slice { bytes: Arc::clone(bytes), start, end };
        let data = match entry.compression() {
            zip::CompressionMethod::Stored => Inflate::Stored(slice),
            zip::CompressionMethod::Deflated => Inflate::Deflated(Box::new(DeflateDecoder::new(slice))),
            _ => return Err(DataError::Npz),
        };
        Ok(Self { data, sum: Crc::new(), expected: entry.crc32() })
    }
}

impl Read for Entry {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.data {
            Inflate::Stored(slice) => slice.read(into)?,
            Inflate::Deflated(inflate) => inflate.read(into)?,
        };
        self.sum.update(into.get(..read).unwrap_or_default());
        if read == 0 && !into.is_empty() && self.sum.sum() != self.expected {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(read)
    }
}

struct Slice {
    bytes: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl Read for Slice {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.bytes.get(self.start..self.end).unwrap_or_default();
        let read = rest.read(into)?;
        self.start = self.start.saturating_add(read);
        Ok(read)
    }
}
