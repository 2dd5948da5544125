//! What is made on the owner's machine before anything is sealed: an initial model where there is none, and
//! tables that the enclave does not read in their own format.

use crate::error::Failure;
use glacier_table::{Format, to_csv};
use glacier_train::build::{self, Columns, Task};
use glacier_wire::training::{Loss, Target, TrainingPlan};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where the initial weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Initial {
    /// A file of the owner.
    File(PathBuf),
    /// Fully connected layers of these widths, made for the columns of a CSV file.
    Mlp(Vec<u64>),
    /// One layer.
    Logistic,
}

impl FromStr for Initial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let widths =
            |text: &str| text.split(',').map(|width| width.trim().parse().ok().filter(|width| *width > 0)).collect();
        match text.split_once(':') {
            _ if text == "logistic" => Ok(Self::Logistic),
            _ if text == "mlp" => Ok(Self::Mlp(vec![32])),
            Some(("mlp", layers)) => {
                let layers: Option<Vec<u64>> = widths(layers);
                layers.map(Self::Mlp).ok_or_else(|| "the widths of the layers are wanted, such as mlp:64,32".into())
            }
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// Classes above this many are taken for numbers.
const MAX_CLASSES: usize = 64;

impl Initial {
    /// A file of it. A model made from nothing takes every column but the targets; whether it tells classes or
    /// gives numbers is read off the targets, and the plan's loss is set accordingly where it is the default.
    pub(crate) fn file(&self, data: &[PathBuf], plan: &mut TrainingPlan, scratch: &Path) -> Result<PathBuf, Failure> {
        let hidden: &[u64] = match self {
            Self::File(path) => return Ok(path.clone()),
            Self::Mlp(hidden) => hidden,
            Self::Logistic => &[],
        };
        let [table, ..] = data else { return Err(not_csv(Path::new(""))) };
        let look = look(table, &plan.target)?;
        let (columns, seed) = (Columns::Named(&look.features), &plan.seed.0);
        let classes: Vec<String> = match plan.classes.as_slice() {
            [] => look.classes.into_iter().flatten().collect(),
            // Whoever names the classes has no name, and no number of them, read off the rows.
            named => named.to_vec(),
        };
        let task = if classes.is_empty() { Task::Values(plan.target.len() as u64) } else { Task::Labels(&classes) };
        if classes.is_empty() && plan.loss == Loss::CrossEntropy {
            plan.loss = Loss::Mse;
        }
        let model = build::mlp(columns, hidden, task, seed).map_err(|error| {
            let help = "bring a model of your own with --model FILE.onnx";
            Failure::trouble("model", format!("no initial model can be made for {}: {error}", table.display()), help)
        })?;
        let path = scratch.join("initial.onnx");
        std::fs::write(&path, model).map_err(|error| Failure::writing(&path, &error))?;
        Ok(path)
    }
}

/// What a table shows.
struct Look {
    features: Vec<String>,
    /// Names of the classes, sorted; `None` where the targets are numbers.
    classes: Option<BTreeSet<String>>,
}

fn look(table: &Path, targets: &[Target]) -> Result<Look, Failure> {
    if table.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("csv")) {
        return Err(not_csv(table));
    }
    let broken = |error: csv::Error| {
        Failure::trouble(
            "data",
            format!("{}: {error}", table.display()),
            "check that this is a CSV table with a header",
        )
    };
    let mut reader = csv::Reader::from_path(table).map_err(broken)?;
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(|name| name.trim().to_owned()).collect();
    let mut places = Vec::new();
    for target in targets {
        let place = match target {
            Target::Name(name) => header.iter().position(|column| column == name),
            Target::Column(index) => usize::try_from(*index).ok().filter(|index| *index < header.len()),
        };
        places.push(place.ok_or_else(|| no_column(table, target, &header))?);
    }
    let [first, ..] = places[..] else {
        let help = format!("name it with --target; the columns are {}", header.join(", "));
        return Err(Failure::trouble("usage", "which column has the wanted answers?", help));
    };
    let mut classes = Some(BTreeSet::new());
    let mut numbers = true;
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let cell = record.get(first).unwrap_or_default().trim();
        numbers &= cell.parse::<f64>().is_ok();
        let whole = cell.parse::<i64>().is_ok();
        // Text names classes, however many; numbers do only while they are whole and few.
        classes = classes.filter(|known| !numbers || (whole && known.len() <= MAX_CLASSES));
        if let Some(known) = &mut classes {
            known.insert(cell.to_owned());
        }
    }
    let features = header.iter().enumerate().filter(|(place, _)| !places.contains(place));
    let features = features.map(|(_, name)| name.clone()).collect();
    Ok(Look { features, classes: classes.filter(|_| targets.len() == 1) })
}

fn no_column(table: &Path, target: &Target, header: &[String]) -> Failure {
    let message = format!("{} has no column {target}", table.display());
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let near = match target {
        Target::Name(name) => glacier_wire::training::nearest(name, &names),
        Target::Column(_) => None,
    };
    let help = match near {
        Some(near) => format!("`{near}` may be meant"),
        None => format!("the columns are {}", names.join(", ")),
    };
    Failure::trouble("data", message, help)
}

fn not_csv(table: &Path) -> Failure {
    let message = format!("an initial model is made from nothing for a .csv only, not for {}", table.display());
    Failure::trouble("usage", message, "bring a model of your own with --model FILE.onnx")
}

/// A file that the enclave reads: Parquet and Arrow become CSV here, so that their parsers stay outside of it.
pub(crate) fn plain(file: &Path, scratch: &Path) -> Result<PathBuf, Failure> {
    let source = File::open(file).map_err(|error| Failure::reading(file, &error))?;
    let mut first = [0; 16];
    let read = (&source).take(16).read(&mut first).map_err(|error| Failure::reading(file, &error))?;
    if Format::of(first.get(..read).unwrap_or_default()).is_none() {
        return Ok(file.to_owned());
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut places = (0u32..).map(|number| scratch.join(format!("{name}-{number}.csv")));
    let place = places.find(|place| !place.exists()).unwrap_or_default();
    let out = File::create(&place).map_err(|error| Failure::writing(&place, &error))?;
    to_csv(&source, BufWriter::new(out)).map_err(|error| {
        let help = "Parquet and Arrow files of numbers, text and booleans are read; write the table as .csv otherwise";
        Failure::trouble("data", format!("{}: {error}", file.display()), help)
    })?;
    Ok(place)
}
