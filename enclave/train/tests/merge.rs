//! What sites can train, an aggregator can average.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use glacier_engine::EngineError;
use glacier_train::merge::{Mill, work};
use support::{FLOAT, Model, noise};

/// Rounded logits beside the logits: nothing can be learnt through the former.
fn model() -> Vec<u8> {
    Model::new()
        .input("x", FLOAT, &[-1, 4])
        .floats("w", &[4, 3], &noise(1, 12))
        .node("MatMul", &["x", "w"], &["y"], &[])
        .node("Round", &["y"], &["rounded"], &[])
        .output("y", FLOAT)
        .output("rounded", FLOAT)
        .bytes(18)
}

fn mill(output: Option<&str>) -> Mill {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::thread::spawn(|| work(theirs));
    ours.set_nonblocking(true).unwrap();
    Mill::new(tokio::net::UnixStream::from_std(ours).unwrap(), 1 << 20, output)
}

#[tokio::test]
async fn another_output_than_the_trained_one_needs_no_gradient() {
    let mut mill = mill(Some("y"));
    let flat = mill.read(&model()).await.unwrap();
    assert_eq!(flat.values.len(), 12);
    let other = noise(2, 12);
    let written = mill.write(&model(), &other).await.unwrap();
    assert_eq!(mill.read(&written).await.unwrap().values, other);
}

#[tokio::test]
async fn a_trained_one_does() {
    for output in [None, Some("rounded")] {
        assert!(matches!(mill(output).read(&model()).await, Err(EngineError::Refused(_))), "{output:?}");
    }
}
