//! One small data set for each way to be wrong.

use glacier_engine::{
    CellFault, DataError, Dim, ModelInfo, Port,
    ingest::{self, MAX_COLUMNS, MAX_RECORD, Sink},
    onnx::Name,
};
use glacier_wire::{Dtype, Tensor};
use proptest::prelude::*;
use std::io::Write;

/// Keeps what comes.
#[derive(Default)]
struct Kept {
    window: usize,
    told: Option<u64>,
    windows: Vec<Vec<Tensor>>,
}

impl Sink for Kept {
    type Error = DataError;

    fn begin(&mut self, _: &[Vec<u64>], rows: Option<u64>) -> Result<usize, DataError> {
        self.told = rows;
        Ok(self.window)
    }

    fn window(&mut self, rows: u64, inputs: Vec<Tensor>) -> Result<(), DataError> {
        assert!(inputs.iter().all(|tensor| tensor.check().is_ok() && tensor.shape[0] == rows));
        self.windows.push(inputs);
        Ok(())
    }
}

fn port(name: &str, dtype: Dtype, dims: &[i64]) -> Port {
    let dim = |dim: &i64| match u64::try_from(*dim) {
        Ok(extent) => Dim::Fixed { extent },
        Err(_) => Dim::Free { name: String::new() },
    };
    Port { name: name.into(), dtype, dims: Some(dims.iter().map(dim).collect()) }
}

fn model(inputs: Vec<Port>, features: Option<&[&str]>) -> ModelInfo {
    let features = features.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let (engine, outputs) = (String::new(), Vec::new());
    ModelInfo { engine, inputs, outputs, features, labels: None, parameters: 0, units_per_row: None }
}

fn table(width: i64) -> ModelInfo {
    model(vec![port("x", Dtype::Fp32, &[-1, width])], None)
}

fn read(data: &[u8], info: &ModelInfo) -> Result<Kept, DataError> {
    let mut kept = Kept { window: 2, ..Kept::default() };
    ingest::read(data, info, &mut kept).map(|_| kept)
}

fn error(data: impl AsRef<[u8]>, info: &ModelInfo) -> DataError {
    read(data.as_ref(), info).map(|_| ()).unwrap_err()
}

fn floats(kept: &Kept) -> Vec<f32> {
    kept.windows.iter().flat_map(|inputs| inputs[0].to_f32().unwrap()).collect()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    with_header(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

fn npz(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_table_in_windows() {
    let kept = read(b"a,b\r\n1,2\r\n3,\"4\"\r\n\r\n 5 ,6e0", &table(2)).unwrap();
    assert_eq!(kept.windows.iter().map(|inputs| inputs[0].shape[0]).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(floats(&kept), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn columns_are_found_by_name() {
    let info = model(table(2).inputs, Some(&["b", "a"]));
    assert_eq!(floats(&read(b"name,a,b\nx,1,2\n", &info).unwrap()), [2.0, 1.0]);
    assert_eq!(error("a,c\n1,2\n", &info), DataError::MissingColumn(Name::new("b")));
    assert_eq!(error("a,b,a\n1,2,3\n", &info), DataError::DuplicateColumn(Name::new("a")));
    let three = model(table(2).inputs, Some(&["a", "b", "c"]));
    assert_eq!(error("a,b,c\n1,2,3\n", &three), DataError::Columns { expected: 2, found: 3 });
}

#[test]
fn columns_are_counted_where_the_model_does_not_name_them() {
    assert_eq!(error("a,b,c\n1,2,3\n", &table(2)), DataError::Columns { expected: 2, found: 3 });
}

#[test]
fn cells_that_are_no_usable_numbers() {
    let cases = [
        ("", CellFault::Empty),
        (" ", CellFault::Empty),
        ("secret", CellFault::NotNumber),
        ("1,5", CellFault::NotNumber),
        ("NaN", CellFault::NotFinite),
        ("-inf", CellFault::NotFinite),
        ("1e39", CellFault::NotFinite),
        ("1e999", CellFault::NotFinite),
    ];
    for (cell, fault) in cases {
        let found = error(format!("a,b\n1,2\n3,\"{cell}\"\n"), &table(2));
        assert_eq!(found, DataError::Cell { row: 2, column: Name::new("b"), fault });
        assert!(cell.trim().is_empty() || !found.to_string().contains(cell), "a value is quoted");
    }
}

#[test]
fn integers_stay_integers() {
    let info = model(vec![port("x", Dtype::Int8, &[-1, 1])], None);
    assert_eq!(read(b"a\n-128\n", &info).unwrap().windows[0][0].data, [0x80]);
    for cell in ["128", "1.5", "99999999999999999999"] {
        let expected = DataError::Cell { row: 1, column: Name::new("a"), fault: CellFault::Range };
        assert_eq!(error(format!("a\n{cell}\n"), &info), expected);
    }
}

#[test]
fn rows_of_other_lengths() {
    assert_eq!(error("a,b\n1,2\n3\n", &table(2)), DataError::Cells { row: 2, expected: 2, found: 1 });
    assert_eq!(error("a,b\n1,2,3\n", &table(2)), DataError::Cells { row: 1, expected: 2, found: 3 });
}

#[test]
fn a_million_columns() {
    let header = "c,".repeat(1_000_000);
    assert_eq!(error(header, &table(2)), DataError::TooLarge { what: "columns", max: MAX_COLUMNS as u64 });
}

#[test]
fn a_record_without_end() {
    let long = format!("a,b\n1,\"{}", "\n".repeat(MAX_RECORD + 1));
    assert_eq!(error(long, &table(2)), DataError::TooLarge { what: "one record", max: MAX_RECORD as u64 });
}

#[test]
fn no_rows() {
    for data in ["", "a,b", "a,b\n"] {
        assert_eq!(error(data, &table(2)), DataError::NoRows);
    }
    assert_eq!(error(npy("<f4", "(0, 2)", &[]), &table(2)), DataError::NoRows);
}

#[test]
fn a_fixed_batch() {
    let info = model(vec![port("x", Dtype::Fp32, &[2, 1])], None);
    assert_eq!(read(b"a\n1\n2\n3\n4\n", &info).unwrap().windows.len(), 2);
    assert_eq!(error("a\n1\n2\n3\n", &info), DataError::Batch { batch: 2 });
    assert_eq!(error(npy("<f4", "(3, 1)", &[0; 12]), &info), DataError::Batch { batch: 2 });
}

#[test]
fn a_table_feeds_images_of_a_fixed_size() {
    let info = model(vec![port("x", Dtype::Fp32, &[-1, 1, 2, 2])], None);
    assert_eq!(read(b"a,b,c,d\n1,2,3,4\n", &info).unwrap().windows[0][0].shape, [1, 1, 2, 2]);
}

#[test]
fn an_array_in_windows() {
    let kept = read(&npy("<f4", "(3, 2)", &le(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])), &table(2)).unwrap();
    assert_eq!((kept.told, kept.windows.len()), (Some(3), 2));
    assert_eq!(floats(&kept), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn numbers_are_converted_where_they_fit() {
    let doubles: Vec<u8> = [0.5f64, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(floats(&read(&npy("<f8", "(1, 2)", &doubles), &table(2)).unwrap()), [0.5, 2.0]);
    assert_eq!(floats(&read(&npy("|u1", "(1, 2)", &[7, 255]), &table(2)).unwrap()), [7.0, 255.0]);
    let tokens = model(vec![port("x", Dtype::Int64, &[-1, 2])], None);
    assert_eq!(error(npy("<f4", "(1, 2)", &[0; 8]), &tokens), DataError::Fraction(Name::new("x")));
    let flags = model(vec![port("x", Dtype::Bool, &[-1, 2])], None);
    assert_eq!(error(npy("|b1", "(1, 2)", &[1, 2]), &flags), DataError::Element { input: Name::new("x"), row: 1 });
}

#[test]
fn numbers_that_are_not_finite() {
    let data = npy("<f4", "(3, 2)", &le(&[1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN]));
    assert_eq!(error(data, &table(2)), DataError::Element { input: Name::new("x"), row: 3 });
}

#[test]
fn arrays_that_do_not_fit_the_model() {
    let expected = DataError::Extent { input: Name::new("x"), axis: 1, expected: 2, found: 3 };
    assert_eq!(error(npy("<f4", "(1, 3)", &[0; 12]), &table(2)), expected);
    let expected = DataError::Rank { input: Name::new("x"), expected: 2, found: 1 };
    assert_eq!(error(npy("<f4", "(2,)", &[0; 8]), &table(2)), expected);
    assert_eq!(error(npy("<f4", "()", &[0; 4]), &table(2)), DataError::NotRows(Name::new("x")));
}

#[test]
fn arrays_of_another_length() {
    let whole = npy("<f4", "(2, 2)", &[0; 16]);
    for len in [7, 9, 30, whole.len() - 1] {
        assert_eq!(error(&whole[..len], &table(2)), DataError::Truncated, "{len}");
    }
    let more = [whole, vec![0]].concat();
    assert_eq!(error(more, &table(2)), DataError::Trailing);
    // A promise of 2^60 rows takes no memory.
    let huge = npy("<f4", "(1152921504606846976, 2)", &[0; 16]);
    assert_eq!(error(huge, &table(2)), DataError::Truncated);
}

#[test]
fn headers_that_are_not_numpys() {
    let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }";
    assert_eq!(error(with_header(fortran, &[0; 16]), &table(2)), DataError::FortranOrder);
    assert_eq!(error(npy(">f4", "(1, 2)", &[0; 8]), &table(2)), DataError::NpyDtype);
    assert_eq!(error(npy("|O", "(1, 2)", &[0; 8]), &table(2)), DataError::NpyDtype);
    for header in [
        "",
        "{}",
        "{'descr': '<f4', 'shape': (1, 2)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, -2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1, 2)}",
    ] {
        assert_eq!(error(with_header(header, &[0; 8]), &table(2)), DataError::NpyHeader, "{header}");
    }
}

#[test]
fn an_archive_feeds_inputs_by_name() {
    let info = model(vec![port("a", Dtype::Fp32, &[-1, 1]), port("b", Dtype::Int64, &[-1])], None);
    let a = || ("a.npy", npy("<f4", "(3, 1)", &le(&[1.0, 2.0, 3.0])));
    let b = || ("b.npy", npy("<i4", "(3,)", &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]));
    let kept = read(&npz(&[b(), a()]), &info).unwrap();
    assert_eq!((kept.windows.len(), kept.windows[1][1].data.as_slice()), (2, &3i64.to_le_bytes()[..]));

    assert_eq!(error(npz(&[a()]), &info), DataError::MissingInput(Name::new("b")));
    let stranger = ("c.npy", npy("<f4", "(3,)", &[0; 12]));
    assert_eq!(error(npz(&[a(), b(), stranger]), &info), DataError::UnknownInput(Name::new("c.npy")));
    let short = ("b.npy", npy("<i4", "(2,)", &[0; 8]));
    assert_eq!(error(npz(&[a(), short]), &info), DataError::Rows(Name::new("b")));
    let whole = npz(&[a(), b()]);
    assert_eq!(error(&whole[..whole.len() - 10], &info), DataError::Npz);
    assert_eq!(error(npy("<f4", "(3, 1)", &[0; 12]), &info), DataError::Inputs { expected: 2, found: 1 });
    assert_eq!(error("a,b\n1,2\n", &info), DataError::NotTable);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_end(bytes: Vec<u8>) {
        let _ = read(&bytes, &table(2));
    }

    #[test]
    fn any_array_ends(version in 1u8..4, header in "[{}'()a-z:<48, ]{0,60}", data: Vec<u8>) {
        let mut bytes = with_header(&header, &data);
        bytes[6] = version;
        let _ = read(&bytes, &table(2));
    }

    #[test]
    fn any_damaged_archive_ends(place: prop::sample::Index, byte: u8) {
        let mut bytes = npz(&[("x.npy", npy("<f4", "(2, 2)", &[0; 16]))]);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = read(&bytes, &table(2));
    }

    #[test]
    fn a_written_table_is_read_back(rows in prop::collection::vec([-1e30f32..1e30, -1.0..1.0], 1..20)) {
        let text: String = rows.iter().map(|[a, b]| format!("{a},{b}\n")).collect();
        let kept = read(format!("a,b\n{text}").as_bytes(), &table(2)).unwrap();
        prop_assert_eq!(floats(&kept), rows.concat());
    }
}
