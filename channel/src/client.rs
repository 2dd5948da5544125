//! The party's side of the channel.

use crate::{
    DEADLINE, binding, certificate,
    error::ChannelError,
    frame,
    key::sha256,
    message::{Freshness, Hello, Offer, Proof, Welcome},
    tls,
};
use glacier_attest::Accepted;
use glacier_wire::{Address, Claims, Evidence, Identity, Nonce, Purpose, ReportData, cbor::CborError};
use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Opens attested sessions. One serves any number of nodes; it remembers collateral of accepted
/// evidence, so that later handshakes need not carry it again.
pub struct Client {
    tls: TlsConnector,
    deadline: Duration,
    held: Arc<Held>,
}

impl Client {
    /// A client that remembers nothing yet.
    pub fn new() -> Result<Self, ChannelError> {
        let tls = TlsConnector::from(Arc::new(tls::client()?));
        Ok(Self { tls, deadline: DEADLINE, held: Arc::default() })
    }

    /// Sets how long each of [`offer`](Self::offer), [`Offered::accept`] and [`ClientSession::confirm`] may take,
    /// instead of [`DEADLINE`].
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Asks the peer for evidence and checks that it belongs to this very session. Whether the
    /// evidence is genuine and acceptable is not judged here. A random nonce is all that leaves.
    pub async fn offer<S>(&self, stream: S, freshness: Freshness) -> Result<Offered<S>, ChannelError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        tokio::time::timeout(self.deadline, self.ask(stream, freshness)).await.map_err(|_| ChannelError::Deadline)?
    }

    async fn ask<S>(&self, stream: S, freshness: Freshness) -> Result<Offered<S>, ChannelError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut tls = self.tls.connect(tls::no_name(), stream).await?;
        tls::require_alpn(tls.get_ref().1)?;
        let key = match tls.get_ref().1.peer_certificates() {
            Some([certificate]) => certificate::key(certificate)?,
            _ => return Err(crate::CertificateFault::NotAlone.into()),
        };

        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| ChannelError::Crypto)?;
        frame::write(&mut tls, &Hello { nonce: Nonce(nonce), freshness, held: self.held.digests() }).await?;
        let (mut evidence, held, signature) = match frame::read(&mut tls, Offer::MAX_BYTES).await? {
            Offer::Evidence { evidence, held, signature } => (evidence, held, signature),
            Offer::NoQuote => return Err(crate::NoQuote.into()),
        };

        let claims = Claims::decode(&evidence.claims).map_err(ChannelError::Claims)?;
        if claims.purpose != Purpose::Channel {
            return Err(ChannelError::OtherPurpose);
        }
        if claims.channel_key != key.spki_sha256 {
            return Err(ChannelError::Relayed);
        }
        if !key.signed(&binding::session(tls.get_ref().1, &nonce)?, &signature) {
            return Err(ChannelError::SessionSignature);
        }
        // A quote over somebody else's nonce would only be old, but nobody honest sends one.
        match (freshness, claims.nonce) {
            (Freshness::Cached, None) => {}
            (_, Some(quoted)) if quoted == nonce => {}
            _ => return Err(ChannelError::NotFresh),
        }
        if let Some(digest) = held {
            evidence.collateral = self.held.get(&digest).ok_or(ChannelError::CollateralMissing)?.to_vec();
        }
        let expected = claims.report_data();
        Ok(Offered { tls, evidence, claims, expected, deadline: self.deadline, held: self.held.clone() })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A peer that has shown evidence which belongs to this session. Nothing private can be sent yet.
pub struct Offered<S> {
    tls: TlsStream<S>,
    evidence: Evidence,
    claims: Claims,
    expected: ReportData,
    deadline: Duration,
    held: Arc<Held>,
}

impl<S> Offered<S> {
    /// What is to be appraised, collateral included.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the quote is said to commit to. True once the evidence is accepted.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What the quote must carry: the appraisal's expectation.
    pub fn expected_report_data(&self) -> &ReportData {
        &self.expected
    }

    /// Whether the session's key exchange withstands quantum computers.
    pub fn post_quantum(&self) -> bool {
        let group = self.tls.get_ref().1.negotiated_key_exchange_group();
        group.is_some_and(|group| group.name() == rustls::NamedGroup::X25519MLKEM768)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Offered<S> {
    /// Goes on with a peer whose evidence was accepted, and proves to it who calls.
    ///
    /// Returns when the proof is sent. The enclave reads nothing else before it has checked the
    /// proof, so the first request may follow at once; should the enclave refuse the proof, reading
    /// fails with [`ChannelError::IdentityRefused`] (see also [`ClientSession::confirm`]).
    pub async fn accept(self, accepted: &Accepted, identity: &Identity) -> Result<ClientSession<S>, ChannelError> {
        if accepted.bound_report_data() != Some(&self.expected) {
            return Err(ChannelError::OtherEvidence);
        }
        self.prove(identity).await
    }

    /// What follows acceptance. Nothing outside of tests calls it but [`accept`](Self::accept).
    pub(crate) async fn prove(self, identity: &Identity) -> Result<ClientSession<S>, ChannelError> {
        self.held.keep(self.evidence.collateral);
        let (mut tls, claims, address) = (self.tls, self.claims, identity.address());
        let digest = binding::party(tls.get_ref().1, &claims.channel_key, &address)?;
        let proof = Proof { address, signature: identity.sign(&digest) };
        tokio::time::timeout(self.deadline, frame::write(&mut tls, &proof))
            .await
            .map_err(|_| ChannelError::Deadline)??;
        Ok(ClientSession { tls, claims, deadline: self.deadline, welcome: Some(Partial::default()) })
    }
}

impl<S> fmt::Debug for Offered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offered").field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// A session with an accepted enclave. Reading and writing it is reading and writing inside of TLS.
pub struct ClientSession<S> {
    tls: TlsStream<S>,
    claims: Claims,
    deadline: Duration,
    /// The enclave's answer to the party's proof, as far as it has come; `None` once it was good.
    welcome: Option<Partial>,
}

impl<S> ClientSession<S> {
    /// Address of the key that signs this epoch's Work Proofs.
    pub fn enclave_key(&self) -> Address {
        self.claims.enclave_key
    }

    /// What the accepted quote commits to.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientSession<S> {
    /// Waits until the enclave has taken the party's proof, and not for longer than the deadline: a host could withhold
    /// the answer for good. Reading waits for it too, for as long as the caller lets it.
    pub async fn confirm(&mut self) -> Result<(), ChannelError> {
        let deadline = self.deadline;
        let welcomed = std::future::poll_fn(|cx| self.poll_welcome(cx));
        tokio::time::timeout(deadline, welcomed).await.map_err(|_| ChannelError::Deadline)?
    }

    fn poll_welcome(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ChannelError>> {
        while let Some(partial) = &mut self.welcome {
            let rest = partial.rest();
            if rest.is_empty() {
                // Judged again on every read, so that a refusal stays one.
                partial.judge()?;
                self.welcome = None;
                break;
            }
            let mut rest = ReadBuf::new(rest);
            ready!(Pin::new(&mut self.tls).poll_read(cx, &mut rest))?;
            let read = rest.filled().len();
            if read == 0 {
                return Poll::Ready(Err(ChannelError::Io(io::ErrorKind::UnexpectedEof)));
            }
            partial.filled = partial.filled.saturating_add(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> fmt::Debug for ClientSession<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientSession<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.welcome.is_some() {
            ready!(self.poll_welcome(cx)).map_err(|error| match error {
                ChannelError::IdentityRefused => io::Error::new(io::ErrorKind::PermissionDenied, error),
                ChannelError::Io(kind) => kind.into(),
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientSession<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}

/// [`Welcome`]'s frame while it comes in.
#[derive(Default)]
struct Partial {
    bytes: [u8; frame::PREFIX + 1],
    filled: usize,
}

impl Partial {
    fn rest(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    fn judge(&self) -> Result<(), ChannelError> {
        let is = |welcome| frame::encode(&welcome).map(|bytes| bytes == self.bytes);
        if is(Welcome::Known)? {
            Ok(())
        } else if is(Welcome::Refused)? {
            Err(ChannelError::IdentityRefused)
        } else {
            Err(ChannelError::Frame(CborError::Malformed))
        }
    }
}

/// Collateral of evidence that was accepted, by its digest; the oldest goes first. The vendor signs
/// collateral and the appraisal checks it each time, so holding it is no trust in it.
#[derive(Default)]
struct Held(Mutex<VecDeque<(Nonce, Arc<[u8]>)>>);

impl Held {
    fn digests(&self) -> Vec<Nonce> {
        self.lock().iter().map(|(digest, _)| *digest).collect()
    }

    fn get(&self, digest: &Nonce) -> Option<Arc<[u8]>> {
        self.lock().iter().find(|(known, _)| known == digest).map(|(_, collateral)| collateral.clone())
    }

    fn keep(&self, collateral: Vec<u8>) {
        if collateral.is_empty() || self.lock().iter().any(|(_, known)| **known == *collateral) {
            return;
        }
        let entry = (Nonce(sha256(&collateral)), collateral.into());
        let mut held = self.lock();
        if held.len() >= Hello::MAX_HELD {
            held.pop_front();
        }
        held.push_back(entry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Nonce, Arc<[u8]>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
