//! A run of the host ends and the next begins, around an enclave that does not notice.
//!
//! The enclave's keys live in its memory, so whoever ends it voids its registration, its grants and its
//! sessions. A new version of the host, or new settings, need none of that: the process executes itself
//! anew, and what connects it with the world outside is passed on. That is open sockets, the chip's
//! pipes, and a little state: which calls of the enclave have no answer yet.
//!
//! ```text
//! the run that ends                                            the run that begins
//! drains HTTP, pauses relays and the host port ─▶ descriptors ─▶ goes on where they were
//!                                 (SCM_RIGHTS over a socket that becomes its standard input)
//! ```

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    process::Stdio,
};

use glacier_wire::{Address, Digest};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    process::Pid,
};
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

use crate::{
    enclave::{self, Chip, ChipInfo},
    port::Rest,
    relay,
};

/// What one run leaves to the next. Dropping it ends the enclave: the chip's standard input closes.
#[derive(Debug)]
pub struct Handover {
    pub(crate) state: State,
    /// In the order in which [`State`] says what they are.
    pub(crate) descriptors: VecDeque<OwnedFd>,
}

/// What the descriptors are, and what else is to be known. The descriptors are: the listener; the chip's standard input and
/// output; the host port; `port.lines`; two for each of `relays`, the client's and the enclave's.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// How many runs there were before.
    pub(crate) runs: u64,
    pub(crate) restarts: u64,
    pub(crate) info: ChipInfo,
    pub(crate) chip: i32,
    pub(crate) port: PortState,
    /// Which directions have ended: to the enclave, to the client.
    pub(crate) relays: Vec<[bool; 2]>,
    /// What the enclave shows of itself.
    pub(crate) evidence: Option<Vec<u8>>,
}

/// Where the host port was paused.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PortState {
    /// The beginning of a frame that has not come whole.
    pub(crate) unread: Vec<u8>,
    /// Calls without an answer, each as it came.
    pub(crate) open: Vec<Vec<u8>>,
    pub(crate) uploads: Vec<u64>,
    pub(crate) committed: Option<Digest>,
    pub(crate) speaker: Option<Address>,
    /// Chain and ledger that the enclave was told of last.
    pub(crate) settles: Option<(u64, Address)>,
    /// Names of connections that the enclave had opened.
    pub(crate) lines: Vec<u64>,
    /// The name of the last one.
    pub(crate) last_line: u64,
}

/// Why nothing was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The system did not pass descriptors on.
    #[error("nothing could be passed on: {0}")]
    Io(io::ErrorKind),
    /// It was left by another version.
    #[error("the run before left something that this version does not understand")]
    Format,
    /// There was no enclave to pass on, or it did not come to rest in time.
    #[error("there is no enclave at rest to pass on")]
    NoEnclave,
}

impl From<io::Error> for HandoverError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<rustix::io::Errno> for HandoverError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.kind())
    }
}

/// Descriptors of one message: the kernel takes 253.
const BATCH: usize = 250;
/// Most bytes of state: a frame of the host port has about one mebibyte, and JSON makes four of each.
const MAX_STATE: u64 = 64 << 20;

impl Handover {
    /// The form of [`State`]. Another form is another number.
    pub(crate) const FORMAT: u32 = 1;

    /// For the standard input of the run that is to take it over. This one keeps everything as well, until it executes that one.
    ///
    /// # Errors
    /// [`HandoverError::Io`].
    pub fn leave(&self) -> Result<Stdio, HandoverError> {
        Ok(self.send()?.into())
    }

    /// What the run before has left at the standard input, which is empty from then on.
    ///
    /// # Errors
    /// [`HandoverError`]: it has left nothing, or nothing that is understood.
    pub fn find() -> Result<Self, HandoverError> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Self::receive(&socket)
    }

    fn send(&self) -> Result<OwnedFd, HandoverError> {
        let state = serde_json::to_vec(&self.state).map_err(|_| HandoverError::Format)?;
        let mut file = File::from(memfd_create("handover", MemfdFlags::CLOEXEC)?);
        file.write_all(&state)?;
        file.rewind()?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let all: Vec<BorrowedFd<'_>> =
            std::iter::once(file.as_fd()).chain(self.descriptors.iter().map(|one| one.as_fd())).collect();
        for some in all.chunks(BATCH) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(some)) {
                return Err(HandoverError::Io(io::ErrorKind::OutOfMemory));
            }
            sendmsg(&ours, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        }
        // What is in the socket stays there; that nothing follows is told by its end.
        Ok(theirs)
    }

    fn receive(socket: &OwnedFd) -> Result<Self, HandoverError> {
        let mut descriptors = VecDeque::new();
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let read = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    descriptors.extend(some);
                }
            }
            if read.bytes == 0 {
                break;
            }
        }
        let file = File::from(descriptors.pop_front().ok_or(HandoverError::Format)?);
        let mut state = Vec::new();
        file.take(MAX_STATE).read_to_end(&mut state)?;
        let state: State = serde_json::from_slice(&state).map_err(|_| HandoverError::Format)?;
        let expected = state.relays.len().saturating_mul(2).saturating_add(state.port.lines.len()).saturating_add(4);
        if state.format != Self::FORMAT || descriptors.len() != expected {
            return Err(HandoverError::Format);
        }
        Ok(Self { state, descriptors })
    }

    /// The next descriptor.
    pub(crate) fn next<T: From<OwnedFd>>(&mut self) -> Result<T, HandoverError> {
        self.descriptors.pop_front().map(T::from).ok_or(HandoverError::Format)
    }
}

/// What is handed over, as the parts of a node have it.
pub(crate) struct Taken {
    pub(crate) listener: TcpListener,
    pub(crate) enclave: enclave::Resting,
    pub(crate) relays: Vec<relay::Resting>,
    pub(crate) known: Known,
}

/// What a run knows that is worth nothing to an attacker and something to the next.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) runs: u64,
    pub(crate) restarts: u64,
    pub(crate) evidence: Option<Vec<u8>>,
}

impl Taken {
    pub(crate) fn apart(mut from: Handover) -> Result<Self, HandoverError> {
        let listener = listening(from.next()?)?;
        let pid = Pid::from_raw(from.state.chip).ok_or(HandoverError::Format)?;
        let chip = Chip { pid, stdin: from.next()?, stdout: from.next()? };
        let stream = unix(from.next()?)?;
        let mut lines = Vec::new();
        for _ in 0..from.state.port.lines.len() {
            lines.push(tcp(from.next()?)?);
        }
        let mut relays = Vec::new();
        for ended in from.state.relays.clone() {
            relays.push(relay::Resting { client: tcp(from.next()?)?, enclave: unix(from.next()?)?, ended });
        }
        let Handover { state, .. } = from;
        let known = Known { runs: state.runs, restarts: state.restarts, evidence: state.evidence };
        let enclave = enclave::Resting { info: state.info, chip, port: Rest { stream, state: state.port, lines } };
        Ok(Self { listener, enclave, relays, known })
    }

    pub(crate) fn together(self) -> Result<Handover, HandoverError> {
        let Self { listener, enclave: enclave::Resting { info, chip, port }, relays, known } = self;
        let state = State {
            format: Handover::FORMAT,
            runs: known.runs,
            restarts: known.restarts,
            info,
            chip: chip.pid.as_raw_nonzero().get(),
            port: port.state,
            relays: relays.iter().map(|relay| relay.ended).collect(),
            evidence: known.evidence,
        };
        let mut descriptors = VecDeque::from([
            OwnedFd::from(listener.into_std()?),
            chip.stdin,
            chip.stdout,
            OwnedFd::from(port.stream.into_std()?),
        ]);
        for line in port.lines {
            descriptors.push_back(line.into_std()?.into());
        }
        for relay in relays {
            descriptors.push_back(relay.client.into_std()?.into());
            descriptors.push_back(relay.enclave.into_std()?.into());
        }
        Ok(Handover { state, descriptors })
    }
}

// They were of another run's runtime, or of this one's that has let go of them; that they do not block stays with the socket.
fn listening(from: OwnedFd) -> io::Result<TcpListener> {
    TcpListener::from_std(from.into())
}

fn tcp(from: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(from.into())
}

fn unix(from: OwnedFd) -> io::Result<UnixStream> {
    UnixStream::from_std(from.into())
}

/// Tells those who carry bytes that they are to stop between two of them.
#[derive(Debug, Clone)]
pub(crate) struct Pause(watch::Receiver<bool>);

impl Pause {
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Returns when it has begun: never, if nobody can begin it any more.
    pub(crate) async fn begun(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when it has lasted for `grace`: what is being written then will not be written any more.
    pub(crate) async fn lasted(&self) {
        self.begun().await;
        tokio::time::sleep(GRACE).await;
    }
}

/// How long a peer that does not read may hold up a pause.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use glacier_wire::{EnclaveId, Measurement};
    // In place of tokio's.
    use std::os::unix::net::UnixStream;

    fn handover(relays: usize) -> (Handover, Vec<UnixStream>) {
        let info = ChipInfo {
            simulated: true,
            measurement: Measurement([1; 32]),
            enclave_id: EnclaveId([2; 32]),
            root_fingerprint: "ab".into(),
            pid: 7,
        };
        let port = PortState { unread: vec![1, 2, 3], settles: Some((5, Address([6; 20]))), ..PortState::default() };
        let state = State {
            format: Handover::FORMAT,
            runs: 3,
            restarts: 1,
            info,
            chip: 6,
            port,
            relays: vec![[true, false]; relays],
            evidence: None,
        };
        let (theirs, ours): (Vec<_>, Vec<_>) = (0..4 + 2 * relays).map(|_| UnixStream::pair().unwrap()).unzip();
        (Handover { state, descriptors: theirs.into_iter().map(OwnedFd::from).collect() }, ours)
    }

    #[test]
    fn what_is_left_is_found_in_its_order_and_in_messages_of_any_number() {
        for relays in [0, 1, 200] {
            let (left, ours) = handover(relays);
            let socket = left.send().unwrap();
            let mut found = Handover::receive(&socket).unwrap();
            assert_eq!(found.state.port, left.state.port);
            assert_eq!((found.state.runs, found.state.relays.len()), (3, relays));
            drop(left);
            for (number, mut mine) in ours.into_iter().enumerate() {
                let mut theirs: UnixStream = found.next().unwrap();
                theirs.write_all(&number.to_le_bytes()).unwrap();
                drop(theirs);
                let mut told = Vec::new();
                mine.read_to_end(&mut told).unwrap();
                assert_eq!(told, number.to_le_bytes());
            }
            assert_eq!(found.next::<OwnedFd>().unwrap_err(), HandoverError::Format);
        }
    }

    #[test]
    fn what_another_version_has_left_and_what_is_not_whole_is_not_understood() {
        let (mut left, _ours) = handover(1);
        left.state.format += 1;
        assert_eq!(Handover::receive(&left.send().unwrap()).unwrap_err(), HandoverError::Format);
        left.state.format -= 1;
        left.descriptors.pop_back();
        assert_eq!(Handover::receive(&left.send().unwrap()).unwrap_err(), HandoverError::Format);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert_eq!(Handover::receive(&theirs.into()).unwrap_err(), HandoverError::Format);
    }
}
