//! The story of an SEV-SNP report, from AMD's root to verdict.
//!
//! Who signs what: the root (ARK) signs the product's authorities and the list of those revoked. One
//! authority (ASK) certifies the chip's key at one firmware (VCEK), the other (ASVK) a cloud
//! provider's key (VLEK). That key signs the report.

use super::{
    chain::{CheckedVek, Vek},
    fault::SnpFault,
    product::KeyKind,
    report::Report,
    tcb::AmdTcb,
    vek::Chip,
};
use crate::{
    appraisal::Appraisal,
    check::{CheckId, Steps, Stop, needs},
    endorsements::CheckedEndorsements,
    format::Format,
    genuine::{Facts, Genuine, Tcb},
    reason::Reason,
    registers::Registers,
    window::{Part, Window},
};
use alloc::{boxed::Box, vec::Vec};
use glacier_wire::UnixTime;

/// Whether a report is authentic at the time `at`, for the price of one P-384 verification. Without
/// the certificate of its key only its structure is checked, and the best verdict is *undetermined*.
pub(crate) fn appraise(evidence: &[u8], given: &CheckedEndorsements, at: UnixTime) -> Appraisal<Genuine> {
    let mut steps = Steps::default();
    let Some(_) = steps.step_because(CheckId::Format, format(evidence)) else {
        return Appraisal::new(steps.checks, None);
    };
    let report = steps.step(CheckId::Structure, Report::read(evidence).map_err(|fault| Reason::Snp(fault).into()));
    let Some(found) = given.amd.as_ref() else {
        let rest = CheckId::of_evidence(Format::SnpReport).iter().filter(|id| **id > CheckId::Structure);
        steps.checks.extend(rest.map(|id| Steps::skipped(*id, Reason::NoChain(Format::SnpReport))));
        return Appraisal::new(steps.checks, None);
    };
    let chain = steps.step_because(CheckId::TrustAnchor, trust_anchor(found, at));
    let vek = steps.step_because(CheckId::VekChain, vek_chain(chain, at));
    steps.step_because(CheckId::VekRevocation, vek_revocation(vek, at));
    let chip = steps.step(CheckId::VekBinding, vek_binding(&report, vek));
    let signed = steps.step(CheckId::ReportSignature, report_signature(&report, vek));
    let facts = (|| signed.and(Some(facts(report?, chain?, vek?, chip?))))();
    let checks = steps.checks;
    Appraisal::new(checks.clone(), facts.map(|facts| Genuine { checks, facts }))
}

fn format(evidence: &[u8]) -> Result<(Format, Reason), Stop> {
    let format = Format::detect(evidence).ok_or(Reason::Unrecognised)?;
    Ok((format, Reason::Recognised(format)))
}

fn trust_anchor(found: &Result<CheckedVek, Reason>, at: UnixTime) -> Result<(&CheckedVek, Reason), Stop> {
    let chain = found.as_ref().map_err(Clone::clone)?;
    let root = &chain.root;
    root.certificate.window.check(Part::Root, at)?;
    Ok((chain, Reason::Anchored { root: root.fingerprint, platform: root.platform }))
}

fn vek_chain(chain: Option<&CheckedVek>, at: UnixTime) -> Result<(&Vek, Reason), Stop> {
    let vek = needs(CheckId::TrustAnchor, chain)?.vek.as_ref().map_err(Clone::clone)?;
    vek.authority.window.check(Part::AmdAuthority, at)?;
    vek.certificate.window.check(Part::Vek, at)?;
    let Window { until, .. } = vek.authority.window.and(vek.certificate.window);
    Ok((vek, Reason::CurrentUntil(until)))
}

fn vek_revocation(vek: Option<&Vek>, at: UnixTime) -> Result<((), Reason), Stop> {
    let lists = needs(CheckId::VekChain, vek)?.lists.as_ref().map_err(Clone::clone)?;
    let window = lists.ok_or(Stop::Skip(Reason::RevocationNotChecked))?;
    window.check(Part::AmdCrl, at)?;
    Ok(((), Reason::CurrentUntil(window.until)))
}

/// The chip id of the report, if it names a chip. A host may mask it: then it is zero, and the
/// report names none.
fn vek_binding(report: &Option<Report<'_>>, vek: Option<&Vek>) -> Result<Option<[u8; 64]>, Stop> {
    let report = needs(CheckId::Structure, report.as_ref())?;
    let vek = needs(CheckId::VekChain, vek)?;
    Ok(bound_chip(report, vek).map_err(Reason::Snp)?)
}

fn bound_chip(report: &Report<'_>, vek: &Vek) -> Result<Option<[u8; 64]>, SnpFault> {
    if report.signer != vek.kind {
        return Err(SnpFault::OtherKey);
    }
    let chip = Chip::read(&vek.certificate, vek.product, vek.kind)?;
    if let Some(processor) = report.processor.filter(|processor| !vek.product.includes(*processor)) {
        return Err(SnpFault::OtherProcessor { family: processor.family, model: processor.model });
    }
    if vek.product.tcb(report.tcb.reported) != chip.tcb {
        return Err(SnpFault::OtherTcb);
    }
    let named = Some(*report.chip_id).filter(|id| *id != [0; 64]);
    match (vek.kind, named) {
        (_, None) => Ok(None),
        (KeyKind::Chip, named) if named == chip.id => Ok(named),
        _ => Err(SnpFault::OtherChip),
    }
}

fn report_signature(report: &Option<Report<'_>>, vek: Option<&Vek>) -> Result<(), Stop> {
    let report = needs(CheckId::Structure, report.as_ref())?;
    let vek = needs(CheckId::VekChain, vek)?;
    if !vek.certificate.key.verifies_p384(report.signed, &report.signature) {
        return Err(Reason::BadSignature(Part::SnpReport).into());
    }
    Ok(())
}

fn facts(report: Report<'_>, chain: &CheckedVek, vek: &Vek, chip: Option<[u8; 64]>) -> Facts {
    let certificates = chain.root.certificate.window.and(vek.authority.window).and(vek.certificate.window);
    let Window { from, until } = match vek.lists {
        Ok(Some(lists)) => certificates.and(lists),
        _ => certificates,
    };
    let tcb = |version| vek.product.tcb(version);
    Facts {
        platform: chain.root.platform,
        anchor: chain.root.fingerprint,
        exposures: report.exposures(),
        report_data: report.report_data,
        hardware_id: chip.map(Vec::from),
        tcb: Tcb::Amd(AmdTcb {
            reported: tcb(report.tcb.reported),
            current: tcb(report.tcb.current),
            committed: tcb(report.tcb.committed),
            launch: tcb(report.tcb.launch),
        }),
        registers: Registers::Snp(Box::new(report.registers)),
        gpus: Vec::new(),
        valid_from: from,
        valid_until: until,
    }
}
