//! Client and worker over a socket pair, with the model and the data that ship.

use glacier_engine::{Client, EngineError, Limits, ModelInfo, RunReport, worker};
use glacier_wire::{Outputs, Tensor, api::RefusalCode};
use std::{path::PathBuf, thread::JoinHandle};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

const LIMITS: Limits = Limits { units: 1 << 40, threads: 1, window: 100, memory: 1 << 30 };

fn bundled(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/breast-cancer").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn worker() -> (Client, JoinHandle<()>) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let thread = std::thread::spawn(move || worker::work(theirs));
    (Client::new(tokio::net::UnixStream::from_std(ours).unwrap()), thread)
}

fn chunked(bytes: Vec<u8>, size: usize) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        for chunk in bytes.chunks(size) {
            if sender.send(Zeroizing::new(chunk.to_vec())).await.is_err() {
                break;
            }
        }
    });
    receiver
}

async fn load(client: &mut Client, model: Vec<u8>, limits: Limits) -> Result<ModelInfo, EngineError> {
    client.load(model.len() as u64, &mut chunked(model, 1000), limits).await
}

async fn rows(client: &mut Client, data: Vec<u8>) -> (Result<RunReport, EngineError>, Vec<Outputs>) {
    let (out, mut pieces) = mpsc::channel(1);
    let collect = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            all.extend(piece);
        }
        all
    });
    let report = client.rows(data.len() as u64, &mut chunked(data, 777), out, |_| ()).await;
    let bytes = collect.await.unwrap();
    let mut decoder = minicbor::Decoder::new(&bytes);
    let mut windows = Vec::new();
    while decoder.position() < bytes.len() {
        windows.push(decoder.decode().unwrap());
    }
    (report, windows)
}

fn code(result: Result<impl std::fmt::Debug, EngineError>) -> RefusalCode {
    match result {
        Err(EngineError::Refused(refusal)) => refusal.code,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[tokio::test]
async fn the_bundled_model_tells_the_held_out_rows_apart() {
    let (mut client, thread) = worker();
    let info = load(&mut client, bundled("model.onnx"), LIMITS).await.unwrap();
    assert_eq!(info.units_per_row, Some(30 * 16 + 16 * 2));
    assert_eq!(info.labels.as_deref(), Some(&["malignant".to_owned(), "benign".to_owned()][..]));
    let (report, windows) = rows(&mut client, bundled("data.csv")).await;
    assert_eq!(report, Ok(RunReport { rows: 569, units: 569 * 512 }));
    assert_eq!(
        windows.iter().map(|window| window.tensors[0].shape[0]).collect::<Vec<_>>(),
        [100, 100, 100, 100, 100, 69]
    );

    let found: Vec<String> = windows.into_iter().flat_map(|window| window.labels.unwrap()).collect();
    let known = String::from_utf8(bundled("labels.csv")).unwrap();
    let (mut held, mut right) = (0, 0);
    for (found, known) in found.iter().zip(known.lines().skip(1)) {
        let (label, held_out) = known.split_once(',').unwrap();
        if held_out == "1" {
            held += 1;
            right += u32::from(label == found);
        }
    }
    assert_eq!(held, 143);
    assert!(f64::from(right) / f64::from(held) >= 0.95, "{right} of {held}");
    drop(client);
    thread.join().unwrap();
}

#[tokio::test]
async fn request_and_data_set_give_the_same_numbers() {
    let (mut client, _thread) = worker();
    load(&mut client, bundled("model.onnx"), LIMITS).await.unwrap();
    let (_, windows) = rows(&mut client, bundled("data.csv")).await;
    let text = String::from_utf8(bundled("data.csv")).unwrap();
    let row: Vec<f32> = text.lines().nth(1).unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    let input = Tensor::from_f32("", vec![1, 30], &row).unwrap();
    let answer = client.infer(&[input]).await.unwrap();
    assert_eq!(answer.units, 512);
    assert_eq!(answer.labels.unwrap(), ["malignant"]);
    let one = answer.tensors[0].to_f32().unwrap();
    let all = windows[0].tensors[0].to_f32().unwrap();
    // Kernels for one row and for many sum in other orders.
    assert!(one.iter().zip(&all).all(|(a, b)| (a - b).abs() < 1e-6), "{one:?} {:?}", &all[..2]);
}

#[tokio::test]
async fn a_refused_model_says_why_and_the_worker_takes_another() {
    let (mut client, _thread) = worker();
    let mut cut = bundled("model.onnx");
    cut.truncate(2000);
    assert_eq!(code(load(&mut client, cut, LIMITS).await), RefusalCode::ModelInvalid);
    assert_eq!(code(load(&mut client, b"not a model".to_vec(), LIMITS).await), RefusalCode::ModelInvalid);
    assert_eq!(code(load(&mut client, Vec::new(), LIMITS).await), RefusalCode::ModelInvalid);
    assert!(load(&mut client, bundled("model.onnx"), LIMITS).await.is_ok());
}

#[tokio::test]
async fn a_refused_data_set_leaves_the_worker_usable() {
    let (mut client, _thread) = worker();
    load(&mut client, bundled("model.onnx"), LIMITS).await.unwrap();
    let good = bundled("data.csv");
    let text = String::from_utf8(good.clone()).unwrap();

    let missing = text.replacen("mean texture", "average texture", 1);
    let (report, windows) = rows(&mut client, missing.into_bytes()).await;
    let Err(EngineError::Refused(refusal)) = report else { panic!("accepted") };
    assert_eq!(
        (refusal.code, refusal.detail.as_str()),
        (RefusalCode::DataInvalid, "column \"mean texture\" is missing")
    );
    assert!(windows.is_empty());

    // Far behind the first window, and long before the end.
    let mut lines: Vec<&str> = text.lines().collect();
    let bad = lines[300].replacen(',', ",NaN,", 1);
    let bad = bad.rsplit_once(',').unwrap().0.to_owned();
    lines[300] = &bad;
    let (report, _) = rows(&mut client, lines.join("\n").into_bytes()).await;
    let Err(EngineError::Refused(refusal)) = report else { panic!("accepted") };
    assert_eq!(refusal.detail, "row 300, column \"mean texture\": the cell is not a finite number");

    let (report, _) = rows(&mut client, good).await;
    assert_eq!(report.unwrap().rows, 569);
}

#[tokio::test]
async fn work_beyond_the_unit_limit_is_not_done() {
    let (mut client, _thread) = worker();
    let limits = Limits { units: 512 * 150, ..LIMITS };
    load(&mut client, bundled("model.onnx"), limits).await.unwrap();
    let (report, windows) = rows(&mut client, bundled("data.csv")).await;
    assert_eq!(code(report), RefusalCode::UnitLimit);
    // One window of 100 fits, the second does not; what was spent stays spent.
    assert_eq!(windows.len(), 1);
    let input = Tensor::from_f32("features", vec![51, 30], &[1.0; 51 * 30]).unwrap();
    assert_eq!(code(client.infer(&[input]).await), RefusalCode::UnitLimit);
    let input = Tensor::from_f32("features", vec![50, 30], &[1.0; 50 * 30]).unwrap();
    assert_eq!(client.infer(&[input]).await.unwrap().units, 50 * 512);
}

#[tokio::test]
async fn an_array_too_long_for_its_units_is_refused_before_anything_runs() {
    let (mut client, _thread) = worker();
    load(&mut client, bundled("model.onnx"), Limits { units: 512 * 150, ..LIMITS }).await.unwrap();
    let (report, windows) = rows(&mut client, npy("<f4", "(151, 30)", &vec![0; 151 * 30 * 4])).await;
    assert_eq!(code(report), RefusalCode::UnitLimit);
    assert!(windows.is_empty());
}

#[tokio::test]
async fn a_model_larger_than_its_memory_is_refused() {
    let (mut client, _thread) = worker();
    let refused = load(&mut client, bundled("model.onnx"), Limits { memory: 4000, ..LIMITS }).await;
    assert_eq!(code(refused), RefusalCode::MemoryLimit);
}

#[tokio::test]
async fn requests_that_do_not_fit_are_refused() {
    let (mut client, _thread) = worker();
    load(&mut client, bundled("model.onnx"), LIMITS).await.unwrap();
    for input in [
        Tensor::from_f32("features", vec![1, 29], &[0.0; 29]).unwrap(),
        Tensor::from_f32("features", vec![30], &[0.0; 30]).unwrap(),
        Tensor::from_f32("other", vec![1, 30], &[0.0; 30]).unwrap(),
        Tensor { data: vec![0; 4], ..Tensor::from_f32("features", vec![1, 30], &[0.0; 30]).unwrap() },
        Tensor::new("features", glacier_wire::Dtype::Int32, vec![1, 30], vec![0; 120]).unwrap(),
    ] {
        assert_eq!(code(client.infer(&[input]).await), RefusalCode::DataInvalid);
    }
    assert_eq!(code(client.infer(&[]).await), RefusalCode::DataInvalid);
}

#[tokio::test]
async fn input_that_ends_early_or_goes_on_is_cut() {
    let (mut client, _thread) = worker();
    let model = bundled("model.onnx");
    let len = model.len() as u64;
    assert_eq!(client.load(len + 1, &mut chunked(model.clone(), 1000), LIMITS).await, Err(EngineError::Cut));
    assert_eq!(client.load(len - 1, &mut chunked(model.clone(), 1000), LIMITS).await, Err(EngineError::Cut));
    assert!(load(&mut client, model, LIMITS).await.is_ok());
}

#[tokio::test]
async fn results_that_nobody_takes_end_the_run() {
    let (mut client, _thread) = worker();
    load(&mut client, bundled("model.onnx"), LIMITS).await.unwrap();
    let (out, pieces) = mpsc::channel(1);
    drop(pieces);
    let data = bundled("data.csv");
    let report = client.rows(data.len() as u64, &mut chunked(data.clone(), 777), out, |_| ()).await;
    assert_eq!(report, Err(EngineError::Unwanted));
    assert_eq!(rows(&mut client, data).await.0.unwrap().rows, 569);
}

#[tokio::test]
async fn a_worker_that_dies_is_gone() {
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    drop(theirs);
    let mut client = Client::new(ours);
    assert_eq!(load(&mut client, bundled("model.onnx"), LIMITS).await, Err(EngineError::Gone));
}

#[tokio::test]
async fn a_worker_that_lies_is_not_believed() {
    use tokio::io::AsyncWriteExt;
    // A length beyond any bound; an answer nobody asked for; nonsense.
    for lie in [[19u32, u32::MAX], [18, 0], [77, 0]] {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let mut frame = Vec::new();
        frame.extend(lie.iter().flat_map(|word| word.to_le_bytes()));
        frame.resize(24, 0);
        theirs.write_all(&frame).await.unwrap();
        let mut client = Client::new(ours);
        assert_eq!(load(&mut client, bundled("model.onnx"), LIMITS).await, Err(EngineError::Protocol));
        assert_eq!(client.infer(&[]).await, Err(EngineError::Protocol));
    }
}

#[tokio::test]
async fn more_data_than_any_buffer_flows_both_ways() {
    let (mut client, _thread) = worker();
    load(&mut client, bundled("model.onnx"), Limits { window: 4096, ..LIMITS }).await.unwrap();
    let data = npy("<f8", "(200000, 30)", &vec![0; 200_000 * 30 * 8]);
    let (report, windows) = rows(&mut client, data).await;
    assert_eq!(report.unwrap().rows, 200_000);
    assert_eq!(windows.len(), 49);
}

fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(data);
    out
}
