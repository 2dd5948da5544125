//! Writes models that `tests/judge.py` judges: `models IN OUT`.
//!
//! OUT gets models from nothing and, of each model in IN, one with all weights halved and one with its
//! first input standardised.

use glacier_engine::onnx::{Elements, Graph, Standard, patch, set_metadata, standardise};
use glacier_train::build::{Columns, Task, cnn, logistic, mlp};
use std::{collections::HashMap, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else { return Err("usage: models IN OUT".into()) };
    let (from, to) = (Path::new(from), Path::new(to));
    let names = |what: &str, count: usize| (0..count).map(|at| format!("{what} {at}")).collect::<Vec<_>>();
    let (columns, labels, seed) = (names("column", 5), names("label", 3), [9; 32]);
    fs::write(from.join("mlp.onnx"), mlp(Columns::Named(&columns), &[8, 4], Task::Labels(&labels), &seed)?)?;
    fs::write(from.join("logistic.onnx"), logistic(Columns::Count(5), Task::Classes(2), &seed)?)?;
    fs::write(from.join("linear.onnx"), logistic(Columns::Count(5), Task::Values(2), &seed)?)?;
    fs::write(from.join("cnn.onnx"), cnn(12, 10, 3, Task::Classes(10), &seed)?)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let model = fs::read(&path)?;
        let (graph, literals) = Graph::read_values(&model)?;
        let halves = literals.iter().filter_map(|literal| match &literal.elements {
            Elements::Floats(values) | Elements::Converted(values) => {
                Some((literal.name.as_str(), values.iter().map(|value| value / 2.0).collect::<Vec<f32>>()))
            }
            Elements::Ints(_) => None,
        });
        let halves: HashMap<&str, Vec<f32>> = halves.collect();
        let halves = halves.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("a name that is no text")?;
        fs::write(to.join(format!("halved-{name}")), patch(&model, &halves)?)?;
        let Some((_, input)) = graph.inputs.first() else { continue };
        let by = Standard { input: &input.name, shape: &[1], mean: &[0.5], deviation: &[2.0] };
        let edited = set_metadata(&standardise(&model, &by)?, &[("glacier.note", "judged")])?;
        fs::write(to.join(format!("standardised-{name}")), edited)?;
    }
    Ok(())
}
