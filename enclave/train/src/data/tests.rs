//! One small data set for each way to be wrong, and the same rows whichever way they are kept.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;
use crate::{
    build::{self, Columns, Task},
    source::Targets,
};
use glacier_engine::{
    CellFault, DataError, Dim,
    onnx::{Attr, Name},
};
use glacier_wire::Dtype;
use proptest::prelude::*;
use std::io;

const SEED: [u8; 32] = [5; 32];
const ROOMY: u64 = 1 << 30;

fn named(names: &[&str], task: Task<'_>) -> Graph {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Graph::read(&build::logistic(Columns::Named(&names), task, &SEED).unwrap()).unwrap()
}

fn counted(columns: u64, task: Task<'_>) -> Graph {
    Graph::read(&build::logistic(Columns::Count(columns), task, &SEED).unwrap()).unwrap()
}

fn reading(target: &str, goal: Goal) -> Reading {
    Reading {
        wanted: vec![Column::Name(target.to_owned())],
        goal,
        labels: None,
        unnamed: None,
        pair_suffix: None,
        validation: 0.0,
        seed: SEED,
        shuffle: 0,
        standardise: false,
        memory: ROOMY,
    }
}

fn classes() -> Goal {
    Goal::Classes { count: None }
}

fn open(data: impl AsRef<[u8]>, graph: &Graph, reading: Reading) -> Result<Examples<Bytes<Vec<u8>>>, TrainError> {
    Examples::open(Bytes::new(vec![data.as_ref().to_vec()]), graph, reading)
}

fn error(data: impl AsRef<[u8]>, graph: &Graph, reading: Reading) -> TrainError {
    open(data, graph, reading).err().unwrap()
}

fn batches(source: &mut dyn Source, epoch: u32, rows: usize) -> Result<Vec<Batch>, TrainError> {
    source.begin(epoch)?;
    std::iter::from_fn(|| source.next(rows).transpose()).collect()
}

/// All rows of an epoch: first input, and number.
fn rows<P: Passes>(examples: &Examples<P>, epoch: u32) -> Vec<(Vec<f32>, u64)> {
    let batches = batches(&mut examples.training(), epoch, 3).unwrap();
    let row = |batch: &Batch| {
        let input = batch.inputs[0].float().unwrap().clone();
        let width = input.data.len() / batch.numbers.len();
        let rows: Vec<Vec<f32>> = input.data.chunks(width).map(<[f32]>::to_vec).collect();
        rows.into_iter().zip(batch.numbers.clone()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(row).collect()
}

fn numbers<P: Passes>(examples: &Examples<P>, epoch: u32) -> Vec<u64> {
    rows(examples, epoch).into_iter().map(|(_, number)| number).collect()
}

fn only(examples: &Examples<Bytes<Vec<u8>>>) -> Batch {
    let mut all = batches(&mut examples.training(), 0, 1000).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Rows `number, number squared` with the target `number % 3`.
fn csv(rows: u64) -> String {
    let rows = (0..rows).map(|row| format!("{row},{},{}\n", row * row, row % 3));
    "a,b,y\n".to_owned() + &rows.collect::<String>()
}

/// A data set that is made as it is read.
struct Made<F> {
    line: F,
    rows: u64,
    next: u64,
    rest: Vec<u8>,
    opened: u32,
}

impl<F: FnMut(u32, u64) -> Option<String>> Made<F> {
    fn new(rows: u64, line: F) -> Self {
        Self { line, rows, next: 0, rest: Vec::new(), opened: 0 }
    }
}

impl<F: FnMut(u32, u64) -> Option<String>> Passes for Made<F> {
    fn sources(&self) -> usize {
        1
    }

    fn open(&mut self, _: usize) -> Result<(), TrainError> {
        self.opened += 1;
        (self.next, self.rest) = (0, b"a,b,y\n".to_vec());
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && self.next < self.rows {
            match (self.line)(self.opened, self.next) {
                Some(line) => self.rest = line.into_bytes(),
                None => return Err(io::ErrorKind::ConnectionReset.into()),
            }
            self.next += 1;
        }
        let count = into.len().min(self.rest.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

fn line(row: u64) -> String {
    format!("{row},{},{}\n", row % 17, row % 3)
}

/// So little memory that `shuffle` rows fit and no more than a few times that.
fn tight(reading: Reading) -> Reading {
    // Two floats, a class and what goes with a row.
    let memory = u64::from(reading.shuffle.max(1)) * 32;
    Reading { memory, ..reading }
}

#[test]
fn a_table_by_names() {
    let labels = ["no".to_owned(), "yes".to_owned()];
    let graph = named(&["b", "a"], Task::Labels(&labels));
    let data = "id,a,answer,b\nx,1,yes,2\ny,3, no ,4\nz,5,1,6\n";
    let batch = only(&open(data, &graph, reading("answer", classes())).unwrap());
    assert_eq!(batch.inputs[0].float().unwrap().data, [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]);
    assert_eq!((batch.targets, batch.numbers, batch.rows), (Targets::Classes(vec![1, 0, 1]), vec![1, 2, 3], 3));
}

#[test]
fn a_table_by_places() {
    let graph = counted(2, Task::Values(2));
    let wanted = vec![Column::Place(3), Column::Name("w".into())];
    let examples =
        open("w,a,b,z\n1,2,3,4\n5,6,7,8\n", &graph, Reading { wanted, ..reading("", Goal::Numbers) }).unwrap();
    let batch = only(&examples);
    assert_eq!(batch.inputs[0].float().unwrap().data, [2.0, 3.0, 6.0, 7.0]);
    let Targets::Numbers(targets) = batch.targets else { panic!("not numbers") };
    assert_eq!((targets.shape, targets.data), (vec![2, 2], vec![4.0, 1.0, 8.0, 5.0]));
}

#[test]
fn words_name_the_classes_of_the_exported_model() {
    let model = build::logistic(Columns::Count(1), Task::Classes(2), &SEED).unwrap();
    let graph = Graph::read(&model).unwrap();
    let examples = open("a,y\n1,sick\n2,healthy\n", &graph, reading("y", Goal::Classes { count: Some(2) })).unwrap();
    assert_eq!(only(&examples).targets, Targets::Classes(vec![1, 0]));
    let exported = Graph::read(&examples.export(&model).unwrap()).unwrap();
    assert_eq!(exported.labels.unwrap(), ["healthy", "sick"]);
    let many = error("a,y\n1,a\n2,b\n3,c\n", &graph, reading("y", Goal::Classes { count: Some(2) }));
    assert_eq!(many, TrainError::Classes { found: 3, max: 2 });
}

#[test]
fn labels_out_of_range() {
    let graph = counted(1, Task::Classes(3));
    let goal = Goal::Classes { count: Some(3) };
    for (bad, row) in [("a,y\n1,2\n2,3\n", 2), ("a,y\n1,0\n1,1\n1,-1\n", 3)] {
        assert_eq!(error(bad, &graph, reading("y", goal)), TrainError::Label { row, classes: 3 });
    }
    let labels = ["a".to_owned(), "b".to_owned()];
    let known = error("x,y\n1,a\n2,c\n", &counted(1, Task::Labels(&labels)), reading("y", classes()));
    assert_eq!(known, TrainError::Label { row: 2, classes: 2 });
}

#[test]
fn cells_that_are_missing_or_words() {
    let graph = named(&["a", "sex"], Task::Values(1));
    let of = |data: &str| error(data, &graph, reading("y", Goal::Numbers));
    let cell = |row, column: &str, fault| TrainError::Data(DataError::Cell { row, column: column.into(), fault });
    assert_eq!(of("a,sex,y\n1,2,3\n,2,3\n"), cell(2, "a", CellFault::Empty));
    assert_eq!(of("a,sex,y\n1,2,3\n1,2,\n"), cell(2, "y", CellFault::Empty));
    assert_eq!(of("a,sex,y\n1,2,3\n1,2,three\n"), cell(2, "y", CellFault::NotNumber));
    assert_eq!(of("a,sex,y\n1,2,nan\n"), cell(1, "y", CellFault::NotFinite));
    let words = of("a,sex,y\n1,female,3\n");
    assert_eq!(words, TrainError::Words { row: 1, column: Name::new("sex") });
    assert!(!words.to_string().contains("female") && words.to_string().contains("sex"));
}

#[test]
fn targets_that_are_not_there_or_not_to_be_had() {
    let graph = named(&["a", "b"], Task::Values(1));
    let of = |wanted: &[Column]| {
        let reading = Reading { wanted: wanted.to_vec(), ..reading("", Goal::Numbers) };
        error("a,b,y\n1,2,3\n", &graph, reading)
    };
    let name = |name: &str| Column::Name(name.to_owned());
    assert_eq!(of(&[name("z")]), DataError::MissingColumn("z".into()).into());
    assert_eq!(of(&[name("b")]), DataError::TargetIsInput("b".into()).into());
    assert_eq!(of(&[Column::Place(3)]), DataError::NoColumn { place: 3, columns: 3 }.into());
    assert_eq!(of(&[name("y"), Column::Place(2)]), DataError::DuplicateColumn("y".into()).into());
}

#[test]
fn columns_that_do_not_fit_the_model() {
    let of = |data: &str| error(data, &counted(2, Task::Values(1)), reading("y", Goal::Numbers));
    assert_eq!(of("a,y\n1,2\n"), DataError::Columns { expected: 2, found: 1 }.into());
    assert_eq!(of("a,b,c,y\n1,2,3,4\n"), DataError::Columns { expected: 2, found: 3 }.into());
    assert_eq!(of("a,b,y\n"), DataError::NoRows.into());
}

#[test]
fn an_epoch_has_every_row_once_in_an_order_of_its_own() {
    let graph = counted(2, Task::Classes(3));
    let examples = open(csv(100), &graph, Reading { shuffle: 1000, ..reading("y", classes()) }).unwrap();
    let orders: Vec<Vec<u64>> = (0..3).map(|epoch| numbers(&examples, epoch)).collect();
    for order in &orders {
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=100).collect::<Vec<_>>());
        assert_ne!(*order, sorted);
    }
    assert!(orders[0] != orders[1] && orders[1] != orders[2]);
    assert_eq!(orders[1], numbers(&examples, 1));
    let other = open(csv(100), &graph, Reading { shuffle: 1000, seed: [6; 32], ..reading("y", classes()) }).unwrap();
    assert_ne!(orders[0], numbers(&other, 0));
}

#[test]
fn the_order_of_the_data_where_nothing_is_shuffled() {
    let graph = counted(2, Task::Classes(3));
    let examples = open(csv(20), &graph, reading("y", classes())).unwrap();
    assert_eq!(numbers(&examples, 4), (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_full_shuffle_favours_no_place() {
    let graph = counted(2, Task::Classes(3));
    let examples = open(csv(4), &graph, Reading { shuffle: 4, ..reading("y", classes()) }).unwrap();
    let mut counts = [[0u32; 4]; 4];
    for epoch in 0..4000 {
        for (place, number) in numbers(&examples, epoch).into_iter().enumerate() {
            counts[place][number as usize - 1] += 1;
        }
    }
    // Five standard deviations of a binomial of 4000 and a quarter.
    assert!(counts.iter().flatten().all(|count| count.abs_diff(1000) < 137), "{counts:?}");
}

#[test]
fn batches_have_the_rows_asked_for() {
    let graph = counted(2, Task::Classes(3));
    let examples = open(csv(10), &graph, reading("y", classes())).unwrap();
    let sizes: Vec<u64> = batches(&mut examples.training(), 0, 4).unwrap().iter().map(|batch| batch.rows).collect();
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(examples.training().rows(), 10);
    let mut source = examples.training();
    source.begin(0).unwrap();
    assert_eq!(source.skip(11), Err(TrainError::Rows { expected: 11, found: 10 }));
}

#[test]
fn one_part_ends_where_the_other_begins() {
    let graph = counted(2, Task::Classes(3));
    let examples = open(csv(50), &graph, Reading { validation: 0.5, ..reading("y", classes()) }).unwrap();
    let (mut training, mut validation) = (examples.training(), examples.validation().unwrap());
    assert_eq!(training.next(1), Err(TrainError::Ended));
    training.begin(0).unwrap();
    assert!(training.next(1).unwrap().is_some());
    validation.begin(0).unwrap();
    assert!(validation.next(1).unwrap().is_some());
    assert_eq!(training.next(1), Err(TrainError::Ended));
}

#[test]
fn a_split_that_leaves_nothing() {
    let graph = counted(2, Task::Classes(3));
    let of = |validation| Reading { validation, ..reading("y", classes()) };
    assert_eq!(error(csv(1), &graph, of(1e-6)), TrainError::Split);
    assert_eq!(error(csv(1), &graph, of(1.0 - 1e-9)), TrainError::Split);
    // A data set of its own to validate with.
    let all = open(csv(9), &graph, of(1.0)).unwrap();
    assert_eq!((all.training().rows(), all.validation().unwrap().rows()), (0, 9));
}

#[test]
fn picked_rows() {
    let graph = counted(2, Task::Classes(3));
    let examples = open(csv(30), &graph, Reading { validation: 0.3, ..reading("y", classes()) }).unwrap();
    let order = numbers(&examples, 0);
    let batch = examples.training().pick(&[1, 4]).unwrap().unwrap();
    assert_eq!(batch.numbers, [order[1], order[4]]);
    let past = examples.training().rows();
    assert_eq!(examples.training().pick(&[past]), Err(TrainError::Rows { expected: past, found: past }));
    let streamed = tight(Reading { shuffle: 4, ..reading("y", classes()) });
    assert_eq!(open(csv(30), &graph, streamed).unwrap().training().pick(&[1]), Ok(None));
}

#[test]
fn several_data_sets() {
    let graph = counted(2, Task::Classes(3));
    let both = |second: &str| vec![csv(3).into_bytes(), second.as_bytes().to_vec()];
    for memory in [ROOMY, 32] {
        let reading = Reading { memory, ..reading("y", classes()) };
        let examples = Examples::open(Bytes::new(both(&csv(2))), &graph, reading.clone()).unwrap();
        assert_eq!(examples.held(), memory == ROOMY);
        let found = rows(&examples, 0);
        assert_eq!(found.iter().map(|(row, _)| row[0]).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 0.0, 1.0]);
        assert_eq!(found.last().map(|(_, number)| *number), Some(5));
        let cell = DataError::Cell { row: 2, column: Name::new("b"), fault: CellFault::Empty };
        let found = Examples::open(Bytes::new(both("a,b,y\n1,2,0\n1,,0\n")), &graph, reading.clone()).err().unwrap();
        assert_eq!(found, TrainError::Source { set: 1, error: Box::new(cell.into()) });
        let found = Examples::open(Bytes::new(both("a,b,y\n")), &graph, reading).err().unwrap();
        assert_eq!(found, TrainError::Source { set: 1, error: Box::new(DataError::NoRows.into()) });
    }
    let none = Examples::open(Bytes::new(Vec::<Vec<u8>>::new()), &graph, reading("y", classes())).err().unwrap();
    assert_eq!(none, DataError::NoRows.into());
}

#[test]
fn a_window_that_does_not_fit() {
    let graph = counted(2, Task::Classes(3));
    let reading = Reading { shuffle: 50, memory: 49 * 32, ..reading("y", classes()) };
    assert_eq!(error(csv(100), &graph, reading), TrainError::Window { rows: 50, limit: 49 * 32 });
}

#[test]
fn a_pass_that_is_not_the_first_one_again() {
    type Line = fn(u32, u64) -> Option<String>;
    let changed = |line: Line| {
        let graph = counted(2, Task::Classes(3));
        let reading = tight(Reading { shuffle: 8, ..reading("y", classes()) });
        let examples = Examples::open(Made::new(10_000, line), &graph, reading).unwrap();
        assert!(!examples.held());
        // The second pass is as it should be.
        assert_eq!(batches(&mut examples.training(), 0, 100).unwrap().len(), 100);
        batches(&mut examples.training(), 1, 100).err().unwrap()
    };
    let one = |pass, row| Some(if pass == 3 && row == 7_000 { line(1) } else { line(row) });
    assert_eq!(changed(one), TrainError::Changed { set: 0 });
    let swapped = |pass, row| Some(line(if pass == 3 && row < 2 { 1 - row } else { row }));
    assert_eq!(changed(swapped), TrainError::Changed { set: 0 });
    let fewer = |pass, row| Some(if pass == 3 && row > 9_000 { String::new() } else { line(row) });
    assert_eq!(changed(fewer), TrainError::Changed { set: 0 });
    let more = |pass, row| Some(if pass == 3 && row == 9_999 { line(row) + &line(row) } else { line(row) });
    assert_eq!(changed(more), TrainError::Changed { set: 0 });
    let broken = |pass, row| (pass < 3 || row < 5_000).then(|| line(row));
    assert_eq!(changed(broken), DataError::Truncated.into());
    let unknown = |pass, row| Some(if pass == 3 && row == 7_000 { "1,2,9\n".to_owned() } else { line(row) });
    assert!(matches!(changed(unknown), TrainError::Label { row: 7_001, .. }));
}

#[test]
fn memory_is_flat_in_the_number_of_rows() {
    let graph = counted(2, Task::Classes(3));
    let most = |count: u64| {
        let reading = Reading { shuffle: 500, memory: 64 << 10, validation: 0.1, ..reading("y", classes()) };
        let examples = Examples::open(Made::new(count, |_, row| Some(line(row))), &graph, reading).unwrap();
        assert!(!examples.held());
        let (mut training, mut most, mut found) = (examples.training(), 0, 0);
        training.begin(0).unwrap();
        while let Some(batch) = training.next(256).unwrap() {
            found += batch.rows;
            most = most.max(examples.bytes());
        }
        assert_eq!(found, training.rows());
        assert_eq!(found + examples.validation().unwrap().rows(), count);
        most
    };
    let (small, large) = (most(20_000), most(400_000));
    assert_eq!(small, large);
    // One piece of the window's rows, and one window of parsed ones.
    assert!(large < 3 << 20, "{large}");
}

#[test]
fn standardised_rows() {
    let graph = counted(2, Task::Classes(3));
    for memory in [ROOMY, 64 * 32] {
        let reading = Reading { standardise: true, shuffle: 10, validation: 0.2, memory, ..reading("y", classes()) };
        let examples = open(csv(200), &graph, reading).unwrap();
        let rows: Vec<Vec<f32>> = rows(&examples, 0).into_iter().map(|(row, _)| row).collect();
        for column in 0..2 {
            let count = rows.len() as f64;
            let mean = rows.iter().map(|row| f64::from(row[column])).sum::<f64>() / count;
            let square = rows.iter().map(|row| f64::from(row[column]).powi(2)).sum::<f64>() / count;
            assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-5, "{mean} {square}");
        }
        // Validation rows are seen through the same pair, which they had no part in.
        let validation = batches(&mut examples.validation().unwrap(), 0, 500).unwrap();
        let column: Vec<f32> = validation[0].inputs[0].float().unwrap().data.iter().copied().step_by(2).collect();
        assert!(column.iter().all(|value| value.abs() < 3.0) && column.iter().sum::<f32>().abs() > 1e-3);
    }
}

#[test]
fn pairs_and_arrays_by_name() {
    let mut writer = glacier_engine::onnx::Writer::new("twins");
    let dims = |last| [Dim::Free { name: "rows".into() }, Dim::Fixed { extent: last }];
    writer.input("x", Dtype::Fp32, &dims(2));
    writer.input("tokens", Dtype::Int64, &dims(1));
    writer.output("z", Dtype::Fp32, &dims(2));
    writer.node("n", "Cast", &["tokens"], &["t"], &[("to", Attr::Int(1))]);
    writer.node("m", "Add", &["x", "t"], &["z"], &[]);
    let graph = Graph::read(&writer.finish().unwrap()).unwrap();
    let array = |descr: &str, shape: &str, data: Vec<u8>| npy(descr, shape, &data);
    let singles = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let entries = [
        ("x", array("<f4", "(2, 2)", singles(&[1.0, 2.0, 3.0, 4.0]))),
        ("x_b", array("<f4", "(2, 2)", singles(&[5.0, 6.0, 7.0, 8.0]))),
        ("tokens", array("|u1", "(2, 1)", vec![9, 10])),
        ("tokens_b", array("|i1", "(2, 1)", vec![11, 12])),
        ("likeness", array("<f8", "(2,)", [0.5f64, 1.0].iter().flat_map(|value| value.to_le_bytes()).collect())),
    ];
    let pairs = Reading { pair_suffix: Some("_b".into()), ..reading("likeness", Goal::Numbers) };
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let batch = only(&open(npz(&entries, method), &graph, pairs.clone()).unwrap());
        assert_eq!(batch.inputs[0].float().unwrap().data, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(batch.inputs[0].shape(), [4, 2]);
        assert_eq!(batch.inputs[1].int().unwrap().data, [9, 10, 11, 12]);
        assert_eq!((batch.targets, batch.rows), (Targets::Pairs(Some(vec![0.5, 1.0])), 2));
    }
    let alone = Reading { wanted: Vec::new(), ..pairs.clone() };
    let batch = only(&open(npz(&entries[..4], zip::CompressionMethod::Stored), &graph, alone).unwrap());
    assert_eq!(batch.targets, Targets::Pairs(None));
    let of_classes = Reading { goal: classes(), ..pairs };
    let found = error(npz(&entries, zip::CompressionMethod::Stored), &graph, of_classes);
    assert!(matches!(found, TrainError::Unfit(_)));
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), data].concat()
}

fn npz(entries: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).unwrap();
        io::Write::write_all(&mut archive, bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn held_or_streamed_is_the_same(
        count in 1u64..300,
        shuffle in 0u32..40,
        share in 0u32..4,
        epoch in 0u32..3,
        batch in 1usize..50,
        skip in 0u64..20,
        seed: [u8; 32],
    ) {
        let graph = counted(2, Task::Classes(3));
        let validation = f64::from(share) / 10.0;
        let held = Reading { shuffle, validation, seed, standardise: true, ..reading("y", classes()) };
        let streamed = tight(held.clone());
        let (held, streamed) = (open(csv(count), &graph, held), open(csv(count), &graph, streamed));
        let (held, streamed) = match (held, streamed) {
            (Ok(held), Ok(streamed)) => (held, streamed),
            (held, streamed) => {
                prop_assert_eq!(held.err(), streamed.err());
                return Ok(());
            }
        };
        prop_assert!(held.held());
        let mut sources = [held.training(), streamed.training()];
        let all = sources.each_mut().map(|source| batches(source, epoch, batch).unwrap());
        prop_assert_eq!(&all[0], &all[1]);
        prop_assert_eq!(all[0].iter().map(|batch| batch.rows).sum::<u64>(), sources[0].rows());
        let parts = [held.validation(), streamed.validation()];
        let parts = parts.map(|part| part.map(|mut part| batches(&mut part, epoch, batch).unwrap()));
        prop_assert_eq!(&parts[0], &parts[1]);

        // No row is in both parts, and none is lost.
        let of = |batches: &[Batch]| batches.iter().flat_map(|batch| batch.numbers.clone()).collect::<Vec<u64>>();
        let mut numbers = [of(&all[0]), parts[0].as_deref().map(of).unwrap_or_default()].concat();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (1..=count).collect::<Vec<_>>());

        // After a restart the rest is what it would have been.
        let skip = skip.min(sources[0].rows());
        let rest: Vec<u64> = of(&all[0]).split_off(skip as usize);
        for source in &mut sources {
            source.begin(epoch).unwrap();
            source.skip(skip).unwrap();
            let after: Vec<Batch> = std::iter::from_fn(|| source.next(7).unwrap()).collect();
            prop_assert_eq!(of(&after), rest.clone());
        }
    }

    #[test]
    fn any_bytes_end(bytes: Vec<u8>, memory in 0u64..10_000) {
        let graph = counted(2, Task::Classes(3));
        let reading = Reading { memory, shuffle: 3, validation: 0.2, standardise: true, ..reading("y", classes()) };
        if let Ok(examples) = open(&bytes, &graph, reading) {
            prop_assert!(batches(&mut examples.training(), 0, 2).is_ok());
        }
    }

    #[test]
    fn any_edited_table_ends(place: prop::sample::Index, byte: u8) {
        let graph = counted(2, Task::Classes(3));
        let mut bytes = csv(6).into_bytes();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(examples) = open(&bytes, &graph, tight(reading("y", classes()))) {
            prop_assert!(batches(&mut examples.training(), 0, 2).is_ok());
        }
    }
}
