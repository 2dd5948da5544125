//! Frames between the enclave and its worker: a fixed header and a bounded payload.
//!
//! Both ends are ours, yet neither trusts the other's lengths: a worker that a hostile model has
//! taken over must not hurt the enclave, so every payload is compared with the most its kind may
//! carry before memory is taken.

/// Bytes of a header: kind and payload length (`u32`), two numbers (`u64`), all little-endian.
pub const HEADER: usize = 24;
/// Most bytes of model or data in one [`Kind::Chunk`].
pub const CHUNK: usize = 1 << 20;
/// Most bytes of tensors in one request, answer or window.
pub const TENSORS: usize = 256 << 20;
/// Largest training order.
const ORDER: usize = 256 << 10;
/// Largest report on training.
const REPORT: usize = 4 << 20;
/// Who calls an app and what for.
const CALL: usize = 16 << 10;
/// Largest refusal.
const REFUSAL: usize = 16 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To the worker: a model of `x` bytes follows in chunks. Payload: `Limits`.
    Load,
    /// To the worker: data of `x` bytes follows in chunks.
    Rows,
    /// To the worker: run once. Payload: tensors.
    Infer,
    /// A piece of model, data or state.
    Chunk,
    /// No more chunks.
    End,
    /// From the worker: the model is ready. Payload: `ModelInfo`.
    Loaded,
    /// From the worker: results of `x` rows for `y` units. Payload: one encoded `Outputs`.
    Window,
    /// From the worker: `x` rows in all, `y` units in all.
    Done,
    /// From the worker: result of a request of `y` units. Payload: tensors and labels.
    Answer,
    /// From the worker, instead of an answer. Payload: `Refusal`.
    Refused,
    /// To the worker: train. Payload: the order; a model of `x` bytes and a state of `y` bytes follow in chunks.
    Train,
    /// From the worker: it can be trained. Payload: what the model is.
    Ready,
    /// From the worker: send data set `x` from its start. It is answered with [`Kind::Chunk`]s and an end.
    Pass,
    /// From the worker: how training goes.
    Progress,
    /// From the worker: checkpoint `x`, a state of `y` bytes, follows in chunks.
    Checkpoint,
    /// From the worker: done. Payload: the report; a model of `x` bytes follows in chunks.
    Trained,
    /// To the worker: call the app. Payload: who asks and for what; a body of `x` bytes follows in chunks.
    Call,
}

impl Kind {
    const ALL: [(u32, Self, usize); 17] = [
        (1, Self::Load, 64),
        (2, Self::Rows, 0),
        (3, Self::Infer, TENSORS),
        (4, Self::Chunk, CHUNK),
        (5, Self::End, 0),
        (16, Self::Loaded, crate::ModelInfo::MAX_BYTES),
        (17, Self::Window, TENSORS),
        (18, Self::Done, 0),
        (19, Self::Answer, TENSORS),
        (20, Self::Refused, REFUSAL),
        (32, Self::Train, ORDER),
        (33, Self::Ready, crate::ModelInfo::MAX_BYTES),
        (34, Self::Pass, 0),
        (35, Self::Progress, REPORT),
        (36, Self::Checkpoint, 0),
        (37, Self::Trained, REPORT),
        (48, Self::Call, CALL),
    ];

    fn code(self) -> u32 {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or(0, |(code, _, _)| *code)
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Bytes of payload.
    pub len: usize,
    /// See [`Kind`].
    pub x: u64,
    /// See [`Kind`].
    pub y: u64,
}

/// A header that the other end should not have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrame;

impl Header {
    /// A header with both numbers zero.
    pub fn new(kind: Kind, len: usize) -> Self {
        Self { kind, len, x: 0, y: 0 }
    }

    /// Checks the payload against the bound of its kind.
    pub fn encode(self) -> Result<[u8; HEADER], BadFrame> {
        let max = Kind::ALL.iter().find(|(_, kind, _)| *kind == self.kind).map_or(0, |(_, _, max)| *max);
        let len = u32::try_from(self.len).map_err(|_| BadFrame)?;
        if self.len > max {
            return Err(BadFrame);
        }
        let mut out = [0; HEADER];
        let fields = self.kind.code().to_le_bytes().into_iter().chain(len.to_le_bytes());
        for (to, from) in out.iter_mut().zip(fields.chain(self.x.to_le_bytes()).chain(self.y.to_le_bytes())) {
            *to = from;
        }
        Ok(out)
    }

    /// Checks the kind, and the payload against the bound of its kind.
    ///
    /// # Errors
    /// [`BadFrame`]: no such kind, or too long.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, BadFrame> {
        let (words, _) = bytes.as_chunks::<4>();
        let [code, len, x0, x1, y0, y1] = words else { return Err(BadFrame) };
        let wide = |low: &[u8; 4], high: &[u8; 4]| {
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32
        };
        let code = u32::from_le_bytes(*code);
        let len = u32::from_le_bytes(*len) as usize;
        let (_, kind, max) = Kind::ALL.into_iter().find(|(known, _, _)| *known == code).ok_or(BadFrame)?;
        if len > max {
            return Err(BadFrame);
        }
        Ok(Self { kind, len, x: wide(x0, x1), y: wide(y0, y1) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn header_survives_the_trip() {
        let header = Header { kind: Kind::Window, len: 12345, x: u64::MAX, y: 1 << 40 };
        assert_eq!(Header::decode(&header.encode().unwrap()), Ok(header));
    }

    #[test]
    fn payload_over_the_bound_of_its_kind_is_refused() {
        assert_eq!(Header::new(Kind::Done, 1).encode(), Err(BadFrame));
        let mut bytes = Header::new(Kind::Chunk, CHUNK).encode().unwrap();
        bytes[4] = 1;
        assert_eq!(Header::decode(&bytes), Err(BadFrame));
    }

    #[test]
    fn unknown_kind_is_refused() {
        let mut bytes = Header::new(Kind::End, 0).encode().unwrap();
        bytes[0] = 9;
        assert_eq!(Header::decode(&bytes), Err(BadFrame));
    }
}
