//! Results as files: `.npy`, `.npz`, `.csv`, `.json`.

use crate::file::{FileError, NewFile};
use glacier_wire::{Dtype, Outputs, Tensor, TensorError, app::BadAppResult, cbor::CborError};
use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

/// All windows of a result, joined: one tensor per output of the model, rows in the order of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// The model's outputs; the first dimension counts rows.
    pub tensors: Vec<Tensor>,
    /// Name of the class of each row, when the model says what its classes are called.
    pub labels: Option<Vec<String>>,
}

/// A result that cannot be read or written in the wanted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The result is not a sequence of output windows.
    #[error("the result is not a sequence of output windows: {0}")]
    Sequence(CborError),
    /// Larger than is read into memory.
    #[error("the result has {found} bytes, at most {max} are read into memory")]
    TooLarge {
        /// Bytes of the result.
        found: u64,
        /// Bytes that are read.
        max: u64,
    },
    /// The result is not one of an app.
    #[error("the result is {0}")]
    App(BadAppResult),
    /// A tensor whose shape and data do not fit.
    #[error("an output does not fit its shape: {0}")]
    Tensor(TensorError),
    /// Two windows of one result do not have the same outputs.
    #[error("the windows of the result do not fit together")]
    Windows,
    /// There are more or fewer labels than rows.
    #[error("{labels} labels for {rows} rows")]
    Labels {
        /// Labels there are.
        labels: u64,
        /// Rows there are.
        rows: u64,
    },
    /// `.npy` holds one array and the result has another number of them.
    #[error("a .npy file holds one array, the result has {0}")]
    OneArray(usize),
    /// `.csv` is a table of rows, and these outputs have different numbers of rows.
    #[error("the outputs do not have the same number of rows")]
    Ragged,
    /// A file name that ends in none of the formats.
    #[error("no format is known by this file name")]
    Format,
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The formats of tables and tensors that are written and read, by their file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One NumPy array.
    Npy,
    /// NumPy arrays by name, in a ZIP archive.
    Npz,
    /// A table with a header line.
    Csv,
    /// One object: `outputs` as the Open Inference Protocol shapes them, and `labels`.
    Json,
}

impl Format {
    /// By the end of the file's name, whatever its case.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Results {
    /// Most bytes of one result that are read into memory.
    pub const MAX_BYTES: u64 = 1 << 30;
    /// Most windows one result has.
    const MAX_WINDOWS: usize = 1 << 20;

    /// Reads the CBOR sequence of a result file and joins its windows.
    pub fn from_sequence(bytes: &[u8]) -> Result<Self, OutputError> {
        let found = bytes.len() as u64;
        if found > Self::MAX_BYTES {
            return Err(OutputError::TooLarge { found, max: Self::MAX_BYTES });
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let mut windows = Vec::new();
        while decoder.position() < bytes.len() {
            if windows.len() >= Self::MAX_WINDOWS {
                return Err(OutputError::Windows);
            }
            windows.push(decoder.decode::<Outputs>().map_err(|_| OutputError::Sequence(CborError::Malformed))?);
        }
        Self::join(windows)
    }

    /// Joins windows along the first dimension.
    pub fn join(windows: impl IntoIterator<Item = Outputs>) -> Result<Self, OutputError> {
        let mut windows = windows.into_iter();
        let Some(first) = windows.next() else { return Ok(Self { tensors: Vec::new(), labels: None }) };
        first.tensors.iter().try_for_each(|tensor| tensor.check().map_err(OutputError::Tensor))?;
        let mut joined = Self { tensors: first.tensors, labels: first.labels };
        for window in windows {
            if window.tensors.len() != joined.tensors.len() {
                return Err(OutputError::Windows);
            }
            for (whole, piece) in joined.tensors.iter_mut().zip(&window.tensors) {
                append(whole, piece)?;
            }
            match (&mut joined.labels, window.labels) {
                (Some(labels), Some(more)) => labels.extend(more),
                (None, None) => {}
                _ => return Err(OutputError::Windows),
            }
        }
        if let (Some(labels), rows) = (&joined.labels, joined.rows()) {
            let labels = labels.len() as u64;
            if labels != rows {
                return Err(OutputError::Labels { labels, rows });
            }
        }
        Ok(joined)
    }

    /// Rows answered: the first dimension of the first output.
    pub fn rows(&self) -> u64 {
        self.tensors.first().and_then(|tensor| tensor.shape.first()).copied().unwrap_or(0)
    }

    /// Writes a new file in the format that its name says. An existing file is refused.
    pub fn write_file(&self, path: &Path) -> Result<(), OutputError> {
        let format = Format::of(path).ok_or(OutputError::Format)?;
        let bytes = self.to_bytes(format)?;
        let mut file = NewFile::create(path)?;
        file.write_all(&bytes)?;
        file.keep()?;
        Ok(())
    }

    /// The bytes of a file of that format.
    pub fn to_bytes(&self, format: Format) -> Result<Vec<u8>, OutputError> {
        match format {
            Format::Npy => match self.tensors.as_slice() {
                [one] => Ok(npy(one)),
                many => Err(OutputError::OneArray(many.len())),
            },
            Format::Npz => self.npz(),
            Format::Csv => self.csv(),
            Format::Json => Ok(self.json().into_bytes()),
        }
    }

    fn npz(&self) -> Result<Vec<u8>, OutputError> {
        let mut archive = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::DEFAULT);
        let arrays = self
            .tensors
            .iter()
            .enumerate()
            .map(|(i, tensor)| (member_name(i, tensor), npy(tensor)))
            .chain(self.labels.iter().map(|labels| ("labels".to_owned(), npy_strings(labels))));
        for (name, bytes) in arrays {
            // Two outputs of one name, or more than a ZIP archive holds: both are the writer's own refusals.
            archive.start_file(format!("{name}.npy"), options).map_err(|_| OutputError::Format)?;
            archive.write_all(&bytes).map_err(FileError::from)?;
        }
        Ok(archive.finish().map_err(|_| OutputError::Format)?.into_inner())
    }

    fn csv(&self) -> Result<Vec<u8>, OutputError> {
        let rows = self.rows();
        let mut header = Vec::new();
        if self.labels.is_some() {
            header.push("label".to_owned());
        }
        let mut columns = Vec::new();
        for (i, tensor) in self.tensors.iter().enumerate() {
            if tensor.shape.first().copied() != Some(rows) {
                return Err(OutputError::Ragged);
            }
            let width = tensor.elements().unwrap_or(0).checked_div(rows).unwrap_or(0);
            let name = member_name(i, tensor);
            match tensor.shape.get(1..) {
                Some([]) | None => header.push(name),
                Some(_) => header.extend((0..width).map(|column| format!("{name}[{column}]"))),
            }
            columns.push((Cells::of(tensor), width));
        }
        let mut out = Vec::new();
        line(&mut out, header.iter().map(|name| field(name)));
        let mut labels = self.labels.iter().flatten();
        for _ in 0..rows {
            let mut cells = Vec::with_capacity(header.len());
            if self.labels.is_some() {
                cells.extend(labels.next().map(|label| field(label)));
            }
            for (values, width) in &mut columns {
                cells.extend((0..*width).map_while(|_| values.next()).map(|value| value.to_string()));
            }
            line(&mut out, cells);
        }
        Ok(out)
    }

    fn json(&self) -> String {
        let mut text = String::from("{\"outputs\":[");
        for (i, tensor) in self.tensors.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let name = serde_json::Value::from(member_name(i, tensor));
            let datatype = crate::input::oip_datatype(tensor.dtype);
            text.push_str(&format!(
                "{comma}{{\"name\":{name},\"datatype\":\"{datatype}\",\"shape\":{:?},\"data\":[",
                tensor.shape
            ));
            for (j, value) in Cells::of(tensor).enumerate() {
                if j > 0 {
                    text.push(',');
                }
                text.push_str(&value.json());
            }
            text.push_str("]}");
        }
        text.push(']');
        if let Some(labels) = &self.labels {
            text.push_str(&format!(",\"labels\":{}", serde_json::Value::from(labels.clone())));
        }
        text.push_str("}\n");
        text
    }
}

fn append(whole: &mut Tensor, piece: &Tensor) -> Result<(), OutputError> {
    piece.check().map_err(OutputError::Tensor)?;
    let (Some((rows, tail)), Some((more, piece_tail))) = (whole.shape.split_first_mut(), piece.shape.split_first())
    else {
        return Err(OutputError::Windows);
    };
    if whole.name != piece.name || whole.dtype != piece.dtype || tail != piece_tail {
        return Err(OutputError::Windows);
    }
    *rows = rows.checked_add(*more).ok_or(OutputError::Tensor(TensorError::TooLarge))?;
    whole.data.extend_from_slice(&piece.data);
    Ok(())
}

/// The model's name for the output, or its place. A name with a path separator would be a folder in the archive.
fn member_name(index: usize, tensor: &Tensor) -> String {
    if tensor.name.is_empty() { format!("output_{index}") } else { tensor.name.replace(['/', '\\'], "_") }
}

fn line(out: &mut Vec<u8>, cells: impl IntoIterator<Item = String>) {
    for (i, cell) in cells.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(cell.as_bytes());
    }
    out.push(b'\n');
}

/// RFC 4180 quoting, only where it is needed.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// One `.npy` file, format version 1.0 (C order, little-endian).
pub(crate) fn npy(tensor: &Tensor) -> Vec<u8> {
    let descr = match tensor.dtype {
        Dtype::Fp64 => "<f8",
        Dtype::Int32 => "<i4",
        Dtype::Int64 => "<i8",
        Dtype::Int8 => "|i1",
        Dtype::Uint8 => "|u1",
        Dtype::Bool => "|b1",
        _ => "<f4",
    };
    let mut file = npy_header(descr, &tensor.shape);
    file.extend_from_slice(&tensor.data);
    file
}

/// An array of strings, as NumPy's fixed-width `U` type: UTF-32, each padded to the longest.
fn npy_strings(strings: &[String]) -> Vec<u8> {
    let width = strings.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let mut file = npy_header(&format!("<U{width}"), &[strings.len() as u64]);
    for text in strings {
        let codes = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        file.extend(codes.flat_map(u32::to_le_bytes));
    }
    file
}

fn npy_header(descr: &str, shape: &[u64]) -> Vec<u8> {
    let mut dims: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    if shape.len() > 1 {
        dims.truncate(dims.len().saturating_sub(2));
    }
    let dims = dims.trim_end_matches(' ');
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    // Magic, version and length are 10 bytes; the data begins at a multiple of 64 after a newline.
    let unpadded = header.len().saturating_add(11);
    let padding = unpadded.next_multiple_of(64).saturating_sub(unpadded);
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    // Sixteen dimensions of twenty digits are far below 64 KiB.
    file.extend_from_slice(&u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file
}

/// One element, as people read it.
enum Cell {
    F32(f32),
    F64(f64),
    Int(i64),
    Bool(bool),
}

impl Cell {
    /// JSON has no NaN and no infinity.
    fn json(&self) -> String {
        match self {
            Self::F32(value) if !value.is_finite() => "null".to_owned(),
            Self::F64(value) if !value.is_finite() => "null".to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32(value) => write!(f, "{value}"),
            Self::F64(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

struct Cells<'a> {
    dtype: Dtype,
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        Self { dtype: tensor.dtype, rest: &tensor.data }
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }
}

impl Iterator for Cells<'_> {
    type Item = Cell;

    fn next(&mut self) -> Option<Cell> {
        Some(match self.dtype {
            Dtype::Fp32 => Cell::F32(f32::from_le_bytes(self.take()?)),
            Dtype::Fp64 => Cell::F64(f64::from_le_bytes(self.take()?)),
            Dtype::Int32 => Cell::Int(i32::from_le_bytes(self.take()?).into()),
            Dtype::Int64 => Cell::Int(i64::from_le_bytes(self.take()?)),
            Dtype::Int8 => Cell::Int(i8::from_le_bytes(self.take()?).into()),
            Dtype::Uint8 => Cell::Int(u8::from_le_bytes(self.take()?).into()),
            Dtype::Bool => Cell::Bool(self.take::<1>()? != [0]),
            _ => return None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::input;

    fn window(rows: u64, from: f32, labels: Option<&[&str]>) -> Outputs {
        let values: Vec<f32> = (0..rows * 2).map(|i| from + i as f32).collect();
        Outputs {
            tensors: vec![Tensor::from_f32("probabilities", vec![rows, 2], &values).unwrap()],
            labels: labels.map(|labels| labels.iter().map(|label| (*label).to_owned()).collect()),
        }
    }

    #[test]
    fn windows_join_in_order() {
        let mut sequence = glacier_wire::cbor::encode(&window(1, 0.0, Some(&["benign"])));
        sequence.extend(glacier_wire::cbor::encode(&window(2, 2.0, Some(&["malignant", "benign"]))));
        let results = Results::from_sequence(&sequence).unwrap();
        assert_eq!(results.rows(), 3);
        assert_eq!(results.tensors[0].to_f32().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(results.labels.unwrap(), ["benign", "malignant", "benign"]);
    }

    #[test]
    fn windows_of_other_outputs_are_refused() {
        let mut other = window(1, 0.0, None);
        other.tensors[0].name = "logits".to_owned();
        assert_eq!(Results::join([window(1, 0.0, None), other]), Err(OutputError::Windows));
        assert_eq!(Results::join([window(1, 0.0, None), window(1, 0.0, Some(&["a"]))]), Err(OutputError::Windows));
    }

    #[test]
    fn labels_and_rows_are_counted() {
        assert_eq!(Results::join([window(2, 0.0, Some(&["a"]))]), Err(OutputError::Labels { labels: 1, rows: 2 }));
    }

    #[test]
    fn a_truncated_sequence_is_refused() {
        let sequence = glacier_wire::cbor::encode(&window(1, 0.0, None));
        let cut = &sequence[..sequence.len() - 1];
        assert_eq!(Results::from_sequence(cut), Err(OutputError::Sequence(CborError::Malformed)));
    }

    #[test]
    fn csv_has_a_header_and_quotes_what_needs_it() {
        let results = Results::join([window(2, 0.5, Some(&["a,b", "say \"c\""]))]).unwrap();
        let text = String::from_utf8(results.to_bytes(Format::Csv).unwrap()).unwrap();
        assert_eq!(text, "label,probabilities[0],probabilities[1]\n\"a,b\",0.5,1.5\n\"say \"\"c\"\"\",2.5,3.5\n");
    }

    #[test]
    fn json_is_json_and_has_no_nan() {
        let mut results = Results::join([window(1, 0.1, Some(&["a"]))]).unwrap();
        results.tensors[0].data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        let value: serde_json::Value = serde_json::from_slice(&results.to_bytes(Format::Json).unwrap()).unwrap();
        assert_eq!(value["outputs"][0]["data"], serde_json::json!([null, 1.1]));
        assert_eq!(value["labels"], serde_json::json!(["a"]));
    }

    #[test]
    fn npy_holds_one_array_only() {
        let mut results = Results::join([window(2, 0.0, None)]).unwrap();
        assert_eq!(
            input::tensors_from(Format::Npy, &results.to_bytes(Format::Npy).unwrap(), &[]).unwrap()[0].data,
            results.tensors[0].data
        );
        results.tensors.push(results.tensors[0].clone());
        assert_eq!(results.to_bytes(Format::Npy), Err(OutputError::OneArray(2)));
    }

    #[test]
    fn npz_reads_back() {
        let results = Results::join([window(2, 0.0, None)]).unwrap();
        let read = input::tensors_from(Format::Npz, &results.to_bytes(Format::Npz).unwrap(), &[]).unwrap();
        assert_eq!(read, results.tensors);
    }

    #[test]
    fn npy_data_begins_at_a_multiple_of_64() {
        for shape in [vec![], vec![1], vec![3, 4], vec![1; 16]] {
            assert_eq!(npy_header("<f4", &shape).len() % 64, 0, "{shape:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_crash(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Results::from_sequence(&bytes);
        }
    }
}
