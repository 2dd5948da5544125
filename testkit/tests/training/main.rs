//! Training through a whole node: what its owner gets, what survives, and what everybody else is refused.

mod host;
mod party;
mod recovery;
mod refusal;
mod result;
mod scene;
