//! Sealed files to and from a host: in pieces, resumable, and believed by their digest alone.

use crate::{
    file::{FileError, NewFile},
    node::{Node, NodeError},
    seal::Progress,
};
use bytes::Bytes;
use glacier_wire::Digest;
use http_body_util::channel::Channel;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

/// Bytes of one piece of an upload: what a cut connection costs at most.
const PIECE: u64 = 4 << 20;
/// How often in a row a cut transfer is taken up again without having moved on.
const ATTEMPTS: u32 = 5;
/// How long the host may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Header that says how many bytes an upload will have.
const LENGTH: &str = "upload-length";
/// Header that says how many bytes of an upload the host has.
const OFFSET: &str = "upload-offset";

impl Node {
    /// Brings a sealed file to the host. What is there already is not sent again: an upload that was
    /// cut goes on where it stopped, in another process too.
    pub async fn upload(&self, asset: &Digest, file: &Path, progress: Progress<'_>) -> Result<(), NodeError> {
        let mut source = File::open(file).map_err(FileError::from)?;
        let total = source.metadata().map_err(FileError::from)?.len();
        let (mut patience, mut tainted) = (Patience::new(), false);
        loop {
            match self.upload_rest(asset, &mut source, total, progress, &mut patience).await {
                Ok(()) => return Ok(()),
                // What was there of it had come from somebody else and was of another file. It is gone now.
                Err(NodeError::Digest(_)) if !tainted => (patience, tainted) = (Patience::new(), true),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// Fetches an asset of at most `max` bytes into the new file `to`, which exists only once all of it is there and
    /// has the digest. A cut transfer goes on where it stopped. Returns how many bytes it has.
    ///
    /// # Errors
    /// [`NodeError::TooLarge`] before the disk is full of what a host makes up; the digest tells only at the end.
    pub async fn download(
        &self,
        asset: &Digest,
        to: &Path,
        max: u64,
        progress: Progress<'_>,
    ) -> Result<u64, NodeError> {
        let mut target = Target { file: NewFile::create(to)?, hasher: blake3::Hasher::new(), have: 0, max };
        let mut patience = Patience::new();
        loop {
            match self.download_rest(asset, &mut target, progress, &mut patience).await {
                Ok(()) => break,
                Err(error) => patience.after(error).await?,
            }
        }
        if target.hasher.finalize().as_bytes() != &asset.0 {
            return Err(NodeError::Digest(*asset));
        }
        target.file.keep()?;
        Ok(target.have)
    }

    /// Whether the host has the whole asset, and how many bytes of it.
    pub async fn size(&self, asset: &Digest) -> Result<Option<u64>, NodeError> {
        match self.progress(asset).await? {
            There::Whole(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    async fn upload_rest(
        &self,
        asset: &Digest,
        source: &mut File,
        total: u64,
        progress: Progress<'_>,
        patience: &mut Patience,
    ) -> Result<(), NodeError> {
        let mut have = match self.progress(asset).await? {
            There::Whole(_) => total,
            There::Part { have, of } if of == total => have,
            // Somebody announced this digest with another length, which cannot be: begin anew.
            There::Part { .. } => return self.put(asset, source, total, progress).await,
            There::Nothing => 0,
        };
        loop {
            progress(have.min(total), total);
            if have >= total {
                return Ok(());
            }
            let mut piece = Vec::new();
            source.seek(SeekFrom::Start(have)).map_err(FileError::from)?;
            source.take(PIECE).read_to_end(&mut piece).map_err(FileError::from)?;
            if piece.is_empty() {
                // The file has become shorter: there is nothing to go on with.
                return Err(FileError::from(io::Error::from(io::ErrorKind::UnexpectedEof)).into());
            }
            let there = self.append(asset, have, total, piece).await?;
            // A host that goes back, or stands still, does so for a while only.
            if there <= have {
                patience.spend(NodeError::Status(StatusCode::CONFLICT.as_u16())).await?;
            }
            patience.moved(there);
            have = there;
        }
    }

    /// Sends a file in one request, whatever was there of it.
    async fn put(
        &self,
        asset: &Digest,
        source: &mut File,
        total: u64,
        progress: Progress<'_>,
    ) -> Result<(), NodeError> {
        source.seek(SeekFrom::Start(0)).map_err(FileError::from)?;
        let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
        let request = self.http.put(self.blob(asset)).header(header::CONTENT_LENGTH, total);
        let answer = self.send(request.body(reqwest::Body::wrap(body)), asset);
        let feed = async {
            let mut sent = 0u64;
            while sent < total {
                let mut piece = Vec::new();
                source.take(PIECE).read_to_end(&mut piece).map_err(FileError::from)?;
                sent = sent.saturating_add(piece.len() as u64);
                // The host hung up or the file became shorter: the answer says so.
                if piece.is_empty() || sender.send_data(piece.into()).await.is_err() {
                    break;
                }
                progress(sent, total);
            }
            drop(sender);
            Ok::<_, NodeError>(())
        };
        let (answer, fed) = tokio::join!(answer, feed);
        fed?;
        answer.map(|_| ())
    }

    async fn download_rest(
        &self,
        asset: &Digest,
        target: &mut Target,
        progress: Progress<'_>,
        patience: &mut Patience,
    ) -> Result<(), NodeError> {
        let mut request = self.http.get(self.blob(asset));
        if target.have > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", target.have));
        }
        let mut response = match self.send(request, asset).await {
            // All of it came before the connection was cut.
            Err(NodeError::Status(416)) if target.have > 0 => return Ok(()),
            other => other?,
        };
        // Another part than the one that was asked for would be appended in the wrong place.
        let expected = if target.have > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        if response.status() != expected {
            return Err(NodeError::Status(response.status().as_u16()));
        }
        let total = target.have.saturating_add(response.content_length().ok_or(NodeError::Malformed)?);
        target.require(total)?;
        while let Some(bytes) = within(response.chunk()).await? {
            target.push(&bytes)?;
            patience.moved(target.have);
            progress(target.have.min(total), total);
        }
        Ok(())
    }

    /// How much of an asset is there.
    async fn progress(&self, asset: &Digest) -> Result<There, NodeError> {
        let response = within(self.http.head(self.blob(asset)).send()).await?;
        match response.status() {
            StatusCode::OK => {
                number(&response, header::CONTENT_LENGTH.as_str()).map(There::Whole).ok_or(NodeError::Malformed)
            }
            StatusCode::NOT_FOUND => Ok(match (number(&response, OFFSET), number(&response, LENGTH)) {
                (Some(have), Some(of)) => There::Part { have, of },
                _ => There::Nothing,
            }),
            status => Err(NodeError::Status(status.as_u16())),
        }
    }

    /// Sends one piece; says how many bytes are there then.
    async fn append(&self, asset: &Digest, offset: u64, total: u64, piece: Vec<u8>) -> Result<u64, NodeError> {
        let after = offset.saturating_add(piece.len() as u64);
        let request = self.http.patch(self.blob(asset)).header(OFFSET, offset).header(LENGTH, total).body(piece);
        let response = within(request.send()).await?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => Ok(total),
            // More is to come.
            StatusCode::NO_CONTENT if number(&response, OFFSET) == Some(after) && after < total => Ok(after),
            StatusCode::NO_CONTENT => Err(NodeError::Malformed),
            // The upload goes on elsewhere: the host says where.
            StatusCode::CONFLICT => match number(&response, OFFSET) {
                Some(have) if have < total => Ok(have),
                _ => Err(NodeError::Malformed),
            },
            _ => self.sort(response, asset).map(|_| total),
        }
    }

    /// A small document of the host.
    pub(crate) async fn document(&self, segments: &[&str], max: usize) -> Result<Vec<u8>, NodeError> {
        read(self.http.get(self.path(segments)), max).await
    }

    /// What the host answers to a path and query of its own API, at most `max` bytes. Nothing in it is to be believed.
    ///
    /// # Errors
    /// No answer, one that is too long, or a refusal ([`NodeError::Status`]).
    pub async fn said(&self, path_and_query: &str, max: usize) -> Result<Vec<u8>, NodeError> {
        let (path, query) =
            path_and_query.split_once('?').map_or((path_and_query, None), |(path, query)| (path, Some(query)));
        // Part by part, so that it stays at this node whatever was asked.
        let mut url = self.path(&[]);
        url.set_path(path);
        url.set_query(query);
        read(self.http.get(url), max).await
    }

    fn blob(&self, asset: &Digest) -> reqwest::Url {
        self.path(&["blobs", &asset.to_string()])
    }

    /// Sends a request about an asset and sorts out answers that are no success.
    async fn send(&self, request: RequestBuilder, asset: &Digest) -> Result<Response, NodeError> {
        let response = within(request.send()).await?;
        self.sort(response, asset)
    }

    fn sort(&self, response: Response, asset: &Digest) -> Result<Response, NodeError> {
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(NodeError::Missing(*asset)),
            StatusCode::UNPROCESSABLE_ENTITY => Err(NodeError::Digest(*asset)),
            StatusCode::INSUFFICIENT_STORAGE => Err(NodeError::Full),
            status => Err(NodeError::Status(status.as_u16())),
        }
    }
}

/// How much of an asset the host has.
enum There {
    Whole(u64),
    Part { have: u64, of: u64 },
    Nothing,
}

struct Target {
    file: NewFile,
    hasher: blake3::Hasher,
    have: u64,
    /// Bytes that are written at most.
    max: u64,
}

impl Target {
    fn require(&self, length: u64) -> Result<(), NodeError> {
        if length > self.max {
            return Err(NodeError::TooLarge { max: self.max });
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), NodeError> {
        let have = self.have.saturating_add(bytes.len() as u64);
        self.require(have)?;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.have = have;
        Ok(())
    }
}

/// How much longer a transfer that is cut again and again is taken up.
struct Patience {
    left: u32,
    farthest: u64,
}

impl Patience {
    fn new() -> Self {
        Self { left: ATTEMPTS, farthest: 0 }
    }

    /// Whatever comes further than ever before earns new patience.
    fn moved(&mut self, have: u64) {
        if have > self.farthest {
            (self.left, self.farthest) = (ATTEMPTS, have);
        }
    }

    /// Waits before the next attempt, where another may do better.
    async fn after(&mut self, error: NodeError) -> Result<(), NodeError> {
        if !matches!(error, NodeError::Unreachable | NodeError::Status(408 | 502..=504)) {
            return Err(error);
        }
        self.spend(error).await
    }

    /// Waits, longer each time, or gives up.
    async fn spend(&mut self, error: NodeError) -> Result<(), NodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Err(error) };
        self.left = left;
        let attempt = ATTEMPTS.saturating_sub(left);
        tokio::time::sleep(Duration::from_millis(100).saturating_mul(1 << attempt.min(8))).await;
        Ok(())
    }
}

/// All of an answer that is a success.
async fn read(request: RequestBuilder, max: usize) -> Result<Vec<u8>, NodeError> {
    let mut response = within(request.send()).await?;
    if !response.status().is_success() {
        return Err(NodeError::Status(response.status().as_u16()));
    }
    let mut document = Vec::new();
    while let Some(bytes) = within(response.chunk()).await? {
        if document.len().saturating_add(bytes.len()) > max {
            return Err(NodeError::Malformed);
        }
        document.extend_from_slice(&bytes);
    }
    Ok(document)
}

async fn within<T>(answer: impl Future<Output = reqwest::Result<T>>) -> Result<T, NodeError> {
    match tokio::time::timeout(SILENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(NodeError::Unreachable),
    }
}

fn number(response: &Response, name: &str) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}
