//! The story of an Intel DCAP quote, from vendor root to verdict.
//!
//! Who signs what: the root signs the PCK CA, the signer of the TCB info and QE identity, and its
//! own revocation list. The PCK CA signs the chip's PCK certificate and the list of those revoked.
//! The chip's PCK key signs the report of Intel's quoting enclave, that report vouches for the
//! attestation key, and the attestation key signs the quote: for SGX of an enclave, for TDX of a
//! domain, whose module the TCB info names beside the levels of the chip.

use super::{
    collateral::{CheckedCollateral, PckIssuer, Root, not_revoked, pck_ca, refused},
    endorsement::Tee,
    level::Level,
    pck::Chip,
    quote::{Body, Certification, Quote},
    tcb::TcbStatus,
};
use crate::{
    anchors::Anchors,
    appraisal::Appraisal,
    check::{Check, CheckId, Steps, Stop, needs},
    format::Format,
    genuine::{Facts, Genuine, IntelTcb, Tcb},
    reason::Reason,
    window::{Part, Window},
    x509::{Certificate, PublicKey, pem},
};
use alloc::vec::Vec;
use glacier_wire::{PlatformKind, UnixTime};
use sha2::{Digest as _, Sha256};

/// Whether a quote is authentic at the time `at`, for the price of three P-256 verifications. Without
/// collateral what can be checked is checked, and the best verdict is *undetermined*.
pub(crate) fn appraise(
    evidence: &[u8],
    collateral: Option<&Appraisal<CheckedCollateral>>,
    anchors: &Anchors,
    at: UnixTime,
) -> Appraisal<Genuine> {
    let roots = Ground::Roots(anchors);
    match collateral.map(|appraisal| (appraisal, appraisal.value())) {
        None => {
            let checks = || CheckId::of_collateral().map(|id| Steps::skipped(id, Reason::NoCollateral)).collect();
            appraise_on(evidence, roots, checks, at)
        }
        Some((_, Some(checked))) => appraise_on(evidence, Ground::Collateral(checked), || checked.checks_at(at), at),
        Some((refused, None)) => appraise_on(evidence, roots, || refused.checks().to_vec(), at),
    }
}

/// What an appraisal stands on.
#[derive(Clone, Copy)]
enum Ground<'a> {
    /// Collateral whose signatures hold.
    Collateral(&'a CheckedCollateral),
    /// Roots alone: collateral is missing or was refused.
    Roots(&'a Anchors),
}

impl<'a> Ground<'a> {
    fn collateral(self) -> Result<&'a CheckedCollateral, Stop> {
        match self {
            Self::Collateral(collateral) => Ok(collateral),
            Self::Roots(_) => Err(Stop::Skip(Reason::Needs(CheckId::CollateralCurrent))),
        }
    }
}

fn appraise_on(
    evidence: &[u8],
    ground: Ground<'_>,
    collateral_checks: impl FnOnce() -> Vec<Check>,
    at: UnixTime,
) -> Appraisal<Genuine> {
    let mut steps = Steps::default();
    let Some(format) = steps.step_because(CheckId::Format, format(evidence)) else {
        return Appraisal::new(steps.checks, None);
    };
    let quote = steps.step(CheckId::Structure, Quote::read(evidence).map_err(|error| Reason::Quote(error).into()));
    steps.checks.extend(collateral_checks());
    let pck = steps.step_because(CheckId::PckChain, pck_chain(&quote, ground, at));
    steps.step(CheckId::PckRevocation, pck_revocation(&pck, ground));
    let qe_report = steps.step(CheckId::QeReport, qe_report(&quote, &pck));
    steps.step(CheckId::AttestationKey, attestation_key(&quote));
    let qe_level = steps.step_because(CheckId::QuotingEnclave, quoting_enclave(&quote, qe_report, ground));
    steps.step(CheckId::QuoteSignature, quote_signature(&quote));
    let model = steps.step(CheckId::PlatformModel, platform_model(&quote, &pck, ground));
    let module = if CheckId::of_evidence(format).contains(&CheckId::TdModule) {
        steps.step_because(CheckId::TdModule, td_module(&quote, model, ground))
    } else {
        // An enclave has none.
        Some(())
    };
    let level = steps.step_because(CheckId::TcbLevel, tcb_level(&quote, &pck, model.and(module), qe_level, ground));
    let facts = (|| Some(facts(&quote?, &pck?, level?, qe_level?, ground.collateral().ok()?)))();
    let checks = steps.checks;
    Appraisal::new(checks.clone(), facts.map(|facts| Genuine { checks, facts }))
}

fn format(evidence: &[u8]) -> Result<(Format, Reason), Stop> {
    let format = Format::detect(evidence).ok_or(Reason::Unrecognised)?;
    Ok((format, Reason::Recognised(format)))
}

/// The chip's certificate, verified.
struct Pck {
    certificate: Certificate,
    /// Of the certificate and of the CA beside it in the quote.
    window: Window,
    chip: Chip,
    platform: PlatformKind,
}

/// Leaf, PCK CA, root: the chain inside the quote. Under checked collateral the upper two are as a
/// rule the very certificates that were checked there, and only the leaf's signature is left.
fn pck_chain(quote: &Option<Quote<'_>>, ground: Ground<'_>, at: UnixTime) -> Result<(Pck, Reason), Stop> {
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    let text = match quote.certification {
        Certification::Chain(text) => text,
        Certification::Other(kind) => return Err(Stop::Skip(Reason::UnsupportedCertification(kind))),
    };
    let [leaf, issuer, root] = pem::certificates(text).map_err(refused(Part::Pck))?;
    let tee = quote.body.tee();
    let (certificate, issuer, root, platform) = match ground {
        Ground::Collateral(collateral) => {
            if root != collateral.root.der {
                return Err(Reason::OtherIssuer.into());
            }
            let known = &collateral.pck;
            let window =
                if issuer == known.der { known.certificate.window } else { reissued(&issuer, collateral, at)? };
            let certificate = Certificate::leaf(&leaf, &known.certificate).map_err(refused(Part::Pck))?;
            (certificate, window, collateral.root.fingerprint, collateral.root.platform(tee))
        }
        Ground::Roots(anchors) => {
            let (root, _) = Root::trusted(root, anchors)?;
            let issuer = pck_ca(&issuer, &root.certificate)?;
            root.certificate.window.check(Part::Root, at)?;
            issuer.window.check(Part::PckCa, at)?;
            let certificate = Certificate::leaf(&leaf, &issuer).map_err(refused(Part::Pck))?;
            (certificate, issuer.window, root.fingerprint, root.platform(tee))
        }
    };
    certificate.window.check(Part::Pck, at)?;
    let chip = Chip::of(&certificate).map_err(refused(Part::Pck))?;
    let window = certificate.window.and(issuer);
    Ok((Pck { certificate, window, chip, platform }, Reason::Anchored { root, platform }))
}

/// Another certificate of the PCK CA than the collateral's: good if the root issued and did not
/// revoke it, and if it has the same name and key, so that the collateral's revocation list is its own.
fn reissued(der: &[u8], collateral: &CheckedCollateral, at: UnixTime) -> Result<Window, Stop> {
    let PckIssuer { certificate: known, .. } = &collateral.pck;
    let issuer = pck_ca(der, &collateral.root.certificate)?;
    if issuer.subject != known.subject || issuer.key != known.key {
        return Err(Reason::OtherIssuer.into());
    }
    not_revoked(Part::PckCa, &issuer, &collateral.root_crl)?;
    issuer.window.check(Part::PckCa, at)?;
    Ok(issuer.window)
}

fn pck_revocation(pck: &Option<Pck>, ground: Ground<'_>) -> Result<(), Stop> {
    let collateral = ground.collateral()?;
    let pck = needs(CheckId::PckChain, pck.as_ref())?;
    Ok(not_revoked(Part::Pck, &pck.certificate, &collateral.pck.crl)?)
}

fn qe_report(quote: &Option<Quote<'_>>, pck: &Option<Pck>) -> Result<(), Stop> {
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    let pck = needs(CheckId::PckChain, pck.as_ref())?;
    if !pck.certificate.key.verifies(quote.qe_report_bytes, quote.qe_report_signature) {
        return Err(Reason::BadSignature(Part::QeReport).into());
    }
    Ok(())
}

/// The quoting enclave's report data is SHA-256(attestation key ‖ authentication data) ‖ 32 zero bytes.
fn attestation_key(quote: &Option<Quote<'_>>) -> Result<(), Stop> {
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    let digest = Sha256::new().chain_update(quote.attestation_key).chain_update(quote.authentication_data).finalize();
    let expected = digest.into_iter().chain([0; 32]);
    if !expected.eq(quote.qe_report.report_data) {
        return Err(Reason::OtherAttestationKey.into());
    }
    Ok(())
}

fn quoting_enclave<'a>(
    quote: &Option<Quote<'_>>,
    signed: Option<()>,
    ground: Ground<'a>,
) -> Result<(&'a Level, Reason), Stop> {
    let collateral = ground.collateral()?;
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    needs(CheckId::QeReport, signed)?;
    if collateral.qe_identity.tee != quote.body.tee() {
        return Err(Stop::Skip(Reason::Needs(CheckId::PlatformModel)));
    }
    let level = collateral.qe_identity.level(&quote.qe_report).map_err(Reason::QuotingEnclave)?;
    Ok((level, Reason::Level(level.status)))
}

fn quote_signature(quote: &Option<Quote<'_>>) -> Result<(), Stop> {
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    if !PublicKey::p256_from_coordinates(quote.attestation_key).verifies(quote.signed, quote.signature) {
        return Err(Reason::BadSignature(Part::Quote).into());
    }
    Ok(())
}

fn platform_model(quote: &Option<Quote<'_>>, pck: &Option<Pck>, ground: Ground<'_>) -> Result<(), Stop> {
    let tcb_info = &ground.collateral()?.tcb_info;
    if needs(CheckId::Structure, quote.as_ref())?.body.tee() != tcb_info.tee() {
        return Err(Reason::OtherTee.into());
    }
    let chip = &needs(CheckId::PckChain, pck.as_ref())?.chip;
    if chip.fmspc != tcb_info.fmspc {
        return Err(Reason::OtherModel.into());
    }
    if chip.pce_id != tcb_info.pce_id {
        return Err(Reason::OtherProvisioning.into());
    }
    Ok(())
}

/// The module that launched the domain has to be Intel's; that one and the one that runs now have to
/// be at levels that are not withdrawn.
fn td_module(quote: &Option<Quote<'_>>, model: Option<()>, ground: Ground<'_>) -> Result<((), Reason), Stop> {
    let collateral = ground.collateral()?;
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    needs(CheckId::PlatformModel, model)?;
    let (report, modules) = match (&quote.body, &collateral.tcb_info.modules) {
        (Body::Domain(report), Some(modules)) => (report, modules),
        // An enclave in a quote of version 4 or 5.
        _ => return Ok(((), Reason::NoModule)),
    };
    modules.vouch_for(report).map_err(Reason::TdModule)?;
    let launch = modules.level(&report.registers.tee_tcb_svn).map_err(Reason::TdModule)?;
    let current = report.current_tcb_svn.as_ref().map(|svn| modules.level(svn)).transpose();
    let current = current.map_err(Reason::TdModule)?.flatten();
    if [launch, current].into_iter().flatten().any(|level| level.status == TcbStatus::Revoked) {
        return Err(Reason::LevelRevoked(Part::TdModule).into());
    }
    Ok(((), launch.map_or(Reason::Holds, |level| Reason::Level(level.status))))
}

/// Platform and TDX module folded, and with them the quoting enclave.
struct Standing {
    platform: Level,
    status: TcbStatus,
}

fn tcb_level(
    quote: &Option<Quote<'_>>,
    pck: &Option<Pck>,
    before: Option<()>,
    qe_level: Option<&Level>,
    ground: Ground<'_>,
) -> Result<(Standing, Reason), Stop> {
    let collateral = ground.collateral()?;
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    let pck = needs(CheckId::PckChain, pck.as_ref())?;
    needs(if quote.body.tee() == Tee::Tdx { CheckId::TdModule } else { CheckId::PlatformModel }, before)?;
    let (launch, current) = match &quote.body {
        Body::Enclave(_) => (platform_level(pck, None, collateral)?, None),
        Body::Domain(report) => {
            let launch = platform_level(pck, Some(&report.registers.tee_tcb_svn), collateral)?;
            let current = report.current_tcb_svn.as_ref();
            (launch, current.map(|svn| platform_level(pck, Some(svn), collateral)).transpose()?)
        }
    };
    let qe_level = needs(CheckId::QuotingEnclave, qe_level)?;
    if qe_level.status == TcbStatus::Revoked {
        return Err(Reason::LevelRevoked(Part::QeReport).into());
    }
    let status = launch.status.folded_with(qe_level.status);
    let status = match current {
        Some(current) => status.relaunched_at(current.status.folded_with(qe_level.status)),
        None => status,
    };
    Ok((Standing { platform: launch, status }, Reason::Level(status)))
}

/// Level of the chip, and for a domain of what its TEE_TCB_SVN says, with the module's.
fn platform_level(pck: &Pck, svn: Option<&[u8; 16]>, collateral: &CheckedCollateral) -> Result<Level, Reason> {
    let tcb_info = &collateral.tcb_info;
    let level = tcb_info.level(&pck.chip, svn).ok_or(Reason::NoLevel)?;
    if level.status == TcbStatus::Revoked {
        return Err(Reason::LevelRevoked(Part::Pck));
    }
    let module = match (&tcb_info.modules, svn) {
        (Some(modules), Some(svn)) => modules.level(svn).map_err(Reason::TdModule)?,
        _ => None,
    };
    Ok(module.map_or_else(|| level.clone(), |module| level.folded_with(module)))
}

fn facts(quote: &Quote<'_>, pck: &Pck, standing: Standing, qe_level: &Level, collateral: &CheckedCollateral) -> Facts {
    let Standing { platform, status } = standing;
    let mut advisories = platform.advisories;
    advisories.extend(qe_level.advisories.iter().cloned());
    advisories.sort_unstable();
    advisories.dedup();
    let Window { from, until } = collateral.window().and(pck.window);
    let (registers, exposures, report_data) = quote.body.said();
    Facts {
        platform: pck.platform,
        anchor: collateral.root.fingerprint,
        registers,
        exposures,
        report_data,
        hardware_id: Some(pck.chip.ppid.to_vec()),
        tcb: Tcb::Intel(IntelTcb {
            platform_status: platform.status,
            qe_status: qe_level.status,
            status,
            advisories,
            date: platform.date,
            evaluation: collateral.tcb_info.evaluation.min(collateral.qe_identity.evaluation),
            collateral_issued: collateral.issued(),
        }),
        gpus: Vec::new(),
        valid_from: from,
        valid_until: until,
    }
}
