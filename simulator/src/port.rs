//! The chip's end of the chip port.

use crate::{
    chip::Body,
    collateral::{Collateral, Recipe},
    home::Home,
    vendor::VendorError,
};
use glacier_platform::{
    SandboxReport,
    simulated::{self, ChipAnswer, ChipCall, SealingKey},
};
use glacier_wire::{Measurement, UnixTime};
use std::{io, os::unix::net::UnixStream};

/// What the enclave said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It is up.
    Up(SandboxReport),
    /// It gave up, and why.
    Not(String),
}

/// Answers one enclave. What it quotes is what it launched: no call names a measurement.
pub struct Port {
    home: Home,
    measurement: Measurement,
    collateral: Option<(UnixTime, Collateral)>,
}

/// Collateral older than this is issued anew: well before policies find it too old.
const COLLATERAL_AGE: u64 = 3 * 86_400;

impl Port {
    /// For the enclave that was launched with this measurement.
    pub fn new(home: Home, measurement: Measurement) -> Self {
        Self { home, measurement, collateral: None }
    }

    /// Answers until the enclave hangs up. `started` hears its first words; `now` is asked at each call.
    ///
    /// # Errors
    /// A frame that is no call, or a connection that breaks: the enclave gets no more answers.
    pub fn serve(
        &mut self,
        port: &UnixStream,
        now: impl Fn() -> UnixTime,
        mut started: impl FnMut(Started),
    ) -> io::Result<()> {
        loop {
            let call = match simulated::read_frame(port, simulated::CALL_MAX) {
                // Closed, or killed with an answer unread.
                Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                    return Ok(());
                }
                call => call?,
            };
            match &call {
                ChipCall::Hello { sandbox } => started(Started::Up(*sandbox)),
                ChipCall::NotStarted { why } => {
                    started(Started::Not(why.clone()));
                    return Ok(());
                }
                _ => {}
            }
            // The enclave learns no more than that it did not work; the operator reads the reason.
            let answer = self.answer(call, now()).unwrap_or_else(|error| {
                eprintln!("glacier-chip (simulated): {error}");
                ChipAnswer::Refused
            });
            simulated::write_frame(port, &answer)?;
        }
    }

    fn answer(&mut self, call: ChipCall, now: UnixTime) -> Result<ChipAnswer, VendorError> {
        let chip = &self.home.chip;
        Ok(match call {
            ChipCall::Hello { .. } => {
                ChipAnswer::Facts { measurement: self.measurement, enclave_id: chip.enclave_id() }
            }
            ChipCall::Quote { report_data } => {
                ChipAnswer::Quote { quote: chip.quote(&Body::new(self.measurement, report_data))? }
            }
            ChipCall::Collateral => ChipAnswer::Collateral { json: self.collateral(now)?.into_bytes() },
            ChipCall::SealingKey { purpose } => {
                ChipAnswer::SealingKey { key: SealingKey::new(*chip.sealing_key(&self.measurement, purpose)) }
            }
            ChipCall::NotStarted { .. } => ChipAnswer::Refused,
        })
    }

    fn collateral(&mut self, now: UnixTime) -> Result<String, VendorError> {
        let fresh = |issued: &UnixTime| now.0.checked_sub(issued.0).is_some_and(|age| age <= COLLATERAL_AGE);
        if let Some((issued, collateral)) = &self.collateral
            && fresh(issued)
        {
            return Ok(collateral.to_json());
        }
        let collateral = self.home.vendor.collateral(self.home.chip.hardware(), &Recipe::new(now))?;
        let json = collateral.to_json();
        self.collateral = Some((now, collateral));
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glacier_platform::{Platform, PlatformError, Protection, SealingPurpose};
    use glacier_wire::PlatformKind;
    use std::{
        io::Write,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering::Relaxed},
        },
    };

    const NOW: UnixTime = UnixTime(1_800_000_000);

    /// A chip in a thread, the enclave's end of its port, and the chip's clock.
    fn chip(measurement: Measurement) -> (UnixStream, Arc<AtomicU64>) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path(), NOW).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let clock = Arc::new(AtomicU64::new(NOW.0));
        let time = clock.clone();
        std::thread::spawn(move || {
            let _ = Port::new(home, measurement).serve(&theirs, || UnixTime(time.load(Relaxed)), |_| ());
        });
        (ours, clock)
    }

    fn connect(port: UnixStream) -> simulated::Chip {
        let report: SandboxReport = serde_json::from_str(r#"{"landlock":null,"keys":"mlock"}"#).unwrap();
        assert_eq!(report.keys, Protection::Mlock);
        simulated::Chip::connect(port, report).unwrap()
    }

    #[test]
    fn an_enclave_learns_who_it_is() {
        let measurement = Measurement([9; 32]);
        let platform = connect(chip(measurement).0);
        assert_eq!(platform.measurement(), measurement);
        assert_eq!(platform.kind(), PlatformKind::Simulated);
        assert!(!platform.enclave_id().is_zero());
    }

    #[test]
    fn the_quote_says_what_was_launched() {
        let platform = connect(chip(Measurement([9; 32])).0);
        let quote = platform.quote(&[7; 64]).unwrap();
        assert_eq!(quote[48 + 64..48 + 96], [9; 32]);
        assert_eq!(quote[48 + 320..48 + 384], [7; 64]);
    }

    #[test]
    fn collateral_is_kept_for_days_and_then_renewed() {
        let (port, clock) = chip(Measurement([9; 32]));
        let platform = connect(port);
        let first = platform.collateral().unwrap();
        clock.fetch_add(COLLATERAL_AGE, Relaxed);
        assert_eq!(platform.collateral().unwrap(), first);
        clock.fetch_add(1, Relaxed);
        assert_ne!(platform.collateral().unwrap(), first);
    }

    #[test]
    fn a_clock_set_back_gets_collateral_that_is_valid_then() {
        let (port, clock) = chip(Measurement([9; 32]));
        let platform = connect(port);
        let first = platform.collateral().unwrap();
        clock.fetch_sub(1, Relaxed);
        assert_ne!(platform.collateral().unwrap(), first);
    }

    #[test]
    fn sealing_keys_depend_on_code_and_purpose() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::open(directory.path(), NOW).unwrap();
        let key = |measurement, purpose| home.chip.sealing_key(&Measurement([measurement; 32]), purpose);
        assert_eq!(key(1, SealingPurpose::State), key(1, SealingPurpose::State));
        assert_ne!(key(1, SealingPurpose::State), key(2, SealingPurpose::State));
        assert_ne!(key(1, SealingPurpose::State), key(1, SealingPurpose::App));
        let again = Home::open(directory.path(), NOW).unwrap();
        assert_eq!(
            *again.chip.sealing_key(&Measurement([1; 32]), SealingPurpose::State),
            *key(1, SealingPurpose::State)
        );
    }

    #[test]
    fn a_frame_larger_than_a_call_ends_the_connection() {
        let (mut port, _) = chip(Measurement([9; 32]));
        port.write_all(&(simulated::CALL_MAX as u32 + 1).to_le_bytes()).unwrap();
        let answer = simulated::read_frame::<ChipAnswer>(&port, simulated::ANSWER_MAX);
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_chip_that_is_gone_is_unreachable() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let report: SandboxReport = serde_json::from_str(r#"{"landlock":null,"keys":"mlock"}"#).unwrap();
        assert!(matches!(simulated::Chip::connect(ours, report), Err(PlatformError::Unreachable(_))));
    }
}
