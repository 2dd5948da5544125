//! Why training does not start, or does not go on.

use glacier_engine::{
    DataError,
    onnx::{ModelError, Name},
};
use glacier_wire::api::{Refusal, RefusalCode};

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
}

impl From<TrainError> for Refusal {
    fn from(error: TrainError) -> Self {
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
            TrainError::Backward | TrainError::State(_) => RefusalCode::EngineCrashed,
        };
        Refusal::new(code, error.to_string())
    }
}
