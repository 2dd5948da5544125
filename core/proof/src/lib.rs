//! Work Proofs: statement, hash chain, verification.
