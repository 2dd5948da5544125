//! Both ends of a worker's stream: blocking in the worker, asynchronous in the enclave.

use crate::{
    client::{EngineError, encode},
    frame::{BadFrame, CHUNK, HEADER, Header, Kind},
};
use glacier_wire::api::Refusal;
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::{Zeroize, Zeroizing};

/// The worker's end: blocking frames.
pub struct Link {
    pub(crate) stream: UnixStream,
}

impl Link {
    /// Speaks over `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// The next frame; `None` when the enclave has hung up.
    ///
    /// # Errors
    /// The stream broke, or what came is not a frame.
    pub fn frame(&mut self) -> io::Result<Option<(Header, Vec<u8>)>> {
        let Some(header) = self.header()? else { return Ok(None) };
        let mut payload = vec![0; header.len];
        self.stream.read_exact(&mut payload)?;
        Ok(Some((header, payload)))
    }

    /// The next header; its payload is to be read from the stream. `None` when the enclave has hung up.
    ///
    /// # Errors
    /// The stream broke, or what came is no header.
    pub fn header(&mut self) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER];
        let first = self.stream.read(&mut bytes)?;
        if first == 0 {
            return Ok(None);
        }
        self.stream.read_exact(bytes.get_mut(first..).unwrap_or_default())?;
        Header::decode(&bytes).map(Some).map_err(|BadFrame| protocol())
    }

    /// Sends one frame; its length is the payload's.
    ///
    /// # Errors
    /// The stream broke, or the payload is larger than its kind may carry.
    pub fn send(&mut self, header: Header, payload: &[u8]) -> io::Result<()> {
        let header = Header { len: payload.len(), ..header };
        self.stream.write_all(&header.encode().map_err(|BadFrame| protocol())?)?;
        self.stream.write_all(payload)
    }

    /// Says no.
    ///
    /// # Errors
    /// The stream broke.
    pub fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        self.send(Header::new(Kind::Refused, 0), &encode(&refusal))
    }
}

/// The bytes behind a header.
impl Read for Link {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }
}

/// The bytes in the chunks of one exchange, as a reader: exactly those that were announced.
pub struct Chunks<'a> {
    link: &'a mut Link,
    /// Announced and not yet read.
    left: u64,
    /// Of the current chunk.
    piece: usize,
    ended: bool,
}

impl<'a> Chunks<'a> {
    /// `len` bytes that the enclave has announced.
    pub fn new(link: &'a mut Link, len: u64) -> Self {
        Self { link, left: len, piece: 0, ended: false }
    }

    /// Announced and not yet read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Moves to the next chunk; false after the last.
    fn advance(&mut self) -> io::Result<bool> {
        while self.piece == 0 && !self.ended {
            let header = self.link.header()?.ok_or_else(protocol)?;
            match header.kind {
                Kind::Chunk => self.piece = header.len,
                Kind::End => self.ended = true,
                _ => return Err(protocol()),
            }
        }
        Ok(!self.ended)
    }

    /// Reads up to the end, so that the next exchange can begin.
    ///
    /// # Errors
    /// The stream broke.
    pub fn drain(&mut self) -> io::Result<()> {
        let mut scrap = vec![0; CHUNK.min(64 << 10)];
        while self.advance()? {
            let room = scrap.len().min(self.piece);
            let n = self.link.stream.read(scrap.get_mut(..room).unwrap_or_default())?;
            if n == 0 {
                return Err(protocol());
            }
            self.piece = self.piece.saturating_sub(n);
        }
        Ok(())
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.left == 0 {
            return Ok(0);
        }
        if !self.advance()? {
            return Err(protocol());
        }
        let room = into.len().min(self.piece).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.link.stream.read(into.get_mut(..room).unwrap_or_default())?;
        if n == 0 {
            return Err(protocol());
        }
        self.piece = self.piece.saturating_sub(n);
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

pub(crate) fn protocol() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The enclave's end: reads frames; what came with one frame of the next is kept.
pub struct Inbox {
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Inbox {
    /// A small answer is read in one go.
    const ROOM: usize = 64 << 10;

    /// Empty.
    pub fn new() -> Self {
        Self { buffer: Zeroizing::new(vec![0; Self::ROOM]), start: 0, end: 0 }
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`EngineError::Gone`] where the worker has ended, [`EngineError::Protocol`] where what it sent is no frame.
    pub async fn frame(&mut self, read: &mut (impl AsyncRead + Unpin)) -> Result<(Header, Vec<u8>), EngineError> {
        let header = loop {
            let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(header) = bytes.first_chunk::<HEADER>() {
                break Header::decode(header).map_err(|_| EngineError::Protocol)?;
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end.saturating_sub(self.start));
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match read.read(room).await {
                Ok(0) | Err(_) => return Err(EngineError::Gone),
                Ok(n) => self.end = self.end.saturating_add(n),
            }
        };
        self.start = self.start.saturating_add(HEADER);
        let mut payload = Vec::new();
        // The length is bounded by its kind; still the enclave must not abort where the host gives it no memory.
        payload.try_reserve_exact(header.len).map_err(|_| EngineError::Protocol)?;
        let here = header.len.min(self.end.saturating_sub(self.start));
        let taken = self.start..self.start.saturating_add(here);
        self.start = taken.end;
        if let Some(bytes) = self.buffer.get_mut(taken) {
            payload.extend_from_slice(bytes);
            bytes.zeroize();
        }
        if payload.len() < header.len {
            let have = payload.len();
            payload.resize(header.len, 0);
            let rest = payload.get_mut(have..).unwrap_or_default();
            read.read_exact(rest).await.map_err(|_| EngineError::Gone)?;
        }
        Ok((header, payload))
    }
}

/// Writes one frame.
///
/// # Errors
/// [`EngineError::Gone`] where the worker has ended, [`EngineError::Protocol`] where the payload is larger than
/// its kind may carry.
pub async fn put(write: &mut (impl AsyncWrite + Unpin), header: Header, payload: &[u8]) -> Result<(), EngineError> {
    let header = header.encode().map_err(|_| EngineError::Protocol)?;
    write.write_all(&header).await.map_err(|_| EngineError::Gone)?;
    write.write_all(payload).await.map_err(|_| EngineError::Gone)
}
