//! Encrypted assets by digest, uploaded resumably.
