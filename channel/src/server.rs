//! The enclave's side of the channel.

use crate::{
    DEADLINE, binding, certificate,
    error::{ChannelError, NoQuote},
    frame,
    key::{ChannelKey, sha256},
    message::{Freshness, Hello, Offer, Proof, Welcome},
    tls,
};
use glacier_wire::{Address, Claims, Evidence, Nonce, Purpose};
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Where evidence about this enclave comes from.
pub trait Attester: Send + Sync {
    /// The evidence of this key epoch, collateral as recent as the host has it.
    fn cached(&self) -> Arc<Evidence>;

    /// New evidence whose claims carry `nonce`.
    fn fresh(&self, nonce: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>>;
}

/// Accepts attested sessions.
pub struct Server {
    key: Arc<ChannelKey>,
    channel_key: [u8; 32],
    attester: Arc<dyn Attester>,
    deadline: Duration,
    announced: Mutex<Announced>,
    /// The evidence last seen from [`Attester::cached`] and the digest of its collateral.
    digested: Mutex<Option<(Arc<Evidence>, Nonce)>>,
}

/// The certificate and the quote that it shows to other people's verifiers.
struct Announced {
    quote: Vec<u8>,
    tls: TlsAcceptor,
}

impl Announced {
    /// `evidence` must be about that key.
    fn new(key: &Arc<ChannelKey>, evidence: &Evidence) -> Result<Self, ChannelError> {
        let claims = Claims::decode(&evidence.claims).map_err(ChannelError::Claims)?;
        if claims.purpose != Purpose::Channel || claims.channel_key != key.spki_sha256() {
            return Err(ChannelError::Announcement);
        }
        let certificate = certificate::announce(key, evidence)?;
        let tls = TlsAcceptor::from(Arc::new(tls::server(key.clone(), certificate)?));
        Ok(Self { quote: evidence.quote.clone(), tls })
    }
}

impl Server {
    /// Ends sessions with `key` and announces `announce`, which must be about that key, in its certificate; later
    /// what [`Attester::cached`] gives, where that is about this key as well.
    pub fn new(key: ChannelKey, announce: &Evidence, attester: Arc<dyn Attester>) -> Result<Self, ChannelError> {
        let (channel_key, key) = (key.spki_sha256(), Arc::new(key));
        let announced = Mutex::new(Announced::new(&key, announce)?);
        Ok(Self { key, channel_key, attester, deadline: DEADLINE, announced, digested: Mutex::new(None) })
    }

    /// Sets how long a handshake may take, instead of [`DEADLINE`].
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Shakes hands on a new connection. The caller bounds how many of these run at once.
    pub async fn accept<S>(&self, stream: S) -> Result<ServerSession<S>, ChannelError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        tokio::time::timeout(self.deadline, self.handshake(stream)).await.map_err(|_| ChannelError::Deadline)?
    }

    async fn handshake<S>(&self, stream: S) -> Result<ServerSession<S>, ChannelError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut tls = self.acceptor().accept(stream).await?;
        tls::require_alpn(tls.get_ref().1)?;

        let hello: Hello = frame::read(&mut tls, Hello::MAX_BYTES).await?;
        let evidence = match hello.freshness {
            Freshness::Cached => self.attester.cached(),
            Freshness::Fresh => match self.attester.fresh(hello.nonce.0).await {
                Ok(evidence) => Arc::new(evidence),
                Err(no_quote) => {
                    frame::write(&mut tls, &Offer::NoQuote).await?;
                    tls.shutdown().await?;
                    return Err(no_quote.into());
                }
            },
        };
        let signature = self.key.sign(&binding::session(tls.get_ref().1, &hello.nonce.0)?)?;
        frame::write(&mut tls, &self.offer(&evidence, &hello.held, signature)).await?;

        let proof: Proof = frame::read(&mut tls, Proof::MAX_BYTES).await?;
        let digest = binding::party(tls.get_ref().1, &self.channel_key, &proof.address)?;
        if let Err(bad) = proof.signature.verify(&digest, &proof.address) {
            frame::write(&mut tls, &Welcome::Refused).await?;
            tls.shutdown().await?;
            return Err(ChannelError::Identity(bad));
        }
        frame::write(&mut tls, &Welcome::Known).await?;
        Ok(ServerSession { stream: ServerStream(tls), peer: proof.address })
    }

    /// With a certificate that announces the newest evidence.
    fn acceptor(&self) -> TlsAcceptor {
        let newest = self.attester.cached();
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        if announced.quote != newest.quote
            && let Ok(renewed) = Announced::new(&self.key, &newest)
        {
            *announced = renewed;
        }
        announced.tls.clone()
    }

    /// The evidence, without collateral that the party already holds.
    fn offer(&self, evidence: &Arc<Evidence>, held: &[Nonce], signature: Vec<u8>) -> Offer {
        let held = Some(evidence).filter(|_| !held.is_empty()).map(|e| self.digest(e)).filter(|d| held.contains(d));
        let collateral = if held.is_some() { Vec::new() } else { evidence.collateral.clone() };
        let evidence = Evidence { collateral, ..Evidence::clone(evidence) };
        Offer::Evidence { evidence, held, signature }
    }

    /// SHA-256 of the collateral, computed once for evidence that stays the same.
    fn digest(&self, evidence: &Arc<Evidence>) -> Nonce {
        let mut digested = self.digested.lock().unwrap_or_else(PoisonError::into_inner);
        match &*digested {
            Some((known, digest)) if Arc::ptr_eq(known, evidence) || known.collateral == evidence.collateral => *digest,
            _ => {
                let digest = Nonce(sha256(&evidence.collateral));
                *digested = Some((evidence.clone(), digest));
                digest
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A session with a party that has proved who it is.
pub struct ServerSession<S> {
    stream: ServerStream<S>,
    peer: Address,
}

impl<S> ServerSession<S> {
    /// Who calls.
    pub fn peer(&self) -> Address {
        self.peer
    }

    /// The session's bytes.
    pub fn into_stream(self) -> ServerStream<S> {
        self.stream
    }
}

impl<S> fmt::Debug for ServerSession<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSession").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The bytes of one session, enclave's side.
pub struct ServerStream<S>(TlsStream<S>);

impl<S> fmt::Debug for ServerStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerStream(..)")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServerStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
