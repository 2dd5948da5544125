//! The glacier command line.
