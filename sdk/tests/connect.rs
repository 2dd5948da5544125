//! Peers that are no acceptable enclave: each ends in its own error, before this side has said who it is.

use glacier::{
    Freshness, Key, Node, Policy,
    session::ConnectError,
    wire::{Address, Claims, Evidence, Purpose, UnixTime},
};
use glacier_channel::{Attester, ChannelError, ChannelKey, NoQuote, Server};
use std::{future::Future, io, pin::Pin, sync::Arc};
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinHandle};

struct Worthless(Arc<Evidence>);

impl Attester for Worthless {
    fn cached(&self) -> Arc<Evidence> {
        self.0.clone()
    }

    fn fresh(&self, _: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>> {
        Box::pin(async { Err(NoQuote) })
    }
}

fn key() -> Key {
    Key::generate("party".parse().unwrap()).unwrap()
}

async fn connect(url: &str, freshness: Freshness) -> ConnectError {
    let node = Node::at(url).unwrap();
    node.connect(&Policy::default(), key().identity(), freshness).await.err().unwrap()
}

/// A channel that works, in front of evidence that nobody signed.
async fn impostor(collateral: &[u8]) -> (String, JoinHandle<Result<Address, ChannelError>>) {
    let key = ChannelKey::generate().unwrap();
    let claims = Claims {
        purpose: Purpose::Channel,
        channel_key: key.spki_sha256(),
        enclave_key: Address([1; 20]),
        issued_at: UnixTime(1),
        nonce: None,
        devices: None,
    };
    let evidence = Arc::new(Evidence::new(vec![3; 600], claims.encode(), collateral.to_vec()));
    let server = Server::new(key, &evidence, Arc::new(Worthless(evidence.clone()))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        Ok(server.accept(stream).await?.peer())
    });
    (url, task)
}

#[tokio::test]
async fn nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(connect(&url, Freshness::Cached).await, ConnectError::Unreachable(io::ErrorKind::ConnectionRefused));
}

#[tokio::test]
async fn a_web_server_is_no_enclave() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let error = connect(&url, Freshness::Cached).await;
    assert!(matches!(error, ConnectError::Channel(ChannelError::Tls(_))), "{error:?}");
}

#[tokio::test]
async fn an_impostor_never_learns_who_called() {
    let (url, impostor) = impostor(b"no collateral").await;
    let error = connect(&url, Freshness::Cached).await;
    assert!(matches!(error, ConnectError::Collateral(_)), "{error:?}");
    assert!(impostor.await.unwrap().is_err());
}

#[tokio::test]
async fn evidence_that_nobody_signed_is_shown_with_its_checks() {
    let collateral = serde_json::json!({
        "pck_crl_issuer_chain": "", "root_ca_crl": "", "pck_crl": "", "tcb_info_issuer_chain": "", "tcb_info": "{}",
        "tcb_info_signature": "00".repeat(64), "qe_identity_issuer_chain": "", "qe_identity": "{}",
        "qe_identity_signature": "00".repeat(64),
    });
    let (url, impostor) = impostor(collateral.to_string().as_bytes()).await;
    match connect(&url, Freshness::Cached).await {
        ConnectError::Evidence { checks, .. } => assert!(!checks.is_empty()),
        other => panic!("{other:?}"),
    }
    assert!(impostor.await.unwrap().is_err());
}

#[tokio::test]
async fn a_platform_that_makes_no_fresh_quote_is_refused() {
    let (url, impostor) = impostor(b"").await;
    assert_eq!(connect(&url, Freshness::Fresh).await, ConnectError::Channel(ChannelError::NoQuote(NoQuote)));
    assert!(impostor.await.unwrap().is_err());
}
