//! Attested TLS 1.3.
