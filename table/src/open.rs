//! Files, told apart by their first bytes.

use crate::error::TableError;
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use std::{
    collections::HashSet,
    fs::File,
    io::{BufReader, Read, Seek},
};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC with a footer, also called Feather 2.
    Arrow,
    /// Arrow IPC as a stream.
    Stream,
}

impl Format {
    /// Tells the format by its first bytes; `None` for anything else.
    pub fn of(first: &[u8]) -> Option<Self> {
        match first {
            [b'P', b'A', b'R', b'1', ..] => Some(Self::Parquet),
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(Self::Arrow),
            [0xff, 0xff, 0xff, 0xff, ..] => Some(Self::Stream),
            _ => None,
        }
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: DataType,
}

/// An open table, which can be read any number of times.
#[derive(Debug)]
pub struct Table<'a> {
    file: &'a File,
    format: Format,
    fields: Vec<Field>,
}

impl<'a> Table<'a> {
    /// Tells the format and reads the schema.
    pub fn open(file: &'a File) -> Result<Self, TableError> {
        let mut first = Vec::new();
        rewound(file)?.take(8).read_to_end(&mut first)?;
        let format = Format::of(&first).ok_or(TableError::Format)?;
        let schema: SchemaRef = match format {
            Format::Parquet => {
                ParquetRecordBatchReaderBuilder::try_new(rewound(file)?).map_err(TableError::Parquet)?.schema().clone()
            }
            Format::Arrow => FileReader::try_new(BufReader::new(rewound(file)?), None)?.schema(),
            Format::Stream => StreamReader::try_new(BufReader::new(rewound(file)?), None)?.schema(),
        };
        let field = |field: &std::sync::Arc<arrow_schema::Field>| Field {
            name: field.name().clone(),
            kind: field.data_type().clone(),
        };
        let fields: Vec<Field> = schema.fields().iter().map(field).collect();
        let mut seen = HashSet::new();
        if let Some(twice) = fields.iter().find(|field| !seen.insert(&field.name)) {
            return Err(TableError::Duplicate(twice.name.clone()));
        }
        Ok(Self { file, format, fields })
    }

    /// What it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its columns, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// All rows, of these columns or of all, about `size` at once. A batch has its columns in the order of the table.
    pub(crate) fn batches(&self, columns: Option<&[usize]>, size: usize) -> Result<Batches, TableError> {
        let file = rewound(self.file)?;
        Ok(match self.format {
            Format::Parquet => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(TableError::Parquet)?;
                let mask = match columns {
                    Some(columns) => ProjectionMask::roots(reader.parquet_schema(), columns.iter().copied()),
                    None => ProjectionMask::all(),
                };
                let reader = reader.with_batch_size(size).with_projection(mask).build().map_err(TableError::Parquet)?;
                Batches(Box::new(reader))
            }
            Format::Arrow => {
                Batches(Box::new(FileReader::try_new(BufReader::new(file), columns.map(<[usize]>::to_vec))?))
            }
            Format::Stream => {
                Batches(Box::new(StreamReader::try_new(BufReader::new(file), columns.map(<[usize]>::to_vec))?))
            }
        })
    }
}

/// Batches of rows.
pub(crate) struct Batches(Box<dyn RecordBatchReader>);

impl Iterator for Batches {
    type Item = Result<RecordBatch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map_err(TableError::from))
    }
}

fn rewound(file: &File) -> Result<File, TableError> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    Ok(file)
}
