//! ONNX models, read by a bounded reader of our own before any engine sees a byte.
//!
//! [`Graph::read`] says no to whatever an engine might stumble over: truncation, overlong numbers,
//! counts past the maxima below, data that does not fit its dimensions, external data, names made
//! twice or never, cycles, operators outside [`crate::meter`]'s table, nested graphs. What it
//! returns is the skeleton that metering needs: shapes, attributes, and the small integer constants
//! that exported models compute shapes with; never the weights.

mod error;
mod graph;
mod proto;
mod read;
mod tensor;
mod values;

pub use error::{ModelError, Name};
pub use graph::{Attr, Constant, Data, Graph, Node, ValueId};
pub use values::{Elements, Literal};
