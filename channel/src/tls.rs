//! How TLS is set up on both sides: version 1.3 alone, one protocol, nothing remembered between sessions.

use crate::{
    ALPN, certificate,
    error::{CertificateFault, ChannelError},
    key::{ChannelKey, TlsKey},
};
use rustls::{
    ClientConfig, ConnectionCommon, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use std::sync::Arc;

/// The enclave's side.
pub(crate) fn server(key: Arc<ChannelKey>, certificate: CertificateDer<'static>) -> Result<ServerConfig, ChannelError> {
    let certified = CertifiedKey::new(vec![certificate], Arc::new(TlsKey(key)));
    let mut config = ServerConfig::builder_with_provider(algorithms())
        .with_protocol_versions(&[&TLS13])
        .map_err(ChannelError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would carry an earlier session's secrets on: each is bound on its own.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The party's side.
pub(crate) fn client() -> Result<ClientConfig, ChannelError> {
    let algorithms = algorithms();
    let mut config = ClientConfig::builder_with_provider(algorithms.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(ChannelError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyHolder(algorithms)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Names mean nothing here, and need not be told to the network.
    config.enable_sni = false;
    Ok(config)
}

/// The name that rustls wants and nobody looks at.
pub(crate) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// Whether both sides agreed on `glacier/1`: rustls lets a peer that names no protocol pass.
pub(crate) fn require_alpn<D>(connection: &ConnectionCommon<D>) -> Result<(), ChannelError> {
    if connection.alpn_protocol() == Some(ALPN) { Ok(()) } else { Err(ChannelError::OtherProtocol) }
}

/// The post-quantum hybrid first: what is recorded today must stay closed.
fn algorithms() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            provider::cipher_suite::TLS13_AES_256_GCM_SHA384,
            provider::cipher_suite::TLS13_AES_128_GCM_SHA256,
            provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![provider::kx_group::X25519MLKEM768, provider::kx_group::X25519, provider::kx_group::SECP256R1],
        ..provider::default_provider()
    })
}

/// Takes any single P-256 certificate whose key signed this handshake. *Whose* key that is gets
/// decided by the evidence, inside the session: no authority vouches for an enclave's key.
#[derive(Debug)]
struct KeyHolder(Arc<CryptoProvider>);

impl ServerCertVerifier for KeyHolder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !intermediates.is_empty() {
            return Err(CertificateFault::NotAlone.into());
        }
        certificate::key(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
