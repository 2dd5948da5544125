//! Models and data sets that are not what they should be, through the whole path. The engine's own
//! tests have the long list; here it is shown that each ends as a refusal and the enclave goes on.

use crate::scene::{Scene, refused};
use glacier::{Draft, wire::api::RefusalCode};
use glacier_testkit::{Rig, breast_cancer};
use std::path::PathBuf;

async fn run(model: Vec<u8>, data: Vec<u8>, change: impl FnOnce(&mut Draft)) -> RefusalCode {
    let rig = Rig::start().await;
    let write = |name: &str, bytes: Vec<u8>| -> PathBuf {
        let path = rig.home().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (model, data) = (write("model.onnx", model), write("data.csv", data));
    let scene = Scene::with(rig, &model, &data, change).await;
    let code = refused(scene.play().await);
    // Whatever it was, it stayed in its worker: the same enclave does the next job.
    let next = Scene::set(scene.rig).await;
    assert_eq!(next.play().await.expect("the next job runs").results.rows(), 569);
    code
}

fn model() -> Vec<u8> {
    std::fs::read(breast_cancer::model()).unwrap()
}

fn data() -> Vec<u8> {
    std::fs::read(breast_cancer::data()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_model_is_refused() {
    let mut model = model();
    model.truncate(model.len() / 2);
    assert_eq!(run(model, data(), |_| ()).await, RefusalCode::ModelInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_none_is_refused() {
    assert_eq!(run(b"not a model".to_vec(), data(), |_| ()).await, RefusalCode::ModelInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_column_is_refused() {
    let text = String::from_utf8(data()).unwrap();
    let cut: Vec<&str> = text.lines().filter_map(|line| line.split_once(',').map(|(_, rest)| rest)).collect();
    assert_eq!(run(model(), cut.join("\n").into_bytes(), |_| ()).await, RefusalCode::DataInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_is_no_number_is_refused() {
    for wrong in ["NaN", "inf", "benign", ""] {
        let text = String::from_utf8(data()).unwrap();
        let (head, rows) = text.split_once('\n').unwrap();
        let spoilt = format!("{head}\n{wrong},{}", rows.split_once(',').unwrap().1);
        assert_eq!(run(model(), spoilt.into_bytes(), |_| ()).await, RefusalCode::DataInvalid, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_columns_are_refused() {
    let wide: String = (0..1_000_000).map(|n| format!("c{n},")).collect();
    assert_eq!(run(model(), (wide + "end\n").into_bytes(), |_| ()).await, RefusalCode::DataInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_past_its_memory_limit_is_refused() {
    assert_eq!(run(model(), data(), |draft| draft.limits.memory = 4096).await, RefusalCode::MemoryLimit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_past_its_unit_limit_is_refused() {
    assert_eq!(run(model(), data(), |draft| draft.limits.units = 10).await, RefusalCode::UnitLimit);
}
