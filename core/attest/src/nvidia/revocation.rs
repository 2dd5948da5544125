//! OCSP answers matched to the certificates they are about. Answers are optional; each that is given
//! has to be about a certificate that is there, and has to hold.

use super::{
    chain::{Device, DeviceChain},
    ocsp::{Answer, OcspFault},
    rim::CheckedRim,
};
use crate::{
    check::{CheckId, Stop},
    reason::Reason,
    window::{Part, Window},
    x509::Certificate,
};
use alloc::vec::Vec;
use glacier_wire::UnixTime;

/// All answers that were given.
pub(crate) struct Answers<'a> {
    read: Vec<Result<Answer<'a>, OcspFault>>,
    at: UnixTime,
}

impl<'a> Answers<'a> {
    pub(crate) fn read(given: &'a [Vec<u8>], at: UnixTime) -> Self {
        Self { read: given.iter().map(|der| Answer::read(der)).collect(), at }
    }

    /// Those about the device's chain. Passes only if every certificate between leaf and root has one.
    pub(crate) fn of_device(&self, device: &Device) -> Result<Window, Stop> {
        let mut covered = Covered::default();
        for (certificate, issuer) in device.revocable() {
            covered.add(self.about(Part::Device, certificate, issuer)?);
        }
        covered.passed()
    }

    /// All others: each has to be about a manifest's chain, or that of a device `beside` this one. Passes only if every certificate below
    /// the roots of the manifests that were `chosen` has one.
    pub(crate) fn of_manifests<'b>(
        &self,
        device: Option<&Device>,
        beside: &[DeviceChain],
        given: impl Iterator<Item = &'b CheckedRim>,
        chosen: &[&CheckedRim],
    ) -> Result<Window, Stop> {
        if self.read.is_empty() {
            return Err(Stop::Skip(Reason::RevocationNotChecked));
        }
        let mut asked: Vec<(Certificate, Certificate)> = Vec::new();
        let mut covered = Covered::default();
        for manifest in given {
            let chosen = chosen.iter().any(|other| core::ptr::eq(*other, manifest));
            for (certificate, issuer) in pairs(manifest)? {
                let window = self.about(Part::RimSigner, &certificate, &issuer)?;
                if chosen {
                    covered.add(window);
                }
                asked.push((certificate, issuer));
            }
        }
        for answer in &self.read {
            let answer = answer.as_ref().map_err(|fault| Reason::Ocsp(*fault))?;
            let of_manifest = asked.iter().any(|(certificate, issuer)| answer.is_about(certificate, issuer));
            let of_device = |device: &Device| {
                device.revocable().iter().any(|(certificate, issuer)| answer.is_about(certificate, issuer))
            };
            let beside = beside.iter().filter_map(|chain| chain.device.as_ref()?.as_ref().ok());
            match device {
                _ if of_manifest || beside.into_iter().any(of_device) => {}
                None => return Err(Stop::Skip(Reason::Needs(CheckId::DeviceChain))),
                Some(device) if of_device(device) => {}
                Some(_) => return Err(Reason::Ocsp(OcspFault::Unasked).into()),
            }
        }
        covered.passed()
    }

    /// What all answers about a certificate allow; `None` if there are none.
    fn about(&self, part: Part, certificate: &Certificate, issuer: &Certificate) -> Result<Option<Window>, Reason> {
        let mut window: Option<Window> = None;
        for answer in self.read.iter().flatten().filter(|answer| answer.is_about(certificate, issuer)) {
            let holds = answer.holds(part, issuer, self.at)?;
            window = Some(window.map_or(holds, |window| window.and(holds)));
        }
        Ok(window)
    }
}

/// Each certificate below the root with its issuer. The manifest's own check verified them.
fn pairs(manifest: &CheckedRim) -> Result<Vec<(Certificate, Certificate)>, Reason> {
    let read = |der: &Vec<u8>| {
        Certificate::checked_before(der).map_err(|error| Reason::Certificate { part: Part::RimSigner, error })
    };
    let chain = manifest.chain.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(chain.iter().cloned().zip(chain.iter().skip(1).cloned()).collect())
}

/// Whether everything that was asked about has an answer, and until when.
#[derive(Default)]
struct Covered {
    window: Option<Window>,
    missing: bool,
}

impl Covered {
    fn add(&mut self, answered: Option<Window>) {
        match (answered, self.window) {
            (None, _) => self.missing = true,
            (Some(found), None) => self.window = Some(found),
            (Some(found), Some(window)) => self.window = Some(window.and(found)),
        }
    }

    fn passed(&self) -> Result<Window, Stop> {
        self.window.filter(|_| !self.missing).ok_or(Stop::Skip(Reason::RevocationNotChecked))
    }
}
