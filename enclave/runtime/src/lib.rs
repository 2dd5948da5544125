//! The enclave binary: ceremony, jobs, deployments, proofs.
