//! Whom TLS trusts: a PCCS stands on localhost with a certificate of its own making.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::Path, sync::Arc};

use base64ct::{Base64, Encoding as _};
use common::{Time, hasty, server::*};
use glacier_collateral::*;
use glacier_wire::UnixTime;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

/// As `openssl req -x509` makes them: its own issuer, an authority, without a name of the host.
fn self_made() -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let certificate = authority("PCCS").self_signed(&key).unwrap();
    (certificate.der().clone(), key)
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

async fn server(certificate: CertificateDer<'static>, key: &KeyPair) -> Server {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    Server::start_with(Some(TlsAcceptor::from(Arc::new(config))), |_| Reply::ok("0")).await
}

/// What a client that trusts this certificate gets from the server.
async fn get(server: &Server, trusted: Option<&[u8]>) -> Result<Answer, FetchError> {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = hasty(Client::builder(folder.path().join("cache"))).amd_kds(&server.base).clock(Time::at(1000));
    if let Some(der) = trusted {
        builder = builder.ca_file(pem(folder.path(), der));
    }
    let verifier = |_: &AmdCrlRequest, _: &[u8], at: UnixTime| {
        Ok(Validity { from: at, until: UnixTime(at.0.saturating_add(10)), edition: Vec::new() })
    };
    let request = AmdCrlRequest { product: AmdProduct::Milan, signer: AmdSigner::Vcek };
    builder.build().unwrap().get(&request, &Arc::new(verifier)).await
}

fn pem(folder: &Path, der: &[u8]) -> std::path::PathBuf {
    let path = folder.join("ca.pem");
    let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", Base64::encode_string(der));
    std::fs::write(&path, text).unwrap();
    path
}

const UNTRUSTED: FetchError = FetchError::Unreachable(Unreachable::Tls);

#[tokio::test]
async fn a_certificate_that_nobody_named_is_refused_once_and_for_all() {
    let (certificate, key) = self_made();
    let server = server(certificate, &key).await;
    assert_eq!(get(&server, None).await, Err(UNTRUSTED));
    assert_eq!(server.hits("/"), 0);
}

#[tokio::test]
async fn a_self_made_certificate_is_trusted_once_it_is_named() {
    let (certificate, key) = self_made();
    let server = server(certificate.clone(), &key).await;
    assert_eq!(get(&server, Some(&certificate)).await.unwrap().bytes, "0");
}

#[tokio::test]
async fn another_self_made_certificate_of_the_same_name_is_refused() {
    let (certificate, key) = self_made();
    let server = server(certificate, &key).await;
    assert_eq!(get(&server, Some(&self_made().0)).await, Err(UNTRUSTED));
}

/// Whoever copies the public certificate has not its key.
#[tokio::test]
async fn a_named_certificate_without_its_key_is_refused() {
    let (certificate, _) = self_made();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let stranger =
        aws_lc_rs::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der()).into())
            .unwrap();
    let resolver =
        rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(vec![certificate.clone()], stranger));
    let config = config.with_cert_resolver(Arc::new(resolver));
    let server = Server::start_with(Some(TlsAcceptor::from(Arc::new(config))), |_| Reply::ok("0")).await;
    assert_eq!(get(&server, Some(&certificate)).await, Err(UNTRUSTED));
    assert_eq!(server.hits("/"), 0);
}

#[tokio::test]
async fn an_authority_that_is_named_vouches_for_the_host_that_it_names_and_no_other() {
    let issuer = CertifiedIssuer::self_signed(authority("house"), KeyPair::generate().unwrap()).unwrap();
    for (host, trusted) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let server = server(certificate.der().clone(), &key).await;
        let answer = get(&server, Some(issuer.der())).await;
        assert_eq!(answer.is_ok(), trusted, "{host}: {answer:?}");
        if !trusted {
            assert_eq!(answer, Err(UNTRUSTED));
        }
    }
}

#[test]
fn a_file_without_a_certificate_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let build = || Client::builder(folder.path()).ca_file(&file).build().err();
    assert_eq!(build(), Some(BuildError::CaFile(std::io::ErrorKind::NotFound)));
    std::fs::write(&file, "no certificate").unwrap();
    assert_eq!(build(), Some(BuildError::NoCertificate));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    assert_eq!(build(), Some(BuildError::NoCertificate));
}
