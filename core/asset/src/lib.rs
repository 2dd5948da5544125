//! age v1 assets: sealing, streaming decryption and digests.
