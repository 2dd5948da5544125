//! Evidence to Genuine to Accepted: the one verifier.
