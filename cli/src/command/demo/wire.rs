//! A relay in front of the node that keeps a copy of every byte: the most that anybody between the
//! parties and the enclave can see.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One direction of one connection.
type Recording = Arc<Mutex<Vec<u8>>>;

/// Everything that passed.
#[derive(Clone, Default)]
pub(super) struct Wire {
    recordings: Arc<Mutex<Vec<Recording>>>,
}

impl Wire {
    /// Listens on this machine and passes everything on to `node`. Returns where.
    pub(super) async fn tap(node: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let wire = Self::default();
        let tapped = wire.clone();
        tokio::spawn(async move {
            while let Ok((party, _)) = listener.accept().await {
                let wire = tapped.clone();
                tokio::spawn(async move {
                    // A connection that breaks on one side is closed on the other; the parties notice.
                    let _ = wire.pass(party, node).await;
                });
            }
        });
        Ok((wire, address))
    }

    async fn pass(&self, party: TcpStream, node: SocketAddr) -> io::Result<()> {
        let node = TcpStream::connect(node).await?;
        let _ = (party.set_nodelay(true), node.set_nodelay(true));
        let (from_party, to_party) = party.into_split();
        let (from_node, to_node) = node.into_split();
        tokio::try_join!(copy(from_party, to_node, self.record()), copy(from_node, to_party, self.record()))?;
        Ok(())
    }

    fn record(&self) -> Recording {
        let recording = Recording::default();
        lock(&self.recordings).push(recording.clone());
        recording
    }

    /// Connections that were made.
    pub(super) fn connections(&self) -> usize {
        lock(&self.recordings).len() / 2
    }

    /// Shows each direction of each connection.
    pub(super) fn each(&self, mut show: impl FnMut(&[u8])) {
        lock(&self.recordings).iter().for_each(|recording| show(&lock(recording)));
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    recording: Recording,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return to.shutdown().await };
        lock(&recording).extend_from_slice(bytes);
        to.write_all(bytes).await?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
