//! Files that pyarrow wrote, read back from what they were converted to.

use glacier_engine::{
    Dim, ModelInfo, Port,
    ingest::{Answers, Column, Examples, MAX_NPZ},
};
use glacier_table::{Array, Format, Table, TableError, to_csv, to_npz};
use glacier_wire::Dtype;
use proptest::prelude::*;
use std::{
    fs::File,
    io::{Cursor, Write as _},
    path::Path,
};

fn open(name: &str) -> File {
    File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn csv(name: &str) -> Result<String, TableError> {
    let mut out = Vec::new();
    to_csv(&open(name), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn npz(name: &str, arrays: &[(&str, &[&str])]) -> Result<Vec<u8>, TableError> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let array = |(name, columns): &(&str, &[&str])| Array { name: (*name).to_owned(), columns: owned(columns) };
    let mut out = Cursor::new(Vec::new());
    to_npz(&open(name), &mut out, &arrays.iter().map(array).collect::<Vec<_>>())?;
    Ok(out.into_inner())
}

fn model(ports: &[(&str, Dtype, &[u64])], features: Option<&[&str]>) -> ModelInfo {
    let rows = || Dim::Free { name: "rows".to_owned() };
    let port = |(name, dtype, dims): &(&str, Dtype, &[u64])| {
        let dims = std::iter::once(rows()).chain(dims.iter().map(|extent| Dim::Fixed { extent: *extent })).collect();
        Port { name: (*name).to_owned(), dtype: *dtype, dims: Some(dims) }
    };
    ModelInfo {
        engine: String::new(),
        inputs: ports.iter().map(port).collect(),
        outputs: Vec::new(),
        features: features.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        labels: None,
        parameters: 0,
        units_per_row: None,
    }
}

#[test]
fn every_number_reads_back_as_the_same_number() {
    let text = csv("mixed.parquet").unwrap();
    let features = ["single", "double", "small", "flag"];
    let info = model(&[("x", Dtype::Fp64, &[4])], Some(&features));
    let wanted = [Column::Name("category".into()), Column::Name("words, quoted".into()), Column::Name("whole".into())];
    let mut examples = Examples::open(text.as_bytes(), &info, &wanted, MAX_NPZ).unwrap();
    let mut row = 0u32;
    while let Some(window) = examples.next(100).unwrap() {
        let values = window.inputs[0].data.as_chunks::<8>().0;
        let Answers::Cells(cells) = window.answers else { panic!("no cells") };
        for (values, cells) in values.chunks(4).zip(cells.chunks(3)) {
            let of = |at: usize| f64::from_le_bytes(values[at]);
            let single = (f64::from(row) / 7.0 - 100.0) as f32;
            assert_eq!(of(0) as f32, single);
            assert_eq!(of(1), f64::from(row) / 3.0 * 1e-20);
            assert_eq!((of(2), of(3)), (f64::from(row % 200) - 100.0, f64::from(u8::from(row.is_multiple_of(3)))));
            assert_eq!(cells[0], ["low", "high"][row as usize % 2]);
            assert_eq!(cells[1], ["plain", "with \"quotes\"", "two\nlines", "a,b"][row as usize % 4]);
            assert_eq!(cells[2], ((i64::from(row) * 7919 - 5_000_000) * 1_000_000_000).to_string());
            row += 1;
        }
    }
    assert_eq!(row, 2500);
}

#[test]
fn all_formats_and_compressions_say_the_same() {
    let expected = csv("small-none.parquet").unwrap();
    assert_eq!(expected.lines().count(), 40 + 10 + 1);
    let whole = csv("mixed.parquet").unwrap();
    assert!(whole.starts_with(&expected));
    for name in ["small-gzip.parquet", "small-lz4.parquet", "small.arrow", "small.arrows"] {
        assert_eq!(csv(name).unwrap(), expected, "{name}");
    }
    let formats =
        ["mixed.parquet", "small.arrow", "small.arrows"].map(|name| Table::open(&open(name)).unwrap().format());
    assert_eq!(formats, [Format::Parquet, Format::Arrow, Format::Stream]);
}

#[test]
fn zstandard_is_refused_by_name() {
    let found = csv("small-zstd.parquet").unwrap_err();
    assert!(matches!(found, TableError::Parquet(_) | TableError::Arrow(_)), "{found:?}");
    assert!(found.to_string().contains("Zstandard"));
}

#[test]
fn lists_and_columns_side_by_side_become_arrays() {
    let arrays: [(&str, &[&str]); 4] = [("x", &["image"]), ("v", &["vector"]), ("t", &["b", "a"]), ("y", &["label"])];
    let bytes = npz("images.parquet", &arrays).unwrap();
    let ports: [(&str, Dtype, &[u64]); 3] =
        [("x", Dtype::Fp32, &[4]), ("v", Dtype::Fp32, &[2]), ("t", Dtype::Fp64, &[2])];
    let info = model(&ports, None);
    let mut examples = Examples::open(bytes.as_slice(), &info, &[Column::Name("y".into())], MAX_NPZ).unwrap();
    let window = examples.next(100).unwrap().unwrap();
    assert_eq!(window.rows, 10);
    assert_eq!(window.inputs[0].to_f32().unwrap()[4..8], [1.0, 2.0, 3.0, 255.0]);
    assert_eq!(window.inputs[1].to_f32().unwrap()[4..6], [1.0, -1.0]);
    let table: Vec<f64> = window.inputs[2].data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    assert_eq!(table[6..8], [0.75, 3.0]);
    assert_eq!(window.answers, Answers::Numbers((0..10).map(|row| f64::from(row % 3)).collect()));
    assert!(examples.next(1).unwrap().is_none());
}

#[test]
fn what_is_not_there() {
    let missing =
        |found, at, name: &str| matches!(found, TableError::Missing { row, column } if row == at && column == name);
    assert!(missing(csv("fault-null.parquet").unwrap_err(), 2, "null"));
    assert!(missing(npz("fault-null.parquet", &[("x", &["null"])]).unwrap_err(), 2, "null"));
    assert!(missing(npz("fault-hole.parquet", &[("x", &["hole"])]).unwrap_err(), 2, "hole"));
    let found = npz("fault-null.parquet", &[("x", &["other"])]).unwrap_err();
    assert!(matches!(found, TableError::NoColumn(name) if name == "other"));
    assert!(matches!(npz("fault-empty.parquet", &[("x", &["good"])]).unwrap_err(), TableError::NoRows));
    assert_eq!(csv("fault-empty.parquet").unwrap(), "good\n");
}

#[test]
fn numbers_that_are_not_finite_or_too_long() {
    let nan = |found| matches!(found, TableError::NotFinite { row: 3, column } if column == "nan");
    assert!(nan(csv("fault-nan.parquet").unwrap_err()));
    assert!(nan(npz("fault-nan.parquet", &[("x", &["good", "nan"])]).unwrap_err()));
    let found = npz("fault-long.parquet", &[("x", &["long"])]).unwrap_err();
    assert!(matches!(found, TableError::Range { row: 2, column } if column == "long"));
    assert!(csv("fault-long.parquet").unwrap().contains("9223372036854775808"));
}

#[test]
fn types_that_are_not_converted() {
    for name in ["date", "ragged"] {
        let found = csv(&format!("fault-{name}.parquet")).unwrap_err();
        assert!(matches!(&found, TableError::Cell { column, .. } if column == name), "{found:?}");
        assert!(found.to_string().contains(name));
    }
    for name in ["date", "words"] {
        let found = npz(&format!("fault-{name}.parquet"), &[("x", &[name])]).unwrap_err();
        assert!(matches!(&found, TableError::Element { column, .. } if column == name), "{found:?}");
    }
    let found = npz("fault-ragged.parquet", &[("x", &["ragged"])]).unwrap_err();
    assert!(matches!(found, TableError::Length { row: 3, expected: 2, found: 1, .. }));
}

#[test]
fn arrays_that_cannot_be() {
    let none: &[&str] = &[];
    let cases = [none, &["a", "a"], &["a", "image"]];
    for columns in cases {
        let found = npz("images.parquet", &[("x", columns)]).unwrap_err();
        assert!(matches!(found, TableError::Array(name) if name == "x"));
    }
    assert!(matches!(npz("images.parquet", &[]).unwrap_err(), TableError::NoRows));
}

fn written(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn what_is_no_table() {
    for bytes in [&b""[..], b"PAR", b"a,b\n1,2\n"] {
        assert!(matches!(to_csv(&written(bytes), &mut Vec::new()).unwrap_err(), TableError::Format));
    }
    assert!(matches!(to_csv(&written(b"PAR1 and no more"), &mut Vec::new()).unwrap_err(), TableError::Parquet(_)));
    assert!(matches!(to_csv(&written(b"ARROW1 and no more"), &mut Vec::new()).unwrap_err(), TableError::Arrow(_)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_file_that_ends_early_is_refused(part in 0usize..1000) {
        for name in ["small-none.parquet", "small.arrow"] {
            let whole = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap();
            let cut = whole.len() * part / 1000;
            prop_assert!(to_csv(&written(&whole[..cut]), &mut Vec::new()).is_err());
        }
    }
}
