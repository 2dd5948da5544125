//! Transfers to a host that cuts, forgets and lies. The host is played, in the words of its HTTP API.

use bytes::Bytes;
use glacier::{FileError, Node, node::NodeError, wire::Digest};
use http_body_util::{BodyExt, Either, Full, channel::Channel};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;

/// More than any asset here has.
const MAX: u64 = 1 << 30;

#[derive(Default)]
struct State {
    /// What is there, and how long it shall become.
    part: Vec<u8>,
    announced: Option<u64>,
    whole: Option<Vec<u8>>,
    /// The next so many requests with a body, or answers with one, are cut.
    cuts: usize,
    /// The store takes nothing.
    full: bool,
    /// What every piece of an upload is answered with, whatever was sent.
    stuck: Option<(u16, usize)>,
    /// Methods that were asked for, in order.
    asked: Vec<Method>,
}

struct Host {
    node: Node,
    state: Arc<Mutex<State>>,
    folder: tempfile::TempDir,
}

fn content() -> Vec<u8> {
    (0..9_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

impl Host {
    async fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node::at(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let shared = state.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { node, state, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("asset.age");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("fetched.age")
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

/// The API's words. A cut is an error of the service: the connection is closed without an answer.
async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Either<Full<Bytes>, Channel<Bytes, io::Error>>>, &'static str> {
    let (head, body) = request.into_parts();
    let number = |name: &str| head.headers.get(name).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    let bytes = body.collect().await.map_err(|_| "cut by the client")?.to_bytes();
    let mut state = state.lock().unwrap();
    state.asked.push(head.method.clone());
    let status = |status: u16| Response::builder().status(status);
    let empty = || Either::Left(Full::new(Bytes::new()));
    // Half of it arrives before the connection breaks.
    let cut = head.method != Method::HEAD && state.cuts > 0;
    if cut {
        state.cuts -= 1;
        if head.method == Method::PATCH {
            state.announced = Some(number("upload-length").unwrap());
            state.part.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Err("cut");
        }
    }
    if let Some((code, at)) = state.stuck.filter(|_| head.method == Method::PATCH) {
        return Ok(status(code).header("upload-offset", at).body(empty()).unwrap());
    }
    if state.full && head.method != Method::HEAD {
        return Ok(status(507).body(empty()).unwrap());
    }
    Ok(match head.method {
        Method::HEAD => match (&state.whole, state.announced) {
            (Some(whole), _) => status(200).header("content-length", whole.len()).body(empty()).unwrap(),
            (None, Some(announced)) => status(404)
                .header("upload-offset", state.part.len())
                .header("upload-length", announced)
                .body(empty())
                .unwrap(),
            _ => status(404).body(empty()).unwrap(),
        },
        Method::PATCH | Method::PUT => {
            let total = if head.method == Method::PUT {
                state.part.clear();
                number("content-length").unwrap()
            } else {
                number("upload-length").unwrap()
            };
            if head.method == Method::PATCH && number("upload-offset") != Some(state.part.len() as u64) {
                return Ok(status(409).header("upload-offset", state.part.len()).body(empty()).unwrap());
            }
            state.announced = Some(total);
            state.part.extend_from_slice(&bytes);
            if (state.part.len() as u64) < total {
                return Ok(status(204).header("upload-offset", state.part.len()).body(empty()).unwrap());
            }
            let whole = std::mem::take(&mut state.part);
            state.announced = None;
            if !head.uri.path().ends_with(&digest(&whole).to_string()) {
                return Ok(status(422).body(empty()).unwrap());
            }
            state.whole = Some(whole);
            status(201).body(empty()).unwrap()
        }
        _ => {
            let Some(whole) = &state.whole else { return Ok(status(404).body(empty()).unwrap()) };
            let range = head.headers.get("range").and_then(|range| range.to_str().ok());
            let from = range.map_or(0, |range| range[6..range.len() - 1].parse::<usize>().unwrap());
            let response = status(if range.is_some() { 206 } else { 200 }).header("content-length", whole.len() - from);
            let bytes = Bytes::copy_from_slice(&whole[from..]);
            if !cut {
                return Ok(response.body(Either::Left(Full::new(bytes))).unwrap());
            }
            let (mut sender, body) = Channel::new(1);
            tokio::spawn(async move {
                sender.send_data(bytes.slice(..bytes.len() / 2)).await.unwrap();
                // Until the half has left: an abort at once would overtake it.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                sender.abort(io::ErrorKind::ConnectionReset.into());
            });
            response.body(Either::Right(body)).unwrap()
        }
    })
}

#[tokio::test]
async fn what_was_brought_is_fetched() {
    let (host, content) = (Host::new().await, content());
    let mut last = (0, 0);
    host.node
        .upload(&digest(&content), &host.file(&content), &mut |done, of| {
            assert!(done >= last.0);
            last = (done, of);
        })
        .await
        .unwrap();
    assert_eq!(last, (content.len() as u64, content.len() as u64));
    assert_eq!(host.node.size(&digest(&content)).await, Ok(Some(content.len() as u64)));
    let fetched = host.node.download(&digest(&content), &host.target(), MAX, &mut |_, _| {}).await;
    assert_eq!(fetched, Ok(content.len() as u64));
    assert_eq!(fs::read(host.target()).unwrap(), content);
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let (host, content) = (Host::new().await, content());
    host.set(|state| state.whole = Some(content.clone()));
    host.node.upload(&digest(&content), &host.file(&content), &mut |_, _| {}).await.unwrap();
    assert_eq!(host.state.lock().unwrap().asked, [Method::HEAD]);
}

#[tokio::test]
async fn an_upload_that_is_cut_goes_on_where_it_stopped() {
    let (host, content) = (Host::new().await, content());
    host.set(|state| state.cuts = 2);
    host.node.upload(&digest(&content), &host.file(&content), &mut |_, _| {}).await.unwrap();
    assert_eq!(host.state.lock().unwrap().whole.as_deref(), Some(content.as_slice()));
}

#[tokio::test]
async fn an_upload_that_an_earlier_process_began_goes_on() {
    let (host, content) = (Host::new().await, content());
    host.set(|state| (state.part, state.announced) = (content[..8_000_000].to_vec(), Some(content.len() as u64)));
    host.node.upload(&digest(&content), &host.file(&content), &mut |_, _| {}).await.unwrap();
    assert_eq!(host.state.lock().unwrap().asked, [Method::HEAD, Method::PATCH]);
}

#[tokio::test]
async fn an_upload_under_this_digest_of_other_bytes_is_overcome() {
    let (host, content) = (Host::new().await, content());
    // Of the same length: found out at its end, and sent again from the start.
    host.set(|state| (state.part, state.announced) = (vec![0; 100], Some(content.len() as u64)));
    host.node.upload(&digest(&content), &host.file(&content), &mut |_, _| {}).await.unwrap();
    // Of another length: replaced at once.
    let host = Host::new().await;
    host.set(|state| (state.part, state.announced) = (vec![0; 100], Some(101)));
    host.node.upload(&digest(&content), &host.file(&content), &mut |_, _| {}).await.unwrap();
    assert_eq!(host.state.lock().unwrap().asked, [Method::HEAD, Method::PUT]);
}

#[tokio::test]
async fn a_file_of_another_digest_is_given_up() {
    let (host, content) = (Host::new().await, content());
    let wrong = Digest([1; 32]);
    let upload = host.node.upload(&wrong, &host.file(&content), &mut |_, _| {}).await;
    assert_eq!(upload, Err(NodeError::Digest(wrong)));
}

#[tokio::test]
async fn a_full_store_is_named() {
    let (host, content) = (Host::new().await, content());
    host.set(|state| state.full = true);
    let upload = host.node.upload(&digest(&content), &host.file(&content), &mut |_, _| {}).await;
    assert_eq!(upload, Err(NodeError::Full));
}

#[tokio::test]
async fn a_host_that_takes_pieces_and_stands_still_is_given_up() {
    let content = content();
    for (stuck, error, asked) in [((204, 0), NodeError::Malformed, 1), ((409, 0), NodeError::Status(409), 6)] {
        let host = Host::new().await;
        host.set(|state| state.stuck = Some(stuck));
        let (asset, file, mut ignore) = (digest(&content), host.file(&content), |_, _| {});
        let upload = host.node.upload(&asset, &file, &mut ignore);
        let upload = tokio::time::timeout(Duration::from_secs(60), upload).await.expect("it is given up");
        assert_eq!(upload, Err(error));
        let pieces = host.state.lock().unwrap().asked.iter().filter(|method| *method == Method::PATCH).count();
        assert_eq!(pieces, asked);
    }
}

#[tokio::test]
async fn a_file_that_becomes_shorter_ends_its_upload() {
    let (host, content) = (Host::new().await, content());
    let (asset, file) = (digest(&content), host.file(&content));
    let mut shorten = |done: u64, _: u64| {
        if done > 0 {
            fs::write(&file, b"").unwrap();
        }
    };
    let upload = host.node.upload(&asset, &file, &mut shorten);
    let upload = tokio::time::timeout(Duration::from_secs(60), upload).await.expect("it ends");
    assert_eq!(upload, Err(NodeError::File(FileError::Io(io::ErrorKind::UnexpectedEof))));
}

#[tokio::test]
async fn more_than_an_asset_can_have_is_not_written() {
    let (host, content) = (Host::new().await, content());
    host.set(|state| state.whole = Some(content.clone()));
    let max = content.len() as u64;
    let fits = host.node.download(&digest(&content), &host.target(), max, &mut |_, _| {}).await;
    assert_eq!(fits, Ok(max));
    fs::remove_file(host.target()).unwrap();
    let mut fetched = 0;
    let longer = host.node.download(&digest(&content), &host.target(), max - 1, &mut |done, _| fetched = done).await;
    assert_eq!((longer, fetched), (Err(NodeError::TooLarge { max: max - 1 }), 0));
    assert_eq!(fs::read_dir(host.folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on() {
    let (host, content) = (Host::new().await, content());
    host.set(|state| (state.whole, state.cuts) = (Some(content.clone()), 2));
    let mut last = 0;
    host.node
        .download(&digest(&content), &host.target(), MAX, &mut |done, of| {
            assert!(done > last, "nothing is fetched twice");
            assert_eq!(of, content.len() as u64);
            last = done;
        })
        .await
        .unwrap();
    assert_eq!(fs::read(host.target()).unwrap(), content);
}

#[tokio::test]
async fn altered_bytes_leave_no_file() {
    let (host, content) = (Host::new().await, content());
    let mut altered = content.clone();
    altered[5_000_000] ^= 1;
    host.set(|state| state.whole = Some(altered));
    let download = host.node.download(&digest(&content), &host.target(), MAX, &mut |_, _| {}).await;
    assert_eq!(download, Err(NodeError::Digest(digest(&content))));
    assert!(!host.target().exists());
}

#[tokio::test]
async fn a_missing_asset_and_a_taken_name_are_told_apart() {
    let (host, content) = (Host::new().await, content());
    let missing = host.node.download(&digest(&content), &host.target(), MAX, &mut |_, _| {}).await;
    assert_eq!(missing, Err(NodeError::Missing(digest(&content))));
    assert_eq!(host.node.size(&digest(&content)).await, Ok(None));
    let taken = host.node.download(&digest(&content), &host.file(b"mine"), MAX, &mut |_, _| {}).await;
    assert_eq!(taken, Err(NodeError::File(FileError::Exists)));
}
