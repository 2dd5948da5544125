//! A service on this machine that does exactly as it is told, down to the bytes on the wire.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::AbortHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

pub(crate) struct Asked {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    /// How often this path was asked for before.
    pub(crate) before: usize,
}

#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Before the first byte.
    pub(crate) after: Duration,
    pub(crate) body_is: Body,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Body {
    Whole,
    /// Half of what was announced, and then the end.
    CutOff,
    /// The body again and again, of no announced length.
    Endless,
    /// One byte each 20 ms.
    Dripping,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), after: Duration::ZERO, body_is: Body::Whole }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::ok("no") }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    pub(crate) fn body_is(self, body_is: Body) -> Self {
        Self { body_is, ..self }
    }
}

type Answers = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

pub(crate) struct Server {
    pub(crate) base: String,
    hits: Arc<Mutex<HashMap<String, usize>>>,
    at_once: Arc<Mutex<(usize, usize)>>,
    answers: Arc<Mutex<Arc<Answers>>>,
    task: AbortHandle,
}

impl Server {
    pub(crate) async fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, answers).await
    }

    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let hits = Arc::new(Mutex::default());
        let at_once = Arc::new(Mutex::default());
        let answers: Arc<Mutex<Arc<Answers>>> = Arc::new(Mutex::new(Arc::new(Box::new(answers))));
        let shared = (hits.clone(), at_once.clone(), answers.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let ((hits, at_once, answers), tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, hits, at_once, answers).await;
                            }
                        }
                        None => serve(stream, hits, at_once, answers).await,
                    }
                });
            }
        });
        Self { base, hits, at_once, answers, task: task.abort_handle() }
    }

    /// From now on answers so.
    pub(crate) fn answer(&self, answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.answers.lock().unwrap() = Arc::new(Box::new(answers));
    }

    /// How often a path that contains `part` was asked for.
    pub(crate) fn hits(&self, part: &str) -> usize {
        self.hits.lock().unwrap().iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }

    /// Most requests that were under way at one time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.at_once.lock().unwrap().1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    hits: Arc<Mutex<HashMap<String, usize>>>,
    at_once: Arc<Mutex<(usize, usize)>>,
    answers: Arc<Mutex<Arc<Answers>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
    let length = head.lines().find_map(length).unwrap_or(0);
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let before = {
        let mut hits = hits.lock().unwrap();
        let count = hits.entry(target.clone()).or_insert(0);
        *count += 1;
        *count - 1
    };
    {
        let mut at_once = at_once.lock().unwrap();
        at_once.0 += 1;
        at_once.1 = at_once.1.max(at_once.0);
    }
    let answers = answers.lock().unwrap().clone();
    let reply = answers(&Asked { target, body, before });
    sleep(reply.after).await;
    let _ = send(&mut stream, &reply).await;
    let _ = stream.shutdown().await;
    at_once.lock().unwrap().0 -= 1;
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Reason\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if reply.body_is != Body::Endless {
        write!(head, "Content-Length: {}\r\n", reply.body.len()).unwrap();
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    match reply.body_is {
        Body::Whole => stream.write_all(&reply.body).await?,
        Body::CutOff => stream.write_all(&reply.body[..reply.body.len() / 2]).await?,
        Body::Endless => loop {
            stream.write_all(&reply.body).await?;
        },
        Body::Dripping => {
            for byte in &reply.body {
                stream.write_u8(*byte).await?;
                stream.flush().await?;
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
    stream.flush().await
}
