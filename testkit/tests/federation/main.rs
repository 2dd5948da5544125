//! Three nodes and an aggregator, each with a chip and an enclave of its own: simulated, and as processes and
//! sockets real.

mod path;
mod scene;
mod wrong;
