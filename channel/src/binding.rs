//! What the two sides sign so that a statement holds for one TLS session and no other.
//!
//! An exporter (RFC 8446 §7.5) is a secret that only the two ends of one session can compute. Each
//! side signs one under a label of its own, never a secret that keys traffic: signatures are public
//! in the worst case, and what is signed can then be known.

use crate::error::ChannelError;
use glacier_wire::{Address, eip712::keccak};
use rustls::ConnectionCommon;

const SESSION_LABEL: &[u8] = b"EXPORTER-glacier-channel";
const PARTY_LABEL: &[u8] = b"EXPORTER-glacier-party";

const SESSION_TAG: &[u8] = b"glacier/channel/v1";
const PARTY_TAG: &[u8] = b"glacier/party/v1";

/// What the channel key signs: the party's nonce and this session.
pub(crate) fn session<D>(connection: &ConnectionCommon<D>, nonce: &[u8; 32]) -> Result<Vec<u8>, ChannelError> {
    let exporter = export(connection, SESSION_LABEL, nonce)?;
    Ok([SESSION_TAG, nonce, &exporter].concat())
}

/// The digest that the party's identity key signs: this session, its enclave, and who signs.
///
/// Keccak-256 of bytes that begin with our tag; what wallets sign begins with 0x19 (EIP-191, EIP-712)
/// and transactions with an RLP list, so no signature of one kind passes for another.
pub(crate) fn party<D>(
    connection: &ConnectionCommon<D>,
    channel_key: &[u8; 32],
    address: &Address,
) -> Result<[u8; 32], ChannelError> {
    let exporter = export(connection, PARTY_LABEL, channel_key)?;
    Ok(keccak(&[PARTY_TAG, &exporter, channel_key, &address.0].concat()))
}

fn export<D>(connection: &ConnectionCommon<D>, label: &[u8], context: &[u8; 32]) -> Result<[u8; 32], ChannelError> {
    connection.export_keying_material([0; 32], label, Some(context)).map_err(ChannelError::Tls)
}
