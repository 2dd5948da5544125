//! Whom TLS trusts. What a service says is verified by its signatures; TLS keeps what is asked from
//! the eyes of the network, and spares the verifier some rubbish.

use std::{fs, io::Read as _, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

use crate::builder::BuildError;

/// Trusts the machine's authorities and the certificates in the named file.
pub(crate) fn config(extra: Option<&Path>) -> Result<ClientConfig, BuildError> {
    let extra = extra.map(certificates).transpose()?.unwrap_or_default();
    let mut roots = RootCertStore::empty();
    // Some entries of a machine's list may be unreadable; the others serve.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(extra.iter().cloned());
    let provider = Arc::new(default_provider());
    let verifier = if roots.is_empty() {
        None
    } else {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        Some(builder.build().map_err(|_| BuildError::Tls)?)
    };
    // A machine without any authority can still talk to what is pinned, and to plain http.
    let Some(authorities) = verifier else {
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|_| BuildError::Tls)?;
        return Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| BuildError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { pins: extra, authorities }))
        .with_no_client_auth();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(|error| BuildError::CaFile(error.kind()))?;
    file.take(MAX_CA_FILE).read_to_end(&mut text).map_err(|error| BuildError::CaFile(error.kind()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(BuildError::NoCertificate)
}

/// The web's rules, and beside them certificates that somebody named byte for byte: a PCCS makes
/// itself one that is its own issuer, which is no authority that the web's rules would take, and
/// often names no host. Whoever holds its key is whom the file means, so nothing else is asked.
#[derive(Debug)]
struct Pinned {
    pins: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pins.iter().any(|pin| pin == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Most of the file of additional authorities that is read: a machine's whole list takes a quarter.
const MAX_CA_FILE: u64 = 1 << 20;
