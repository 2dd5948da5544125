//! Client of Glacier nodes: connect, attest, run, check the proof.
