//! `glacier verify evidence`: offline, at a time that the caller names.

use super::exit;
use crate::{
    checks::{self, Line},
    error::{Failure, Outcome},
    files,
    output::{Output, Report, field},
    units::{Moment, rfc3339},
};
use glacier_attest::{
    Anchors, Appraisal, Binding, Collateral, Fingerprint, Format, Genuine, Outcome as Found, Policy, Signer, Verdict,
    appraise,
};
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Quote of the hardware, raw or as hex text
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The moment to judge at (RFC 3339); there is no default
    #[arg(long, value_name = "TIME")]
    at: Moment,
    /// Vendor-signed collateral for SGX: JSON with the members of QuoteCollateralV3
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// One more root to trust (PEM or DER), for tests and simulated platforms
    #[arg(long, value_name = "FILE")]
    trust_root: Option<PathBuf>,
    /// Policy to meet (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What the enclave must have put into the quote: all 64 bytes
    #[arg(long, value_name = "HEX")]
    expect_report_data: Option<String>,
}

/// Working values: every file read, every text parsed.
struct Question {
    evidence: Vec<u8>,
    at: Moment,
    collateral: Option<Collateral>,
    trust_root: Option<Fingerprint>,
    policy: Option<Policy>,
    expected: Option<ReportData>,
}

/// The largest evidence file that is read; quotes have some 5 kB.
const MAX_EVIDENCE: u64 = 1 << 20;
/// The largest root certificate file that is read.
const MAX_ROOT: u64 = 64 << 10;

pub(crate) fn run(args: Args, output: Output) -> Outcome {
    let answer = Question::resolve(args)?.answer();
    output.report(&answer)?;
    Ok(exit(answer.verdict))
}

impl Question {
    fn resolve(args: Args) -> Result<Self, Failure> {
        Ok(Self {
            evidence: unhex(files::read(&args.evidence, MAX_EVIDENCE)?),
            at: args.at,
            collateral: args.collateral.as_deref().map(read_collateral).transpose()?,
            trust_root: args.trust_root.as_deref().map(read_root).transpose()?,
            policy: args.policy.as_deref().map(files::policy).transpose()?,
            expected: args.expect_report_data.as_deref().map(parse_report_data).transpose()?,
        })
    }

    fn answer(self) -> Answer {
        let mut anchors = self.policy.as_ref().map_or_else(Anchors::vendor, Policy::anchors);
        if let Some(root) = self.trust_root {
            anchors = anchors.with_simulated(root);
        }
        let genuine = appraise(&self.evidence, self.collateral.as_ref(), &anchors, self.at.0);
        let facts = genuine.value().cloned();
        let (verdict, lines) = self.judge(genuine);
        Answer {
            verdict,
            platform: facts.as_ref().map(Genuine::platform).or_else(|| Format::detect(&self.evidence).map(kind)),
            at: rfc3339(self.at.0),
            trust_root: self.trust_root,
            checks: lines,
            tcb_status: facts.as_ref().map(|facts| facts.tcb_status().as_str()),
            advisories: facts.as_ref().map(|facts| facts.advisories().to_vec()),
            measurement: facts.as_ref().map(Genuine::measurement),
            signer: facts.as_ref().map(Genuine::signer),
            report_data: facts.as_ref().map(|facts| hex::encode(facts.report_data())),
            hardware_id: facts.as_ref().map(|facts| hex::encode(facts.hardware_id())),
            enclave_id: facts.as_ref().map(Genuine::enclave_id),
            debug: facts.as_ref().map(Genuine::debug),
            tcb_evaluation: facts.as_ref().map(Genuine::tcb_evaluation),
            root: facts.as_ref().map(Genuine::anchor),
        }
    }

    /// Adds what the caller expects of genuine evidence, if anything.
    fn judge(&self, genuine: Appraisal<Genuine>) -> (Verdict, Vec<Line>) {
        let (verdict, mut lines) = (genuine.verdict(), checks::lines(genuine.checks()));
        match (&self.policy, &self.expected, genuine.into_result()) {
            (Some(policy), expected, Ok(genuine)) => {
                let binding = expected.as_ref().map_or(Binding::Unbound, Binding::ReportData);
                let accepted = genuine.judge(policy, binding, self.at.0);
                (accepted.verdict(), checks::lines(accepted.checks()))
            }
            (None, Some(expected), Ok(genuine)) if genuine.report_data() != expected => {
                lines.push(report_data(Found::Fail, "report data differs from what is expected"));
                (Verdict::Rejected, lines)
            }
            (None, Some(_), Ok(_)) => {
                lines.push(report_data(Found::Pass, "holds"));
                (verdict, lines)
            }
            (None, Some(_), Err(_)) => {
                lines.push(report_data(Found::Skip, "not evaluated"));
                (verdict, lines)
            }
            (None, None, _) | (Some(_), _, Err(_)) => (verdict, lines),
        }
    }
}

fn report_data(outcome: Found, reason: &str) -> Line {
    Line { id: glacier_attest::CheckId::ReportData.as_str(), outcome, reason: reason.to_owned() }
}

/// What evidence claims to be, before anything is believed.
fn kind(format: Format) -> PlatformKind {
    match format {
        Format::TdxQuoteV4 | Format::TdxQuoteV5 => PlatformKind::Tdx,
        Format::SnpReport => PlatformKind::Snp,
        Format::NvidiaReport => PlatformKind::Nvidia,
        _ => PlatformKind::Sgx,
    }
}

/// Evidence copied from a log is hex text; nothing that a vendor signs is.
fn unhex(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&bytes) else { return bytes };
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits.strip_prefix("0x").unwrap_or(&digits)).unwrap_or(bytes)
}

fn read_collateral(path: &Path) -> Result<Collateral, Failure> {
    let bytes = files::read(path, Collateral::MAX_BYTES as u64)?;
    Collateral::parse(&bytes).map_err(|error| {
        Failure::not_a("collateral", path, error, "pass the JSON object that a PCCS client gives for this quote")
    })
}

fn read_root(path: &Path) -> Result<Fingerprint, Failure> {
    let bytes = files::read(path, MAX_ROOT)?;
    let der = match der::pem::decode_vec(&bytes) {
        Ok(("CERTIFICATE", der)) => der,
        _ => bytes,
    };
    // A certificate is a DER SEQUENCE; whether it is a good one shows when a chain ends in it.
    if der.first() != Some(&0x30) {
        return Err(Failure::not_a("a certificate", path, "neither PEM nor DER", "pass the root certificate itself"));
    }
    Ok(Fingerprint::of(&der))
}

fn parse_report_data(text: &str) -> Result<ReportData, Failure> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        Failure::trouble(
            "usage",
            "--expect-report-data is not 64 bytes of hexadecimal",
            "give all 128 digits; a 32-byte value is followed by 64 zeros in most quotes",
        )
    })
}

#[derive(Serialize)]
struct Answer {
    verdict: Verdict,
    platform: Option<PlatformKind>,
    at: String,
    trust_root: Option<Fingerprint>,
    checks: Vec<Line>,
    tcb_status: Option<&'static str>,
    advisories: Option<Vec<String>>,
    measurement: Option<Measurement>,
    signer: Option<Signer>,
    report_data: Option<String>,
    hardware_id: Option<String>,
    enclave_id: Option<EnclaveId>,
    debug: Option<bool>,
    tcb_evaluation: Option<u32>,
    root: Option<Fingerprint>,
}

impl Report for Answer {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "evidence at {}", self.at)?;
        checks::tree(page, &self.checks, None)?;
        let kind = match self.platform {
            Some(PlatformKind::Simulated) => " (SIMULATED: no hardware stands behind it)",
            _ => "",
        };
        writeln!(page, "verdict: {}{kind}", checks::verdict(self.verdict))?;
        if let Some(root) = &self.trust_root {
            field(page, "added root", root)?;
        }
        let Some(measurement) = &self.measurement else { return Ok(()) };
        field(page, "measurement", measurement)?;
        if let Some(signer) = &self.signer {
            field(page, "signer", signer)?;
        }
        if let Some(id) = &self.enclave_id {
            field(page, "enclave id", id)?;
        }
        if let Some(id) = &self.hardware_id {
            field(page, "hardware id", id)?;
        }
        if let Some(data) = &self.report_data {
            field(page, "report data", data)?;
        }
        if let Some(status) = self.tcb_status {
            field(page, "tcb status", status)?;
        }
        if let Some(advisories) = self.advisories.as_deref().filter(|list| !list.is_empty()) {
            field(page, "advisories", advisories.join(" "))?;
        }
        if self.debug == Some(true) {
            field(page, "debug", "yes: the host can read this enclave's memory")?;
        }
        Ok(())
    }
}
