//! Sandboxed apps: the code of one party on the data of another, through a whole node.

mod callers;
mod hostile;
mod job;
mod scene;
