//! What the genuine platforms have in common: who they are is read from their own evidence.

use crate::{
    locked::LockedKey,
    platform::{Platform, PlatformError, SealingPurpose},
};
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData};

/// Who an enclave is, as its evidence shows it to any verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The platform that the evidence is of.
    pub platform: PlatformKind,
    /// The code.
    pub measurement: Measurement,
    /// The hardware.
    pub enclave_id: EnclaveId,
}

/// Hardware that makes evidence. Calls block, and are made one at a time.
pub trait Source: Send + Sync {
    /// What kind of hardware it is.
    fn kind(&self) -> PlatformKind;

    /// Raw evidence, seen to be over `report_data`.
    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError>;

    /// See [`Platform::sealing_key`].
    fn sealing_key(&self, purpose: SealingPurpose) -> Result<LockedKey<32>, PlatformError>;
}

/// A genuine platform whose identity is known.
pub struct Attested<S> {
    source: S,
    identity: Identity,
}

impl<S: Source> Attested<S> {
    /// Asks for one piece of evidence and has `look` read who it shows. `look` reads and does not verify:
    /// the hardware is under us, and whoever is told this identity verifies evidence of their own asking.
    ///
    /// It is a parameter because reading evidence is the verifier's knowledge (`glacier-attest`), of which
    /// there shall be one copy, and this crate talks to devices.
    ///
    /// # Errors
    /// [`PlatformError::NoIdentity`] when `look` finds none, or finds another platform.
    pub fn establish(source: S, look: fn(&[u8]) -> Option<Identity>) -> Result<Self, PlatformError> {
        let identity = look(&source.quote(&IDENTIFY)?).ok_or(PlatformError::NoIdentity)?;
        if identity.platform != source.kind() || identity.enclave_id.is_zero() {
            return Err(PlatformError::NoIdentity);
        }
        Ok(Self { source, identity })
    }

    /// The hardware itself, for what only one kind of it can do.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: Source> Platform for Attested<S> {
    fn kind(&self) -> PlatformKind {
        self.source.kind()
    }

    fn measurement(&self) -> Measurement {
        self.identity.measurement
    }

    fn enclave_id(&self) -> EnclaveId {
        self.identity.enclave_id
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        self.source.quote(report_data)
    }

    fn collateral(&self) -> Result<Vec<u8>, PlatformError> {
        Err(PlatformError::CollateralFromHost)
    }

    fn sealing_key(&self, purpose: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        self.source.sealing_key(purpose)
    }
}

/// Report data of the evidence that is made to learn who this is. It is text and no hash of claims, so
/// nobody can take that evidence for a statement.
const IDENTIFY: ReportData = *b"glacier: who is this? no claims are made by this evidence.      ";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Fixed(PlatformKind);

    impl Source for Fixed {
        fn kind(&self) -> PlatformKind {
            self.0
        }
        fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
            Ok(report_data.to_vec())
        }
        fn sealing_key(&self, _: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
            Err(PlatformError::NoSealingKey)
        }
    }

    fn td(evidence: &[u8]) -> Option<Identity> {
        assert_eq!(evidence, IDENTIFY);
        Some(Identity {
            platform: PlatformKind::Tdx,
            measurement: Measurement([1; 32]),
            enclave_id: EnclaveId([2; 32]),
        })
    }

    #[test]
    fn the_identity_is_what_the_evidence_shows() {
        let platform = Attested::establish(Fixed(PlatformKind::Tdx), td).unwrap();
        assert_eq!(platform.kind(), PlatformKind::Tdx);
        assert_eq!(platform.measurement(), Measurement([1; 32]));
        assert_eq!(platform.enclave_id(), EnclaveId([2; 32]));
        assert_eq!(platform.collateral(), Err(PlatformError::CollateralFromHost));
    }

    #[test]
    fn evidence_of_another_platform_gives_no_identity() {
        assert_eq!(Attested::establish(Fixed(PlatformKind::Snp), td).err(), Some(PlatformError::NoIdentity));
    }

    #[test]
    fn evidence_that_is_not_understood_gives_no_identity() {
        assert_eq!(Attested::establish(Fixed(PlatformKind::Tdx), |_| None).err(), Some(PlatformError::NoIdentity));
    }

    #[test]
    fn a_zero_enclave_id_is_none() {
        let zero = |_: &[u8]| td(&IDENTIFY).map(|who| Identity { enclave_id: EnclaveId([0; 32]), ..who });
        assert_eq!(Attested::establish(Fixed(PlatformKind::Tdx), zero).err(), Some(PlatformError::NoIdentity));
    }
}
