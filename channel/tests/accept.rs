//! The whole handshake with evidence that the one verifier appraises. The chip is SIMULATED.

#![cfg(target_os = "linux")]
#![allow(missing_docs)]

use glacier_attest::{Accepted, Binding, Collateral, Policy, appraise};
use glacier_channel::{Attester, ChannelError, ChannelKey, Client, Freshness, NoQuote, Offered, Server};
use glacier_simulator::{Body, Chip, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{Address, Claims, Evidence, Identity, Measurement, PlatformKind, Purpose, UnixTime};
use std::{future::Future, pin::Pin, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const NOW: UnixTime = UnixTime(1_800_000_000);
const CODE: Measurement = Measurement([0xc0; 32]);
const ENCLAVE_KEY: Address = Address([7; 20]);

struct Node {
    chip: Chip,
    collateral: Vec<u8>,
    policy: Policy,
}

impl Node {
    fn start() -> Arc<Self> {
        let vendor = Vendor::generate(NOW).unwrap();
        let chip = vendor.chip(Hardware::new(Seed::new([1; 32])), NOW).unwrap();
        let collateral = vendor.collateral(chip.hardware(), &Recipe::new(NOW)).unwrap().to_json().into_bytes();
        let policy = Policy {
            platforms: vec![PlatformKind::Simulated],
            simulated_roots: vec![vendor.root_fingerprint()],
            measurements: vec![CODE.into()],
            enclave_ids: vec![chip.enclave_id()],
            ..Policy::default()
        };
        Arc::new(Self { chip, collateral, policy })
    }

    fn evidence(&self, channel_key: [u8; 32], nonce: Option<[u8; 32]>) -> Evidence {
        let claims = Claims {
            purpose: Purpose::Channel,
            channel_key,
            enclave_key: ENCLAVE_KEY,
            issued_at: NOW,
            nonce,
            devices: None,
        };
        let quote = self.chip.quote(&Body::new(CODE, claims.report_data())).unwrap();
        Evidence::new(quote, claims.encode(), self.collateral.clone())
    }

    fn enclave(self: &Arc<Self>) -> Arc<Server> {
        let key = ChannelKey::generate().unwrap();
        let channel_key = key.spki_sha256();
        let cached = Arc::new(self.evidence(channel_key, None));
        let attester = Enclave { node: self.clone(), channel_key, cached: cached.clone() };
        Arc::new(Server::new(key, &cached, Arc::new(attester)).unwrap())
    }

    fn judge<S>(&self, offered: &Offered<S>, binding: Binding<'_>) -> Accepted {
        let evidence = offered.evidence();
        let collateral = Collateral::parse(&evidence.collateral).unwrap();
        let genuine = appraise(&evidence.quote, &collateral.into(), &self.policy.anchors(), NOW).into_result().unwrap();
        genuine.judge(&self.policy, binding, NOW).into_result().unwrap()
    }
}

struct Enclave {
    node: Arc<Node>,
    channel_key: [u8; 32],
    cached: Arc<Evidence>,
}

impl Attester for Enclave {
    fn cached(&self) -> Arc<Evidence> {
        self.cached.clone()
    }

    fn fresh(&self, nonce: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>> {
        Box::pin(async move { Ok(self.node.evidence(self.channel_key, Some(nonce))) })
    }
}

fn alice() -> Identity {
    Identity::from_secret(&[1; 32]).unwrap()
}

/// Serves one session: says who called and sends back what it was sent.
fn serve(server: Arc<Server>) -> (DuplexStream, tokio::task::JoinHandle<Result<Address, ChannelError>>) {
    let (near, far) = duplex(1 << 16);
    let task = tokio::spawn(async move {
        let session = server.accept(far).await?;
        let peer = session.peer();
        let mut stream = session.into_stream();
        let mut request = [0; 4];
        stream.read_exact(&mut request).await?;
        stream.write_all(&request).await?;
        stream.shutdown().await?;
        Ok(peer)
    });
    (near, task)
}

#[tokio::test]
async fn a_party_talks_to_an_enclave_it_has_accepted() {
    let node = Node::start();
    let (server, client) = (node.enclave(), Client::new().unwrap());
    for freshness in [Freshness::Cached, Freshness::Fresh, Freshness::Cached] {
        let (near, enclave) = serve(server.clone());
        let offered = client.offer(near, freshness).await.unwrap();
        let accepted = node.judge(&offered, Binding::Claims(offered.claims()));
        let mut session = offered.accept(&accepted, &alice()).await.unwrap();
        assert_eq!(session.enclave_key(), ENCLAVE_KEY);
        session.write_all(b"ping").await.unwrap();
        session.flush().await.unwrap();
        let mut answer = Vec::new();
        session.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"ping");
        assert_eq!(enclave.await.unwrap(), Ok(alice().address()));
    }
}

/// What accepting one session's evidence by the verdict on another's ends in, on both sides.
async fn accept_by_the_verdict_on(
    other: Arc<Server>,
    freshness: Freshness,
    node: &Node,
    this: Arc<Server>,
) -> (ChannelError, Result<Address, ChannelError>) {
    let client = Client::new().unwrap();
    let (near, _) = serve(other);
    let offered = client.offer(near, freshness).await.unwrap();
    let accepted = node.judge(&offered, Binding::Claims(offered.claims()));
    let (near, enclave) = serve(this);
    let offered = client.offer(near, Freshness::Cached).await.unwrap();
    (offered.accept(&accepted, &alice()).await.unwrap_err(), enclave.await.unwrap())
}

#[tokio::test]
async fn the_verdict_on_another_enclave_accepts_nobody() {
    let node = Node::start();
    let (party, enclave) = accept_by_the_verdict_on(node.enclave(), Freshness::Cached, &node, node.enclave()).await;
    assert_eq!(party, ChannelError::OtherEvidence);
    // The enclave has not been told who called.
    assert!(matches!(enclave, Err(ChannelError::Io(_))), "{enclave:?}");
}

#[tokio::test]
async fn the_verdict_on_other_evidence_of_the_same_enclave_accepts_nobody() {
    let node = Node::start();
    let server = node.enclave();
    let (party, _) = accept_by_the_verdict_on(server.clone(), Freshness::Fresh, &node, server).await;
    assert_eq!(party, ChannelError::OtherEvidence);
}

#[tokio::test]
async fn an_unbound_verdict_accepts_nobody() {
    let node = Node::start();
    let (near, _) = serve(node.enclave());
    let offered = Client::new().unwrap().offer(near, Freshness::Cached).await.unwrap();
    let accepted = node.judge(&offered, Binding::Unbound);
    assert_eq!(offered.accept(&accepted, &alice()).await.unwrap_err(), ChannelError::OtherEvidence);
}

#[tokio::test]
async fn a_verdict_bound_to_the_expected_report_data_serves_too() {
    let node = Node::start();
    let (near, _enclave) = serve(node.enclave());
    let offered = Client::new().unwrap().offer(near, Freshness::Cached).await.unwrap();
    let accepted = node.judge(&offered, Binding::ReportData(offered.expected_report_data()));
    offered.accept(&accepted, &alice()).await.unwrap().confirm().await.unwrap();
}
