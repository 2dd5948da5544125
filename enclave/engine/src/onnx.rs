//! ONNX models, read by a bounded reader of our own before any engine sees a byte.
//!
//! [`Graph::read`] says no to whatever an engine might stumble over: truncation, overlong numbers,
//! counts past the maxima below, data that does not fit its dimensions, external data, names made
//! twice or never, cycles, operators outside [`crate::meter`]'s table, nested graphs. What it
//! returns is the skeleton that metering needs: shapes, attributes, and the small integer constants
//! that exported models compute shapes with; never the weights.
//!
//! What training gives back is written here as well: [`patch`] puts refined weights into the file they
//! came from, [`standardise`] and [`set_metadata`] add to it, and a [`Writer`] makes a small model from
//! nothing. Same input, same bytes; and whatever is written has been read again by [`Graph::read`].

mod edit;
mod error;
mod graph;
mod proto;
mod read;
mod tensor;
mod values;
mod write;

pub use edit::{Standard, patch, set_metadata, standardise};
pub use error::{ModelError, Name};
pub use graph::{Attr, Constant, Data, Graph, Node, ValueId};
pub use values::{Elements, Literal};
pub use write::{Writer, list};
