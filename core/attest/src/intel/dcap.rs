//! The story of an Intel DCAP quote, from vendor root to verdict.
//!
//! Who signs what: the root signs the PCK CA, the signer of the TCB info and QE identity, and its
//! own revocation list. The PCK CA signs the chip's PCK certificate and the list of those revoked.
//! The chip's PCK key signs the report of Intel's quoting enclave, that report vouches for the
//! attestation key, and the attestation key signs the quote.

use super::{
    collateral::{CheckedCollateral, Root, not_revoked, pck_ca, refused},
    endorsement::Level,
    pck::Chip,
    quote::{Certification, Quote},
    tcb::TcbStatus,
};
use crate::{
    anchors::Anchors,
    appraisal::Appraisal,
    check::{Check, CheckId, Steps, Stop, needs},
    exposure::Exposure,
    format::Format,
    genuine::{Facts, Genuine, IntelTcb, Tcb},
    reason::Reason,
    registers::{Registers, SgxRegisters},
    window::{Part, Window},
    x509::{Certificate, CertificateError, PublicKey, pem},
};
use alloc::{string::String, vec::Vec};
use der::asn1::ObjectIdentifier;
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
    let Some(_) = steps.step_because(CheckId::Format, format(evidence)) else {
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
    let model = steps.step(CheckId::PlatformModel, platform_model(&pck, ground));
    let level = steps.step_because(CheckId::TcbLevel, tcb_level(&pck, model, qe_level, ground));
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
    chip: Chip,
    platform: PlatformKind,
}

/// Leaf, PCK CA, root: the chain inside the quote. Under checked collateral the upper two have to
/// be the very certificates that were checked there, so only the leaf's signature is left.
fn pck_chain(quote: &Option<Quote<'_>>, ground: Ground<'_>, at: UnixTime) -> Result<(Pck, Reason), Stop> {
    let quote = needs(CheckId::Structure, quote.as_ref())?;
    let text = match quote.certification {
        Certification::Chain(text) => text,
        Certification::Other(kind) => return Err(Stop::Skip(Reason::UnsupportedCertification(kind))),
    };
    let [leaf, issuer, root] = pem::certificates(text).map_err(refused(Part::Pck))?;
    let (certificate, platform, anchored) = match ground {
        Ground::Collateral(collateral) => {
            if root != collateral.root.der || issuer != collateral.pck.der {
                return Err(Reason::OtherIssuer.into());
            }
            let Root { fingerprint: root, platform, .. } = collateral.root;
            let issuer = &collateral.pck.certificate;
            (
                Certificate::leaf(&leaf, issuer).map_err(refused(Part::Pck))?,
                platform,
                Reason::Anchored { root, platform },
            )
        }
        Ground::Roots(anchors) => {
            let (root, anchored) = Root::trusted(root, anchors)?;
            let issuer = pck_ca(&issuer, &root.certificate)?;
            root.certificate.window.check(Part::Root, at)?;
            issuer.window.check(Part::PckCa, at)?;
            (Certificate::leaf(&leaf, &issuer).map_err(refused(Part::Pck))?, root.platform, anchored)
        }
    };
    certificate.window.check(Part::Pck, at)?;
    let chip = certificate.extension(SGX_EXTENSION).ok_or(CertificateError::SgxExtension);
    let chip = chip.and_then(Chip::read).map_err(refused(Part::Pck))?;
    Ok((Pck { certificate, chip, platform }, anchored))
}

/// Of a PCK certificate: which chip, of which model.
const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

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

fn platform_model(pck: &Option<Pck>, ground: Ground<'_>) -> Result<(), Stop> {
    let tcb_info = &ground.collateral()?.tcb_info;
    let chip = &needs(CheckId::PckChain, pck.as_ref())?.chip;
    if chip.fmspc != tcb_info.fmspc {
        return Err(Reason::OtherModel.into());
    }
    if chip.pce_id != tcb_info.pce_id {
        return Err(Reason::OtherProvisioning.into());
    }
    Ok(())
}

fn tcb_level<'a>(
    pck: &Option<Pck>,
    model: Option<()>,
    qe_level: Option<&Level>,
    ground: Ground<'a>,
) -> Result<(&'a Level, Reason), Stop> {
    let collateral = ground.collateral()?;
    let pck = needs(CheckId::PckChain, pck.as_ref())?;
    needs(CheckId::PlatformModel, model)?;
    let level = collateral.tcb_info.level(&pck.chip).ok_or(Reason::NoLevel)?;
    if level.status == TcbStatus::Revoked {
        return Err(Reason::LevelRevoked(Part::Pck).into());
    }
    let qe_level = needs(CheckId::QuotingEnclave, qe_level)?;
    if qe_level.status == TcbStatus::Revoked {
        return Err(Reason::LevelRevoked(Part::QeReport).into());
    }
    Ok((level, Reason::Level(level.status.folded_with(qe_level.status))))
}

fn facts(quote: &Quote<'_>, pck: &Pck, level: &Level, qe_level: &Level, collateral: &CheckedCollateral) -> Facts {
    let mut advisories: Vec<String> = level.advisories.iter().chain(&qe_level.advisories).cloned().collect();
    advisories.sort_unstable();
    advisories.dedup();
    let Window { from, until } = collateral.window().and(pck.certificate.window);
    let report = &quote.report;
    Facts {
        platform: pck.platform,
        anchor: collateral.root.fingerprint,
        registers: Registers::Sgx(SgxRegisters {
            mrenclave: report.measurement,
            mrsigner: report.signer,
            product_id: report.product_id,
            svn: report.svn,
        }),
        exposures: report.debug().then_some(Exposure::Debug).into_iter().collect(),
        report_data: report.report_data,
        hardware_id: Some(pck.chip.ppid.to_vec()),
        tcb: Tcb::Intel(IntelTcb {
            platform_status: level.status,
            qe_status: qe_level.status,
            status: level.status.folded_with(qe_level.status),
            advisories,
            date: level.date,
            evaluation: collateral.tcb_info.evaluation.min(collateral.qe_identity.evaluation),
            collateral_issued: collateral.issued(),
        }),
        gpus: Vec::new(),
        valid_from: from,
        valid_until: until,
    }
}
