//! Builds, layer checks and the trusted-code report.
