//! Sealed files to and from a host: in pieces, resumable, and believed by their digest alone.

use crate::{
    file::{FileError, NewFile},
    node::{Node, NodeError},
    seal::Progress,
};
use glacier_wire::Digest;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
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
        let mut patience = Patience::new();
        loop {
            match self.upload_rest(asset, &mut source, total, progress, &mut patience).await {
                Ok(()) => return Ok(()),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// Fetches an asset into the new file `to`, which exists only once all of it is there and has the
    /// digest. A cut transfer goes on where it stopped. Returns how many bytes it has.
    pub async fn download(&self, asset: &Digest, to: &Path, progress: Progress<'_>) -> Result<u64, NodeError> {
        let mut target = Target { file: NewFile::create(to)?, hasher: blake3::Hasher::new(), have: 0 };
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
        match self.send(self.http.head(self.blob(asset))).await {
            Ok(response) => Ok(Some(number(&response, header::CONTENT_LENGTH.as_str()).ok_or(NodeError::Malformed)?)),
            Err(NodeError::Missing(_) | NodeError::Status(404)) => Ok(None),
            Err(error) => Err(error),
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
        let mut have = self.begin(asset, total).await?;
        loop {
            progress(have.min(total), total);
            if have >= total {
                return Ok(());
            }
            let mut piece = Vec::new();
            source.seek(SeekFrom::Start(have)).map_err(FileError::from)?;
            source.take(PIECE).read_to_end(&mut piece).map_err(FileError::from)?;
            have = self.append(asset, have, piece).await?;
            patience.moved();
        }
    }

    async fn download_rest(
        &self,
        asset: &Digest,
        target: &mut Target,
        progress: Progress<'_>,
        patience: &mut Patience,
    ) -> Result<(), NodeError> {
        let request = self.http.get(self.blob(asset)).header(header::RANGE, format!("bytes={}-", target.have));
        let mut response = match self.send(request).await {
            // All of it came before the connection was cut.
            Err(NodeError::Status(416)) if target.have > 0 => return Ok(()),
            other => other?,
        };
        if response.status() == StatusCode::OK && target.have > 0 {
            return Err(NodeError::Status(200));
        }
        let total = target.have.saturating_add(response.content_length().ok_or(NodeError::Malformed)?);
        while let Some(bytes) = within(response.chunk()).await? {
            target.file.write_all(&bytes)?;
            target.hasher.update(&bytes);
            target.have = target.have.saturating_add(bytes.len() as u64);
            patience.moved();
            progress(target.have.min(total), total);
        }
        Ok(())
    }

    /// Announces an upload; says how many bytes of it are there.
    async fn begin(&self, asset: &Digest, total: u64) -> Result<u64, NodeError> {
        let response = self.send(self.http.post(self.blob(asset)).header(LENGTH, total)).await?;
        number(&response, OFFSET).ok_or(NodeError::Malformed)
    }

    /// Sends one piece; says how many bytes are there then.
    async fn append(&self, asset: &Digest, offset: u64, piece: Vec<u8>) -> Result<u64, NodeError> {
        let response = self.send(self.http.patch(self.blob(asset)).header(OFFSET, offset).body(piece)).await?;
        number(&response, OFFSET).ok_or(NodeError::Malformed)
    }

    /// A small document of the host.
    pub(crate) async fn document(&self, segments: &[&str], max: usize) -> Result<Vec<u8>, NodeError> {
        let mut response = self.send(self.http.get(self.path(segments))).await?;
        let mut document = Vec::new();
        while let Some(bytes) = within(response.chunk()).await? {
            if document.len().saturating_add(bytes.len()) > max {
                return Err(NodeError::Malformed);
            }
            document.extend_from_slice(&bytes);
        }
        Ok(document)
    }

    fn blob(&self, asset: &Digest) -> reqwest::Url {
        self.path(&["glacier", "v1", "blobs", &asset.to_string()])
    }

    /// Sends a request and sorts out answers that are no success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, NodeError> {
        let response = within(request.send()).await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::INSUFFICIENT_STORAGE => Err(NodeError::Full),
            status => Err(NodeError::Status(status.as_u16())),
        }
    }
}

struct Target {
    file: NewFile,
    hasher: blake3::Hasher,
    have: u64,
}

/// How much longer a transfer that is cut again and again is taken up.
struct Patience {
    left: u32,
}

impl Patience {
    fn new() -> Self {
        Self { left: ATTEMPTS }
    }

    /// Whatever moves on earns new patience.
    fn moved(&mut self) {
        self.left = ATTEMPTS;
    }

    /// Waits before the next attempt, longer each time, or gives up.
    async fn after(&mut self, error: NodeError) -> Result<(), NodeError> {
        let worth = matches!(error, NodeError::Unreachable | NodeError::Status(502..=504));
        let Some(left) = self.left.checked_sub(1).filter(|_| worth) else { return Err(error) };
        self.left = left;
        let attempt = ATTEMPTS.saturating_sub(left);
        tokio::time::sleep(Duration::from_millis(100).saturating_mul(1 << attempt.min(8))).await;
        Ok(())
    }
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
