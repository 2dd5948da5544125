//! The trainable numbers of a model in one flat vector.
//!
//! Gradients, moments of optimisers, checkpoints, digests and averages are flat slices of this layout.

use crate::{error::TrainError, tensor::volume};
use std::ops::Range;

/// What a span of weights is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Moved by the optimiser along its gradient.
    Parameter,
    /// Running mean or variance of a `BatchNormalization`: updated by the forward pass in training,
    /// never by the optimiser; its gradient is zero.
    Statistic,
}

/// One initialiser's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Name in the graph.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Place in the flat vector.
    pub range: Range<usize>,
    /// What it is.
    pub kind: SpanKind,
}

/// All 32-bit floating-point initialisers of rank 1 and more that a graph computes with on the way to
/// its outputs, in the order of the file.
///
/// An initialiser of rank 0 is a constant of the formula (a scale, an epsilon) and stays what it is:
/// exporters write those and learned tensors alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    spans: Vec<Span>,
    values: Vec<f32>,
}

impl Weights {
    /// Puts spans and values together. Spans lie one behind the other and fill the values.
    pub fn new(spans: Vec<Span>, values: Vec<f32>) -> Result<Self, TrainError> {
        let mut end = 0;
        for span in &spans {
            if span.range.start != end || volume(&span.shape) != Some(span.range.len()) {
                return Err(TrainError::Layout);
            }
            end = span.range.end;
        }
        if end != values.len() {
            return Err(TrainError::Layout);
        }
        Ok(Self { spans, values })
    }

    /// The layout.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// All values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, to be changed in place.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The span of that name.
    pub fn span(&self, name: &str) -> Option<&Span> {
        self.spans.iter().find(|span| span.name == name)
    }

    /// Values of one span of this layout; empty for a span of another.
    pub fn slice(&self, span: &Span) -> &[f32] {
        self.values.get(span.range.clone()).unwrap_or_default()
    }
}
