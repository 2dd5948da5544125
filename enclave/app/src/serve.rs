//! From `main` to the first session.

use crate::{
    App, Context, app::Served, context::Inner, epoch::Epoch, host::HostPort, mailbox::Mailbox, prover::Prover,
    sealed::States, session,
};
use glacier_channel::{ChannelKey, Server};
use glacier_platform::Enclave;
use std::{io, os::unix::net::UnixStream, process::ExitCode, sync::Arc};
use tokio::{net, sync::Semaphore};

/// Most sessions at once. More wait in the listener's queue.
const MAX_SESSIONS: usize = 1024;

/// Runs `app` as this enclave until the host goes away.
pub fn serve<A: App>(app: A) -> ExitCode {
    serve_with_worker(app, |_| ())
}

/// The same, for an application that runs what it does not trust in [`Context::worker`]s:
/// `work` is what each of them does with its end of the socket.
pub fn serve_with_worker<A: App>(app: A, work: fn(UnixStream)) -> ExitCode {
    // First of all, while there is one thread and no secret: into the sandbox.
    let outcome = glacier_platform::enter_with(work, identity)
        .map_err(ServeError::from)
        .and_then(|enclave| run(Arc::new(app), enclave));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // Faults name a stage of starting up and carry nothing private. The simulated chip gives an
            // enclave no standard error; there the exit status alone tells.
            eprintln!("enclave: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Who the hardware's own evidence shows, in the words in which every relying party will read it.
fn identity(evidence: &[u8]) -> Option<glacier_platform::Identity> {
    let shown = glacier_attest::look(evidence, None)?;
    Some(glacier_platform::Identity {
        platform: shown.platform,
        measurement: shown.registers?.name(),
        enclave_id: glacier_attest::enclave_id(shown.platform, &shown.hardware_id?),
    })
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("the platform did not let the enclave start: {0}")]
    Enter(#[from] glacier_platform::EnterError),
    #[error("the platform made no evidence: {0}")]
    Platform(#[from] glacier_platform::PlatformError),
    #[error(transparent)]
    Lock(#[from] glacier_platform::LockError),
    #[error("the channel could not be set up: {0}")]
    Channel(#[from] glacier_channel::ChannelError),
    #[error("the operating system failed: {0}")]
    Io(#[from] io::Error),
}

fn run(app: Arc<dyn Served>, enclave: Enclave) -> Result<(), ServeError> {
    // Half of the cores carry sessions, the others are the workers' own: a thread more here costs each
    // request a wake-up on the way, and a thread fewer costs nothing before gigabytes a second.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let threads = cores.div_euclid(2).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async move {
        let platform: Arc<dyn glacier_platform::Platform> = Arc::from(enclave.platform);
        let prover = Prover::new(&*platform)?;
        let mailbox = Mailbox::open()?;
        let channel_key = ChannelKey::generate()?;
        let epoch = Arc::new(Epoch::begin(platform.clone(), &channel_key, prover.address())?);
        let server = Arc::new(Server::new(channel_key, &epoch.evidence(), epoch.clone())?);
        enclave.host.set_nonblocking(true)?;
        enclave.listener.set_nonblocking(true)?;
        let host = HostPort::new(net::UnixStream::from_std(enclave.host)?);
        let listener = net::UnixListener::from_std(enclave.listener)?;
        let (zygote, states, room) = (enclave.zygote, States::default(), session::room(app.max_body()));
        let cx = Context::new(Inner { app: app.name(), platform, zygote, host, epoch, prover, mailbox, states, room });
        cx.start();
        app.start(&cx);
        let sessions = Arc::new(Semaphore::new(MAX_SESSIONS));
        loop {
            let Ok(permit) = sessions.clone().acquire_owned().await else { return Ok(()) };
            let (stream, _) = listener.accept().await?;
            let (server, app, cx) = (server.clone(), app.clone(), cx.clone());
            tokio::spawn(async move {
                // A peer that fails the handshake learns it from the channel; the host learns nothing.
                if let Ok(accepted) = server.accept(stream).await {
                    let peer = accepted.peer();
                    session::run(app, cx, peer, accepted.into_stream()).await;
                }
                drop(permit);
            });
        }
    })
}
