//! `glacier verify rim`: is this reference manifest NVIDIA's, and current?

use super::{exit, given};
use crate::{
    checks::{self, Line},
    error::Outcome,
    output::{Output, Report, field},
    units::{Moment, rfc3339},
};
use glacier_attest::{Anchors, CheckedRim, Fingerprint, Rim, RimKind, Verdict};
use glacier_wire::PlatformKind;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest (XML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The moment to judge at (RFC 3339); there is no default
    #[arg(long, value_name = "TIME")]
    at: Moment,
    /// One more root to trust (PEM or DER), for tests
    #[arg(long, value_name = "FILE")]
    trust_root: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer {
    verdict: Verdict,
    at: String,
    trust_root: Option<Fingerprint>,
    checks: Vec<Line>,
    /// *simulated* under a root that is not NVIDIA's.
    platform: Option<PlatformKind>,
    kind: Option<RimKind>,
    version: Option<String>,
    /// How many measurements it names.
    measurements: Option<usize>,
    valid_from: Option<String>,
    valid_until: Option<String>,
}

pub(crate) fn run(args: &Args, output: Output) -> Outcome {
    let trust_root = args.trust_root.as_deref().map(given::root).transpose()?;
    let anchors = trust_root.into_iter().fold(Anchors::vendor(), Anchors::with_simulated);
    let appraisal = Rim::appraise(&given::rim(&args.file)?, &anchors, args.at.0);
    let rim = appraisal.value();
    let validity = rim.map(CheckedRim::validity);
    let answer = Answer {
        verdict: appraisal.verdict(),
        at: rfc3339(args.at.0),
        trust_root,
        checks: checks::lines(appraisal.checks()),
        platform: rim.map(CheckedRim::platform),
        kind: rim.map(CheckedRim::kind),
        version: rim.map(|rim| rim.version().to_owned()),
        measurements: rim.map(|rim| rim.golden().len()),
        valid_from: validity.map(|(from, _)| rfc3339(from)),
        valid_until: validity.map(|(_, until)| rfc3339(until)),
    };
    output.report(&answer)?;
    Ok(exit(answer.verdict))
}

impl Report for Answer {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "reference manifest at {}", self.at)?;
        checks::tree(page, &self.checks, None)?;
        let simulated = self.platform == Some(PlatformKind::Simulated);
        let kind = if simulated { " (SIMULATED: not under NVIDIA's root)" } else { "" };
        writeln!(page, "verdict: {}{kind}", checks::verdict(self.verdict))?;
        if let (Some(kind), Some(version)) = (self.kind, &self.version) {
            field(page, "of", format!("{kind:?} {version}"))?;
        }
        if let Some(measurements) = self.measurements {
            field(page, "measurements", measurements)?;
        }
        if let (Some(from), Some(until)) = (&self.valid_from, &self.valid_until) {
            field(page, "valid", format!("{from} to {until}"))?;
        }
        Ok(())
    }
}
