//! The *simulated* platform: a chip that is another process of this machine.
//!
//! Frames on the chip port are a little-endian `u32` length and the CBOR of a [`ChipCall`] or a
//! [`ChipAnswer`]; one call is answered before the next is read.

use crate::{
    locked::LockedKey,
    platform::{Platform, PlatformError, SealingPurpose},
    sandbox::SandboxReport,
};
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData, cbor};
use rustix::io::Errno;
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What the enclave asks of its chip.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum ChipCall {
    /// The enclave is up; who is it, and where?
    #[n(0)]
    Hello {
        /// What confines it.
        #[n(0)]
        sandbox: SandboxReport,
    },
    /// The enclave could not start. Needs no answer; the sender is gone.
    #[n(1)]
    NotStarted {
        /// Why, in at most [`WHY_MAX`] bytes.
        #[n(0)]
        why: String,
    },
    /// A quote over 64 bytes.
    #[n(2)]
    Quote {
        /// The bytes.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        report_data: ReportData,
    },
    /// Collateral that fits the quotes.
    #[n(3)]
    Collateral,
    /// The sealing key for one purpose.
    #[n(4)]
    SealingKey {
        /// Which.
        #[n(0)]
        purpose: SealingPurpose,
    },
}

/// Longest reason in [`ChipCall::NotStarted`].
pub const WHY_MAX: usize = 256;
/// Largest frame from enclave to chip.
pub const CALL_MAX: usize = 512;
/// Largest frame from chip to enclave: collateral is about 20 kB.
pub const ANSWER_MAX: usize = 256 << 10;

/// What the chip answers.
#[derive(Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum ChipAnswer {
    /// To [`ChipCall::Hello`].
    #[n(0)]
    Facts {
        /// The measurement of the bytes that were executed.
        #[n(0)]
        measurement: Measurement,
        /// The chip.
        #[n(1)]
        enclave_id: EnclaveId,
    },
    /// To [`ChipCall::Quote`].
    #[n(1)]
    Quote {
        /// DCAP version 3.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        quote: Vec<u8>,
    },
    /// To [`ChipCall::Collateral`].
    #[n(2)]
    Collateral {
        /// JSON.
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        json: Vec<u8>,
    },
    /// To [`ChipCall::SealingKey`].
    #[n(3)]
    SealingKey {
        /// The key.
        #[n(0)]
        key: SealingKey,
    },
    /// To anything the chip does not do.
    #[n(4)]
    Refused,
}

/// A sealing key on its way; wiped on drop.
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; 32]);

impl SealingKey {
    /// Wraps a derived key; the caller wipes its own copy.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key, to be put where it stays.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

impl<C> minicbor::Encode<C> for SealingKey {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(&self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for SealingKey {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = decoder.bytes()?;
        Ok(Self(bytes.try_into().map_err(|_| minicbor::decode::Error::message("sealing key of another length"))?))
    }
}

/// Writes one frame.
pub fn write_frame<T: minicbor::Encode<()>>(mut port: impl Write, value: &T) -> io::Result<()> {
    let body = Zeroizing::new(cbor::encode(value));
    let len = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // One write for small frames, so that the reader wakes once.
    let mut frame = Zeroizing::new(Vec::with_capacity(body.len().saturating_add(4)));
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&body);
    port.write_all(&frame)
}

/// Reads one frame of at most `max` bytes. `InvalidData` when it is larger or not what was expected.
pub fn read_frame<T>(mut port: impl Read, max: usize) -> io::Result<T>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    let mut len = [0; 4];
    port.read_exact(&mut len)?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Zeroizing::new(vec![0; len]);
    port.read_exact(&mut body)?;
    cbor::decode(&body, max).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The enclave's end of the chip port.
pub struct Chip {
    port: Mutex<UnixStream>,
    measurement: Measurement,
    enclave_id: EnclaveId,
}

/// Longest the chip may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Chip {
    /// Says hello on the chip port and learns who it is.
    pub fn connect(port: UnixStream, sandbox: SandboxReport) -> Result<Self, PlatformError> {
        port.set_read_timeout(Some(PATIENCE))
            .and_then(|()| port.set_write_timeout(Some(PATIENCE)))
            .map_err(|error| unreachable(&error))?;
        match call(&port, &ChipCall::Hello { sandbox })? {
            ChipAnswer::Facts { measurement, enclave_id } => {
                Ok(Self { port: Mutex::new(port), measurement, enclave_id })
            }
            ChipAnswer::Refused => Err(PlatformError::Refused),
            _ => Err(PlatformError::Malformed),
        }
    }

    fn call(&self, question: &ChipCall) -> Result<ChipAnswer, PlatformError> {
        // A holder that panicked left at worst half a frame, which the next read reports as malformed.
        let port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        match call(&port, question)? {
            ChipAnswer::Refused => Err(PlatformError::Refused),
            answer => Ok(answer),
        }
    }
}

impl Platform for Chip {
    fn kind(&self) -> PlatformKind {
        PlatformKind::Simulated
    }

    fn measurement(&self) -> Measurement {
        self.measurement
    }

    fn enclave_id(&self) -> EnclaveId {
        self.enclave_id
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        match self.call(&ChipCall::Quote { report_data: *report_data })? {
            ChipAnswer::Quote { quote } => Ok(quote),
            _ => Err(PlatformError::Malformed),
        }
    }

    fn collateral(&self) -> Result<Vec<u8>, PlatformError> {
        match self.call(&ChipCall::Collateral)? {
            ChipAnswer::Collateral { json } => Ok(json),
            _ => Err(PlatformError::Malformed),
        }
    }

    fn sealing_key(&self, purpose: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        match self.call(&ChipCall::SealingKey { purpose })? {
            ChipAnswer::SealingKey { key } => Ok(LockedKey::fill_with(|page| page.copy_from_slice(key.expose()))?),
            _ => Err(PlatformError::Malformed),
        }
    }
}

fn call(port: &UnixStream, question: &ChipCall) -> Result<ChipAnswer, PlatformError> {
    write_frame(port, question).map_err(|error| unreachable(&error))?;
    read_frame(port, ANSWER_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => PlatformError::Malformed,
        _ => unreachable(&error),
    })
}

fn unreachable(error: &io::Error) -> PlatformError {
    PlatformError::Unreachable(Errno::from_io_error(error).unwrap_or(Errno::PIPE))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::locked::Protection;
    use proptest::prelude::*;

    fn calls() -> impl Strategy<Value = ChipCall> {
        prop_oneof![
            (any::<Option<u32>>(), any::<bool>()).prop_map(|(landlock, secret)| ChipCall::Hello {
                sandbox: SandboxReport {
                    landlock,
                    keys: if secret { Protection::MemfdSecret } else { Protection::Mlock },
                },
            }),
            "[ -~]{0,256}".prop_map(|why| ChipCall::NotStarted { why }),
            any::<u8>().prop_map(|byte| ChipCall::Quote { report_data: [byte; 64] }),
            Just(ChipCall::Collateral),
            Just(ChipCall::SealingKey { purpose: SealingPurpose::State }),
        ]
    }

    proptest! {
        #[test]
        fn calls_round_trip_within_their_bound(call in calls()) {
            let mut frame = Vec::new();
            write_frame(&mut frame, &call).unwrap();
            prop_assert!(frame.len() <= CALL_MAX + 4);
            prop_assert_eq!(read_frame::<ChipCall>(frame.as_slice(), CALL_MAX).unwrap(), call);
        }

        #[test]
        fn bytes_that_are_read_are_written_the_same(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let frame = [(body.len() as u32).to_le_bytes().as_slice(), &body].concat();
            if let Ok(answer) = read_frame::<ChipAnswer>(frame.as_slice(), ANSWER_MAX) {
                let mut again = Vec::new();
                write_frame(&mut again, &answer).unwrap();
                prop_assert_eq!(again, frame);
            }
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_before_it_is_read() {
        let frame = (ANSWER_MAX as u32 + 1).to_le_bytes();
        let error = read_frame::<ChipAnswer>(frame.as_slice(), ANSWER_MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    /// The error of a quote when the chip answers with these bytes.
    fn quote_error(frame: &'static [u8]) -> PlatformError {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let chip = std::thread::spawn(move || {
            read_frame::<ChipCall>(&theirs, CALL_MAX).unwrap();
            write_frame(
                &theirs,
                &ChipAnswer::Facts { measurement: Measurement([1; 32]), enclave_id: EnclaveId([2; 32]) },
            )
            .unwrap();
            read_frame::<ChipCall>(&theirs, CALL_MAX).unwrap();
            (&theirs).write_all(frame).unwrap();
        });
        let sandbox = SandboxReport { landlock: None, keys: Protection::Mlock };
        let error = Chip::connect(ours, sandbox).unwrap().quote(&[0; 64]).unwrap_err();
        chip.join().unwrap();
        error
    }

    #[test]
    fn an_answer_to_another_question_is_malformed() {
        // Collateral of no bytes.
        assert_eq!(quote_error(&[4, 0, 0, 0, 0x82, 0x02, 0x81, 0x40]), PlatformError::Malformed);
    }

    #[test]
    fn an_answer_that_is_not_cbor_is_malformed() {
        assert_eq!(quote_error(&[1, 0, 0, 0, 0xff]), PlatformError::Malformed);
    }

    #[test]
    fn a_chip_that_hangs_up_is_unreachable() {
        assert!(matches!(quote_error(&[4, 0]), PlatformError::Unreachable(_)));
    }

    #[test]
    fn a_refusal_is_a_refusal() {
        assert_eq!(quote_error(&[3, 0, 0, 0, 0x82, 0x04, 0x80]), PlatformError::Refused);
    }
}
