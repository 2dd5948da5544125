//! The untrusted daemon: starts enclaves, relays ciphertext, stores blobs.
