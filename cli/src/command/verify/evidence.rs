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
use glacier::judgement::{EvidenceJudgement, Question, Subject, judge_evidence};
use glacier_attest::{Fingerprint, Verdict};
use glacier_wire::PlatformKind;
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

/// The largest evidence file that is read; quotes have some 5 kB.
const MAX_EVIDENCE: u64 = 2 << 20;

pub(crate) fn run(args: Args, output: Output) -> Outcome {
    let answer = answer(&args)?;
    output.report(&answer)?;
    Ok(exit(answer.verdict))
}

fn answer(args: &Args) -> Result<Answer, Failure> {
    let subject = Subject::read(files::read(&args.evidence, MAX_EVIDENCE)?);
    let endorsements = args.given.read()?;
    let gpu_chain = endorsements.gpu_chain.clone();
    let trust_root = args.trust_root.as_deref().map(given::root).transpose()?;
    let policy = args.policy.as_deref().map(files::policy).transpose()?;
    let expected = match (&args.expect_report_data, &args.nonce) {
        (Some(text), _) => Some(given::report_data(&subject, text, "--expect-report-data")?),
        (None, Some(_)) if !subject.is_device() => return Err(given::no_nonce()),
        (None, Some(text)) => Some(given::report_data(&subject, text, "--nonce")?),
        (None, None) => None,
    };
    let question = Question { at: args.at.0, endorsements, trust_root, policy: policy.as_ref(), expected };
    let judged = judge_evidence(&subject, question)
        .map_err(|error| Failure::not_a("evidence", &args.evidence, error, "ask the node for its evidence again"))?;
    let EvidenceJudgement { verdict, checks, genuine } = judged;
    let shown = match &genuine {
        Some(genuine) => Shown::believed(genuine),
        None => Shown::unbelieved(subject.signed(), gpu_chain.as_deref()),
    };
    Ok(Answer { verdict, at: rfc3339(args.at.0), trust_root, checks: checks::lines(&checks), shown })
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
