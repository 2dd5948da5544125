//! Bytes from one socket to another. They are ciphertext: nothing is looked at.

use crate::say;
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use vsock::{VsockListener, VsockStream};

/// A stream whose halves two threads hold.
pub(crate) trait Duplex: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> io::Result<Self>;
    fn end(&self, how: Shutdown);
}

impl Duplex for UnixStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }
    fn end(&self, how: Shutdown) {
        let _ = self.shutdown(how);
    }
}

impl Duplex for VsockStream {
    fn twin(&self) -> io::Result<Self> {
        self.try_clone()
    }
    fn end(&self, how: Shutdown) {
        let _ = self.shutdown(how);
    }
}

/// Copies between `a` and `b` until both directions have ended. Returns at once.
pub(crate) fn both_ways(a: impl Duplex, b: impl Duplex) -> io::Result<()> {
    let (a2, b2) = (a.twin()?, b.twin()?);
    spawn(move || copy(a, b))?;
    spawn(move || copy(b2, a2))
}

/// Gives each client a connection to the enclave's socket. Returns at once.
pub(crate) fn serve(clients: VsockListener, socket: &'static str) -> io::Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    spawn(move || {
        for client in clients.incoming() {
            // A host that opens more than the enclave would answer gets nothing: it only harms itself.
            let guard = Open::new(&open);
            let Ok(client) = client else { continue };
            if guard.count > MAX_CLIENTS {
                continue;
            }
            if let Err(error) = connect(client, Path::new(socket), guard) {
                say(format_args!("a client could not be connected: {error}"));
            }
        }
    })
}

fn connect(client: impl Duplex, socket: &Path, guard: Open) -> io::Result<()> {
    let enclave = UnixStream::connect(socket)?;
    let (client2, enclave2) = (client.twin()?, enclave.twin()?);
    let other = guard.clone();
    spawn(move || {
        copy(client, enclave);
        drop(guard);
    })?;
    spawn(move || {
        copy(enclave2, client2);
        drop(other);
    })
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK).spawn(work).map(drop)
}

/// One direction. Its end is passed on, so that the other side may still finish what it was saying.
fn copy(mut from: impl Duplex, mut to: impl Duplex) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return to.end(Shutdown::Write),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.ok().and_then(|count| piece.get(..count)),
        };
        if read.is_none_or(|bytes| to.write_all(bytes).is_err()) {
            from.end(Shutdown::Both);
            return to.end(Shutdown::Both);
        }
    }
}

/// Counts clients for as long as any part of one lives.
#[derive(Clone)]
struct Open {
    count: usize,
    _held: Arc<Held>,
}

struct Held(Arc<AtomicUsize>);

impl Open {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        let count = open.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        Self { count, _held: Arc::new(Held(Arc::clone(open))) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const MAX_CLIENTS: usize = 256;
const STACK: usize = 128 * 1024;
/// A packet of virtio-vsock holds as much.
const PIECE: usize = 64 * 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn bytes_go_both_ways_and_ends_are_passed_on() {
        let (mut host, near) = UnixStream::pair().unwrap();
        let (far, mut enclave) = UnixStream::pair().unwrap();
        both_ways(near, far).unwrap();
        host.write_all(b"request").unwrap();
        host.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        enclave.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"request");
        enclave.write_all(b"answer after the end").unwrap();
        drop(enclave);
        let mut answer = Vec::new();
        host.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer after the end");
    }

    #[test]
    fn each_client_has_a_connection_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("enclave.sock");
        let enclave = UnixListener::bind(&socket).unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        for word in [b"one", b"two"] {
            let (mut client, near) = UnixStream::pair().unwrap();
            connect(near, &socket, Open::new(&open)).unwrap();
            let (mut inside, _) = enclave.accept().unwrap();
            client.write_all(word).unwrap();
            let mut heard = [0; 3];
            inside.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, word);
        }
        while open.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_client_is_counted_while_it_lives() {
        let open = Arc::new(AtomicUsize::new(0));
        let first = Open::new(&open);
        let twin = first.clone();
        assert_eq!((first.count, Open::new(&open).count), (1, 2));
        drop(first);
        assert_eq!(open.load(Ordering::Relaxed), 1);
        drop(twin);
        assert_eq!(open.load(Ordering::Relaxed), 0);
    }
}
