//! The host port: what the enclave asks of the host, answered.

use std::{
    collections::{HashSet, VecDeque},
    io,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use glacier_store::{Store, StoreError, UploadId};
use glacier_wire::{
    Address, Digest,
    api::{HOST_CHUNK, HOST_FRAME, HostAnswer, HostCall, HostFault, HostOrder, HostReply, HostRequest},
    cbor::{self, CborError},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout_at},
};
use tracing::{Instrument as _, info_span, warn};

use crate::{
    checkpoints::Checkpoints,
    danger::Meddler,
    handover::{Pause, PortState},
    lines::{self, Lines},
    orders::{Desk, RegistrationError, RegistrationQuote, Told},
    proofs::{Proofs, Publication, Published},
    showcase::{Showcase, ShowcaseError},
    status::Counters,
};

/// Reads under way at once: each holds at most [`HOST_CHUNK`] bytes.
const MAX_READS: usize = 16;
/// Answers waiting to be written, and changes waiting to be made.
const QUEUE: usize = 4;

/// Why the host port closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("the enclave ended")]
    Ended,
    #[error("a frame of {0} bytes was announced")]
    Oversized(u32),
    #[error("a frame is not a call: {0}")]
    Garbage(CborError),
    #[error("the port broke: {0}")]
    Io(io::ErrorKind),
    #[error("what the enclave had asked for did not come to rest in time")]
    Restless,
}

impl From<io::Error> for PortError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Ended,
            kind => Self::Io(kind),
        }
    }
}

/// What calls are answered from.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) proofs: Proofs,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) desk: Desk,
    /// Where the enclave may have connections opened.
    pub(crate) dial: Arc<[String]>,
    pub(crate) showcase: Showcase,
    pub(crate) counters: Arc<Counters>,
    pub(crate) meddler: Option<Arc<dyn Meddler>>,
}

/// How a port was left.
pub(crate) enum Closed {
    /// The enclave is gone, or has broken the rules.
    Ended(PortError),
    /// All is at rest, to go on where it was.
    Paused(Box<Rest>),
}

/// A port at rest.
pub(crate) struct Rest {
    pub(crate) stream: UnixStream,
    pub(crate) state: PortState,
    /// In the order of [`PortState::lines`].
    pub(crate) lines: Vec<TcpStream>,
}

impl Rest {
    /// A port on which nothing was said yet.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, state: PortState::default(), lines: Vec::new() }
    }
}

/// How long all that is under way may take to come to rest.
const RESTING: std::time::Duration = std::time::Duration::from_secs(10);

impl Service {
    /// Answers calls until the port closes or is paused. Reads are served side by side; changes one after
    /// the other, in the order in which they came.
    pub(crate) async fn serve(self, port: Rest, pause: Pause) -> Closed {
        let Rest { stream, state, lines } = port;
        let (incoming, mut outgoing) = stream.into_split();
        let (answers, mut outbox) = mpsc::channel::<Vec<u8>>(QUEUE);
        let (changes, inbox) = mpsc::channel::<HostCall>(QUEUE);
        let changer = Changer {
            service: self.clone(),
            uploads: state.uploads.into_iter().collect(),
            committed: state.committed,
            speaker: state.speaker,
            answers: answers.clone(),
        };
        let changing = tokio::spawn(changer.run_all(inbox));
        let writing = tokio::spawn(async move {
            while let Some(frame) = outbox.recv().await {
                outgoing.write_all(&frame).await?;
            }
            Ok::<_, io::Error>(outgoing)
        });
        let named = state.lines.into_iter().zip(lines).collect();
        let mut session = Session {
            told: Arc::new(Mutex::new(Told::of(state.settles))),
            lines: Arc::new(Lines::new(self.dial.clone(), state.last_line, named)),
            open: Arc::default(),
            service: self,
            incoming: Incoming { first: state.open.into(), have: state.unread, stream: incoming },
            answers,
            changes,
            pause,
            tasks: JoinSet::new(),
        };
        let error = session.receive().await;
        match error {
            Some(error) => {
                // All that serves this port ends with it. Changes that were asked for are still made: a proof that
                // has arrived is kept.
                session.tasks.shutdown().await;
                drop(session);
                if let Ok(changer) = changing.await {
                    changer.give_up().await;
                }
                writing.abort();
                Closed::Ended(error)
            }
            None => {
                let rest = tokio::time::timeout(RESTING, session.rest(changing, writing)).await;
                rest.ok().flatten().map_or(Closed::Ended(PortError::Restless), |rest| Closed::Paused(Box::new(rest)))
            }
        }
    }

    async fn look_up(&self, request: &HostRequest) -> Result<HostReply, HostFault> {
        match request {
            HostRequest::Size { asset } => Ok(HostReply::Size { bytes: self.store.size(asset).map_err(fault)? }),
            HostRequest::Read { asset, offset, len } => {
                let len = usize::try_from(*len).ok().filter(|len| *len <= HOST_CHUNK).ok_or(HostFault::Bad)?;
                let data = self.store.read(asset, *offset, len).await.map_err(fault)?;
                Ok(HostReply::Data { data })
            }
            _ => Err(HostFault::Bad),
        }
    }

    fn frame(&self, call: HostCall, mut reply: HostReply) -> Vec<u8> {
        if let Some(meddler) = &self.meddler {
            meddler.answered(&call.request, &mut reply);
        }
        frame(&HostAnswer { id: call.id, reply })
    }
}

/// A port that is served.
struct Session {
    service: Service,
    incoming: Incoming,
    answers: mpsc::Sender<Vec<u8>>,
    changes: mpsc::Sender<HostCall>,
    told: Arc<Mutex<Told>>,
    lines: Arc<Lines>,
    /// Calls that a pause has left without an answer.
    open: Arc<StdMutex<Vec<Vec<u8>>>>,
    pause: Pause,
    tasks: JoinSet<()>,
}

impl Session {
    /// Takes calls until the port closes, for this reason, or is paused.
    async fn receive(&mut self) -> Option<PortError> {
        let reads = Arc::new(Semaphore::new(MAX_READS));
        let calls = Arc::new(Semaphore::new(lines::MAX_CALLS));
        loop {
            let call = tokio::select! {
                biased;
                () = self.pause.begun() => return None,
                call = self.incoming.next() => call,
            };
            let mut call = match call {
                Ok(call) => call,
                Err(error) => return Some(error),
            };
            while self.tasks.try_join_next().is_some() {}
            if let Some(meddler) = &self.service.meddler {
                meddler.called(&mut call.request);
            }
            let (service, answers, pause, open) =
                (self.service.clone(), self.answers.clone(), self.pause.clone(), Arc::clone(&self.open));
            if matches!(call.request, HostRequest::Orders) {
                // Who asks twice at once has a place for one answer only.
                let Ok(mut told) = Arc::clone(&self.told).try_lock_owned() else {
                    let reply = HostReply::Failed { fault: HostFault::Bad };
                    if answers.send(service.frame(call, reply)).await.is_err() {
                        return Some(PortError::Ended);
                    }
                    continue;
                };
                self.tasks.spawn(async move {
                    let order = tokio::select! {
                        order = service.desk.next(&mut told) => order,
                        () = pause.begun() => return leave_open(&open, &call),
                    };
                    // Before the answer: who has it may ask again at once.
                    drop(told);
                    let _ = answers.send(service.frame(call, HostReply::Order { order })).await;
                });
            } else if Lines::takes(&call.request) {
                let Ok(permit) = Arc::clone(&calls).try_acquire_owned() else {
                    let reply = HostReply::Failed { fault: HostFault::Full };
                    if answers.send(service.frame(call, reply)).await.is_err() {
                        return Some(PortError::Ended);
                    }
                    continue;
                };
                let lines = Arc::clone(&self.lines);
                self.tasks.spawn(async move {
                    match lines.answer(&call.request, &pause).await {
                        Some(reply) => {
                            let reply = reply.unwrap_or_else(|fault| HostReply::Failed { fault });
                            let _ = answers.send(service.frame(call, reply)).await;
                        }
                        None => leave_open(&open, &call),
                    }
                    drop(permit);
                });
            } else if matches!(call.request, HostRequest::Size { .. } | HostRequest::Read { .. }) {
                let Ok(permit) = Arc::clone(&reads).acquire_owned().await else { return Some(PortError::Ended) };
                self.tasks.spawn(async move {
                    let reply =
                        service.look_up(&call.request).await.unwrap_or_else(|fault| HostReply::Failed { fault });
                    let _ = answers.send(service.frame(call, reply)).await;
                    drop(permit);
                });
            } else if self.changes.send(call).await.is_err() {
                return Some(PortError::Ended);
            }
        }
    }

    /// Waits until what was begun is done, and takes everything apart.
    async fn rest(
        mut self,
        changing: JoinHandle<Changer>,
        writing: JoinHandle<io::Result<OwnedWriteHalf>>,
    ) -> Option<Rest> {
        while self.tasks.join_next().await.is_some() {}
        drop((self.changes, self.answers));
        let Changer { uploads, committed, speaker, answers, .. } = changing.await.ok()?;
        drop(answers);
        let outgoing = writing.await.ok()?.ok()?;
        let Incoming { first, have, stream } = self.incoming;
        let stream = stream.reunite(outgoing).ok()?;
        let (last_line, lines) = Arc::into_inner(self.lines)?.close()?;
        let (names, lines) = lines.into_iter().unzip();
        let mut open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        // Those that the run before had left, and this one had not come to.
        open.extend(first);
        let settles = self.told.lock().await.settles();
        let uploads = uploads.into_iter().collect();
        let state = PortState { unread: have, open, uploads, committed, speaker, settles, lines: names, last_line };
        Some(Rest { stream, state, lines })
    }
}

fn leave_open(open: &StdMutex<Vec<Vec<u8>>>, call: &HostCall) {
    open.lock().unwrap_or_else(PoisonError::into_inner).push(cbor::encode(call));
}

/// Calls as they come. To stop waiting for one loses no byte.
struct Incoming {
    /// Before all others: what the run before has left.
    first: VecDeque<Vec<u8>>,
    /// The beginning of the next frame.
    have: Vec<u8>,
    stream: OwnedReadHalf,
}

impl Incoming {
    async fn next(&mut self) -> Result<HostCall, PortError> {
        if let Some(call) = self.first.pop_front() {
            return cbor::decode(&call, HOST_FRAME).map_err(PortError::Garbage);
        }
        self.fill(PREFIX).await?;
        let len = self.have.first_chunk().map_or(0, |prefix| u32::from_le_bytes(*prefix));
        let size = usize::try_from(len).ok().filter(|len| *len <= HOST_FRAME).ok_or(PortError::Oversized(len))?;
        self.fill(PREFIX.saturating_add(size)).await?;
        let call = cbor::decode(self.have.get(PREFIX..).unwrap_or_default(), HOST_FRAME);
        self.have.clear();
        call.map_err(PortError::Garbage)
    }

    /// Reads until there are so many bytes, and none beyond them.
    async fn fill(&mut self, bytes: usize) -> io::Result<()> {
        while let Some(missing) = bytes.checked_sub(self.have.len()).filter(|missing| *missing > 0) {
            self.have.reserve(missing);
            if (&mut self.stream).take(missing as u64).read_buf(&mut self.have).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// Bytes of a frame's length.
const PREFIX: usize = 4;

/// How long a proof waits for others to share its sync.
const GATHER: std::time::Duration = std::time::Duration::from_millis(10);
/// Most proofs that share one.
const MAX_BATCH: usize = 1024;

/// Makes changes in order.
struct Changer {
    service: Service,
    uploads: HashSet<u64>,
    /// The last upload that was committed: all that it may have kept as a checkpoint, since what that
    /// replaces is removed.
    committed: Option<Digest>,
    /// The key of this enclave, known from its first proof on.
    speaker: Option<Address>,
    answers: mpsc::Sender<Vec<u8>>,
}

impl Changer {
    async fn run_all(mut self, mut inbox: mpsc::Receiver<HostCall>) -> Self {
        let mut next = None;
        while let Some(mut call) = match next.take() {
            Some(call) => Some(call),
            None => inbox.recv().await,
        } {
            if publication(&call.request).is_some() {
                next = self.publish(call, &mut inbox).await;
                continue;
            }
            let reply = self.change(&mut call.request).await.unwrap_or_else(|fault| HostReply::Failed { fault });
            // Nobody may be there to hear it; the next change is made all the same.
            let _ = self.answers.send(self.service.frame(call, reply)).await;
        }
        self
    }

    /// The enclave is gone, and will not finish what it began.
    async fn give_up(self) {
        for upload in self.uploads {
            if let Err(error) = self.service.store.abort_upload(UploadId(upload)).await {
                warn!(%error, "an unfinished upload of the enclave remains");
            }
        }
    }

    async fn change(&mut self, request: &mut HostRequest) -> Result<HostReply, HostFault> {
        let store = &self.service.store;
        match request {
            HostRequest::Create => {
                let UploadId(upload) = store.create_upload().await.map_err(fault)?;
                self.uploads.insert(upload);
                Ok(HostReply::Created { upload })
            }
            HostRequest::Append { upload, data } => {
                self.known(*upload)?;
                // A meddler is still to see what was asked.
                let data = if self.service.meddler.is_some() { data.clone() } else { std::mem::take(data) };
                store.append_upload(UploadId(*upload), data).await.map_err(fault)?;
                Ok(HostReply::Done)
            }
            HostRequest::Commit { upload, asset } => {
                self.known(*upload)?;
                let committed = store.commit_upload(UploadId(*upload), asset).await;
                self.uploads.remove(upload);
                committed.map_err(fault)?;
                self.committed = Some(*asset);
                Ok(HostReply::Done)
            }
            HostRequest::Keep { job, asset } => {
                if self.committed != Some(*asset) {
                    return Err(HostFault::Bad);
                }
                self.service.checkpoints.keep(*job, *asset).await.map_err(|_| HostFault::Io)?;
                Ok(HostReply::Done)
            }
            HostRequest::Recall { job } => {
                let asset = self.service.checkpoints.recall(*job).await.map_err(|_| HostFault::Io)?;
                Ok(HostReply::Recalled { asset })
            }
            HostRequest::Forget { job } => {
                self.service.checkpoints.forget(*job).await.map_err(|_| HostFault::Io)?;
                Ok(HostReply::Done)
            }
            HostRequest::Show { evidence } => {
                let evidence = if self.service.meddler.is_some() { evidence.clone() } else { std::mem::take(evidence) };
                self.service.showcase.show(evidence).await.map_err(|error| match error {
                    ShowcaseError::Malformed(_) => HostFault::Bad,
                    ShowcaseError::Io(_) => HostFault::Io,
                })?;
                Ok(HostReply::Done)
            }
            HostRequest::Abort { upload } => {
                self.known(*upload)?;
                self.uploads.remove(upload);
                store.abort_upload(UploadId(*upload)).await.map_err(fault)?;
                Ok(HostReply::Done)
            }
            HostRequest::Registered { order, enclave_key, quote, collateral } => {
                let quoted = RegistrationQuote {
                    enclave_key: *enclave_key,
                    quote: quote.clone(),
                    collateral: collateral.clone(),
                };
                self.service.desk.answered(order, &Ok(quoted));
                Ok(HostReply::Done)
            }
            HostRequest::Refused { order, fault } => {
                warn!(%fault, "the enclave did not carry out an order");
                if let HostOrder::Register(order) = order {
                    self.service.desk.answered(order, &Err(RegistrationError::Refused(*fault)));
                }
                Ok(HostReply::Done)
            }
            HostRequest::Publish { .. }
            | HostRequest::Head { .. }
            | HostRequest::Orders
            | HostRequest::Size { .. }
            | HostRequest::Read { .. }
            | HostRequest::Dial { .. }
            | HostRequest::Send { .. }
            | HostRequest::Receive { .. }
            | HostRequest::Hangup { .. } => Err(HostFault::Bad),
        }
    }

    /// Keeps a proof and those that follow it closely under one sync of the disk: a served model may
    /// make thousands in a second. Returns the call that came after them, if one did.
    async fn publish(&mut self, first: HostCall, inbox: &mut mpsc::Receiver<HostCall>) -> Option<HostCall> {
        let ready = Instant::now().checked_add(GATHER).unwrap_or_else(Instant::now);
        let (mut calls, mut next) = (vec![first], None);
        while calls.len() < MAX_BATCH {
            match timeout_at(ready, inbox.recv()).await {
                Ok(Some(call)) if publication(&call.request).is_some() => calls.push(call),
                Ok(call) => {
                    next = call;
                    break;
                }
                Err(_) => break,
            }
        }
        let batch = calls.iter().filter_map(|call| publication(&call.request)).collect();
        let settled_at = self.service.desk.settled_at();
        let begun = Instant::now();
        let span = info_span!("publish", proofs = calls.len());
        let published = self.service.proofs.publish(self.speaker, settled_at, batch).instrument(span).await;
        self.service.counters.metrics.publish.record(begun.elapsed());
        if let Err(error) = &published {
            warn!(%error, "proofs were not kept");
        }
        if let Ok(Published { speaker, .. }) = &published {
            self.speaker = *speaker;
        }
        for (at, call) in calls.into_iter().enumerate() {
            let reply = match &published {
                Ok(Published { kept, .. }) if kept.get(at) == Some(&true) => HostReply::Done,
                Ok(_) => HostReply::Failed { fault: HostFault::Bad },
                Err(_) => HostReply::Failed { fault: HostFault::Io },
            };
            let _ = self.answers.send(self.service.frame(call, reply)).await;
        }
        next
    }

    fn known(&self, upload: u64) -> Result<(), HostFault> {
        if self.uploads.contains(&upload) { Ok(()) } else { Err(HostFault::Missing) }
    }
}

/// What a call gives to be kept with the proofs.
fn publication(request: &HostRequest) -> Option<Publication> {
    match request {
        HostRequest::Publish { proof, checkpoint } => {
            Some(Publication { proof: Some(proof.clone()), checkpoint: checkpoint.clone() })
        }
        HostRequest::Head { checkpoint } => Some(Publication { proof: None, checkpoint: Some(checkpoint.clone()) }),
        _ => None,
    }
}

fn frame(answer: &HostAnswer) -> Vec<u8> {
    let data = if let HostReply::Data { data } = &answer.reply { data.len() } else { 0 };
    let mut frame = Vec::with_capacity(data.saturating_add(64));
    frame.extend_from_slice(&[0; 4]);
    // Writing into a Vec cannot fail.
    let _ = minicbor::encode(answer, &mut frame);
    let len = u32::try_from(frame.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(prefix) = frame.first_chunk_mut() {
        *prefix = len.to_le_bytes();
    }
    frame
}

fn fault(error: StoreError) -> HostFault {
    match error {
        StoreError::Missing => HostFault::Missing,
        StoreError::Full | StoreError::TooManyUploads => HostFault::Full,
        StoreError::Range { .. }
        | StoreError::Offset { .. }
        | StoreError::Length { .. }
        | StoreError::DigestMismatch => HostFault::Bad,
        _ => HostFault::Io,
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
mod tests {
    use super::*;
    use crate::proofs::tests::{LEDGER, Signer};
    use glacier_wire::api::{OrderFault, RegistrationOrder};
    use std::{collections::HashMap, time::Duration};

    async fn service(dir: &std::path::Path) -> Service {
        let store = Store::open(dir.join("store"), 1 << 30).await.unwrap();
        let checkpoints = Checkpoints::open(&dir.join("checkpoints"), store.clone()).unwrap();
        let proofs = Proofs::open(&dir.join("proofs")).unwrap();
        let showcase = Showcase::open(&dir.join("evidence")).unwrap();
        let counters = Arc::new(Counters::new());
        Service {
            store,
            proofs,
            checkpoints,
            desk: Desk::default(),
            dial: Arc::new([]),
            showcase,
            counters,
            meddler: None,
        }
    }

    /// A pause that never begins.
    fn still() -> Pause {
        Pause::new().1
    }

    async fn ask(port: &mut UnixStream, id: u32, request: HostRequest) {
        let call = cbor::encode(&HostCall { id, request });
        port.write_all(&(call.len() as u32).to_le_bytes()).await.unwrap();
        port.write_all(&call).await.unwrap();
    }

    async fn answer(port: &mut UnixStream) -> (u32, HostReply) {
        let len = port.read_u32_le().await.unwrap() as usize;
        assert!(len <= HOST_FRAME);
        let mut bytes = vec![0; len];
        port.read_exact(&mut bytes).await.unwrap();
        let HostAnswer { id, reply } = cbor::decode(&bytes, HOST_FRAME).unwrap();
        (id, reply)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_in_flight_are_answered_by_id_and_changes_keep_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path()).await;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(service.clone().serve(Rest::new(theirs), still()));
        ask(&mut ours, 0, HostRequest::Create).await;
        let (_, HostReply::Created { upload }) = answer(&mut ours).await else { panic!("not created") };

        let content: Vec<u8> = (0..200_000u32).map(|at| (at / 7) as u8).collect();
        let asset = Digest(*blake3::hash(&content).as_bytes());
        let pieces: Vec<_> = content.chunks(5000).map(<[u8]>::to_vec).collect();
        let count = pieces.len() as u32;
        for (id, data) in (1..).zip(pieces) {
            ask(&mut ours, id, HostRequest::Append { upload, data }).await;
        }
        ask(&mut ours, count + 1, HostRequest::Commit { upload, asset }).await;
        for id in 1..=count + 1 {
            assert_eq!(answer(&mut ours).await, (id, HostReply::Done));
        }

        // More reads than are served at once, all asked before one answer is taken.
        for id in 0..100u32 {
            ask(&mut ours, id, HostRequest::Read { asset, offset: u64::from(id) * 2000, len: 2000 }).await;
        }
        let mut answers = HashMap::new();
        for _ in 0..100 {
            let (id, reply) = answer(&mut ours).await;
            assert!(answers.insert(id, reply).is_none());
        }
        for id in 0..100usize {
            assert_eq!(answers[&(id as u32)], HostReply::Data { data: content[id * 2000..][..2000].to_vec() });
        }
        drop(ours);
        assert!(matches!(serving.await.unwrap(), Closed::Ended(PortError::Ended)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_proof_that_has_arrived_is_kept_even_if_nobody_waits_for_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path()).await;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut signer = Signer::new(1);
        for id in 0..50 {
            ask(&mut ours, id, HostRequest::Publish { proof: signer.proof(), checkpoint: None }).await;
        }
        drop(ours);
        let ended = tokio::time::timeout(Duration::from_secs(20), service.clone().serve(Rest::new(theirs), still()))
            .await
            .unwrap();
        assert!(matches!(ended, Closed::Ended(PortError::Ended)));
        assert_eq!(service.proofs.count().await, Ok(50));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_enclave_that_asks_and_does_not_listen_costs_bounded_memory() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path()).await;
        let content = vec![7u8; HOST_CHUNK];
        let asset = Digest(*blake3::hash(&content).as_bytes());
        service.store.begin(&asset, content.len() as u64).await.unwrap();
        service.store.append(&asset, 0, content).await.unwrap();
        service.store.complete(&asset).await.unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(service.serve(Rest::new(theirs), still()));
        let asking = async {
            for id in 0..100_000 {
                ask(&mut ours, id, HostRequest::Read { asset, offset: 0, len: HOST_CHUNK as u32 }).await;
            }
        };
        // The host stops reading calls when its answers are not taken, so the asking side is stopped too.
        assert!(tokio::time::timeout(Duration::from_secs(2), asking).await.is_err());
        drop(ours);
        assert!(matches!(serving.await.unwrap(), Closed::Ended(PortError::Ended)));
    }

    #[tokio::test]
    async fn frames_that_are_no_calls_end_the_port() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path()).await;
        for (bytes, oversized) in [
            (vec![1, 0, 0, 0, 0xff], false),
            (vec![0, 0, 0, 0], false),
            ((HOST_FRAME as u32 + 1).to_le_bytes().to_vec(), true),
            (vec![0xff; 4], true),
        ] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(&bytes).await.unwrap();
            match service.clone().serve(Rest::new(theirs), still()).await {
                Closed::Ended(PortError::Oversized(_)) => assert!(oversized),
                Closed::Ended(PortError::Garbage(_)) => assert!(!oversized),
                Closed::Ended(other) => panic!("{other}"),
                Closed::Paused(_) => panic!("paused"),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn orders_wait_beside_all_other_calls_and_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path()).await;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(service.clone().serve(Rest::new(theirs), still()));
        ask(&mut ours, 1, HostRequest::Orders).await;
        ask(&mut ours, 2, HostRequest::Orders).await;
        assert_eq!(answer(&mut ours).await, (2, HostReply::Failed { fault: HostFault::Bad }));
        ask(&mut ours, 3, HostRequest::Size { asset: Digest([1; 32]) }).await;
        assert_eq!(answer(&mut ours).await, (3, HostReply::Failed { fault: HostFault::Missing }));
        service.desk.settle(LEDGER);
        assert_eq!(answer(&mut ours).await, (1, HostReply::Order { order: HostOrder::Settle(LEDGER) }));

        // A proof and its head, kept together; then a registration, answered once no and once yes.
        let mut signer = Signer::new(1);
        let proof = signer.proof();
        let head = signer.head_for(LEDGER);
        ask(&mut ours, 4, HostRequest::Publish { proof, checkpoint: Some(cbor::encode(&head)) }).await;
        assert_eq!(answer(&mut ours).await, (4, HostReply::Done));
        assert_eq!(service.proofs.checkpoint(signer.key(), Some(LEDGER)).await, Ok(Some(head)));
        let order = RegistrationOrder { chain_id: 1, registry: Address([2; 20]), owner: Address([3; 20]), number: 4 };
        for quoted in [false, true] {
            let desk = service.desk.clone();
            let waiting = tokio::spawn(async move { desk.register(order).await });
            ask(&mut ours, 5, HostRequest::Orders).await;
            let told = HostOrder::Register(order);
            assert_eq!(answer(&mut ours).await, (5, HostReply::Order { order: told }));
            let enclave_key = signer.key();
            let (request, outcome) = if quoted {
                let quote = RegistrationQuote { enclave_key, quote: vec![7; 9], collateral: None };
                (HostRequest::Registered { order, enclave_key, quote: vec![7; 9], collateral: None }, Ok(quote))
            } else {
                let fault = OrderFault::Platform;
                (HostRequest::Refused { order: told, fault }, Err(RegistrationError::Refused(fault)))
            };
            ask(&mut ours, 6, request).await;
            assert_eq!(answer(&mut ours).await, (6, HostReply::Done));
            assert_eq!(waiting.await.unwrap(), outcome);
        }
        drop(ours);
        assert!(matches!(serving.await.unwrap(), Closed::Ended(PortError::Ended)));
    }

    fn framed(id: u32, request: HostRequest) -> Vec<u8> {
        let call = cbor::encode(&HostCall { id, request });
        [&(call.len() as u32).to_le_bytes(), call.as_slice()].concat()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pause_loses_no_call_and_no_byte() {
        let dir = tempfile::tempdir().unwrap();
        let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = peer.local_addr().unwrap().to_string();
        let service = Service { dial: Arc::new([address.clone()]), ..service(dir.path()).await };
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (pausing, pause) = Pause::new();
        let serving = tokio::spawn(service.clone().serve(Rest::new(theirs), pause));
        service.desk.settle(LEDGER);
        ask(&mut ours, 1, HostRequest::Orders).await;
        assert_eq!(answer(&mut ours).await, (1, HostReply::Order { order: HostOrder::Settle(LEDGER) }));
        ask(&mut ours, 2, HostRequest::Dial { address }).await;
        let (_, HostReply::Dialed { connection }) = answer(&mut ours).await else { panic!("not dialled") };
        let mut far = peer.accept().await.unwrap().0;
        let mut signer = Signer::new(1);
        ask(&mut ours, 3, HostRequest::Publish { proof: signer.proof(), checkpoint: None }).await;
        assert_eq!(answer(&mut ours).await, (3, HostReply::Done));
        // Two that wait, and half of a third.
        ask(&mut ours, 4, HostRequest::Orders).await;
        ask(&mut ours, 5, HostRequest::Receive { connection }).await;
        let third = framed(6, HostRequest::Size { asset: Digest([1; 32]) });
        ours.write_all(&third[..7]).await.unwrap();
        // What is not read by then is still there afterwards: that is as good, and tells less.
        tokio::time::sleep(Duration::from_millis(100)).await;
        pausing.send(true).unwrap();
        let Closed::Paused(rest) = serving.await.unwrap() else { panic!("not paused") };
        let kept = &rest.state;
        assert!(kept.open.len() <= 2 && third.starts_with(&kept.unread));
        assert_eq!(kept.lines, [connection]);
        assert_eq!((kept.speaker, kept.settles), (Some(signer.key()), Some((LEDGER.chain_id, LEDGER.ledger))));

        let (_pausing, pause) = Pause::new();
        let service = Service { desk: Desk::default(), ..service };
        let serving = tokio::spawn(service.clone().serve(*rest, pause));
        ours.write_all(&third[7..]).await.unwrap();
        assert_eq!(answer(&mut ours).await, (6, HostReply::Failed { fault: HostFault::Missing }));
        far.write_all(b"at last").await.unwrap();
        assert_eq!(answer(&mut ours).await, (5, HostReply::Data { data: b"at last".to_vec() }));
        // The enclave knows where it settles; another order is one it waits for.
        service.desk.settle(LEDGER);
        let order = RegistrationOrder { chain_id: 1, registry: Address([2; 20]), owner: Address([3; 20]), number: 4 };
        let desk = service.desk.clone();
        let asking = tokio::spawn(async move { desk.register(order).await });
        assert_eq!(answer(&mut ours).await, (4, HostReply::Order { order: HostOrder::Register(order) }));
        asking.abort();
        // Who is hung up on reads no more.
        ask(&mut ours, 9, HostRequest::Receive { connection }).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        ask(&mut ours, 7, HostRequest::Hangup { connection }).await;
        let two = HashMap::from([answer(&mut ours).await, answer(&mut ours).await]);
        assert_eq!((&two[&7], &two[&9]), (&HostReply::Done, &HostReply::Failed { fault: HostFault::Missing }));
        // A new connection has another name than all before.
        ask(&mut ours, 8, HostRequest::Dial { address: peer.local_addr().unwrap().to_string() }).await;
        let (_, HostReply::Dialed { connection: next }) = answer(&mut ours).await else { panic!("not dialled") };
        assert!(next > connection);
        drop(ours);
        assert!(matches!(serving.await.unwrap(), Closed::Ended(PortError::Ended)));
    }
}
