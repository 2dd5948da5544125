//! Rows with their answers: one small data set for each way to be wrong.

use glacier_engine::{
    CellFault, DataError, Dim, ModelInfo, Port,
    ingest::{Answers, Column, Examples, MAX_NPZ},
    onnx::Name,
};
use glacier_wire::{Dtype, Tensor};
use proptest::prelude::*;
use std::io::Write;

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

fn named(name: &str) -> Column {
    Column::Name(name.to_owned())
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), data].concat()
}

fn npz(entries: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[derive(Debug, PartialEq)]
struct All {
    rows: u64,
    inputs: Vec<Vec<Tensor>>,
    answers: Vec<Answers>,
}

fn read(data: &[u8], info: &ModelInfo, wanted: &[Column]) -> Result<All, DataError> {
    let mut examples = Examples::open(data, info, wanted, MAX_NPZ)?;
    let mut all = All { rows: 0, inputs: Vec::new(), answers: Vec::new() };
    while let Some(window) = examples.next(2)? {
        assert!(window.rows > 0 && window.inputs.iter().all(|tensor| tensor.shape[0] == window.rows));
        all.rows += window.rows;
        all.inputs.push(window.inputs);
        all.answers.push(window.answers);
    }
    assert!(examples.next(2).is_ok_and(|window| window.is_none()));
    Ok(all)
}

fn error(data: impl AsRef<[u8]>, info: &ModelInfo, wanted: &[Column]) -> DataError {
    read(data.as_ref(), info, wanted).unwrap_err()
}

fn floats(all: &All) -> Vec<f32> {
    all.inputs.iter().flat_map(|inputs| inputs[0].to_f32().unwrap()).collect()
}

fn numbers(all: &All) -> Vec<f64> {
    let of = |answers: &Answers| match answers {
        Answers::Numbers(numbers) => numbers.clone(),
        other => panic!("{other:?}"),
    };
    all.answers.iter().flat_map(of).collect()
}

#[test]
fn a_table() {
    let all = read(b"a,y,b\n1, yes ,2\n3,no,4\n5,\"a,b\",6\n", &table(2), &[named("y")]).unwrap();
    assert_eq!((all.rows, floats(&all)), (3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let cells = |cells: &[&str]| Answers::Cells(cells.iter().map(|cell| (*cell).to_owned()).collect());
    assert_eq!(all.answers, [cells(&["yes", "no"]), cells(&["a,b"])]);
    let all = read(b"a,b\n1,2\n", &table(2), &[]).unwrap();
    assert_eq!(all.answers, [Answers::Nothing]);
}

#[test]
fn an_array_of_all_columns() {
    let data = npy("<f8", "(3, 3)", &(0..9).flat_map(|value| f64::from(value).to_le_bytes()).collect::<Vec<_>>());
    // A single array has no names: what is named is its last column.
    let last = read(&data, &table(2), &[named("anything")]).unwrap();
    assert_eq!((floats(&last), numbers(&last)), (vec![0.0, 1.0, 3.0, 4.0, 6.0, 7.0], vec![2.0, 5.0, 8.0]));
    let first = read(&data, &table(2), &[Column::Place(0)]).unwrap();
    assert_eq!((floats(&first), numbers(&first)), (vec![1.0, 2.0, 4.0, 5.0, 7.0, 8.0], vec![0.0, 3.0, 6.0]));
    let two = read(&data, &table(1), &[Column::Place(2), Column::Place(0)]).unwrap();
    assert_eq!((floats(&two), numbers(&two)), (vec![1.0, 4.0, 7.0], vec![2.0, 0.0, 5.0, 3.0, 8.0, 6.0]));
    let images = model(vec![port("x", Dtype::Fp32, &[-1, 1, 1, 2])], None);
    assert_eq!(read(&data, &images, &[Column::Place(2)]).unwrap().inputs[0][0].shape, [2, 1, 1, 2]);
    assert_eq!(read(&data, &table(3), &[]).unwrap().rows, 3);

    let past = error(&data, &table(2), &[Column::Place(3)]);
    assert_eq!(past, DataError::NoColumn { place: 3, columns: 3 });
    let wide = error(&data, &table(3), &[Column::Place(2)]);
    assert_eq!(wide, DataError::Columns { expected: 3, found: 2 });
    let twice = error(&data, &table(1), &[Column::Place(2), named("y")]);
    assert_eq!(twice, DataError::DuplicateColumn(Name::new("2")));
    assert_eq!(error(&data[..data.len() - 1], &table(2), &[named("y")]), DataError::Truncated);
    assert_eq!(error([data, vec![0]].concat(), &table(2), &[named("y")]), DataError::Trailing);
    let flat = error(npy("<f4", "(3,)", &[0; 12]), &table(2), &[named("y")]);
    assert_eq!(flat, DataError::Rank { input: Name::new("x"), expected: 2, found: 1 });
    let strange = error(npy("<f4", "(1, 3)", &le(&[1.0, 2.0, f32::NAN])), &table(2), &[named("y")]);
    assert_eq!(strange, DataError::Element { input: Name::new("2"), row: 1 });
}

#[test]
fn rows_of_nothing() {
    let free = model(vec![port("x", Dtype::Fp32, &[-1, -1])], None);
    let promise = npy("<f4", "(1152921504606846976, 0)", &[]);
    assert_eq!(error(&promise, &free, &[]), DataError::NotRows(Name::new("x")));
    let only_answers = npy("<f4", "(4, 1)", &[0; 16]);
    assert!(read(&only_answers, &free, &[named("y")]).is_ok_and(|all| all.inputs[0][0].data.is_empty()));
}

#[test]
fn an_archive_of_inputs_and_answers() {
    let info = model(vec![port("a", Dtype::Fp32, &[-1, 1]), port("b", Dtype::Int64, &[-1])], None);
    let a = || ("a.npy", npy("<f4", "(3, 1)", &le(&[1.0, 2.0, 3.0])));
    let b = || ("b.npy", npy("|i1", "(3,)", &[1, 2, 255]));
    let y = || ("y.npy", npy("|u1", "(3, 2)", &[1, 2, 3, 4, 5, 6]));
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let whole = npz(&[y(), b(), a()], method);
        let all = read(&whole, &info, &[named("y")]).unwrap();
        assert_eq!((all.rows, floats(&all)), (3, vec![1.0, 2.0, 3.0]));
        assert_eq!(all.inputs[1][1].data, (-1i64).to_le_bytes());
        assert_eq!(numbers(&all), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);

        // One flipped byte in the last array's data is found by the archive's own checksum.
        let mut flipped = whole.clone();
        let at = whole.windows(10).rposition(|bytes| bytes.starts_with(b"PK\x01\x02")).unwrap();
        let first = whole.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        assert!(at > first);
        flipped[first - 1] ^= 1;
        assert!(read(&flipped, &info, &[named("y")]).is_err());
    }
    let of = |entries: &[(&str, Vec<u8>)], wanted: &[Column]| {
        error(npz(entries, zip::CompressionMethod::Stored), &info, wanted)
    };
    assert_eq!(of(&[a(), b()], &[named("y")]), DataError::MissingInput(Name::new("y")));
    assert_eq!(of(&[a(), b(), y()], &[]), DataError::UnknownInput(Name::new("y.npy")));
    assert_eq!(of(&[a(), b(), y()], &[named("b")]), DataError::TargetIsInput(Name::new("b")));
    assert_eq!(of(&[a(), b(), y()], &[named("y"), named("y")]), DataError::DuplicateColumn(Name::new("y")));
    assert_eq!(of(&[a(), b(), y()], &[Column::Place(0)]), DataError::MissingInput(Name::new("0")));
    let short = ("y.npy", npy("|u1", "(2,)", &[1, 2]));
    assert_eq!(of(&[a(), b(), short], &[named("y")]), DataError::Rows(Name::new("y")));
    let deep = ("y.npy", npy("|u1", "(3, 1, 1)", &[1, 2, 3]));
    assert_eq!(of(&[a(), b(), deep], &[named("y")]), DataError::TargetShape(Name::new("y")));
    let wide = ("y.npy", npy("|u1", "(3, 100000)", &[0; 300_000]));
    assert_eq!(of(&[a(), b(), wide], &[named("y")]), DataError::TooLarge { what: "wanted answers", max: 1 << 16 });
}

#[test]
fn an_archive_that_is_larger_than_the_memory() {
    let whole = npz(&[("x.npy", npy("<f4", "(1, 2)", &[0; 8]))], zip::CompressionMethod::Stored);
    let found = Examples::open(whole.as_slice(), &table(2), &[], 100).err().unwrap();
    assert_eq!(found, DataError::TooLarge { what: "the .npz archive", max: 100 });
}

#[test]
fn answers_that_are_no_text_or_too_long() {
    let cell = |fault| DataError::Cell { row: 1, column: Name::new("y"), fault };
    assert_eq!(error(b"a,y\n1,\xff\n", &table(1), &[named("y")]), cell(CellFault::NotText));
    let long = format!("a,y\n1,{}\n", "z".repeat(5000));
    assert_eq!(error(long, &table(1), &[named("y")]), cell(CellFault::Long));
    assert_eq!(error("a,y\n1,\n", &table(1), &[named("y")]), cell(CellFault::Empty));
    assert_eq!(error("a,y\n1\n", &table(1), &[named("y")]), DataError::Cells { row: 1, expected: 2, found: 1 });
}

#[test]
fn the_stream_is_given_back() {
    let mut examples = Examples::open(&b"a,y\n1,2\n"[..], &table(1), &[named("y")], 0).unwrap();
    assert!(examples.next(9).unwrap().is_some() && examples.next(9).unwrap().is_none());
    assert_eq!(examples.into_source(), b"");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_end(bytes: Vec<u8>) {
        let _ = read(&bytes, &table(2), &[named("y")]);
    }

    #[test]
    fn any_damaged_archive_ends(place: prop::sample::Index, byte: u8, deflated: bool) {
        let method = if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
        let entries = [("x.npy", npy("<f4", "(2, 2)", &[0; 16])), ("y.npy", npy("|u1", "(2,)", &[0, 1]))];
        let mut bytes = npz(&entries, method);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = read(&bytes, &table(2), &[named("y")]);
    }
}
