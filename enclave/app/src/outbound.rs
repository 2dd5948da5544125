//! Calls to another enclave. The host dials, and carries what it cannot read; each enclave knows the other by its
//! evidence, and both by keys that are theirs alone.

use crate::{
    Context, Request, epoch,
    host::{HostError, HostPort},
};
use bytes::Bytes;
use glacier_attest::{Accepted, Binding, Endorsements, Policy, appraise_enclave};
use glacier_channel::{Client, Freshness};
use glacier_proof::{AttestedPeer, Judge};
use glacier_wire::{
    Address, Claims, EnclaveId, Measurement,
    api::{HostReply, HostRequest, Refusal, RefusalCode},
    cbor,
    federation::Credential,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Mutex,
};
use zeroize::Zeroize;

/// Where an enclave shows another who it is.
pub(crate) const PEER: &str = "/glacier/v1/enclave/peer";

/// A session with another enclave, which was accepted and has been shown who calls.
pub struct Outbound {
    accepted: Accepted,
    enclave_key: Address,
    sender: Mutex<SendRequest<Full<Bytes>>>,
}

impl Context {
    /// Opens a session with the enclave of the node at `address` (`HOST:PORT`), if `policy` accepts it, and shows
    /// it this enclave's own evidence. The operator of this node allows addresses by name (`dial` in its settings).
    /// The policy's times are judged by the host's clock.
    ///
    /// # Errors
    /// [`RefusalCode::Host`] where the host does not dial there; [`RefusalCode::CredentialInvalid`] where the
    /// enclave is not accepted. Nothing was said to it then.
    pub async fn connect(&self, address: &str, policy: &Policy) -> Result<Outbound, Refusal> {
        let stream = dial(self.host(), address).await?;
        let failed = |fault| Refusal::new(RefusalCode::Host, format!("no session with the other enclave: {fault}"));
        let offered = Client::new().map_err(failed)?.offer(stream, Freshness::Cached).await.map_err(failed)?;
        let refused = |why: String| Refusal::new(RefusalCode::CredentialInvalid, why);
        let (evidence, at) = (offered.evidence(), epoch::now());
        let endorsements = Endorsements::of_enclave(evidence);
        let endorsements = endorsements.map_err(|_| refused("the other enclave's collateral cannot be read".into()))?;
        let genuine = appraise_enclave(evidence, &endorsements, &policy.anchors(), at).into_result();
        let genuine = genuine.map_err(|fault| refused(format!("the other enclave is not accepted: {fault}")))?;
        let accepted = genuine.judge(policy, Binding::Claims(offered.claims()), at).into_result();
        let accepted = accepted.map_err(|fault| refused(format!("the other enclave is not accepted: {fault}")))?;
        let enclave_key = offered.claims().enclave_key;
        let mut session = offered.accept(&accepted, &self.identity()?).await.map_err(failed)?;
        session.confirm().await.map_err(failed)?;
        let gone = |_| Refusal::new(RefusalCode::Host, "the other enclave closed the session");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(session)).await.map_err(gone)?;
        // Ends with the sender.
        tokio::spawn(connection);
        let outbound = Outbound { accepted, enclave_key, sender: Mutex::new(sender) };
        outbound.post(PEER, glacier_wire::api::CBOR, cbor::encode(&self.credential()?)).await?;
        Ok(outbound)
    }
}

impl Outbound {
    /// The other's code.
    pub fn measurement(&self) -> Measurement {
        self.accepted.measurement()
    }

    /// The other's chip.
    pub fn enclave_id(&self) -> Option<EnclaveId> {
        self.accepted.enclave_id()
    }

    /// The key that signs the other's Work Proofs.
    pub fn enclave_key(&self) -> Address {
        self.enclave_key
    }

    /// `POST path` with a JSON document, to an application that answers with one.
    ///
    /// # Errors
    /// The other's refusal; [`RefusalCode::Host`] where the connection was cut or the answer cannot be read.
    pub async fn call<I: Serialize + ?Sized, O: DeserializeOwned>(&self, path: &str, input: &I) -> Result<O, Refusal> {
        let body = serde_json::to_vec(input).map_err(|_| Refusal::new(RefusalCode::App, "this is no JSON"))?;
        let answer = self.post(path, "application/json", body).await?;
        serde_json::from_slice(&answer)
            .map_err(|_| Refusal::new(RefusalCode::Host, "the other enclave's answer is not what was asked for"))
    }

    async fn post(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<Bytes, Refusal> {
        let asked = tokio::time::timeout(DEADLINE, self.exchange(path, kind, body)).await;
        let (good, body) = asked.map_err(|_| cut())??;
        if good {
            return Ok(body);
        }
        Err(cbor::decode(&body, MAX_REFUSAL).unwrap_or_else(|_| cut()))
    }

    async fn exchange(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<(bool, Bytes), Refusal> {
        let request = hyper::Request::post(path).header("host", "enclave").header("content-type", kind);
        let request = request.body(Full::new(body.into()));
        let request = request.map_err(|_| Refusal::new(RefusalCode::App, "this is no path"))?;
        // HTTP/1.1 answers one request at a time.
        let mut sender = self.sender.lock().await;
        sender.ready().await.map_err(|_| cut())?;
        let (head, body) = sender.send_request(request).await.map_err(|_| cut())?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| cut())?;
        Ok((head.status.is_success(), body.to_bytes()))
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("enclave_key", &self.enclave_key).finish_non_exhaustive()
    }
}

impl Request {
    /// The enclave that calls: its code and chip, judged by `policy` and the host's clock.
    ///
    /// # Errors
    /// [`RefusalCode::CredentialInvalid`] where the caller has shown no evidence, or none that is accepted.
    pub fn caller(&self, policy: &Policy) -> Result<AttestedPeer, Refusal> {
        let refused = |why: String| Refusal::new(RefusalCode::CredentialInvalid, why);
        let shown = self.session().with(|shown: &mut Shown| shown.0.clone());
        let shown = shown.ok_or_else(|| refused("the caller is not an enclave, or has not shown that it is".into()))?;
        let peer = AttestedPeer::of(&shown, Judge::Policy(policy), epoch::now());
        let peer = peer.map_err(|fault| refused(format!("the calling enclave is not accepted: {fault}")))?;
        // Evidence can be shown by anybody; this session is the key's.
        if peer.enclave_key() != self.peer() {
            return Err(refused("the evidence is of another enclave than the one that calls".into()));
        }
        Ok(peer)
    }

    /// Keeps what a caller shows of itself. It is judged when somebody asks.
    pub(crate) fn show(&self) -> Result<(), Refusal> {
        let credential: Credential = self.cbor(Credential::MAX_BYTES)?;
        let claims = Claims::decode(&credential.evidence.claims);
        if claims.is_ok_and(|claims| claims.enclave_key == self.peer()) {
            self.session().with(|shown: &mut Shown| shown.0 = Some(credential));
            return Ok(());
        }
        Err(Refusal::new(RefusalCode::CredentialInvalid, "the evidence is of another key than this session's"))
    }
}

/// What the caller of a session has shown. Public, so wiping it is only tidy.
#[derive(Default)]
struct Shown(Option<Credential>);

impl Zeroize for Shown {
    fn zeroize(&mut self) {
        self.0 = None;
    }
}

/// A stream through the host to an address.
async fn dial(host: Arc<HostPort>, address: &str) -> Result<DuplexStream, Refusal> {
    let refused = |fault| Refusal::new(RefusalCode::Host, format!("no connection to {address}: {fault}"));
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    let request = HostRequest::Dial { address: address.to_owned() };
    // In a task of its own: whoever gives up meanwhile drops `ours`, and what the host opened is closed again.
    let dialling = tokio::spawn(async move {
        let HostReply::Dialed { connection } = host.call(request).await? else { return Err(HostError::Broken) };
        tokio::spawn(carry(host, connection, theirs));
        Ok(())
    });
    dialling.await.map_err(|_| cut())?.map_err(refused)?;
    Ok(ours)
}

/// Both ways, until one side ends.
async fn carry(host: Arc<HostPort>, connection: u64, stream: DuplexStream) {
    let (mut from, mut to) = tokio::io::split(stream);
    let outward = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let data = buffer.get(..read).unwrap_or_default().to_vec();
            if host.call(HostRequest::Send { connection, data }).await.is_err() {
                break;
            }
        }
    };
    let inward = async {
        while let Ok(HostReply::Data { data }) = host.call(HostRequest::Receive { connection }).await {
            if data.is_empty() || to.write_all(&data).await.is_err() {
                break;
            }
        }
    };
    // TLS says when it ends: whichever side breaks off first ends both.
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
    let _ = to.shutdown().await;
    let _ = host.call(HostRequest::Hangup { connection }).await;
}

fn cut() -> Refusal {
    Refusal::new(RefusalCode::Host, "the connection to the other enclave was cut")
}

const BUFFER: usize = 64 << 10;
const MAX_REFUSAL: usize = 16 << 10;
const MAX_ANSWER: usize = 64 << 20;
const DEADLINE: Duration = Duration::from_secs(60);
