//! The keeper: the one process of an enclave that still reaches its hardware after lockdown.
//!
//! An enclave process gives up every file and every control call before it reads a stranger's first byte.
//! On genuine hardware somebody must still make report entries and call the device. That is the keeper:
//! forked before any key exists, like the zygote, confined to the files below the report entries and to
//! the control calls of the guest devices, with one socket, whose frames are those of the simulated chip's
//! port in shape. The enclave's own list of system calls stays as it is on a simulated platform.
//!
//! On a kernel without landlock the keeper could open other files; it has no code that does.

use crate::{
    hardware::{Attested, Identity, Source},
    locked::LockedKey,
    platform::{Platform, PlatformError, SealingPurpose},
    sandbox::{self, Role},
    simulated::{SealingKey, read_frame, write_frame},
    zygote,
};
use glacier_devices::paths;
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData};
use rustix::io::Errno;
use std::{
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The enclave's end.
pub(crate) struct Keeper {
    /// `None` after an answer failed to come: the next one to come would be that one.
    port: Mutex<Option<UnixStream>>,
    identity: Identity,
}

/// A keeper that was forked and not asked yet.
pub(crate) struct Forked(UnixStream);

#[derive(Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
enum Call {
    #[n(0)]
    Identify,
    #[n(1)]
    Quote {
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        report_data: ReportData,
    },
    #[n(2)]
    SealingKey {
        #[n(0)]
        purpose: SealingPurpose,
    },
}

#[derive(Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
enum Answer {
    #[n(0)]
    Identity {
        #[n(0)]
        platform: PlatformKind,
        #[n(1)]
        measurement: Measurement,
        #[n(2)]
        enclave_id: EnclaveId,
    },
    #[n(1)]
    Quote {
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        quote: Vec<u8>,
    },
    #[n(2)]
    SealingKey {
        #[n(0)]
        key: SealingKey,
    },
    #[n(3)]
    Failed {
        /// Place in [`TOLD`].
        #[n(0)]
        error: u8,
    },
}

/// Forks the keeper. The process must have one thread and no secret, and must not be hardened yet.
///
/// `open` runs in the keeper, before it is confined; `look` runs there too, confined.
pub(crate) fn fork<S: Source>(
    open: impl FnOnce() -> Result<S, PlatformError>,
    look: fn(&[u8]) -> Option<Identity>,
) -> Result<Forked, Errno> {
    let pair = UnixStream::pair().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let (ours, theirs) = pair?;
    let enclave = rustix::process::getpid();
    // SAFETY: the caller has checked that this process has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
        0 => {
            drop(ours);
            zygote::close_all_but(&mut [theirs.as_raw_fd()]);
            if !zygote::orphaned(enclave) {
                let source = open();
                if sandbox::harden_but(REACHABLE).is_ok() && sandbox::confine(Role::Keeper).is_ok() {
                    serve(&theirs, source, look);
                }
            }
            zygote::exit(0)
        }
        _ => Ok(Forked(ours)),
    }
}

/// What stays open to the keeper's file calls.
const REACHABLE: &[&str] = &[paths::TSM_REPORT, paths::TDX_MEASUREMENTS];

/// Answers until the enclave is gone.
fn serve<S: Source>(port: &UnixStream, source: Result<S, PlatformError>, look: fn(&[u8]) -> Option<Identity>) {
    let attested = source.and_then(|source| Attested::establish(source, look));
    while let Ok(call) = read_frame::<Call>(port, CALL_MAX) {
        let answered = match &attested {
            Ok(attested) => answer(attested, &call),
            Err(error) => Err(*error),
        };
        let answer = answered.unwrap_or_else(|error| Answer::Failed { error: told(error) });
        if write_frame(port, &answer).is_err() {
            return;
        }
    }
}

fn answer(platform: &impl Platform, call: &Call) -> Result<Answer, PlatformError> {
    Ok(match call {
        Call::Identify => Answer::Identity {
            platform: platform.kind(),
            measurement: platform.measurement(),
            enclave_id: platform.enclave_id(),
        },
        Call::Quote { report_data } => Answer::Quote { quote: platform.quote(report_data)? },
        Call::SealingKey { purpose } => {
            Answer::SealingKey { key: SealingKey::new(*platform.sealing_key(*purpose)?.expose()) }
        }
    })
}

impl Forked {
    /// Waits until the hardware has said who this is.
    pub(crate) fn connect(self) -> Result<Keeper, PlatformError> {
        let port = self.0;
        port.set_read_timeout(Some(PATIENCE))
            .and_then(|()| port.set_write_timeout(Some(PATIENCE)))
            .map_err(|error| unreachable(&error))?;
        match ask(&port, &Call::Identify)? {
            Answer::Identity { platform, measurement, enclave_id } => {
                let identity = Identity { platform, measurement, enclave_id };
                Ok(Keeper { port: Mutex::new(Some(port)), identity })
            }
            Answer::Failed { error } => Err(heard(error)),
            _ => Err(PlatformError::Malformed),
        }
    }
}

impl Keeper {
    fn ask(&self, call: &Call) -> Result<Answer, PlatformError> {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        // Out of its place while the question is open: a failure, or a panic, leaves it out.
        let open = port.take().ok_or(PlatformError::Unreachable(Errno::PIPE))?;
        let answer = ask(&open, call)?;
        *port = Some(open);
        match answer {
            Answer::Failed { error } => Err(heard(error)),
            answer => Ok(answer),
        }
    }
}

impl Platform for Keeper {
    fn kind(&self) -> PlatformKind {
        self.identity.platform
    }

    fn measurement(&self) -> Measurement {
        self.identity.measurement
    }

    fn enclave_id(&self) -> EnclaveId {
        self.identity.enclave_id
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        match self.ask(&Call::Quote { report_data: *report_data })? {
            Answer::Quote { quote } => Ok(quote),
            _ => Err(PlatformError::Malformed),
        }
    }

    fn collateral(&self) -> Result<Vec<u8>, PlatformError> {
        Err(PlatformError::CollateralFromHost)
    }

    fn sealing_key(&self, purpose: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        match self.ask(&Call::SealingKey { purpose })? {
            Answer::SealingKey { key } => Ok(LockedKey::fill_with(|page| page.copy_from_slice(key.expose()))?),
            _ => Err(PlatformError::Malformed),
        }
    }
}

fn ask(port: &UnixStream, call: &Call) -> Result<Answer, PlatformError> {
    write_frame(port, call).map_err(|error| unreachable(&error))?;
    read_frame(port, ANSWER_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => PlatformError::Malformed,
        _ => unreachable(&error),
    })
}

fn unreachable(error: &io::Error) -> PlatformError {
    PlatformError::Unreachable(Errno::from_io_error(error).unwrap_or(Errno::PIPE))
}

fn told(error: PlatformError) -> u8 {
    let place = TOLD.iter().position(|known| *known == error);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX)
}

fn heard(place: u8) -> PlatformError {
    TOLD.get(usize::from(place)).copied().unwrap_or(PlatformError::Refused)
}

/// Errors that keep their name on the way; the others become [`PlatformError::Refused`].
const TOLD: &[PlatformError] = &[
    PlatformError::Malformed,
    PlatformError::NoDevice(paths::TSM_REPORT),
    PlatformError::NoDevice(paths::SEV_GUEST),
    PlatformError::NoPermission(paths::TSM_REPORT),
    PlatformError::NoPermission(paths::SEV_GUEST),
    PlatformError::NoProvider,
    PlatformError::WrongProvider,
    PlatformError::Busy,
    PlatformError::TimedOut,
    PlatformError::HostRefused,
    PlatformError::NotTaken,
    PlatformError::TooLarge,
    PlatformError::DiceQuote,
    PlatformError::Empty,
    PlatformError::Interfered,
    PlatformError::OtherReportData,
    PlatformError::MaskedChip,
    PlatformError::NoIdentity,
    PlatformError::NoSealingKey,
    PlatformError::Derivation,
];
/// Longest that hardware may take: the kernel gives up on the host's quoting service before.
const PATIENCE: Duration = Duration::from_secs(90);
const CALL_MAX: usize = 128;
/// The longest evidence and its frame.
const ANSWER_MAX: usize = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        fake::{Fake, entry},
        recorded,
        tdx_guest::Tdx,
    };
    use std::sync::Arc;

    fn td(_: &[u8]) -> Option<Identity> {
        Some(Identity {
            platform: PlatformKind::Tdx,
            measurement: Measurement([1; 32]),
            enclave_id: EnclaveId([2; 32]),
        })
    }

    struct Fixed(Result<(), PlatformError>);

    impl Source for Fixed {
        fn kind(&self) -> PlatformKind {
            PlatformKind::Tdx
        }
        fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
            // The first question, of text, asks who this is.
            if report_data.starts_with(b"glacier") { Ok(Vec::new()) } else { self.0.map(|()| report_data.to_vec()) }
        }
        fn sealing_key(&self, _: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
            Ok(LockedKey::fill_with(|key| key.fill(7))?)
        }
    }

    /// A keeper in a process of its own, confined as ever.
    fn keeper(source: Fixed) -> Keeper {
        fork(move || Ok(source), td).unwrap().connect().unwrap()
    }

    #[test]
    fn a_confined_process_answers() {
        let keeper = keeper(Fixed(Ok(())));
        assert_eq!(keeper.kind(), PlatformKind::Tdx);
        assert_eq!((keeper.measurement(), keeper.enclave_id()), (Measurement([1; 32]), EnclaveId([2; 32])));
        assert_eq!(keeper.quote(&[9; 64]), Ok(vec![9; 64]));
        assert_eq!(keeper.collateral(), Err(PlatformError::CollateralFromHost));
    }

    #[test]
    fn the_sealing_key_passes_through() {
        assert_eq!(keeper(Fixed(Ok(()))).sealing_key(SealingPurpose::App).unwrap().expose(), &[7; 32]);
    }

    #[test]
    fn errors_keep_their_names() {
        for error in TOLD {
            assert_eq!(heard(told(*error)), *error);
        }
        assert_eq!(keeper(Fixed(Err(PlatformError::Busy))).quote(&[9; 64]), Err(PlatformError::Busy));
        let other = PlatformError::Firmware(0x16);
        assert_eq!(keeper(Fixed(Err(other))).quote(&[9; 64]), Err(PlatformError::Refused));
    }

    #[test]
    fn a_failure_leaves_the_keeper_usable() {
        let keeper = keeper(Fixed(Err(PlatformError::TimedOut)));
        assert_eq!(keeper.quote(&[9; 64]), Err(PlatformError::TimedOut));
        assert!(keeper.sealing_key(SealingPurpose::State).is_ok());
    }

    /// A keeper in a thread: what takes locks of this crate must not be forked among other tests.
    fn in_a_thread(files: Fake) -> Result<Keeper, PlatformError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || serve(&theirs, Ok(Tdx::new(Arc::new(files))), td));
        Forked(ours).connect()
    }

    #[test]
    fn a_quote_that_says_nothing_of_the_question_identifies_nobody() {
        for (evidence, _) in recorded::all("tdx").into_iter().take(3) {
            let refused = in_a_thread(Fake::new().tsm("tdx_guest", &evidence)).map(|_| ());
            assert_eq!(refused, Err(PlatformError::OtherReportData));
        }
    }

    #[test]
    fn no_hardware_is_named() {
        let absent = in_a_thread(Fake::new()).map(|_| ());
        assert_eq!(absent, Err(PlatformError::NoDevice(paths::TSM_REPORT)));
        let busy = in_a_thread(Fake::new().tsm("tdx_guest", []).failing(&entry("outblob"), Errno::BUSY)).map(|_| ());
        assert_eq!(busy, Err(PlatformError::Busy));
    }

    #[test]
    fn a_source_that_does_not_open_is_named() {
        let refused = || Err::<Fixed, _>(PlatformError::NoDevice(paths::SEV_GUEST));
        let error = fork(refused, td).unwrap().connect().map(|_| ());
        assert_eq!(error, Err(PlatformError::NoDevice(paths::SEV_GUEST)));
    }

    #[test]
    fn a_keeper_that_is_gone_stays_gone() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let identity = td(&[]).unwrap();
        let keeper = Keeper { port: Mutex::new(Some(ours)), identity };
        drop(theirs);
        assert!(matches!(keeper.quote(&[9; 64]), Err(PlatformError::Unreachable(_))));
        assert_eq!(keeper.quote(&[9; 64]), Err(PlatformError::Unreachable(Errno::PIPE)));
    }

    #[test]
    fn an_answer_to_another_question_is_malformed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let keeper = Keeper { port: Mutex::new(Some(ours)), identity: td(&[]).unwrap() };
        write_frame(&theirs, &Answer::SealingKey { key: SealingKey::new([1; 32]) }).unwrap();
        assert_eq!(keeper.quote(&[9; 64]), Err(PlatformError::Malformed));
    }
}
