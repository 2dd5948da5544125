//! How far the design reaches: a seeded simulation of a network for a year, and the tables of `docs/scale.md`.

mod assumptions;
mod day;
mod format;
mod formula;
mod gas;
mod limits;
mod plot;
mod random;
mod report;
mod simulation;
mod summary;

use crate::cargo;
use assumptions::Assumptions;
use gas::Gas;
use simulation::History;
use std::{collections::BTreeMap, fs, path::PathBuf};

/// Sizes that the document shows.
const SIZES: [u32; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
const SEED: u64 = 1;

/// `[--json] [--nodes N] [--seed S] [--write | --check] [--ASSUMPTION VALUE ...]`.
pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let asked = Asked::parse(args)?;
    let gas = Gas::committed()?;
    let scene = Scene::run(asked.sizes, asked.seed, asked.assumed, gas);
    match asked.output {
        Output::Text => print!("{}", report::text(&scene)),
        Output::Json => println!("{}", report::json(&scene)),
        Output::Write => {
            for (file, text) in files(&scene)? {
                fs::create_dir_all(file.parent().unwrap_or(&file)).map_err(|error| error.to_string())?;
                fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
            }
        }
        Output::Check => {
            for (file, text) in files(&scene)? {
                if fs::read_to_string(&file).ok().as_ref() != Some(&text) {
                    return Err(format!("{} is stale: run `cargo xtask scale --write` and commit it", file.display()));
                }
            }
        }
    }
    Ok(())
}

/// All runs that a report is made of.
struct Scene {
    seed: u64,
    assumed: Assumptions,
    gas: Gas,
    runs: Vec<History>,
}

impl Scene {
    fn run(sizes: Vec<u32>, seed: u64, assumed: Assumptions, gas: Gas) -> Self {
        let runs = sizes.into_iter().map(|nodes| simulation::run(nodes, seed, &assumed, &gas)).collect();
        Self { seed, assumed, gas, runs }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Output {
    Text,
    Json,
    Write,
    Check,
}

#[derive(Debug)]
struct Asked {
    output: Output,
    sizes: Vec<u32>,
    seed: u64,
    assumed: Assumptions,
}

impl Asked {
    fn parse(args: &[&str]) -> Result<Self, String> {
        let mut asked =
            Self { output: Output::Text, sizes: SIZES.to_vec(), seed: SEED, assumed: Assumptions::default() };
        let mut args = args.iter();
        let mut changed = false;
        while let Some(flag) = args.next() {
            let name = flag.strip_prefix("--").ok_or_else(|| format!("{flag} is no flag"))?;
            asked.output = match name {
                "json" => Output::Json,
                "write" => Output::Write,
                "check" => Output::Check,
                _ => {
                    let value = args.next().ok_or_else(|| format!("{flag} takes a number"))?;
                    let wrong = |_| format!("{flag} takes a number, not {value}");
                    changed = true;
                    match name {
                        "nodes" => {
                            asked.sizes = vec![
                                value
                                    .parse()
                                    .ok()
                                    .filter(|nodes| (1..=10_000_000).contains(nodes))
                                    .ok_or_else(|| format!("--nodes must be from 1 to 10,000,000, not {value}"))?,
                            ]
                        }
                        "seed" => {
                            asked.seed =
                                value.parse().map_err(|_| format!("--seed takes a whole number, not {value}"))?
                        }
                        name => asked.assumed.set(
                            &name.replace('-', "_"),
                            value.parse().map_err(|error: std::num::ParseFloatError| wrong(error))?,
                        )?,
                    }
                    continue;
                }
            };
        }
        if changed && matches!(asked.output, Output::Write | Output::Check) {
            return Err("the document holds the defaults: --write and --check go with no other flag".into());
        }
        asked.assumed.check()?;
        Ok(asked)
    }
}

/// What is committed: the document with its tables, and the plots.
fn files(scene: &Scene) -> Result<BTreeMap<PathBuf, String>, String> {
    let docs = cargo::root().join("docs");
    let document = docs.join("scale.md");
    let text = fs::read_to_string(&document).map_err(|error| format!("{}: {error}", document.display()))?;
    let mut files = BTreeMap::from([(document, report::fill(&text, &report::tables(scene))?)]);
    files.extend(plot::all(scene).into_iter().map(|(name, text)| (docs.join("scale").join(name), text)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_wrong_ones_refused() {
        let asked = Asked::parse(&["--json", "--nodes", "50", "--seed", "9", "--l1-gas-gwei", "30"]).unwrap();
        assert_eq!((asked.output, asked.sizes.as_slice(), asked.seed), (Output::Json, &[50][..], 9));
        assert_eq!(asked.assumed.l1_gas_gwei, 30.0);
        for wrong in [
            &["--nodes"][..],
            &["--nodes", "0"],
            &["--nodes", "-3"],
            &["--seed", "x"],
            &["--luck", "1"],
            &["--eth-usd", "nan"],
            &["--eth-usd", "much"],
            &["10"],
            &["--write", "--seed", "2"],
            &["--refresh-days", "29"],
        ] {
            assert!(Asked::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_committed_document_has_a_place_for_every_table() {
        let assumed = Assumptions { days: 60.0, growth_days: 30.0, ..Assumptions::default() };
        let scene = Scene::run(vec![10], SEED, assumed, Gas::committed().unwrap());
        let files = files(&scene).unwrap();
        assert_eq!(files.len(), 3);
        assert!(files.keys().all(|file| file.exists()), "run `cargo xtask scale --write`");
    }
}
