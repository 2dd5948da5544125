//! Which of the manifests that were given speaks of a device's firmware.

use super::{
    fault::GpuFault,
    rim::{CheckedRim, RimKind},
};
use crate::{
    appraisal::Appraisal,
    check::{Outcome, Stop},
    reason::Reason,
    window::Part,
};
use alloc::string::ToString as _;
use glacier_wire::{PlatformKind, UnixTime};

/// What a manifest has to be.
pub(crate) struct Wanted<'a> {
    pub(crate) kind: RimKind,
    pub(crate) version: &'a str,
    /// Chip, as its certificates spell it.
    pub(crate) chip: &'a str,
    pub(crate) platform: PlatformKind,
    pub(crate) at: UnixTime,
}

impl Wanted<'_> {
    /// The first manifest that fits. Without one the nearest reason: what is wrong with one of this
    /// version; why one was refused, since it could have been it; then that one is another.
    pub(crate) fn among<'a>(&self, given: &'a [Appraisal<CheckedRim>]) -> Result<&'a CheckedRim, Stop> {
        let checked = || given.iter().filter_map(Appraisal::value);
        let mut unfit = None;
        for manifest in checked().filter(|manifest| self.is_named_by(manifest)) {
            match self.fits(manifest) {
                Ok(()) => return Ok(manifest),
                Err(reason) => unfit = unfit.or(Some(reason)),
            }
        }
        if let Some(reason) = unfit.or_else(|| given.iter().find_map(refusal)) {
            return Err(Stop::Fail(reason));
        }
        if checked().any(|manifest| manifest.kind == self.kind) {
            return Err(Stop::Fail(Reason::Gpu(GpuFault::ManifestVersion)));
        }
        if checked().any(|manifest| !self.beside(manifest.kind)) {
            return Err(Stop::Fail(Reason::Gpu(GpuFault::ManifestKind)));
        }
        Err(Stop::Skip(Reason::NoRim { part: self.part(), version: self.version.to_string() }))
    }

    pub(crate) fn part(&self) -> Part {
        match self.kind {
            RimKind::Driver => Part::DriverRim,
            RimKind::Vbios | RimKind::Switch => Part::VbiosRim,
        }
    }

    fn is_named_by(&self, manifest: &CheckedRim) -> bool {
        // Tools write the digits of a VBIOS version in either case.
        let same = match self.kind {
            RimKind::Driver => manifest.version == self.version,
            RimKind::Vbios | RimKind::Switch => manifest.version.eq_ignore_ascii_case(self.version),
        };
        manifest.kind == self.kind && same
    }

    fn fits(&self, manifest: &CheckedRim) -> Result<(), Reason> {
        if manifest.platform != self.platform {
            return Err(Reason::Gpu(GpuFault::ManifestPlatform));
        }
        // Certificates write LS_10 for what manifests call LS10.
        if !manifest.product.chars().eq(self.chip.chars().filter(|c| *c != '_')) {
            return Err(Reason::Gpu(GpuFault::ManifestChip));
        }
        if manifest.golden.is_empty() {
            return Err(Reason::Gpu(GpuFault::ManifestEmpty));
        }
        manifest.window.check(self.part(), self.at)
    }

    /// Whether a manifest of this kind has its own place beside the wanted one.
    fn beside(&self, kind: RimKind) -> bool {
        (kind == RimKind::Switch) == (self.kind == RimKind::Switch)
    }
}

/// Why a manifest was refused; `None` if it was not.
fn refusal(manifest: &Appraisal<CheckedRim>) -> Option<Reason> {
    if manifest.value().is_some() {
        return None;
    }
    let failed = manifest.checks().iter().find(|check| check.outcome == Outcome::Fail);
    Some(failed.map_or(Reason::NotEvaluated, |check| check.reason.clone()))
}
