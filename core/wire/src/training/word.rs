//! The closed lists of words in a plan, and what is near to a word that is in none of them.

use alloc::{string::String, vec::Vec};
use core::fmt;

/// A word that is not in its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// What the word should have named.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// All words of the list.
    pub known: &'static [&'static str],
}

impl UnknownWord {
    /// The known word that was probably meant.
    pub fn meant(&self) -> Option<&'static str> {
        nearest(&self.found, self.known)
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no {}", self.found, self.what)?;
        match self.meant() {
            Some(meant) => write!(f, "; did you mean `{meant}`?"),
            None => write!(f, "; known are {}", self.known.join(", ")),
        }
    }
}

impl core::error::Error for UnknownWord {}

/// The one of `known` that a mistyped word was probably meant to be: at most a third of it differs.
pub fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    // A stranger's text may be long; words are not.
    if found.len() > 64 {
        return None;
    }
    let (word, distance) = known.iter().map(|word| (*word, distance(found, word))).min_by_key(|(_, d)| *d)?;
    (distance <= found.len().max(3) / 3).then_some(word)
}

/// Levenshtein's distance; case makes none.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let up = *cell;
            let substituted = diagonal.saturating_add(usize::from(!x.eq_ignore_ascii_case(&y)));
            left = substituted.min(up.saturating_add(1)).min(left.saturating_add(1));
            *cell = left;
            diagonal = up;
        }
    }
    row.last().copied().unwrap_or_default()
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $default:ident { $($(#[$about:meta])* $n:literal $variant:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
        #[cbor(index_only)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$about])* #[n($n)] $variant,)*
        }

        impl $name {
            /// All words of the list.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl core::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(UnknownWord { what: $what, found: text.into(), known: Self::WORDS }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

words! {
    /// What is made small.
    Loss, "loss", CrossEntropy {
        /// Cross-entropy of one class out of several; targets are classes.
        0 CrossEntropy "cross-entropy",
        /// Binary cross-entropy of each output by itself; targets are classes 0 and 1, or numbers from 0 to 1.
        1 Bce "bce",
        /// Mean of squared differences.
        2 Mse "mse",
        /// Mean of absolute differences.
        3 Mae "mae",
        /// One minus the cosine between output and target; over pairs, the squared difference between
        /// the cosine of the two outputs and the target.
        4 Cosine "cosine",
        /// Each row of a pair must find its partner among the partners of the whole batch (InfoNCE over
        /// cosines, both ways).
        5 Contrastive "contrastive",
    }
}

impl Loss {
    /// Whether targets are classes.
    pub fn classifies(self) -> bool {
        matches!(self, Self::CrossEntropy | Self::Bce)
    }
}

words! {
    /// What the trained output gives, for the losses over classes.
    Scores, "kind of scores", Auto {
        /// Probabilities where the graph ends in a Softmax or Sigmoid, else logits.
        0 Auto "auto",
        /// Unnormalised; log-probabilities are logits too.
        1 Logits "logits",
        /// From 0 to 1. The logarithm is taken of no less than 1e-30: a row that is wrong by
        /// more than 69 logits counts as that and hardly moves, where logits would go on.
        2 Probabilities "probabilities",
    }
}

words! {
    /// How gradients become steps.
    Optimiser, "optimiser", Adam {
        /// Stochastic gradient descent, with momentum where `momentum` is set. Weight decay is added to the gradient.
        0 Sgd "sgd",
        /// Adam (Kingma, Ba 2015). Weight decay is added to the gradient.
        1 Adam "adam",
        /// Adam with decoupled weight decay (Loshchilov, Hutter 2019).
        2 AdamW "adamw",
    }
}

words! {
    /// How the learning rate goes.
    Schedule, "schedule", Constant {
        /// The same to the end.
        0 Constant "constant",
        /// Half a cosine, from the learning rate to zero at the end of the last epoch.
        1 Cosine "cosine",
        /// Times `step_factor` after each `step_every` epochs.
        2 Step "step",
    }
}

words! {
    /// A figure of merit.
    Metric, "metric", Loss {
        /// The loss itself, without smoothing of labels; lower is better.
        0 Loss "loss",
        /// Share of rows whose most probable class is right.
        1 Accuracy "accuracy",
        /// F1 of the second of two classes; the mean over all classes where there are more.
        2 F1 "f1",
        /// Area under the ROC curve of the second of two classes; the mean of one class against the
        /// rest where there are more.
        3 Auc "auc",
        /// Share of the variance that is explained.
        4 R2 "r2",
        /// Root of the mean squared difference; lower is better.
        5 Rmse "rmse",
    }
}

impl Metric {
    /// Whether less is better.
    pub fn lower_is_better(self) -> bool {
        matches!(self, Self::Loss | Self::Rmse)
    }
}

words! {
    /// What comes of a run that trained adapters.
    LoraResult, "result of LoRA", Merged {
        /// The graph with the products added to its weights.
        0 Merged "merged",
        /// The factors alone, as `.npz`.
        1 Adapter "adapter",
    }
}

words! {
    /// How rows come together for a private step.
    Sampling, "kind of sampling", Poisson {
        /// Each row is in each step with the same small probability, drawn secretly: what the
        /// accountant of the subsampled Gaussian assumes. Needs data that fits the worker's memory.
        0 Poisson "poisson",
        /// Each row is in one step of each epoch, in an order that the parties know. Nothing is
        /// gained from sampling, and the accountant counts nothing: one Gaussian release an epoch.
        1 Shuffle "shuffle",
    }
}

words! {
    /// How a run ended.
    Ending, "ending", Completed {
        /// After the last epoch of the plan.
        0 Completed "completed",
        /// The watched metric went no further.
        1 Early "early",
    }
}
