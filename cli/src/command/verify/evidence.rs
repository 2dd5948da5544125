//! `glacier verify evidence`: offline, at a time that the caller names.

use super::{
    exit,
    given::{self, Given},
    shown::Shown,
};
use crate::{
    checks::{self, Line},
    error::{Failure, Outcome},
    files,
    output::{Output, Report, field},
    units::{Moment, rfc3339},
};
use glacier_attest::{
    Anchors, Appraisal, Binding, Fingerprint, Format, Genuine, Outcome as Found, Policy, Verdict, appraise,
    appraise_enclave,
};
use glacier_wire::{Evidence, PlatformKind, ReportData, cbor};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the hardware signed: a quote or report, raw or as hex text; or all that an enclave shows
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The moment to judge at (RFC 3339); there is no default
    #[arg(long, value_name = "TIME")]
    at: Moment,
    #[command(flatten)]
    given: Given,
    /// One more root to trust (PEM or DER), for tests and simulated platforms
    #[arg(long, value_name = "FILE")]
    trust_root: Option<PathBuf>,
    /// Policy to meet (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What the enclave must have put into the quote: all 64 bytes
    #[arg(long, value_name = "HEX", conflicts_with = "nonce")]
    expect_report_data: Option<String>,
    /// NVIDIA: the nonce that the device must have answered, 32 bytes
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
}

/// Working values: every file read, every text parsed.
struct Question {
    evidence: Subject,
    at: Moment,
    endorsements: glacier_attest::Endorsements,
    trust_root: Option<Fingerprint>,
    policy: Option<Policy>,
    expected: Option<ReportData>,
}

/// What is judged.
enum Subject {
    /// What one piece of hardware signed.
    Raw(Vec<u8>),
    /// All that an enclave shows, devices included.
    Enclave(Box<Evidence>),
}

/// The largest evidence file that is read; quotes have some 5 kB.
const MAX_EVIDENCE: u64 = 2 << 20;

pub(crate) fn run(args: Args, output: Output) -> Outcome {
    let answer = Question::resolve(args)?.answer();
    output.report(&answer)?;
    Ok(exit(answer.verdict))
}

impl Question {
    fn resolve(args: Args) -> Result<Self, Failure> {
        let evidence = Subject::read(given::unhex(files::read(&args.evidence, MAX_EVIDENCE)?));
        let mut endorsements = args.given.read()?;
        if let Subject::Enclave(evidence) = &evidence {
            given::add(&mut endorsements, evidence).map_err(|error| {
                Failure::not_a("evidence", &args.evidence, error, "ask the node for its evidence again")
            })?;
        }
        let nvidia = matches!(&evidence, Subject::Raw(bytes) if Format::detect(bytes) == Some(Format::NvidiaReport));
        Ok(Self {
            evidence,
            at: args.at,
            endorsements,
            trust_root: args.trust_root.as_deref().map(given::root).transpose()?,
            policy: args.policy.as_deref().map(files::policy).transpose()?,
            expected: match (&args.expect_report_data, &args.nonce) {
                (Some(text), _) if nvidia => Some(given::nonce(text, "--expect-report-data")?),
                (Some(text), _) => Some(given::report_data(text)?),
                (None, Some(text)) if nvidia => Some(given::nonce(text, "--nonce")?),
                (None, Some(_)) => return Err(given::no_nonce()),
                (None, None) => None,
            },
        })
    }

    fn answer(self) -> Answer {
        let mut anchors = self.policy.as_ref().map_or_else(Anchors::vendor, Policy::anchors);
        if let Some(root) = self.trust_root {
            anchors = anchors.with_simulated(root);
        }
        let genuine = match &self.evidence {
            Subject::Raw(bytes) => appraise(bytes, &self.endorsements, &anchors, self.at.0),
            Subject::Enclave(evidence) => appraise_enclave(evidence, &self.endorsements, &anchors, self.at.0),
        };
        let shown = match genuine.value() {
            Some(genuine) => Shown::believed(genuine),
            None => Shown::unbelieved(self.evidence.signed(), self.endorsements.gpu_chain.as_deref()),
        };
        let (verdict, checks) = self.judge(genuine);
        Answer { verdict, at: rfc3339(self.at.0), trust_root: self.trust_root, checks, shown }
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
            // Not genuine, or not known to be: what it says cannot be what was asked for, but it can differ.
            (None, Some(expected), Err(_)) => {
                let shown = Shown::unbelieved(self.evidence.signed(), self.endorsements.gpu_chain.as_deref());
                if !shown.says(expected) {
                    lines.push(report_data(Found::Fail, "report data differs from what is expected"));
                    return (Verdict::Rejected, lines);
                }
                lines.push(report_data(Found::Skip, "not evaluated"));
                (verdict, lines)
            }
            (None, None, _) | (Some(_), _, Err(_)) => (verdict, lines),
        }
    }
}

impl Subject {
    fn read(bytes: Vec<u8>) -> Self {
        if Format::detect(&bytes).is_some() {
            return Self::Raw(bytes);
        }
        match cbor::decode(&bytes, Evidence::MAX_BYTES) {
            Ok(evidence) => Self::Enclave(Box::new(evidence)),
            Err(_) => Self::Raw(bytes),
        }
    }

    /// What the platform's own hardware signed.
    fn signed(&self) -> &[u8] {
        match self {
            Self::Raw(bytes) => bytes,
            Self::Enclave(evidence) => &evidence.quote,
        }
    }
}

fn report_data(outcome: Found, reason: &str) -> Line {
    Line { device: None, id: glacier_attest::CheckId::ReportData.as_str(), outcome, reason: reason.to_owned() }
}

#[derive(Serialize)]
struct Answer {
    verdict: Verdict,
    at: String,
    trust_root: Option<Fingerprint>,
    checks: Vec<Line>,
    #[serde(flatten)]
    shown: Shown,
}

impl Report for Answer {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "evidence at {}", self.at)?;
        checks::tree(page, &self.checks, None)?;
        let simulated = self.shown.platform == Some(PlatformKind::Simulated);
        let kind = if simulated { " (SIMULATED: no hardware stands behind it)" } else { "" };
        writeln!(page, "verdict: {}{kind}", checks::verdict(self.verdict))?;
        if let Some(root) = &self.trust_root {
            field(page, "added root", root)?;
        }
        self.shown.human(page)
    }
}
