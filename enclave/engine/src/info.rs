//! What a loaded model says of itself, and what a job allows it.

use glacier_wire::Dtype;

/// Extent of one dimension as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Dim {
    /// Always this.
    #[n(0)]
    Fixed {
        /// Elements.
        #[n(0)]
        extent: u64,
    },
    /// Decided by the data; equal names are equal extents within one run.
    #[n(1)]
    Free {
        /// The model's name for it; empty when it has none.
        #[n(0)]
        name: String,
    },
}

impl Dim {
    /// The extent, when the model fixes it.
    pub fn fixed(&self) -> Option<u64> {
        match self {
            Self::Fixed { extent } => Some(*extent),
            Self::Free { .. } => None,
        }
    }
}

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Port {
    /// Name in the graph.
    #[n(0)]
    pub name: String,
    /// Element type.
    #[n(1)]
    pub dtype: Dtype,
    /// Extents, outermost first. `None` when the model does not declare even the rank (outputs only).
    #[n(2)]
    pub dims: Option<Vec<Dim>>,
}

/// What the worker found in the model.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct ModelInfo {
    /// Name of the engine that runs it.
    #[n(0)]
    pub engine: String,
    /// In the graph's order.
    #[n(1)]
    pub inputs: Vec<Port>,
    /// In the graph's order.
    #[n(2)]
    pub outputs: Vec<Port>,
    /// Columns the model wants, in its order (metadata `glacier.features`).
    #[n(3)]
    pub features: Option<Vec<String>>,
    /// Names of its classes (metadata `glacier.labels`).
    #[n(4)]
    pub labels: Option<Vec<String>>,
    /// Elements in all initializers.
    #[n(5)]
    pub parameters: u64,
    /// Multiply-accumulates for one row; `None` when that depends on more than the number of rows.
    #[n(6)]
    pub units_per_row: Option<u64>,
}

impl ModelInfo {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = 8 << 20;
}

/// What a job allows its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Limits {
    /// Multiply-accumulates, all runs of this worker together.
    #[n(0)]
    pub units: u64,
    /// Threads of the engine, at least 1.
    #[n(1)]
    pub threads: u32,
    /// Most rows that are run at once; less where rows are large.
    #[n(2)]
    pub window: u32,
    /// Bytes that weights and values may take. What surely needs more is refused ahead; that no more
    /// is taken is up to the worker process's own ceiling.
    #[n(3)]
    pub memory: u64,
}

impl Limits {
    /// Rows in a window where the job does not say.
    pub const WINDOW: u32 = 1024;
    /// Most threads of one engine.
    pub const MAX_THREADS: u32 = 256;
}
