//! How to train: a TOML file, flags, or both; flags win.

use crate::{error::Failure, explain, files};
use glacier_remote::Remote;
use glacier_wire::training::{
    EarlyStopping, Lora, Loss, Metric, Optimiser, PlanError, Privacy, Real, Schedule, Seed, Target, TrainingPlan,
    UnknownWord, Validation,
};
use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

/// Flags over a plan.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How to train")]
pub(crate) struct PlanArgs {
    /// A plan (TOML): all that can be said of how to train. The flags below win over it
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Column with the wanted answers, by name or by place from 0; once for each
    #[arg(long, value_name = "COL|NAME", value_parser = target)]
    target: Vec<Target>,
    /// Passes over the data
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Rows of one step
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// cross-entropy, bce, mse, mae, cosine or contrastive
    #[arg(long, value_name = "LOSS", value_parser = word::<Loss>)]
    loss: Option<Loss>,
    /// sgd, adam or adamw
    #[arg(long, value_name = "NAME", value_parser = word::<Optimiser>)]
    optimiser: Option<Optimiser>,
    /// Learning rate
    #[arg(long, value_name = "RATE", value_parser = word::<Real>)]
    rate: Option<Real>,
    /// constant, cosine or step
    #[arg(long, value_name = "NAME", value_parser = word::<Schedule>)]
    schedule: Option<Schedule>,
    /// Steps over which the rate rises at the start
    #[arg(long, value_name = "N")]
    warmup: Option<u32>,
    /// Weight decay
    #[arg(long, value_name = "DECAY", value_parser = word::<Real>)]
    weight_decay: Option<Real>,
    /// Largest norm of a gradient
    #[arg(long, value_name = "NORM", value_parser = word::<Real>)]
    clip_norm: Option<Real>,
    /// Weights that do not learn, by name; * stands for any text
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Train adapters of this rank instead of the weights
    #[arg(long, value_name = "RANK")]
    lora: Option<u32>,
    /// What is measured after each epoch: accuracy, f1, auc, r2, rmse, loss
    #[arg(long, value_name = "NAME", value_parser = word::<Metric>)]
    metric: Vec<Metric>,
    /// Rows that are only measured: a share of the data (0.2), none, or a file of yours
    #[arg(long, value_name = "SHARE|FILE|URL")]
    validation: Option<String>,
    /// Stop when the validation loss has not fallen for so many epochs; the best weights are the result
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<u32>,
    /// Bring each input column to mean 0 and deviation 1; the refined model does it itself
    #[arg(long)]
    standardise: bool,
    /// Differential privacy: deviation of the noise, largest norm of a row's gradient, delta (1.1,1.0,1e-5)
    #[arg(long, value_name = "NOISE,CLIP,DELTA", value_parser = privacy)]
    privacy: Option<Privacy>,
    /// A number: everything that is drawn at random follows from it
    #[arg(long, value_name = "N", value_parser = word::<Seed>)]
    seed: Option<Seed>,
    /// Threads of the enclave's worker [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Steps between two checkpoints [default: one after each epoch]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u32>,
}

fn word<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of a value parser")]
fn target(text: &str) -> Result<Target, String> {
    Ok(Target::from(text))
}

fn privacy(text: &str) -> Result<Privacy, String> {
    let wanted = || "three numbers are wanted, such as 1.1,1.0,1e-5".to_owned();
    let numbers = text.split(',').map(|number| number.trim().parse().map_err(|_| wanted()));
    let numbers = numbers.collect::<Result<Vec<Real>, String>>()?;
    let [noise, clip, delta] = numbers[..] else { return Err(wanted()) };
    Ok(Privacy { noise, clip, delta, max_epsilon: None, sampling: Default::default() })
}

/// The three numbers of the flag, over what else the plan says of it.
fn over(typed: Privacy, planned: Option<Privacy>) -> Privacy {
    let Privacy { noise, clip, delta, .. } = typed;
    Privacy { noise, clip, delta, ..planned.unwrap_or(typed) }
}

impl PlanArgs {
    /// The plan that file and flags make. Not checked yet: what the data says may still be missing.
    pub(crate) fn plan(&self) -> Result<TrainingPlan, Failure> {
        let mut plan = self.plan.as_deref().map(read_plan).transpose()?.unwrap_or_default();
        set(&mut plan.epochs, self.epochs);
        set(&mut plan.batch, self.batch);
        set(&mut plan.loss, self.loss);
        set(&mut plan.optimiser, self.optimiser);
        set(&mut plan.learning_rate, self.rate);
        set(&mut plan.schedule, self.schedule);
        set(&mut plan.warmup, self.warmup);
        set(&mut plan.weight_decay, self.weight_decay);
        set(&mut plan.seed, self.seed);
        set(&mut plan.threads, self.threads);
        set(&mut plan.checkpoint_every, self.checkpoint_every);
        plan.clip_norm = self.clip_norm.or(plan.clip_norm);
        plan.privacy = self.privacy.map(|typed| over(typed, plan.privacy)).or(plan.privacy);
        plan.standardise |= self.standardise;
        if !self.target.is_empty() {
            plan.target.clone_from(&self.target);
        }
        if !self.freeze.is_empty() {
            plan.freeze.clone_from(&self.freeze);
        }
        if !self.metric.is_empty() {
            plan.metrics.clone_from(&self.metric);
        }
        if let Some(rank) = self.lora {
            plan.lora = Some(Lora { rank, ..plan.lora.take().unwrap_or_default() });
        }
        if let Some(patience) = self.patience {
            plan.early_stopping = Some(EarlyStopping { patience, ..plan.early_stopping.unwrap_or_default() });
        }
        if let Some(text) = &self.validation
            && self.validation_file().is_none()
        {
            plan.validation = text.parse::<Validation>().map_err(|_| {
                let message = format!("--validation is `{text}`: neither a share from 0 to 0.5 nor a file");
                Failure::trouble("usage", message, "such as --validation 0.2, none, or held-out.csv")
            })?;
        }
        Ok(plan)
    }

    /// The file of rows that are only measured, if that is what was typed.
    pub(crate) fn validation_file(&self) -> Option<PathBuf> {
        let text = self.validation.as_deref()?;
        (Path::new(text).is_file() || Remote::is_meant(text)).then(|| text.into())
    }
}

fn set<T>(member: &mut T, typed: Option<T>) {
    if let Some(typed) = typed {
        *member = typed;
    }
}

/// Reads a plan; what it does not know is named, with what may be meant.
pub(crate) fn read_plan(path: &Path) -> Result<TrainingPlan, Failure> {
    let bytes = files::read(path, 1 << 20)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::trouble("plan", format!("{}: not UTF-8", path.display()), "a plan is a TOML file"))?;
    let manual = "`docs/training.md` lists what a plan may say";
    toml::from_str(text).map_err(|error| explain::settings("plan", path, text, &error, TrainingPlan::MEMBERS, manual))
}

/// A plan that contradicts itself, as people are told.
pub(crate) fn unfit(error: &PlanError) -> Failure {
    Failure::trouble("plan", error.to_string(), "change that flag, or that line of the plan")
}

impl From<UnknownWord> for Failure {
    fn from(error: UnknownWord) -> Self {
        Self::trouble("usage", error.to_string(), "`glacier train --help` lists what is known")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use glacier_wire::training::Sampling;

    #[test]
    fn the_flag_for_privacy_leaves_the_rest_of_the_table() {
        let limit = Real::new(3.0);
        let planned = Privacy { max_epsilon: limit, sampling: Sampling::Shuffle, ..privacy("9,9,1e-3").unwrap() };
        let typed = privacy("1.1, 1.0, 1e-5").unwrap();
        assert_eq!(over(typed, None), typed);
        assert_eq!(over(typed, Some(planned)), Privacy { max_epsilon: limit, sampling: Sampling::Shuffle, ..typed });
    }

    #[test]
    fn every_part_of_the_flag_for_privacy_is_a_number() {
        for bad in ["", "1.1,1.0", "1.1,1.0,1e-5,shuffle", "x,1.1,1.0,1e-5", "1.1,1.0,1e-5,", "1.1,1.0,NaN"] {
            assert!(privacy(bad).is_err(), "{bad}");
        }
    }
}
