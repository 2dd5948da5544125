//! Why training does not start, or does not go on.

use glacier_engine::{
    DataError,
    onnx::{ModelError, Name},
};
use glacier_wire::{
    api::{Refusal, RefusalCode},
    training::{PlanError, Real},
};

/// A model, data or plan that cannot be trained with. Names say where; values are never quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model is not one that is read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The data is not well formed, or does not fit the model.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An operator on the way from a parameter to an output has no gradient here.
    #[error("operator {op} of node {node} has no gradient: it cannot lie between a parameter and an output")]
    Gradient {
        /// Operator, with its domain.
        op: Name,
        /// Which node.
        node: Name,
    },
    /// An operator that is not computed in training at all.
    #[error("operator {op} of node {node} is not computed in training")]
    Operator {
        /// Operator, with its domain.
        op: Name,
        /// Which node.
        node: Name,
    },
    /// Weights that are stored in another element type than is trained.
    #[error("tensor {0} is not stored in 32-bit floating point, so it cannot be trained")]
    Stored(Name),
    /// Nothing in the graph could be trained.
    #[error("the model has no parameter on the way to a floating-point output")]
    NoParameters,
    /// Weights of another layout than the model's.
    #[error("the weights are not laid out like the model's")]
    Layout,
    /// Another number of inputs than the graph takes.
    #[error("the model takes {expected} inputs, found {found}")]
    Inputs {
        /// By the model.
        expected: u64,
        /// Given.
        found: u64,
    },
    /// An input of another kind or shape than the model declares.
    #[error("input {0} does not fit the model")]
    Input(Name),
    /// Shapes that cannot go together at this node.
    #[error("the shapes at node {0} do not fit together")]
    Shape(Name),
    /// An index past the end of what it points into.
    #[error("node {0} has an index that is out of range")]
    Index(Name),
    /// More memory than is allowed.
    #[error("training needs more than the {limit} bytes of memory that are allowed")]
    Memory {
        /// Bytes.
        limit: u64,
    },
    /// The system gives no threads.
    #[error("{threads} threads cannot be started")]
    Threads {
        /// Asked for.
        threads: u64,
    },
    /// The caller asked for gradients of what was not run in training mode, or of another shape.
    #[error("there is no forward pass in training mode that these gradients belong to")]
    Backward,
    /// A part of the state that must not be missing is: a defect, returned instead of a crash.
    #[error("the state of node {0} is inconsistent")]
    State(Name),
    /// The plan contradicts itself.
    #[error("the training plan: {0}")]
    Plan(#[from] PlanError),
    /// The plan does not fit the model.
    #[error("the training plan: `{field}` names {name}, which the model does not have")]
    Unknown {
        /// Member of the plan.
        field: &'static str,
        /// What it names.
        name: Name,
    },
    /// The plan does not fit model or data in another way.
    #[error("the training plan: {0}")]
    Unfit(&'static str),
    /// A label that is no class.
    #[error("the label of row {row} is none of the {classes} classes")]
    Label {
        /// From 1.
        row: u64,
        /// How many there are.
        classes: u64,
    },
    /// A target that is no number, or not between 0 and 1 where it must be.
    #[error("the target of row {row} is not finite, or not from 0 to 1 where the loss needs that")]
    Target {
        /// From 1.
        row: u64,
    },
    /// Targets of another kind or shape than the loss compares the output with.
    #[error("output {output} does not fit the targets: the loss needs {needed}")]
    Targets {
        /// Which output.
        output: Name,
        /// What would fit.
        needed: &'static str,
    },
    /// The data gave another number of rows than it has.
    #[error("the data has {expected} rows and gave {found}")]
    Rows {
        /// Counted before.
        expected: u64,
        /// Given in an epoch.
        found: u64,
    },
    /// More classes in the data than the model tells apart.
    #[error("the data has {found} classes, and the model gives {max}")]
    Classes {
        /// In the data.
        found: u64,
        /// By the model.
        max: u64,
    },
    /// Words where the model takes numbers.
    #[error(
        "row {row}, column {column}: the cell is not a number. A graph computes with numbers only: give each \
         category a column of its own that is 0 or 1, or leave the column out of the model's features"
    )]
    Words {
        /// From 1, the header not counted.
        row: u64,
        /// Name in the header.
        column: Name,
    },
    /// What is wrong with one of several data sets.
    #[error("data set {set}: {error}")]
    Source {
        /// From 0, in the order of the plan.
        set: u64,
        /// What is wrong; rows are counted within the data set.
        error: Box<TrainError>,
    },
    /// Data that is not what it was in the first pass.
    #[error("data set {set} is not what it was when it was first read")]
    Changed {
        /// From 0, in the order of the plan.
        set: u64,
    },
    /// A split that leaves nothing.
    #[error("the data has too few rows: none is left to learn from, or none to validate with")]
    Split,
    /// A shuffling window that does not fit.
    #[error("{rows} rows are shuffled together, and they take more than the {limit} bytes of memory: lower `shuffle`")]
    Window {
        /// By the plan.
        rows: u32,
        /// Bytes.
        limit: u64,
    },
    /// A model to be made that is too large.
    #[error("the model has too many weights: at most {max} are made")]
    Size {
        /// The bound.
        max: u64,
    },
    /// A loss or gradient that is no finite number.
    #[error("epoch {epoch}, batch {batch}, step {step}: {fault}")]
    NotFinite {
        /// From 1.
        epoch: u32,
        /// Of this epoch, from 1.
        batch: u64,
        /// Of the run, from 1.
        step: u64,
        /// What is to blame.
        fault: Fault,
    },
    /// Whoever gives the data or takes the checkpoints has gone.
    #[error("the other end has gone")]
    Gone,
    /// The gradient became larger than the plan allows.
    #[error("epoch {epoch}, batch {batch}, step {step}: the gradient's norm is {norm}, the limit {limit}: it explodes")]
    Exploded {
        /// From 1.
        epoch: u32,
        /// Of this epoch, from 1.
        batch: u64,
        /// Of the run, from 1.
        step: u64,
        /// Found.
        norm: Real,
        /// Allowed.
        limit: Real,
    },
    /// More multiply-accumulates than may be spent.
    #[error("training needs {needed} units, and {limit} may be spent")]
    Units {
        /// In all.
        needed: u64,
        /// Allowed.
        limit: u64,
    },
    /// More epochs than may be run.
    #[error("the plan has {epochs} epochs, and {limit} may be run")]
    Epochs {
        /// By the plan.
        epochs: u32,
        /// Allowed.
        limit: u32,
    },
    /// More of the rows' privacy than may be spent.
    #[error("the plan spends an epsilon of {epsilon}, and {limit} may be spent")]
    Epsilon {
        /// By the plan.
        epsilon: Real,
        /// Allowed.
        limit: Real,
    },
    /// Bytes that are no checkpoint of this run.
    #[error("the checkpoint is not one of this run: {0}")]
    Checkpoint(&'static str),
    /// A run that has ended.
    #[error("the run has ended")]
    Ended,
}

/// What is no finite number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The data.
    #[error("column {column} of input {input} is not finite")]
    Input {
        /// Which.
        input: Name,
        /// Place in a row, from 0.
        column: u64,
    },
    /// The graph's own arithmetic.
    #[error("column {column} of output {output} is not finite")]
    Output {
        /// Which.
        output: Name,
        /// Place in a row, from 0.
        column: u64,
    },
    /// The loss of finite outputs.
    #[error("the loss is not finite")]
    Loss,
    /// The gradient of a finite loss.
    #[error("the gradient of {weight} is not finite")]
    Gradient {
        /// Which weight.
        weight: Name,
    },
    /// A weight after the step.
    #[error("{weight} is not finite after the step")]
    Weight {
        /// Which weight.
        weight: Name,
    },
}

impl From<TrainError> for Refusal {
    fn from(error: TrainError) -> Self {
        let text = error.to_string();
        let code = match error {
            TrainError::Model(error) => return error.into(),
            TrainError::Data(error) => return error.into(),
            TrainError::Gradient { .. } | TrainError::Operator { .. } | TrainError::Stored(_) => {
                RefusalCode::ModelUnsupported
            }
            TrainError::NoParameters | TrainError::Layout => RefusalCode::ModelInvalid,
            TrainError::Inputs { .. } | TrainError::Input(_) | TrainError::Shape(_) | TrainError::Index(_) => {
                RefusalCode::DataInvalid
            }
            TrainError::Memory { .. } | TrainError::Threads { .. } => RefusalCode::MemoryLimit,
            TrainError::Backward | TrainError::State(_) | TrainError::Gone => RefusalCode::EngineCrashed,
            TrainError::Plan(_) | TrainError::Unknown { .. } | TrainError::Unfit(_) | TrainError::Ended => {
                RefusalCode::PlanInvalid
            }
            TrainError::Source { error, .. } => return Refusal::new(Refusal::from(*error).code, text),
            TrainError::Window { .. } => RefusalCode::MemoryLimit,
            TrainError::Size { .. } => RefusalCode::PlanInvalid,
            TrainError::Classes { .. }
            | TrainError::Words { .. }
            | TrainError::Changed { .. }
            | TrainError::Split
            | TrainError::Label { .. }
            | TrainError::Target { .. }
            | TrainError::Targets { .. }
            | TrainError::Rows { .. } => RefusalCode::DataInvalid,
            TrainError::NotFinite { .. } | TrainError::Exploded { .. } => RefusalCode::Diverged,
            TrainError::Units { .. } | TrainError::Epochs { .. } | TrainError::Epsilon { .. } => RefusalCode::UnitLimit,
            TrainError::Checkpoint(_) => RefusalCode::CheckpointForged,
        };
        Refusal::new(code, text)
    }
}
