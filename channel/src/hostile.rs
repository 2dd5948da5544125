//! Peers and networks that lie: each way to be wrong ends in its own error.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    ALPN, Attester, CertificateFault, ChannelError, ChannelKey, Client, DEADLINE, Freshness, NoQuote, Server, binding,
    certificate, frame,
    key::TlsKey,
    message::{Hello, Offer, Proof, Welcome},
    tls,
};
use glacier_wire::{
    Address, BadSignature, Claims, Evidence, Identity, Nonce, Purpose, UnixTime, cbor, cbor::CborError,
};
use proptest::prelude::*;
use rustls::{ServerConfig, server::ServerConnection, sign::CertifiedKey, sign::SingleCertAndKey};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};

const CANARY: &[u8] = b"canary: malignant, row 17";
const SHORT: Duration = Duration::from_millis(200);

/// Evidence about `key` whose quote nobody appraises here.
fn evidence(key: [u8; 32], purpose: Purpose, nonce: Option<[u8; 32]>) -> Evidence {
    let claims = Claims {
        purpose,
        channel_key: key,
        enclave_key: Address([7; 20]),
        issued_at: UnixTime(1),
        nonce,
        devices: None,
    };
    Evidence::new(vec![3; 4800], claims.encode(), vec![9; 60_000])
}

/// Hands out what a test wants to be handed out.
struct Scripted {
    cached: Arc<Evidence>,
    fresh: fn(&Evidence, [u8; 32]) -> Result<Evidence, NoQuote>,
}

impl Attester for Scripted {
    fn cached(&self) -> Arc<Evidence> {
        self.cached.clone()
    }

    fn fresh(&self, nonce: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>> {
        let answer = (self.fresh)(&self.cached, nonce);
        Box::pin(async move { answer })
    }
}

fn honestly_fresh(cached: &Evidence, nonce: [u8; 32]) -> Result<Evidence, NoQuote> {
    Ok(evidence(Claims::decode(&cached.claims).unwrap().channel_key, Purpose::Channel, Some(nonce)))
}

fn enclave_with(fresh: fn(&Evidence, [u8; 32]) -> Result<Evidence, NoQuote>) -> Server {
    let key = ChannelKey::generate().unwrap();
    let cached = Arc::new(evidence(key.spki_sha256(), Purpose::Channel, None));
    Server::new(key, &cached.clone(), Arc::new(Scripted { cached, fresh })).unwrap()
}

fn enclave() -> Server {
    enclave_with(honestly_fresh)
}

fn alice() -> Identity {
    Identity::from_secret(&[1; 32]).unwrap()
}

fn client() -> Client {
    Client::new().unwrap()
}

/// A hostile enclave that has the TLS key: TLS itself goes well.
struct Impostor {
    key: Arc<ChannelKey>,
    config: ServerConfig,
}

impl Impostor {
    fn new() -> Self {
        let key = Arc::new(ChannelKey::generate().unwrap());
        let shown = evidence(key.spki_sha256(), Purpose::Channel, None);
        let config = tls::server(key.clone(), certificate::announce(&key, &shown).unwrap()).unwrap();
        Self { key, config }
    }

    /// TLS, then the party's first frame.
    async fn greet(self, stream: DuplexStream) -> (Arc<ChannelKey>, TlsStream<DuplexStream>, Hello) {
        let mut tls = TlsAcceptor::from(Arc::new(self.config)).accept(stream).await.unwrap();
        let hello = frame::read(&mut tls, Hello::MAX_BYTES).await.unwrap();
        (self.key, tls, hello)
    }
}

/// What the client makes of an impostor that answers its first frame with `answer`.
async fn client_meets(
    freshness: Freshness,
    answer: impl FnOnce(&ChannelKey, &ServerConnection, &Hello) -> Offer + Send + 'static,
) -> ChannelError {
    let (near, far) = duplex(1 << 16);
    let impostor = tokio::spawn(async move {
        let (key, mut tls, hello) = Impostor::new().greet(far).await;
        let offer = answer(&key, tls.get_ref().1, &hello);
        frame::write(&mut tls, &offer).await.unwrap();
        // Whatever the client says after being lied to would end up here.
        let mut rest = Vec::new();
        let _ = tls.read_to_end(&mut rest).await;
        rest
    });
    let error = client().offer(near, freshness).await.unwrap_err();
    assert_eq!(impostor.await.unwrap(), b"", "the client went on talking");
    error
}

/// An answer that is right in all respects.
fn right(key: &ChannelKey, connection: &ServerConnection, hello: &Hello) -> (Evidence, Vec<u8>) {
    let nonce = (hello.freshness == Freshness::Fresh).then_some(hello.nonce.0);
    let message = binding::session(connection, &hello.nonce.0).unwrap();
    (evidence(key.spki_sha256(), Purpose::Channel, nonce), key.sign(&message).unwrap())
}

fn offer(evidence: Evidence, signature: Vec<u8>) -> Offer {
    Offer::Evidence { evidence, held: None, signature }
}

#[tokio::test]
async fn an_honest_session_carries_data_both_ways() {
    for freshness in [Freshness::Cached, Freshness::Fresh] {
        let (near, far) = duplex(1 << 16);
        let enclave = tokio::spawn(async move {
            let session = enclave().accept(far).await.unwrap();
            let peer = session.peer();
            let mut stream = session.into_stream();
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(&request).await.unwrap();
            stream.shutdown().await.unwrap();
            peer
        });
        let offered = client().offer(near, freshness).await.unwrap();
        assert!(offered.post_quantum());
        assert_eq!(offered.claims().nonce.is_some(), freshness == Freshness::Fresh);
        assert_eq!(*offered.expected_report_data(), offered.claims().report_data());
        let mut session = offered.prove(&alice()).await.unwrap();
        assert_eq!(session.enclave_key(), Address([7; 20]));
        session.write_all(b"ping").await.unwrap();
        session.flush().await.unwrap();
        let mut answer = Vec::new();
        session.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"ping");
        assert_eq!(enclave.await.unwrap(), alice().address());
    }
}

#[tokio::test]
async fn a_relay_with_a_key_of_its_own_is_refused() {
    let (victim, middle) = duplex(1 << 16);
    let (other_side, genuine) = duplex(1 << 16);
    let enclave = tokio::spawn(async move { enclave().accept(genuine).await.map(|_| ()) });
    let relay = tokio::spawn(async move {
        let (_, mut to_victim, hello) = Impostor::new().greet(middle).await;
        let connector = TlsConnector::from(Arc::new(tls::client().unwrap()));
        let mut to_enclave = connector.connect(tls::no_name(), other_side).await.unwrap();
        frame::write(&mut to_enclave, &hello).await.unwrap();
        let genuine: Offer = frame::read(&mut to_enclave, Offer::MAX_BYTES).await.unwrap();
        frame::write(&mut to_victim, &genuine).await.unwrap();
        let mut heard = Vec::new();
        let _ = to_victim.read_to_end(&mut heard).await;
        heard
    });
    assert_eq!(client().offer(victim, Freshness::Fresh).await.unwrap_err(), ChannelError::Relayed);
    assert_eq!(relay.await.unwrap(), b"");
    assert!(matches!(enclave.await.unwrap(), Err(ChannelError::Io(_))));
}

#[tokio::test]
async fn somebody_elses_certificate_ends_tls() {
    let (near, far) = duplex(1 << 16);
    let (genuine, thief) = (ChannelKey::generate().unwrap(), Arc::new(ChannelKey::generate().unwrap()));
    let shown = evidence(genuine.spki_sha256(), Purpose::Channel, None);
    let config = tls::server(thief, certificate::announce(&genuine, &shown).unwrap()).unwrap();
    let far = tokio::spawn(TlsAcceptor::from(Arc::new(config)).accept(far));
    let error = client().offer(near, Freshness::Cached).await.unwrap_err();
    assert_eq!(error, ChannelError::Tls(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)));
    assert!(far.await.unwrap().is_err());
}

#[tokio::test]
async fn a_recorded_signature_is_refused() {
    let error = client_meets(Freshness::Cached, |key, connection, hello| {
        let (evidence, _) = right(key, connection, hello);
        // As the enclave made it for an earlier nonce.
        let message = binding::session(connection, &[5; 32]).unwrap();
        offer(evidence, key.sign(&message).unwrap())
    });
    assert_eq!(error.await, ChannelError::SessionSignature);
}

#[tokio::test]
async fn a_signature_over_another_sessions_exporter_is_refused() {
    let error = client_meets(Freshness::Cached, |key, connection, hello| {
        let (evidence, _) = right(key, connection, hello);
        let mut message = binding::session(connection, &hello.nonce.0).unwrap();
        *message.last_mut().unwrap() ^= 1;
        offer(evidence, key.sign(&message).unwrap())
    });
    assert_eq!(error.await, ChannelError::SessionSignature);
}

#[tokio::test]
async fn an_absent_signature_is_refused() {
    let error =
        client_meets(Freshness::Cached, |key, connection, hello| offer(right(key, connection, hello).0, Vec::new()));
    assert_eq!(error.await, ChannelError::SessionSignature);
}

#[tokio::test]
async fn a_quote_for_an_application_is_refused() {
    let error = client_meets(Freshness::Cached, |key, connection, hello| {
        let (_, signature) = right(key, connection, hello);
        offer(evidence(key.spki_sha256(), Purpose::App, None), signature)
    });
    assert_eq!(error.await, ChannelError::OtherPurpose);
}

#[tokio::test]
async fn evidence_of_another_key_is_refused() {
    let error = client_meets(Freshness::Cached, |key, connection, hello| {
        let (_, signature) = right(key, connection, hello);
        offer(evidence([1; 32], Purpose::Channel, None), signature)
    });
    assert_eq!(error.await, ChannelError::Relayed);
}

#[tokio::test]
async fn unreadable_claims_are_refused() {
    let error = client_meets(Freshness::Cached, |key, connection, hello| {
        let (mut evidence, signature) = right(key, connection, hello);
        evidence.claims.push(0);
        offer(evidence, signature)
    });
    assert_eq!(error.await, ChannelError::Claims(CborError::NotCanonical));
}

#[tokio::test]
async fn a_cached_quote_does_not_pass_as_fresh() {
    for quoted in [None, Some([5; 32])] {
        let error = client_meets(Freshness::Fresh, move |key, connection, hello| {
            let (_, signature) = right(key, connection, hello);
            offer(evidence(key.spki_sha256(), Purpose::Channel, quoted), signature)
        });
        assert_eq!(error.await, ChannelError::NotFresh);
    }
}

#[tokio::test]
async fn a_quote_made_for_another_party_is_refused() {
    let error = client_meets(Freshness::Cached, |key, connection, hello| {
        let (_, signature) = right(key, connection, hello);
        offer(evidence(key.spki_sha256(), Purpose::Channel, Some([5; 32])), signature)
    });
    assert_eq!(error.await, ChannelError::NotFresh);
}

#[tokio::test]
async fn collateral_may_be_left_out_only_if_it_is_held() {
    let error = client_meets(Freshness::Cached, |key, connection, hello| {
        let (evidence, signature) = right(key, connection, hello);
        Offer::Evidence { evidence, held: Some(Nonce([5; 32])), signature }
    });
    assert_eq!(error.await, ChannelError::CollateralMissing);
}

#[tokio::test]
async fn held_collateral_is_not_sent_again() {
    let (server, client) = (Arc::new(enclave()), client());
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let (near, far) = duplex(1 << 16);
        let (near, log) = Recorded::new(near);
        let server = server.clone();
        let enclave = tokio::spawn(async move { server.accept(far).await.unwrap() });
        let offered = client.offer(near, Freshness::Cached).await.unwrap();
        assert_eq!(offered.evidence().collateral, vec![9; 60_000]);
        offered.prove(&alice()).await.unwrap().confirm().await.unwrap();
        enclave.await.unwrap();
        sizes.push(log.lock().unwrap().len());
    }
    assert!(sizes[0] > 60_000 && sizes[1] < 20_000, "{sizes:?}");
}

#[tokio::test]
async fn a_platform_without_a_quote_is_named_on_both_sides() {
    let (near, far) = duplex(1 << 16);
    let enclave = tokio::spawn(async move { enclave_with(|_, _| Err(NoQuote)).accept(far).await.map(|_| ()) });
    assert_eq!(client().offer(near, Freshness::Fresh).await.unwrap_err(), ChannelError::NoQuote(NoQuote));
    assert_eq!(enclave.await.unwrap(), Err(ChannelError::NoQuote(NoQuote)));
}

#[test]
fn an_enclave_announces_only_evidence_about_its_own_key() {
    let announce = |purpose, other: bool| {
        let key = ChannelKey::generate().unwrap();
        let shown = evidence(if other { [1; 32] } else { key.spki_sha256() }, purpose, None);
        let attester = Scripted { cached: Arc::new(shown.clone()), fresh: honestly_fresh };
        Server::new(key, &shown, Arc::new(attester)).map(|_| ())
    };
    assert_eq!(announce(Purpose::Channel, false), Ok(()));
    assert_eq!(announce(Purpose::Channel, true), Err(ChannelError::Announcement));
    assert_eq!(announce(Purpose::App, false), Err(ChannelError::Announcement));
}

/// What the enclave makes of a client that proves its identity with `proof`, and what that client reads.
async fn enclave_meets(
    server: Arc<Server>,
    proof: impl FnOnce(&rustls::ClientConnection, &[u8; 32]) -> Proof,
) -> (Result<Address, ChannelError>, Welcome) {
    let (near, far) = duplex(1 << 16);
    let enclave = tokio::spawn(async move { server.accept(far).await.map(|session| session.peer()) });
    let connector = TlsConnector::from(Arc::new(tls::client().unwrap()));
    let mut tls = connector.connect(tls::no_name(), near).await.unwrap();
    let hello = Hello { nonce: Nonce([4; 32]), freshness: Freshness::Cached, held: Vec::new() };
    frame::write(&mut tls, &hello).await.unwrap();
    let Offer::Evidence { evidence, .. } = frame::read(&mut tls, Offer::MAX_BYTES).await.unwrap() else {
        unreachable!()
    };
    let proof = proof(tls.get_ref().1, &Claims::decode(&evidence.claims).unwrap().channel_key);
    frame::write(&mut tls, &proof).await.unwrap();
    let welcome = frame::read(&mut tls, 1).await.unwrap();
    (enclave.await.unwrap(), welcome)
}

#[tokio::test]
async fn a_party_is_who_signs() {
    let (peer, welcome) = enclave_meets(Arc::new(enclave()), |connection, key| {
        let digest = binding::party(connection, key, &alice().address()).unwrap();
        Proof { address: alice().address(), signature: alice().sign(&digest) }
    })
    .await;
    assert_eq!((peer, welcome), (Ok(alice().address()), Welcome::Known));
}

#[tokio::test]
async fn nobody_signs_for_somebody_else() {
    let mallory = Identity::from_secret(&[2; 32]).unwrap();
    let (peer, welcome) = enclave_meets(Arc::new(enclave()), |connection, key| {
        let digest = binding::party(connection, key, &alice().address()).unwrap();
        Proof { address: alice().address(), signature: mallory.sign(&digest) }
    })
    .await;
    let other = BadSignature::OtherSigner { expected: alice().address(), found: mallory.address() };
    assert_eq!((peer, welcome), (Err(ChannelError::Identity(other)), Welcome::Refused));
}

#[tokio::test]
async fn a_proof_of_identity_from_another_session_is_refused() {
    let (enclave, mut recorded) = (Arc::new(enclave()), None);
    let (peer, _) = enclave_meets(enclave.clone(), |connection, key| {
        let digest = binding::party(connection, key, &alice().address()).unwrap();
        recorded.insert(Proof { address: alice().address(), signature: alice().sign(&digest) }).clone()
    })
    .await;
    assert_eq!(peer, Ok(alice().address()));
    let (peer, welcome) = enclave_meets(enclave, |_, _| recorded.unwrap()).await;
    assert!(matches!(peer, Err(ChannelError::Identity(_))));
    assert_eq!(welcome, Welcome::Refused);
}

#[tokio::test]
async fn a_proof_for_another_enclave_is_refused() {
    let (peer, _) = enclave_meets(Arc::new(enclave()), |connection, _| {
        let digest = binding::party(connection, &[9; 32], &alice().address()).unwrap();
        Proof { address: alice().address(), signature: alice().sign(&digest) }
    })
    .await;
    assert!(matches!(peer, Err(ChannelError::Identity(_))));
}

/// A party that has proved itself reads `welcome` in place of the enclave's answer.
async fn welcomed_with(welcome: &'static [u8]) -> (Result<(), ChannelError>, io::ErrorKind) {
    let (near, far) = duplex(1 << 16);
    let impostor = tokio::spawn(async move {
        let (key, mut tls, hello) = Impostor::new().greet(far).await;
        let (evidence, signature) = right(&key, tls.get_ref().1, &hello);
        frame::write(&mut tls, &offer(evidence, signature)).await.unwrap();
        let _: Proof = frame::read(&mut tls, Proof::MAX_BYTES).await.unwrap();
        tls.write_all(welcome).await.unwrap();
        tls.shutdown().await.unwrap();
        let _ = tls.read_to_end(&mut Vec::new()).await;
    });
    let mut session = client().offer(near, Freshness::Cached).await.unwrap().prove(&alice()).await.unwrap();
    let confirmed = session.confirm().await;
    let mut more = [0; 8];
    let read = session.read(&mut more).await.map_or_else(|error| error.kind(), |_| io::ErrorKind::Other);
    drop(session);
    impostor.await.unwrap();
    (confirmed, read)
}

#[tokio::test]
async fn a_refused_party_reads_nothing() {
    let refused = (Err(ChannelError::IdentityRefused), io::ErrorKind::PermissionDenied);
    assert_eq!(welcomed_with(&[1, 0, 0, 0, 1, b'd', b'a', b't', b'a']).await, refused);
}

#[tokio::test]
async fn an_answer_of_another_shape_is_refused() {
    let malformed = (Err(ChannelError::Frame(CborError::Malformed)), io::ErrorKind::InvalidData);
    assert_eq!(welcomed_with(b"HTTP/1.1 200 OK").await, malformed);
}

#[tokio::test]
async fn an_answer_that_ends_early_is_no_welcome() {
    let ended = (Err(ChannelError::Io(io::ErrorKind::UnexpectedEof)), io::ErrorKind::UnexpectedEof);
    assert_eq!(welcomed_with(&[1, 0, 0]).await, ended);
}

#[tokio::test]
async fn an_answer_that_is_withheld_runs_into_the_deadline() {
    let (near, far) = duplex(1 << 16);
    let impostor = tokio::spawn(async move {
        let (key, mut tls, hello) = Impostor::new().greet(far).await;
        let (evidence, signature) = right(&key, tls.get_ref().1, &hello);
        frame::write(&mut tls, &offer(evidence, signature)).await.unwrap();
        let _ = tls.read_to_end(&mut Vec::new()).await;
    });
    let client = client().with_deadline(DEADLINE / 10);
    let mut session = client.offer(near, Freshness::Cached).await.unwrap().prove(&alice()).await.unwrap();
    let confirmed = tokio::time::timeout(DEADLINE, session.confirm()).await;
    assert_eq!(confirmed, Ok(Err(ChannelError::Deadline)));
    drop(session);
    impostor.await.unwrap();
}

/// What the enclave makes of a client's TLS configuration.
async fn enclave_meets_tls(config: rustls::ClientConfig) -> (ChannelError, Option<io::Error>) {
    let (near, far) = duplex(1 << 16);
    let enclave = tokio::spawn(async move { enclave().with_deadline(SHORT).accept(far).await.map(|_| ()) });
    let connector = TlsConnector::from(Arc::new(config));
    let error = connector.connect(tls::no_name(), near).await.err();
    (enclave.await.unwrap().unwrap_err(), error)
}

#[tokio::test]
async fn a_client_without_our_protocol_is_refused() {
    let mut config = tls::client().unwrap();
    config.alpn_protocols = Vec::new();
    assert_eq!(enclave_meets_tls(config).await.0, ChannelError::OtherProtocol);

    let mut config = tls::client().unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (error, _) = enclave_meets_tls(config).await;
    assert_eq!(error, ChannelError::Tls(rustls::Error::NoApplicationProtocol));
}

/// What the client makes of a TLS server that is not an enclave.
async fn client_meets_tls(config: ServerConfig) -> ChannelError {
    let (near, far) = duplex(1 << 16);
    let far = tokio::spawn(TlsAcceptor::from(Arc::new(config)).accept(far));
    let error = client().offer(near, Freshness::Cached).await.unwrap_err();
    let _ = far.await.unwrap();
    error
}

#[tokio::test]
async fn a_server_without_our_protocol_is_refused() {
    let mut config = Impostor::new().config;
    config.alpn_protocols = Vec::new();
    assert_eq!(client_meets_tls(config).await, ChannelError::OtherProtocol);
}

#[tokio::test]
async fn a_certificate_chain_is_refused() {
    let key = Arc::new(ChannelKey::generate().unwrap());
    let shown = certificate::announce(&key, &evidence(key.spki_sha256(), Purpose::Channel, None)).unwrap();
    let mut config = Impostor::new().config;
    let certified = CertifiedKey::new(vec![shown.clone(), shown], Arc::new(TlsKey(key)));
    config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    assert_eq!(client_meets_tls(config).await, ChannelError::Certificate(CertificateFault::NotAlone));
}

#[tokio::test]
async fn a_certificate_of_another_kind_of_key_is_refused() {
    // A lying server: signs with P-256, shows an Ed25519 certificate.
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let shown = rcgen::CertificateParams::default().self_signed(&other).unwrap();
    let mut config = Impostor::new().config;
    let certified =
        CertifiedKey::new(vec![shown.der().clone()], Arc::new(TlsKey(Arc::new(ChannelKey::generate().unwrap()))));
    config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    assert_eq!(client_meets_tls(config).await, ChannelError::Certificate(CertificateFault::KeyType));
}

/// A TLS 1.2 ClientHello: no `supported_versions`.
fn client_hello_12() -> Vec<u8> {
    let extensions = [
        &[0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17][..], // supported_groups: secp256r1
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],                 // ec_point_formats: uncompressed
        &[0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03],     // signature_algorithms: ecdsa_secp256r1_sha256
    ]
    .concat();
    let mut body = vec![0x03, 0x03];
    body.extend([7; 32]);
    body.extend([0x00, 0x00, 0x02, 0xc0, 0x2b, 0x01, 0x00, 0x00, extensions.len() as u8]);
    body.extend(extensions);
    let mut hello = vec![0x16, 0x03, 0x01, 0x00, body.len() as u8 + 4, 0x01, 0x00, 0x00, body.len() as u8];
    hello.extend(body);
    hello
}

/// A TLS 1.2 ServerHello that picks TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256.
fn server_hello_12() -> Vec<u8> {
    let mut hello = vec![0x16, 0x03, 0x03, 0x00, 42, 0x02, 0x00, 0x00, 38, 0x03, 0x03];
    hello.extend([7; 32]);
    hello.extend([0x00, 0xc0, 0x2b, 0x00]);
    hello
}

#[tokio::test]
async fn a_tls_12_client_is_refused() {
    let (mut near, far) = duplex(1 << 16);
    near.write_all(&client_hello_12()).await.unwrap();
    let error = enclave().accept(far).await.unwrap_err();
    assert!(matches!(error, ChannelError::Tls(rustls::Error::PeerIncompatible(_))), "{error:?}");
    let mut alert = [0; 7];
    near.read_exact(&mut alert).await.unwrap();
    // Fatal protocol_version.
    assert_eq!((alert[0], alert[5], alert[6]), (0x15, 2, 70));
}

#[tokio::test]
async fn a_downgrade_to_tls_12_is_refused() {
    let (near, mut far) = duplex(1 << 16);
    far.write_all(&server_hello_12()).await.unwrap();
    let error = client().offer(near, Freshness::Cached).await.unwrap_err();
    assert!(matches!(error, ChannelError::Tls(rustls::Error::PeerIncompatible(_))), "{error:?}");
}

#[tokio::test]
async fn sessions_are_never_resumed() {
    // This client would resume, and has read all that the enclave sent along.
    let mut config = tls::client().unwrap();
    config.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let (config, server) = (Arc::new(config), Arc::new(enclave()));
    for _ in 0..2 {
        let (near, far) = duplex(1 << 16);
        let server = server.clone();
        let enclave = tokio::spawn(async move { server.accept(far).await.map(|_| ()) });
        let mut tls = TlsConnector::from(config.clone()).connect(tls::no_name(), near).await.unwrap();
        assert_eq!(tls.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        let hello = Hello { nonce: Nonce([4; 32]), freshness: Freshness::Cached, held: Vec::new() };
        frame::write(&mut tls, &hello).await.unwrap();
        let _: Offer = frame::read(&mut tls, Offer::MAX_BYTES).await.unwrap();
        assert_eq!(tls.get_ref().1.tls13_tickets_received(), 0);
        drop(tls);
        assert!(enclave.await.unwrap().is_err());
    }
}

/// Has its evidence renewed.
struct Renewing(Mutex<Arc<Evidence>>);

impl Attester for Renewing {
    fn cached(&self) -> Arc<Evidence> {
        self.0.lock().unwrap().clone()
    }

    fn fresh(&self, _: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>> {
        Box::pin(async { Err(NoQuote) })
    }
}

#[tokio::test]
async fn the_certificate_announces_the_newest_evidence_that_is_about_its_key() {
    let key = ChannelKey::generate().unwrap();
    let quoted = |byte, key| Evidence { quote: vec![byte; 500], ..evidence(key, Purpose::Channel, None) };
    let (own, other) = (key.spki_sha256(), [8; 32]);
    let attester = Arc::new(Renewing(Mutex::new(Arc::new(quoted(1, own)))));
    let server = Server::new(key, &quoted(1, own), attester.clone()).unwrap();
    for (byte, key, announced) in [(1, own, 1), (2, own, 2), (3, other, 2), (4, own, 4)] {
        *attester.0.lock().unwrap() = Arc::new(quoted(byte, key));
        let (near, far) = duplex(1 << 16);
        let client = async {
            let config = Arc::new(tls::client().unwrap());
            let tls = TlsConnector::from(config).connect(tls::no_name(), near).await.unwrap();
            tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
        };
        let (certificate, _) = tokio::join!(client, server.accept(far));
        assert!(certificate.windows(500).any(|bytes| bytes == [announced; 500]), "{byte}");
    }
}

#[tokio::test]
async fn an_oversized_frame_is_refused_before_it_is_read() {
    // Enclave's side: only the prefix is ever sent.
    let (near, far) = duplex(1 << 16);
    let enclave = tokio::spawn(async move { enclave().accept(far).await.map(|_| ()) });
    let mut tls = TlsConnector::from(Arc::new(tls::client().unwrap())).connect(tls::no_name(), near).await.unwrap();
    tls.write_all(&[0xff; 4]).await.unwrap();
    tls.flush().await.unwrap();
    let large = |max| ChannelError::Frame(CborError::TooLarge { found: u32::MAX as usize, max });
    assert_eq!(enclave.await.unwrap(), Err(large(Hello::MAX_BYTES)));

    // Party's side.
    let (near, far) = duplex(1 << 16);
    let impostor = tokio::spawn(async move {
        let (_, mut tls, _) = Impostor::new().greet(far).await;
        tls.write_all(&[0xff; 4]).await.unwrap();
        tls.flush().await.unwrap();
        let _ = tls.read_to_end(&mut Vec::new()).await;
    });
    assert_eq!(client().offer(near, Freshness::Cached).await.unwrap_err(), large(Offer::MAX_BYTES));
    impostor.await.unwrap();
}

#[tokio::test]
async fn a_silent_peer_runs_into_the_deadline() {
    // Before TLS, and within the session.
    let (_near, far) = duplex(1 << 16);
    let error = enclave().with_deadline(SHORT).accept(far).await.unwrap_err();
    assert_eq!(error, ChannelError::Deadline);
    let (near, _far) = duplex(1 << 16);
    let error = client().with_deadline(SHORT).offer(near, Freshness::Cached).await.unwrap_err();
    assert_eq!(error, ChannelError::Deadline);

    let (near, far) = duplex(1 << 16);
    let enclave = tokio::spawn(async move { enclave().with_deadline(SHORT).accept(far).await.map(|_| ()) });
    let _tls = TlsConnector::from(Arc::new(tls::client().unwrap())).connect(tls::no_name(), near).await.unwrap();
    assert_eq!(enclave.await.unwrap(), Err(ChannelError::Deadline));
}

#[tokio::test]
async fn a_peer_that_drips_bytes_runs_into_the_same_deadline() {
    let (mut near, far) = duplex(1 << 16);
    let hello = client_hello_12();
    let drip = tokio::spawn(async move {
        for byte in hello {
            tokio::time::sleep(SHORT / 8).await;
            if near.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    let started = std::time::Instant::now();
    assert_eq!(enclave().with_deadline(SHORT).accept(far).await.unwrap_err(), ChannelError::Deadline);
    assert!(started.elapsed() < SHORT * 10);
    drip.await.unwrap();
}

/// Records all that passes one end of a connection, and may flip a bit of what is read.
struct Recorded {
    inner: DuplexStream,
    log: Arc<Mutex<Vec<u8>>>,
    flip: Option<usize>,
    read: usize,
}

impl Recorded {
    fn new(inner: DuplexStream) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        (Self { inner, log: log.clone(), flip: None, read: 0 }, log)
    }
}

impl AsyncRead for Recorded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let this = &mut *self;
        for byte in &mut buf.filled_mut()[before..] {
            if this.flip == Some(this.read) {
                *byte ^= 1;
            }
            this.read += 1;
        }
        this.log.lock().unwrap().extend(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.log.lock().unwrap().extend(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn the_network_sees_neither_data_nor_who_calls() {
    let (near, far) = duplex(1 << 16);
    let (near, log) = Recorded::new(near);
    let enclave = tokio::spawn(async move {
        let mut stream = enclave().accept(far).await.unwrap().into_stream();
        let mut request = vec![0; CANARY.len()];
        stream.read_exact(&mut request).await.unwrap();
        request
    });
    let offered = client().offer(near, Freshness::Cached).await.unwrap();
    let claims = offered.evidence().claims.clone();
    let mut session = offered.prove(&alice()).await.unwrap();
    session.write_all(CANARY).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(enclave.await.unwrap(), CANARY);
    let log = log.lock().unwrap();
    for secret in [CANARY, &alice().address().0, &claims] {
        assert!(!contains(&log, secret));
    }
    // The protocol's name is public, so the recording is one.
    assert!(contains(&log, ALPN));
}

#[tokio::test]
async fn before_acceptance_the_party_has_sent_a_nonce_and_nothing_else() {
    let (near, far) = duplex(1 << 16);
    let impostor = tokio::spawn(async move {
        let (key, mut tls, hello) = Impostor::new().greet(far).await;
        let (evidence, signature) = right(&key, tls.get_ref().1, &hello);
        frame::write(&mut tls, &offer(evidence, signature)).await.unwrap();
        let mut rest = Vec::new();
        let _ = tls.read_to_end(&mut rest).await;
        (hello, rest)
    });
    let offered = client().offer(near, Freshness::Cached).await.unwrap();
    tokio::time::sleep(SHORT).await;
    // The party does not like the evidence.
    drop(offered);
    let (hello, rest) = impostor.await.unwrap();
    assert_eq!(hello, Hello { nonce: hello.nonce, freshness: Freshness::Cached, held: Vec::new() });
    assert!(!hello.nonce.is_zero());
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn one_flipped_bit_anywhere_ends_the_handshake() {
    // Server hello, certificate, evidence.
    for at in [20, 100, 2000, 5500, 30_000, 60_000] {
        let (near, far) = duplex(1 << 16);
        let (mut near, _) = Recorded::new(near);
        near.flip = Some(at);
        let enclave = tokio::spawn(async move { enclave().accept(far).await.map(|_| ()) });
        let error = client().with_deadline(Duration::from_secs(2)).offer(near, Freshness::Cached).await.unwrap_err();
        assert!(matches!(error, ChannelError::Tls(_)), "{at}: {error:?}");
        assert!(enclave.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_named() {
    let (near, far) = duplex(1 << 16);
    drop(far);
    assert!(matches!(client().offer(near, Freshness::Cached).await.unwrap_err(), ChannelError::Io(_)));
}

#[test]
fn the_enclaves_answer_has_one_length() {
    for welcome in [Welcome::Known, Welcome::Refused] {
        assert_eq!(frame::encode(&welcome).unwrap().len(), frame::PREFIX + 1);
    }
}

#[test]
fn the_largest_hello_fits_its_bound() {
    let hello =
        Hello { nonce: Nonce([1; 32]), freshness: Freshness::Fresh, held: vec![Nonce([2; 32]); Hello::MAX_HELD] };
    assert!(cbor::encode(&hello).len() <= Hello::MAX_BYTES);
}

/// If it parses, writing it back gives the same bytes.
fn one_encoding<T>(bytes: &[u8])
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    if let Ok(value) = cbor::decode::<T>(bytes, 4096) {
        assert_eq!(cbor::encode(&value), bytes);
    }
}

proptest! {
    #[test]
    fn any_frame_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        one_encoding::<Hello>(&bytes);
        one_encoding::<Offer>(&bytes);
        one_encoding::<Proof>(&bytes);
        one_encoding::<Welcome>(&bytes);
    }

    #[test]
    fn a_damaged_frame_is_read_or_refused(at in 0usize..100, byte in any::<u8>(), cut in 0usize..100) {
        let hello = Hello { nonce: Nonce([1; 32]), freshness: Freshness::Fresh, held: vec![Nonce([2; 32])] };
        let proof = Proof { address: alice().address(), signature: alice().sign(&[1; 32]) };
        let offer = offer(Evidence::new(vec![1; 9], vec![2; 9], vec![3; 9]), vec![4; 70]);
        for mut bytes in [cbor::encode(&hello), cbor::encode(&proof), cbor::encode(&offer)] {
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            one_encoding::<Hello>(&bytes);
            one_encoding::<Offer>(&bytes);
            one_encoding::<Proof>(&bytes);
        }
    }

    #[test]
    fn any_certificate_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = certificate::key(&bytes.into());
    }
}
