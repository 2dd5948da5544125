//! Runs one model over one data set in this process, through the same checks as the worker's, writes
//! each output as `.npy` (`output0.npy` and so on), and says how long a run took. For comparison with other engines.
//!
//! `run MODEL DATA OUT_DIR THREADS WINDOW REPEATS`

use glacier_engine::{DataError, Limits, Model, Rten, RunError, ingest};
use glacier_wire::{Dtype, Tensor};
use std::{collections::BTreeMap, fs, path::Path, time::Instant};

struct Runs<'a> {
    model: &'a mut Model,
    limits: Limits,
    repeats: u32,
    outputs: BTreeMap<usize, (Dtype, Vec<u64>, Vec<u8>)>,
    labels: Vec<String>,
    seconds: Vec<f64>,
    units: u64,
}

#[derive(Debug)]
struct Failed(#[allow(dead_code, reason = "shown by Debug")] RunError);

impl From<DataError> for Failed {
    fn from(error: DataError) -> Self {
        Self(error.into())
    }
}

impl ingest::Sink for Runs<'_> {
    type Error = Failed;

    fn begin(&mut self, _: &[Vec<u64>], _: Option<u64>) -> Result<usize, Failed> {
        Ok(self.limits.window as usize)
    }

    fn window(&mut self, _: u64, inputs: Vec<Tensor>) -> Result<(), Failed> {
        let mut made = None;
        for _ in 0..self.repeats {
            let inputs = inputs.clone();
            let start = Instant::now();
            made = Some(self.model.run(inputs, self.limits.units, self.limits.memory).map_err(Failed)?);
            self.seconds.push(start.elapsed().as_secs_f64());
        }
        let (tensors, units) = made.unwrap_or_default();
        self.units += units;
        self.labels.extend(self.model.labels(&tensors).map_err(Failed)?.unwrap_or_default());
        for (at, tensor) in tensors.into_iter().enumerate() {
            let mut shape = tensor.shape;
            let rows = std::mem::take(&mut shape[0]);
            let output = self.outputs.entry(at).or_insert((tensor.dtype, shape, Vec::new()));
            output.1[0] += rows;
            output.2.extend(tensor.data);
        }
        Ok(())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, out, threads, window, repeats] = arguments.as_slice() else {
        eprintln!("run MODEL DATA OUT_DIR THREADS WINDOW REPEATS");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<u32>().expect("a number");
    let limits = Limits { units: u64::MAX, threads: number(threads), window: number(window), memory: 16 << 30 };
    let mut model = Model::load(&Rten, fs::read(model).expect("the model"), &limits).expect("a model that runs");
    let info = model.info().clone();
    let repeats = number(repeats);
    let (mut outputs, mut labels, mut seconds, mut rows, mut units) = Default::default();
    model.enter(&mut |model| {
        let data = fs::File::open(data).expect("the data");
        let (empty, none, never) = Default::default();
        let mut runs = Runs { model, limits, repeats, outputs: empty, labels: none, seconds: never, units: 0 };
        rows = ingest::read(data, &info, &mut runs).expect("data that fits");
        (outputs, labels, seconds, units) = (runs.outputs, runs.labels, runs.seconds, runs.units);
    });
    for (at, (dtype, shape, data)) in &outputs {
        let descr = if *dtype == Dtype::Fp32 { "<f4" } else { "<i8" };
        let shape: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(data);
        fs::write(Path::new(out).join(format!("output{at}.npy")), file).expect("the output");
    }
    fs::write(Path::new(out).join("labels.txt"), labels.join("\n")).expect("the labels");
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or(0.0);
    println!("{{\"rows\": {rows}, \"units\": {units}, \"ms\": {:.4}}}", median * 1e3);
}
