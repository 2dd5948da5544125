//! A whole node around a stand-in for chip and enclave: a shell script that execs this test program.

use std::{
    io::{Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _, unix::net::UnixListener, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use glacier_host::{
    ChainStanding, ConsistencyPage, EnclaveState, EvidencePage, HandoverError, HeadPage, HostError, InclusionPage,
    LaunchError, Node, NodeConfig, ProofPage, RegistrationQuote, Status,
    danger::{self, Direction, Meddler},
};
use glacier_proof::{
    Checkpoint, Head, Log, SignedCheckpoint, SignedProof, WorkProof, verify_consistency, verify_inclusion,
};
use glacier_wire::{
    Address, Claims, Commitment, Digest, EnclaveId, Evidence, Identity, ManifestHash, Measurement, PlatformKind,
    ProofHash, Purpose, Settlement, UnixTime, Work,
    api::{
        HOST_CHUNK, HOST_FRAME, HostAnswer, HostCall, HostFault, HostOrder, HostReply, HostRequest, RegistrationOrder,
        SettlementOrder,
    },
    cbor,
};
use reqwest::{Client, Response, StatusCode};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

/// Not a test of its own: what the script becomes. Listener on 0, host port on 2, the host's lifeline on 6.
#[test]
fn stand_in() {
    if std::env::var_os("GLACIER_STAND_IN").is_none() {
        return;
    }
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let port = Arc::new(Mutex::new(UnixStream::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap())));
    std::thread::spawn(|| {
        let _ = std::fs::read("/proc/self/fd/6");
        std::process::exit(0);
    });
    for client in listener.incoming() {
        let (client, port) = (client.unwrap(), Arc::clone(&port));
        std::thread::spawn(move || serve(client, &port));
    }
}

/// After the byte that says TLS: `e` echoes and says goodbye, `p` passes one frame to the host port and
/// its answer back, `d` dies.
fn serve(mut client: UnixStream, port: &Mutex<UnixStream>) {
    let mut order = [0; 2];
    if client.read_exact(&mut order).is_err() {
        return;
    }
    match order[1] {
        b'e' => {
            let mut buffer = [0; 4096];
            loop {
                match client.read(&mut buffer) {
                    Ok(0) => break,
                    // A client that has gone is no reason to panic: that would be said on the host port.
                    Ok(read) => match client.write_all(&buffer[..read]) {
                        Ok(()) => {}
                        Err(_) => return,
                    },
                    Err(_) => return,
                }
            }
            let _ = client.write_all(b"goodbye");
        }
        b'p' => {
            let mut frame = Vec::new();
            client.read_to_end(&mut frame).unwrap();
            let mut port = port.lock().unwrap();
            port.write_all(&frame).unwrap();
            let mut len = [0; 4];
            if port.read_exact(&mut len).is_err() {
                return;
            }
            let mut answer = vec![0; u32::from_le_bytes(len) as usize];
            port.read_exact(&mut answer).unwrap();
            client.write_all(&answer).unwrap();
        }
        _ => std::process::exit(7),
    }
}

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn config(dir: &Path) -> NodeConfig {
    let program = std::env::current_exe().unwrap();
    let hex = "ab".repeat(32);
    let announcement = format!(
        r#"{{"simulated":true,"measurement":"{hex}","enclave_id":"{hex}","root_fingerprint":"{hex}","ppid":"00","pid":'$$',"sandbox":null}}"#
    );
    let text = format!(
        "#!/bin/sh\ntest \"$1$3\" = --home--enclave || exit 9\nexec 5>&1 6<&0\necho '{announcement}' >&5\n\
         GLACIER_STAND_IN=1 exec '{}' --exact stand_in --nocapture <&3 2>&4 >/dev/null\n",
        program.display()
    );
    NodeConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        chip: script(dir, "chip", &text),
        enclave: program,
        ..NodeConfig::new(dir.join("home"))
    }
}

async fn started(config: &NodeConfig, meddler: Option<Arc<dyn Meddler>>) -> Result<Node, HostError> {
    loop {
        let result = match &meddler {
            Some(meddler) => danger::start(config.clone(), Arc::clone(meddler)).await,
            None => Node::start(config.clone()).await,
        };
        match result {
            // Another test forked while this one's script was open for writing.
            Err(HostError::Enclave(LaunchError::Start(std::io::ErrorKind::ExecutableFileBusy))) => {}
            result => return result,
        }
    }
}

async fn node() -> (TempDir, Node, Client) {
    let dir = tempfile::tempdir().unwrap();
    let node = started(&config(dir.path()), None).await.unwrap();
    (dir, node, Client::new())
}

async fn relayed(node: &Node, order: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(order).await.unwrap();
    stream
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset ends a connection as well as an orderly close.
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the connection ends");
    bytes
}

async fn raw_call(node: &Node, frame: &[u8]) -> Vec<u8> {
    let mut stream = relayed(node, b"\x16p").await;
    stream.write_all(frame).await.unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await
}

async fn call(node: &Node, id: u32, request: HostRequest) -> HostReply {
    call_on(relayed(node, b"\x16p").await, id, request).await
}

/// The same, on a connection that waits for a frame.
async fn call_on(mut stream: TcpStream, id: u32, request: HostRequest) -> HostReply {
    let call = cbor::encode(&HostCall { id, request });
    let frame = [&(call.len() as u32).to_le_bytes(), call.as_slice()].concat();
    stream.write_all(&frame).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer: HostAnswer = cbor::decode(&rest(&mut stream).await, HOST_FRAME).unwrap();
    assert_eq!(answer.id, id);
    answer.reply
}

fn failed(fault: HostFault) -> HostReply {
    HostReply::Failed { fault }
}

fn url(node: &Node, path: impl std::fmt::Display) -> String {
    format!("http://{}/{path}", node.address())
}

fn content(len: usize) -> (Digest, Vec<u8>) {
    let bytes: Vec<u8> = (0..len).map(|at| (at * 13 + at / 256) as u8).collect();
    (Digest(*blake3::hash(&bytes).as_bytes()), bytes)
}

async fn put(client: &Client, node: &Node, digest: &Digest, bytes: &[u8]) -> Response {
    client.put(url(node, format_args!("blobs/{digest}"))).body(bytes.to_vec()).send().await.unwrap()
}

async fn patch(client: &Client, node: &Node, digest: &Digest, offset: usize, length: usize, bytes: &[u8]) -> Response {
    let request = client.patch(url(node, format_args!("blobs/{digest}")));
    let request = request.header("upload-offset", offset).header("upload-length", length);
    request.body(bytes.to_vec()).send().await.unwrap()
}

fn header(response: &Response, name: &str) -> Option<u64> {
    response.headers().get(name)?.to_str().unwrap().parse().ok()
}

async fn status(client: &Client, node: &Node) -> Status {
    client.get(url(node, "status")).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_what_it_runs_and_ends_it() {
    let (dir, node, client) = node().await;
    let info = node.info().unwrap();
    let status = status(&client, &node).await;
    assert_eq!((status.state, status.restarts, status.enclave.as_ref()), (EnclaveState::Up, 0, Some(&info)));
    assert!(info.simulated);
    assert_eq!(status.settles, None);
    node.order_settlement(LEDGER.chain_id, LEDGER.ledger);
    let settles = glacier_host::Settles { chain_id: LEDGER.chain_id, ledger: LEDGER.ledger };
    assert_eq!(self::status(&client, &node).await.settles, Some(settles));
    let mode = std::fs::metadata(dir.path().join("home")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let process = PathBuf::from(format!("/proc/{}", info.pid));
    assert!(process.exists());
    node.shutdown().await;
    assert!(!process.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_node_takes_its_enclave_with_it() {
    let (_dir, node, _) = node().await;
    let process = PathBuf::from(format!("/proc/{}", node.info().unwrap().pid));
    drop(node);
    timeout(SOON, async {
        while process.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_relayed_both_ways_and_half_closed() {
    let (_dir, node, client) = node().await;
    let mut stream = relayed(&node, b"\x16e").await;
    let (_, sent) = content(3 << 20);
    let (mut read, mut write) = stream.split();
    let echo = async {
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (echo, ()) = timeout(SOON, async { tokio::join!(echo, send) }).await.unwrap();
    assert!(echo == [&sent, b"goodbye".as_slice()].concat());
    let status = status(&client, &node).await;
    assert_eq!(status.relayed_connections, 1);
    assert_eq!(status.bytes_to_enclave, 2 + sent.len() as u64);
    assert_eq!(status.bytes_to_clients, 7 + sent.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_ends_is_started_again() {
    let (_dir, node, client) = node().await;
    let first = node.info().unwrap().pid;
    let mut open = relayed(&node, b"\x16e").await;
    relayed(&node, b"\x16d").await;
    assert!(rest(&mut open).await.is_empty(), "a relayed connection ends with its enclave");
    let second = timeout(SOON, node.restarted(first)).await.unwrap().unwrap();
    assert_ne!(second.pid, first);
    let status = status(&client, &node).await;
    assert_eq!((status.state, status.restarts), (EnclaveState::Up, 1));
    let mut again = relayed(&node, b"\x16e").await;
    again.shutdown().await.unwrap();
    assert_eq!(rest(&mut again).await, b"goodbye");
}

/// Ends this run of the host and begins the next, in this process.
async fn reloaded(dir: &TempDir, node: Node) -> Node {
    let left = node.hand_over().await.unwrap();
    let config = NodeConfig { listen: ([127, 0, 0, 1], 0).into(), ..config(dir.path()) };
    Node::resume(config, left).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_outlives_its_host_with_all_that_is_connected() {
    let (dir, node, client) = node().await;
    let (info, address) = (node.info().unwrap(), node.address());
    let mut open = relayed(&node, b"\x16e").await;
    open.write_all(b"before ").await.unwrap();
    let mut echo = [0; 7];
    open.read_exact(&mut echo).await.unwrap();
    // One that has said all it has to say, but was not answered.
    let waiting = relayed(&node, b"\x16p").await;
    let HostReply::Created { upload } = call(&node, 1, HostRequest::Create).await else { panic!("not created") };
    call(&node, 2, HostRequest::Append { upload, data: b"one ".to_vec() }).await;

    let node = reloaded(&dir, node).await;
    assert_eq!((node.info(), node.address()), (Some(info.clone()), address));
    open.write_all(b"after").await.unwrap();
    open.shutdown().await.unwrap();
    assert_eq!(rest(&mut open).await, b"aftergoodbye");
    // An upload of the enclave goes on, on the connection that was there before.
    let append = HostRequest::Append { upload, data: b"two".to_vec() };
    assert_eq!(call_on(waiting, 3, append).await, HostReply::Done);
    let asset = Digest(*blake3::hash(b"one two").as_bytes());
    assert_eq!(call(&node, 4, HostRequest::Commit { upload, asset }).await, HostReply::Done);
    let got = client.get(url(&node, format_args!("blobs/{asset}"))).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), "one two");
    // And again; then its end is noticed as ever.
    let node = reloaded(&dir, node).await;
    assert_eq!(node.info(), Some(info.clone()));
    relayed(&node, b"\x16d").await;
    let other = timeout(SOON, node.restarted(info.pid)).await.unwrap().unwrap();
    assert_ne!(other.pid, info.pid);
    assert!(!PathBuf::from(format!("/proc/{}", info.pid)).exists(), "nobody has waited for it");
    node.shutdown().await;
    assert!(!PathBuf::from(format!("/proc/{}", other.pid)).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_between_two_runs_waits() {
    let (dir, node, _) = node().await;
    let address = node.address();
    let left = node.hand_over().await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"\x16e").await.unwrap();
    stream.shutdown().await.unwrap();
    let node = Node::resume(config(dir.path()), left).await.unwrap();
    assert_eq!(rest(&mut stream).await, b"goodbye");
    // What is left and not taken over ends the enclave.
    let pid = node.info().unwrap().pid;
    drop(node.hand_over().await.unwrap());
    until_gone(pid).await;
}

/// Whether somebody has waited for it or not.
async fn until_gone(pid: u32) {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    timeout(SOON, async {
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_does_not_hold_up_the_next_run() {
    let (dir, node, client) = node().await;
    let mut deaf = relayed(&node, b"\x16e").await;
    let (_, many) = content(32 << 20);
    // Echoes that nobody takes fill what lies between.
    let _ = timeout(Duration::from_millis(500), deaf.write_all(&many)).await;
    let begun = std::time::Instant::now();
    let node = reloaded(&dir, node).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(status(&client, &node).await.state, EnclaveState::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_ends_while_the_host_does_is_replaced() {
    let (dir, node, _) = node().await;
    let pid = node.info().unwrap().pid;
    relayed(&node, b"\x16d").await;
    until_gone(pid).await;
    match node.hand_over().await {
        // It was noticed before, and there is none; or it is noticed now.
        Err(error) => assert_eq!(error, HandoverError::NoEnclave),
        // Or by the next run.
        Ok(left) => {
            let node = Node::resume(config(dir.path()), left).await.unwrap();
            timeout(SOON, node.restarted(pid)).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enclave_reads_what_was_uploaded() {
    let (_dir, node, client) = node().await;
    let (digest, bytes) = content(HOST_CHUNK + 77);
    assert_eq!(call(&node, 1, HostRequest::Size { asset: digest }).await, failed(HostFault::Missing));
    assert_eq!(put(&client, &node, &digest, &bytes).await.status(), StatusCode::CREATED);
    assert_eq!(
        call(&node, 2, HostRequest::Size { asset: digest }).await,
        HostReply::Size { bytes: bytes.len() as u64 }
    );
    let read = |offset, len| HostRequest::Read { asset: digest, offset, len };
    let data = |from: usize, to: usize| HostReply::Data { data: bytes[from..to].to_vec() };
    assert_eq!(call(&node, 3, read(0, HOST_CHUNK as u32)).await, data(0, HOST_CHUNK));
    assert_eq!(call(&node, 4, read(HOST_CHUNK as u64, HOST_CHUNK as u32)).await, data(HOST_CHUNK, bytes.len()));
    assert_eq!(call(&node, 5, read(0, HOST_CHUNK as u32 + 1)).await, failed(HostFault::Bad));
    assert_eq!(call(&node, 6, read(bytes.len() as u64 + 1, 1)).await, failed(HostFault::Bad));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enclave_stores_a_result() {
    let (_dir, node, client) = node().await;
    let (digest, bytes) = content(100_000);
    let HostReply::Created { upload } = call(&node, 1, HostRequest::Create).await else { panic!("not created") };
    for (at, data) in bytes.chunks(40_000).map(<[u8]>::to_vec).enumerate() {
        assert_eq!(call(&node, at as u32, HostRequest::Append { upload, data }).await, HostReply::Done);
    }
    assert_eq!(call(&node, 7, HostRequest::Commit { upload, asset: digest }).await, HostReply::Done);
    let got = client.get(url(&node, format_args!("blobs/{digest}"))).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), bytes);
    assert_eq!(call(&node, 8, HostRequest::Abort { upload }).await, failed(HostFault::Missing));
    assert_eq!(call(&node, 8, HostRequest::Append { upload: 99, data: vec![1] }).await, failed(HostFault::Missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_another_digest_is_not_stored() {
    let (_dir, node, client) = node().await;
    let HostReply::Created { upload } = call(&node, 1, HostRequest::Create).await else { panic!("not created") };
    call(&node, 2, HostRequest::Append { upload, data: vec![1; 10] }).await;
    assert_eq!(call(&node, 3, HostRequest::Commit { upload, asset: Digest([1; 32]) }).await, failed(HostFault::Bad));
    assert_eq!(status(&client, &node).await.store_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_results_go_with_their_enclave() {
    let (_dir, node, client) = node().await;
    let first = node.info().unwrap().pid;
    let HostReply::Created { upload } = call(&node, 1, HostRequest::Create).await else { panic!("not created") };
    call(&node, 2, HostRequest::Append { upload, data: vec![1; 1000] }).await;
    assert_eq!(status(&client, &node).await.store_bytes, 1000);
    relayed(&node, b"\x16d").await;
    timeout(SOON, node.restarted(first)).await.unwrap();
    let status = status(&client, &node).await;
    assert_eq!((status.store_bytes, status.uploads), (0, 0));
    assert_eq!(call(&node, 3, HostRequest::Append { upload, data: vec![1] }).await, failed(HostFault::Missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_outlive_the_node() {
    let (dir, node, client) = node().await;
    let sent: Vec<_> = (0..3).map(|sequence| cbor::encode(&proof(sequence))).collect();
    for proof in &sent {
        let publish = HostRequest::Publish { proof: proof.clone(), checkpoint: None };
        assert_eq!(call(&node, 1, publish).await, HostReply::Done);
    }
    for bad in [vec![0; 70_000], vec![], cbor::encode(&proof(4))] {
        let publish = HostRequest::Publish { proof: bad, checkpoint: None };
        assert_eq!(call(&node, 4, publish).await, failed(HostFault::Bad));
    }
    node.shutdown().await;
    let node = started(&config(dir.path()), None).await.unwrap();
    let page = async |from| -> ProofPage {
        client.get(url(&node, format_args!("proofs?from={from}"))).send().await.unwrap().json().await.unwrap()
    };
    let all = page(0).await;
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        all.proofs.into_iter().map(|proof| proof.proof).collect::<Vec<_>>(),
        sent.iter().map(hex).collect::<Vec<_>>()
    );
    assert_eq!(
        (page(0).await.next, page(2).await.proofs.len(), page(3).await),
        (3, 1, ProofPage { proofs: vec![], next: 3 })
    );
    assert_eq!(status(&client, &node).await.proofs, 3);
}

const SECRET: [u8; 32] = [3; 32];
const LEDGER: SettlementOrder = SettlementOrder { chain_id: 31_337, ledger: Address([8; 20]) };

fn proof(sequence: u64) -> SignedProof {
    let proof = WorkProof {
        enclave_id: EnclaveId([1; 32]),
        enclave_key: key(),
        measurement: Measurement([2; 32]),
        platform: PlatformKind::Simulated,
        work: Work::App,
        manifest: ManifestHash::ZERO,
        model: Digest::ZERO,
        input: Commitment([4; 32]),
        output: Commitment([5; 32]),
        units: 10,
        sequence,
        previous: if sequence == 0 { ProofHash::ZERO } else { proof(sequence - 1).proof.hash() },
        settlement: Settlement { chain_id: LEDGER.chain_id, ledger: LEDGER.ledger, payer: Address([9; 20]), price: 5 },
    };
    proof.sign(&SECRET).unwrap()
}

fn key() -> Address {
    Identity::from_secret(&SECRET).unwrap().address()
}

fn checkpoint(size: u64) -> SignedCheckpoint {
    let log: Log = (0..size).map(|sequence| proof(sequence).proof.hash()).collect();
    let Head { size, root } = log.head();
    let SettlementOrder { chain_id, ledger } = LEDGER;
    let enclave_id = EnclaveId([1; 32]);
    let head = Checkpoint { enclave_id, enclave_key: key(), size, root, units: 10 * size, chain_id, ledger };
    head.sign(&SECRET).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn anyone_checks_the_log_against_signed_heads() {
    let (_dir, node, client) = node().await;
    node.order_settlement(LEDGER.chain_id, LEDGER.ledger);
    for sequence in 0..7 {
        let head = (sequence == 2 || sequence == 6).then(|| cbor::encode(&checkpoint(sequence + 1)));
        let publish = HostRequest::Publish { proof: cbor::encode(&proof(sequence)), checkpoint: head };
        assert_eq!(call(&node, 1, publish).await, HostReply::Done);
    }
    let ask = async |path: &str| client.get(url(&node, format_args!("log/{}/{path}", key()))).send().await.unwrap();
    let head: HeadPage = ask("head").await.json().await.unwrap();
    assert_eq!((head.size, head.root), (7, checkpoint(7).checkpoint.root));
    assert_eq!(head.checkpoint, Some(checkpoint(7)));
    let ours = format!("head?chain_id={}&ledger={}", LEDGER.chain_id, LEDGER.ledger);
    assert_eq!(ask(&ours).await.json::<HeadPage>().await.unwrap(), head);
    let other = format!("head?chain_id=1&ledger={}", LEDGER.ledger);
    assert_eq!(ask(&other).await.json::<HeadPage>().await.unwrap().checkpoint, None);

    let included: InclusionPage = ask("inclusion?sequence=4&size=7").await.json().await.unwrap();
    assert_eq!(included.proof, proof(4).proof.hash());
    assert_eq!(verify_inclusion(&head.root, 7, 4, &included.proof, &included.path), Ok(()));
    let page: ConsistencyPage = ask("consistency?from=3&to=7").await.json().await.unwrap();
    let now = Head { size: 7, root: head.root };
    assert_eq!(verify_consistency(&checkpoint(3).checkpoint.head(), &now, &page.path), Ok(()));

    for (path, status) in [
        ("inclusion?sequence=7&size=7", StatusCode::RANGE_NOT_SATISFIABLE),
        ("inclusion?sequence=0&size=8", StatusCode::RANGE_NOT_SATISFIABLE),
        ("consistency?from=8&to=7", StatusCode::RANGE_NOT_SATISFIABLE),
        ("inclusion?sequence=-1&size=8", StatusCode::BAD_REQUEST),
        ("inclusion?sequence=99999999999999999999&size=8", StatusCode::BAD_REQUEST),
        ("inclusion?size=8", StatusCode::BAD_REQUEST),
        ("head?chain_id=1", StatusCode::BAD_REQUEST),
        ("head?chain_id=1&ledger=0x12", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask(path).await.status(), status, "{path}");
    }
    let stranger = url(&node, format_args!("log/{}/head", Address([7; 20])));
    assert_eq!(client.get(stranger).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let none = url(&node, format_args!("log/nobody/head"));
    assert_eq!(client.get(none).send().await.unwrap().status(), StatusCode::BAD_REQUEST);

    let logs = node.logs();
    assert_eq!(logs.keys().await, Ok(vec![key()]));
    assert_eq!(logs.frontier(key(), 7).await.unwrap().root(), head.root);
    assert_eq!(logs.proof(key(), 6).await, Ok(Some(proof(6))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_given_to_each_enclave_and_a_registration_outlives_one() {
    let (_dir, node, _) = node().await;
    let first = node.info().unwrap().pid;
    let node = Arc::new(node);
    let orders = async |node: &Node| match timeout(SOON, call(node, 1, HostRequest::Orders)).await.unwrap() {
        HostReply::Order { order } => order,
        other => panic!("{other:?}"),
    };
    node.order_settlement(LEDGER.chain_id, LEDGER.ledger);
    assert_eq!(orders(&node).await, HostOrder::Settle(LEDGER));
    let order = RegistrationOrder { chain_id: 1, registry: Address([1; 20]), owner: Address([2; 20]), number: 3 };
    let asking = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.registration(order.chain_id, order.registry, order.owner, order.number).await }
    });
    assert_eq!(orders(&node).await, HostOrder::Register(order));
    relayed(&node, b"\x16d").await;
    timeout(SOON, node.restarted(first)).await.unwrap();
    let told = [orders(&node).await, orders(&node).await];
    assert_eq!(told, [HostOrder::Settle(LEDGER), HostOrder::Register(order)]);
    let quote = RegistrationQuote { enclave_key: key(), quote: vec![5; 100], collateral: Some(b"{}".to_vec()) };
    let RegistrationQuote { enclave_key, quote: bytes, collateral } = quote.clone();
    let answer = HostRequest::Registered { order, enclave_key, quote: bytes, collateral };
    assert_eq!(call(&node, 2, answer).await, HostReply::Done);
    assert_eq!(timeout(SOON, asking).await.unwrap().unwrap(), Ok(quote));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_talks_nonsense_is_replaced() {
    let (_dir, node, _) = node().await;
    let mut pid = node.info().unwrap().pid;
    let twice = cbor::encode(&HostCall { id: 1, request: HostRequest::Create }).repeat(2);
    for nonsense in [
        &[&9u32.to_le_bytes(), b"\xffgarbage?".as_slice()].concat(),
        &(HOST_FRAME as u32 + 1).to_le_bytes().to_vec(),
        &u32::MAX.to_le_bytes().to_vec(),
        &0u32.to_le_bytes().to_vec(),
        &[&(twice.len() as u32).to_le_bytes(), twice.as_slice()].concat(),
    ] {
        assert!(raw_call(&node, nonsense).await.is_empty());
        pid = timeout(SOON, node.restarted(pid)).await.unwrap().unwrap().pid;
    }
    assert_eq!(call(&node, 1, HostRequest::Size { asset: Digest([0; 32]) }).await, failed(HostFault::Missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_put_and_read_in_ranges() {
    let (_dir, node, client) = node().await;
    let (digest, bytes) = content((3 << 20) + 5);
    let blob = url(&node, format_args!("blobs/{digest}"));
    assert_eq!(client.get(&blob).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(client.head(&blob).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(put(&client, &node, &digest, &bytes).await.status(), StatusCode::CREATED);
    assert_eq!(put(&client, &node, &digest, &bytes).await.status(), StatusCode::OK);
    assert_eq!(patch(&client, &node, &digest, 0, bytes.len(), &bytes).await.status(), StatusCode::OK);
    let head = client.head(&blob).send().await.unwrap();
    assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, Some(bytes.len() as u64)));
    assert!(client.get(&blob).send().await.unwrap().bytes().await.unwrap() == bytes);
    let range = async |range: &str| client.get(&blob).header("range", range).send().await.unwrap();
    let part = range("bytes=1000000-2500000").await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], format!("bytes 1000000-2500000/{}", bytes.len()));
    assert!(part.bytes().await.unwrap() == bytes[1_000_000..=2_500_000]);
    assert!(range("bytes=-10").await.bytes().await.unwrap() == bytes[bytes.len() - 10..]);
    let outside = range("bytes=9999999-").await;
    assert_eq!(outside.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(outside.headers()["content-range"], format!("bytes */{}", bytes.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_resumed_where_it_broke() {
    let (dir, node, client) = node().await;
    let (digest, bytes) = content(2_000_000);
    // A PUT whose connection breaks after 1 200 000 bytes.
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let request = format!("PUT /blobs/{digest} HTTP/1.1\r\nhost: n\r\ncontent-length: {}\r\n\r\n", bytes.len());
    stream.write_all(&[request.as_bytes(), &bytes[..1_200_000]].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await;
    let blob = url(&node, format_args!("blobs/{digest}"));
    let head = timeout(SOON, async {
        loop {
            let head = client.head(&blob).send().await.unwrap();
            if header(&head, "upload-offset") == Some(1_200_000) {
                return head;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!((head.status(), header(&head, "upload-length")), (StatusCode::NOT_FOUND, Some(2_000_000)));
    // The node ends in between.
    node.shutdown().await;
    let node = started(&config(dir.path()), None).await.unwrap();
    let wrong = patch(&client, &node, &digest, 5, bytes.len(), &bytes[5..]).await;
    assert_eq!((wrong.status(), header(&wrong, "upload-offset")), (StatusCode::CONFLICT, Some(1_200_000)));
    let some = patch(&client, &node, &digest, 1_200_000, bytes.len(), &bytes[1_200_000..1_500_000]).await;
    assert_eq!((some.status(), header(&some, "upload-offset")), (StatusCode::NO_CONTENT, Some(1_500_000)));
    let last = patch(&client, &node, &digest, 1_500_000, bytes.len(), &bytes[1_500_000..]).await;
    assert_eq!(last.status(), StatusCode::CREATED);
    assert!(
        client.get(url(&node, format_args!("blobs/{digest}"))).send().await.unwrap().bytes().await.unwrap() == bytes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { max_store_bytes: 1000, ..config(dir.path()) };
    let node = started(&config, None).await.unwrap();
    let client = Client::new();
    let (digest, bytes) = content(100);
    let nobody = Digest([5; 32]);
    assert_eq!(put(&client, &node, &nobody, &bytes).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(patch(&client, &node, &digest, 0, 50, &bytes).await.status(), StatusCode::CONFLICT);
    assert_eq!(patch(&client, &node, &digest, 0, 100, &[]).await.status(), StatusCode::CONFLICT);
    assert_eq!(put(&client, &node, &digest, &bytes).await.status(), StatusCode::CREATED);
    assert_eq!(put(&client, &node, &nobody, &[0; 1001]).await.status(), StatusCode::INSUFFICIENT_STORAGE);
    let bad = client.put(url(&node, "blobs/xyz")).body("x").send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    let unmeasured = client.patch(url(&node, format_args!("blobs/{nobody}"))).body("x").send().await.unwrap();
    assert_eq!(unmeasured.status(), StatusCode::LENGTH_REQUIRED);
    assert_eq!(client.get(url(&node, "elsewhere")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(
        client.delete(url(&node, format_args!("blobs/{digest}"))).send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_bounded() {
    let (_dir, node, client) = node().await;
    let long = client.get(url(&node, "status")).header("x-long", "y".repeat(30_000)).send().await.unwrap();
    assert_eq!(long.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let mut stream = relayed(&node, b"not HTTP at all\r\n\r\n").await;
    assert!(rest(&mut stream).await.starts_with(b"HTTP/1.1 400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_apart() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { max_connections: 1, ..config(dir.path()) };
    let node = started(&config, None).await.unwrap();
    let mut first = relayed(&node, b"\x16ehello").await;
    first.read_exact(&mut [0; 5]).await.unwrap();
    assert!(rest(&mut relayed(&node, b"\x16e").await).await.is_empty());
    // The host's own API has its own room.
    assert_eq!(status(&Client::new(), &node).await.relayed_now, 1);
    first.shutdown().await.unwrap();
    assert_eq!(rest(&mut first).await, b"goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig { idle_seconds: 1, ..config(dir.path()) };
    let node = started(&config, None).await.unwrap();
    let mut stream = relayed(&node, b"\x16ehello").await;
    assert_eq!(rest(&mut stream).await, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let good = config(dir.path());
    let chip = |name: &str, text: &str| NodeConfig { chip: script(dir.path(), name, text), ..good.clone() };
    let nowhere = dir.path().join("nowhere");
    for (config, error) in [
        (NodeConfig { chip: nowhere.clone(), ..good.clone() }, LaunchError::NoChip(nowhere.clone())),
        (NodeConfig { enclave: nowhere.clone(), ..good.clone() }, LaunchError::NoEnclave(nowhere)),
        (chip("ends", "#!/bin/sh\nexit 2\n"), LaunchError::Ended),
        (chip("babbles", "#!/bin/sh\necho hello\ncat\n"), LaunchError::Announcement),
        (chip("floods", "#!/bin/sh\nyes | tr -d '\\n'\n"), LaunchError::Announcement),
        (chip("unreadable", "#!/no/such/interpreter\n"), LaunchError::Start(std::io::ErrorKind::NotFound)),
    ] {
        assert_eq!(started(&config, None).await.err(), Some(HostError::Enclave(error)));
    }
    let node = started(&good, None).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let taken = NodeConfig { listen: node.address(), ..config(other.path()) };
    assert!(matches!(started(&taken, None).await.err(), Some(HostError::Listen { .. })));
    assert!(matches!(started(&good, None).await.err(), Some(HostError::Store(glacier_store::StoreError::InUse))));
    let long = NodeConfig { home: other.path().join("x".repeat(120)), ..good };
    assert_eq!(started(&long, None).await.err(), Some(HostError::HomeTooLong));
}

#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<String>>,
}

impl Meddler for Recorder {
    fn relayed(&self, connection: u64, direction: Direction, bytes: &mut Vec<u8>) {
        self.seen.lock().unwrap().push(format!("relayed {connection} {direction:?} {}", bytes.len()));
        if direction == Direction::ToClient {
            bytes.make_ascii_uppercase();
        }
    }

    fn called(&self, request: &mut HostRequest) {
        if let HostRequest::Publish { proof, .. } = request {
            self.seen.lock().unwrap().push(format!("published {}", proof.len()));
        }
    }

    fn answered(&self, request: &HostRequest, reply: &mut HostReply) {
        if matches!(request, HostRequest::Size { .. }) {
            *reply = HostReply::Size { bytes: 42 };
        }
    }

    fn uploaded(&self, _: &Digest, bytes: &mut Vec<u8>) {
        self.seen.lock().unwrap().push(format!("uploaded {}", bytes.len()));
        bytes[0] ^= 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meddler_sees_and_alters_all_that_is_carried() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let node = started(&config(dir.path()), Some(Arc::clone(&recorder) as Arc<dyn Meddler>)).await.unwrap();
    let client = Client::new();
    let mut stream = relayed(&node, b"\x16ehello").await;
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"HELLO");
    let (digest, bytes) = content(1000);
    assert_eq!(put(&client, &node, &digest, &bytes).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let seen = recorder.seen.lock().unwrap().join("\n");
    for line in ["relayed 1 ToEnclave", "relayed 1 ToClient 5", "uploaded 1000"] {
        assert!(seen.contains(line), "{line} is not in\n{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_shown_by_key_and_gone_with_its_enclave() {
    let (_dir, node, client) = node().await;
    let page = async |query: &str| client.get(url(&node, format_args!("evidence{query}"))).send().await.unwrap();
    assert_eq!(page("").await.status(), StatusCode::NOT_FOUND);
    let claims = Claims {
        purpose: Purpose::Channel,
        channel_key: [1; 32],
        enclave_key: key(),
        issued_at: UnixTime(1),
        nonce: None,
        devices: None,
    };
    let evidence = Evidence::new(vec![1, 2, 3], claims.encode(), b"{}".to_vec());
    let show = |evidence: &Evidence| HostRequest::Show { evidence: cbor::encode(evidence) };
    assert_eq!(call(&node, 1, show(&evidence)).await, HostReply::Done);
    assert_eq!(call(&node, 2, HostRequest::Show { evidence: vec![7] }).await, failed(HostFault::Bad));
    let shown: EvidencePage = page("").await.json().await.unwrap();
    assert_eq!(shown, EvidencePage { enclave_key: key(), current: true, evidence: evidence.clone() });
    let pid = node.info().unwrap().pid;
    rest(&mut relayed(&node, b"\x16d").await).await;
    timeout(SOON, node.restarted(pid)).await.unwrap().unwrap();
    assert_eq!(page("").await.status(), StatusCode::NOT_FOUND);
    let former: EvidencePage = page(&format!("?key={}", key())).await.json().await.unwrap();
    assert_eq!(former, EvidencePage { enclave_key: key(), current: false, evidence });
    assert_eq!(page("?key=7").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_confined_and_every_answer_with_it() {
    let (_dir, node, client) = node().await;
    let get = async |path: &str| client.get(url(&node, path)).send().await.unwrap();
    for path in
        ["", "dashboard/app.js", "dashboard/verifier.wasm", "status", "metrics", "samples", "evidence", "nothing"]
    {
        let answer = get(path).await;
        let of = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(of("content-security-policy"), Some(glacier_host::dashboard::POLICY), "{path}");
        assert_eq!((of("x-content-type-options"), of("referrer-policy")), (Some("nosniff"), Some("no-referrer")));
    }
    let page = get("").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let tag = page.headers()["etag"].clone();
    assert_eq!(page.bytes().await.unwrap(), glacier_host::dashboard::file("index.html").unwrap().bytes);
    let again = client.get(url(&node, "")).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(again.bytes().await.unwrap().len(), 0);
    assert_eq!(get("dashboard/..%2fstatus").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_status_tell_what_passed_and_how_the_chain_stands() {
    let (_dir, node, client) = node().await;
    let mut stream = relayed(&node, b"\x16e").await;
    stream.shutdown().await.unwrap();
    rest(&mut stream).await;
    let metrics = async || client.get(url(&node, "metrics")).send().await.unwrap();
    let answer = metrics().await;
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    for line in ["glacier_relayed_connections_total 1", "glacier_enclave_simulated 1", "glacier_answer_seconds_count 1"]
    {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("chain_"));
    let standing = ChainStanding {
        simulated: true,
        owner: Address([5; 20]),
        enclave_key: Some(key()),
        live_until: Some(1_900_000_000),
        earns: true,
        settled: 3,
        units: 4,
        balance: "1500000000000000000".into(),
        bond: "0".into(),
        under_way: 0,
        waits: false,
        asked_at: 1,
    };
    node.report_chain(Some(standing.clone()));
    assert_eq!(status(&client, &node).await.chain, Some(standing));
    let text = metrics().await.text().await.unwrap();
    for line in [
        "glacier_chain_registration_expires_seconds 1900000000",
        "glacier_chain_balance_tokens 1.500000000000000000",
        "glacier_chain_asked_seconds 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // Nobody is named: neither who was paid nor whose key it is.
    assert!(!text.contains(&key().to_string()) && !text.contains("0505"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_page_asks_for_what_the_page_asks_for_and_nothing_else() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let ask = |path: String| async move { if path == "/proofs?from=7" { Ok(b"{}".to_vec()) } else { Err(404) } };
    tokio::spawn(glacier_host::dashboard::serve_copy(listener, ask));
    let client = Client::new();
    let get = async |path: &str| client.get(format!("http://{at}/{path}")).send().await.unwrap();
    let passed = get("proofs?from=7").await;
    assert_eq!(passed.headers()["content-type"], "application/json");
    assert_eq!(passed.text().await.unwrap(), "{}");
    assert_eq!(get("evidence").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get("blobs/7").await.status(), StatusCode::NOT_FOUND);
    let page = get("").await;
    assert_eq!(page.headers()["content-security-policy"], glacier_host::dashboard::POLICY);
    assert_eq!(page.bytes().await.unwrap(), glacier_host::dashboard::file("index.html").unwrap().bytes);
}
