//! The endpoint: one port for HTTP/1.1 and for HTTP/2 without TLS.

use crate::{
    attestation,
    config::Config,
    embedding::{Embedder, TextError},
    fault::Fault,
    grpc, guard,
    models::Models,
    oip, openai,
    pool::Pool,
    proofs::Proofs,
    proxy::{BODIES, Proxy},
};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use glacier::{Key, Node, Policy};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Other machines could call, and nobody said that they may.
    #[error("{0} is no loopback address: whoever reaches it could use your key and read your answers")]
    Exposed(SocketAddr),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// The folder for proofs cannot be made.
    #[error("the folder for proofs cannot be made: {0}")]
    Proofs(io::Error),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// How long requests under way have when the proxy ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy at work. Dropped, it stops taking calls.
pub struct Running {
    address: SocketAddr,
    proxy: Arc<Proxy>,
    end: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Running {
    /// Where clients call.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Attests the node now, and not with the first request: whether the policy accepts it, as JSON.
    ///
    /// # Errors
    /// Why there is no session. The proxy goes on, and tries again with each request.
    pub async fn attest(&self) -> Result<serde_json::Value, Fault> {
        attestation::document(&self.proxy).await
    }

    /// Takes no more calls, and gives those under way a few seconds.
    pub async fn shutdown(self) {
        let _ = self.end.send(true);
        let _ = self.serving.await;
        self.proxy.pool.close();
    }
}

/// Starts a proxy. Nothing is sent to the node before a client asks for something.
///
/// # Errors
/// An address that cannot or must not be listened on; a tokenizer or a folder that cannot be used.
pub async fn start(node: Node, policy: Policy, key: Key, config: Config) -> Result<Running, StartError> {
    begin(node, policy, key, config).await
}

/// Boxed, so that all of a proxy is compiled here and not anew in every program that starts one.
fn begin(node: Node, policy: Policy, key: Key, config: Config) -> Starting {
    Box::pin(async move {
        if !config.listen.ip().is_loopback() && !config.danger_listen_anywhere {
            return Err(StartError::Exposed(config.listen));
        }
        let text = config.text.as_ref().map(Embedder::open).transpose()?;
        let proofs = Proofs::open(config.proofs.clone()).map_err(StartError::Proofs)?;
        let listen = |error| StartError::Listen { address: config.listen, error };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let proxy = Arc::new(Proxy {
            pool: Pool::new(node, policy, key, &config),
            models: Models::new(config.models.clone()),
            proofs,
            text,
            room: Semaphore::new(config.sessions.max(1).saturating_mul(BODIES).min(Semaphore::MAX_PERMITS)),
            config,
            counts: Default::default(),
        });
        let (end, ended) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, routes(&proxy), ended));
        Ok(Running { address, proxy, end, serving })
    })
}

/// A proxy that is being started.
type Starting = Pin<Box<dyn Future<Output = Result<Running, StartError>> + Send>>;

fn routes(proxy: &Arc<Proxy>) -> Router {
    Router::new()
        .merge(oip::routes())
        .merge(openai::routes())
        .merge(attestation::routes())
        .with_state(proxy.clone())
        .merge(grpc::routes(proxy))
        .fallback(oip::nowhere)
        .method_not_allowed_fallback(oip::no_such_method)
        .layer(from_fn_with_state(proxy.clone(), guarded))
}

async fn guarded(State(proxy): State<Arc<Proxy>>, request: Request, next: Next) -> Response {
    let names = guard::Names { given: &proxy.config.names, anywhere: proxy.config.danger_listen_anywhere };
    match guard::check(request.uri(), request.headers(), &names) {
        Ok(()) => next.run(request).await,
        Err(fault) if request.uri().path().starts_with("/v1/") => openai::error(&fault),
        Err(fault) => oip::error(&fault),
    }
}

async fn serve(listener: TcpListener, routes: Router, mut ended: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.changed() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: others must end before the next can begin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let mut builder = Builder::new(TokioExecutor::new());
        // Tensors are larger than the protocol's first window.
        builder.http2().adaptive_window(true);
        let service = TowerToHyperService::new(routes.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            // A client that hangs up has its own reasons.
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(PATIENCE, graceful.shutdown()).await;
}
