//! Why a model is not run.

use glacier_wire::api::{Refusal, RefusalCode};

/// A name out of a model or a data set, fit to be shown: short and without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    const MAX: usize = 64;

    /// Shortens and cleans a foreign name.
    pub fn new(foreign: &str) -> Self {
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let mut name: String = foreign.chars().take(Self::MAX).map(clean).collect();
        if foreign.chars().nth(Self::MAX).is_some() {
            name.push('…');
        }
        Self(name)
    }
}

impl From<&str> for Name {
    fn from(foreign: &str) -> Self {
        Self::new(foreign)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// A model that is not well formed, or that no engine here runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// More of something than is read.
    #[error("the model has too much in {what}: at most {max} is read")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// The bytes end inside a field.
    #[error("the model ends early")]
    Truncated,
    /// A number in more bytes than 64 bits need.
    #[error("the model has an overlong number")]
    Varint,
    /// A field that is not what the ONNX schema says.
    #[error("field {number} of {message} is not what ONNX says")]
    Field {
        /// Message in the schema.
        message: &'static str,
        /// Field number in the schema.
        number: u32,
    },
    /// A field twice where one is allowed.
    #[error("field {number} of {message} is there twice")]
    Repeated {
        /// Message in the schema.
        message: &'static str,
        /// Field number in the schema.
        number: u32,
    },
    /// No graph: not an ONNX model.
    #[error("the model has no graph: it is not ONNX")]
    NoGraph,
    /// A graph that gives nothing.
    #[error("the graph has no outputs")]
    NoOutputs,
    /// A graph that takes nothing.
    #[error("the graph has no inputs")]
    NoInputs,
    /// The operator set is not said, or not one that is known.
    #[error("operator set {found} is not supported (known: {min} to {max})")]
    Opset {
        /// In the model; 0 when it does not say.
        found: i64,
        /// Oldest.
        min: i64,
        /// Newest.
        max: i64,
    },
    /// Metadata that is not what Glacier's keys mean.
    #[error("metadata {0} is not a list of distinct names")]
    Metadata(&'static str),
    /// An element type that has no place here.
    #[error("{value} has element type {code}, which is not supported")]
    Dtype {
        /// Tensor or value.
        value: Name,
        /// ONNX data type.
        code: i64,
    },
    /// A value that is not a tensor.
    #[error("{0} is not a tensor")]
    NotTensor(Name),
    /// An input without a declared shape.
    #[error("input {0} declares no shape")]
    NoShape(Name),
    /// Negative, too many or too large dimensions.
    #[error("{0} has impossible dimensions")]
    Dims(Name),
    /// Weights outside the file.
    #[error("tensor {0} keeps its data in another file")]
    ExternalData(Name),
    /// Dimensions and data that do not fit.
    #[error("tensor {tensor} needs {expected} bytes of data, found {found}")]
    DataLength {
        /// Which.
        tensor: Name,
        /// By dimensions and element type.
        expected: u64,
        /// In the file.
        found: u64,
    },
    /// Two values of one name.
    #[error("value {0} is made twice")]
    DuplicateValue(Name),
    /// A name without which something cannot be referred to.
    #[error("a {0} has no name")]
    Unnamed(&'static str),
    /// A value that nothing makes.
    #[error("node {node} uses {value}, which nothing makes")]
    UnknownValue {
        /// Which node.
        node: Name,
        /// Which value.
        value: Name,
    },
    /// An output that nothing makes.
    #[error("nothing makes output {0}")]
    UnknownOutput(Name),
    /// A node that needs its own result.
    #[error("the graph is cyclic at node {0}")]
    Cycle(Name),
    /// A value is used before it is made (ONNX: nodes are in topological order).
    #[error("node {node} uses {value} before it is made")]
    Order {
        /// Which node.
        node: Name,
        /// Which value.
        value: Name,
    },
    /// An operator that is not supported.
    #[error("operator {op} of node {node} is not supported")]
    Operator {
        /// Operator, with its domain.
        op: Name,
        /// Which node.
        node: Name,
    },
    /// Model-local functions, training graphs, sparse weights.
    #[error("the model has {0}, which are not supported")]
    Feature(&'static str),
    /// An attribute or input that the operator cannot have.
    #[error("node {node} has a bad {attribute}")]
    Attribute {
        /// Which node.
        node: Name,
        /// Attribute or input.
        attribute: &'static str,
    },
    /// Shapes that cannot go together.
    #[error("the shapes at node {0} do not fit together")]
    Shape(Name),
    /// The work of a node depends on the values of the data.
    #[error("the work of node {0} cannot be told from the shapes, so it cannot be metered")]
    Unmetered(Name),
    /// The labels have no output to read them from.
    #[error("no output gives the {labels} classes that the model names")]
    Labels {
        /// How many the model names.
        labels: usize,
    },
    /// Weights to put back where there are none of that name.
    #[error("the model has no weights named {0}")]
    NoWeights(Name),
    /// A refined weight that its element type cannot hold.
    #[error("a weight of {0} does not fit half precision")]
    Half(Name),
    /// Means and deviations that an input cannot be standardised with.
    #[error("input {0} cannot be standardised by these means and deviations")]
    Standard(Name),
    /// An input that the graph standardises already.
    #[error("the graph standardises input {0} already")]
    Standardised(Name),
    /// The engine does not take what was well formed. Its words would quote the model, so they stay inside.
    #[error("the engine does not load this model{}", at(.node))]
    Engine {
        /// Where, if the engine says.
        node: Option<Name>,
    },
}

fn at(node: &Option<Name>) -> String {
    node.as_ref().map(|name| format!(": node {name}")).unwrap_or_default()
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        let code = match error {
            ModelError::Operator { .. }
            | ModelError::Opset { .. }
            | ModelError::Feature(_)
            | ModelError::Dtype { .. }
            | ModelError::ExternalData(_)
            | ModelError::NotTensor(_)
            | ModelError::Unmetered(_)
            | ModelError::Engine { .. } => RefusalCode::ModelUnsupported,
            _ => RefusalCode::ModelInvalid,
        };
        Refusal::new(code, error.to_string())
    }
}
