//! `glacier verify node`: look at a node's enclave, say nothing.

use super::{exit, given::Given, shown::Shown};
use crate::{
    checks::{self, Line},
    context::{Context, now},
    door,
    error::{Failure, Outcome},
    explain, files,
    output::{BOLD, Report, field},
    progress,
};
use glacier::{Freshness, judgement::add_shown, node::Showing};
use glacier_attest::{
    Anchors, Appraisal, Binding, Endorsements, Fingerprint, Genuine, Reason, Verdict, appraise_enclave,
};
use glacier_wire::{Address, PlatformKind};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the node, such as http://127.0.0.1:8480
    #[arg(value_name = "URL")]
    node: String,
    /// Policy to meet (TOML)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Take the quote that the enclave has at hand, instead of one made for this question
    #[arg(long)]
    cached: bool,
    /// Vendor-signed documents that the node does not show, or shows older ones of
    #[command(flatten)]
    given: Given,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let policy = args.policy.as_deref().map(files::policy).transpose()?;
    let node = door::node(&args.node)?;
    let spinner = progress::spinner(cx.output, "attesting");
    let shown = node.look(if args.cached { Freshness::Cached } else { Freshness::Fresh }).await;
    spinner.finish_and_clear();
    let shown = shown.map_err(explain::connect)?;
    let mut endorsements = args.given.read()?;
    add_shown(&mut endorsements, &shown.evidence).map_err(|error| explain::connect(error.into()))?;

    let anchors = policy.as_ref().map_or_else(Anchors::vendor, glacier::Policy::anchors);
    let genuine = look(&shown, &endorsements, &anchors)?;
    // Under a root that nobody vouches for the evidence may still be sound: then this says what it shows.
    let facts = match (genuine.value(), unknown_root(&genuine)) {
        (Some(genuine), _) => Some(genuine.clone()),
        (None, Some(root)) => look(&shown, &endorsements, &anchors.with_simulated(root))?.value().cloned(),
        (None, None) => None,
    };
    let (mut verdict, mut lines) = (genuine.verdict(), checks::lines(genuine.checks()));
    if let (Some(policy), Ok(genuine)) = (&policy, genuine.into_result()) {
        let accepted = genuine.judge(policy, Binding::Claims(&shown.claims), now());
        (verdict, lines) = (accepted.verdict(), checks::lines(accepted.checks()));
    }
    let answer = Answer {
        verdict,
        node: node.url().to_owned(),
        judged_by: if policy.is_some() { "policy" } else { "genuine" },
        checks: lines,
        post_quantum: shown.post_quantum,
        enclave_key: shown.claims.enclave_key,
        shown: facts.as_ref().map(Facts::from),
    };
    cx.output.report(&answer)?;
    Ok(exit(verdict))
}

/// Whether it is genuine, and its quote commits to the keys of this session.
fn look(shown: &Showing, endorsements: &Endorsements, anchors: &Anchors) -> Result<Appraisal<Genuine>, Failure> {
    let genuine = appraise_enclave(&shown.evidence, endorsements, anchors, now());
    if genuine.value().is_some_and(|genuine| *genuine.report_data() != shown.claims.report_data()) {
        return Err(Failure::no(
            "evidence-rejected",
            "the quote does not commit to the keys of this session",
            "somebody shows another enclave's evidence as theirs: do not use this node",
        ));
    }
    Ok(genuine)
}

fn unknown_root<T>(appraisal: &Appraisal<T>) -> Option<Fingerprint> {
    appraisal.checks().iter().find_map(|check| match check.reason {
        Reason::UntrustedRoot(root) => Some(root),
        _ => None,
    })
}

#[derive(Serialize)]
struct Answer {
    verdict: Verdict,
    node: String,
    judged_by: &'static str,
    checks: Vec<Line>,
    post_quantum: bool,
    enclave_key: Address,
    shown: Option<Facts>,
}

/// What sound evidence says, whether or not its root is trusted, and the policy that pins it.
#[derive(Serialize)]
struct Facts {
    #[serde(flatten)]
    shown: Shown,
    policy: String,
}

impl From<&Genuine> for Facts {
    fn from(genuine: &Genuine) -> Self {
        Self { shown: Shown::believed(genuine), policy: pin(genuine) }
    }
}

/// The policy that accepts exactly this, and nothing that its platform is behind in.
fn pin(genuine: &Genuine) -> String {
    let (root, measurement) = (genuine.anchor(), genuine.measurement());
    match genuine.enclave_id() {
        Some(chip) if genuine.platform() == PlatformKind::Simulated => {
            glacier::policy::simulated_policy(&root, &measurement, &chip)
        }
        chip => {
            let chip = chip.map(|chip| format!("enclave_ids = [\"{chip}\"]\n")).unwrap_or_default();
            format!("platforms = [\"{}\"]\nmeasurements = [\"{measurement}\"]\n{chip}", genuine.platform())
        }
    }
}

impl Report for Answer {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}", self.node)?;
        checks::tree(page, &self.checks, None)?;
        writeln!(page, "verdict: {}", checks::verdict(self.verdict))?;
        let Some(facts) = &self.shown else { return Ok(()) };
        if facts.shown.platform == Some(PlatformKind::Simulated) {
            field(page, "platform", "SIMULATED: no hardware stands behind it")?;
        } else if let Some(platform) = facts.shown.platform {
            field(page, "platform", platform)?;
        }
        facts.shown.human(page)?;
        field(page, "enclave key", self.enclave_key)?;
        field(page, "channel", if self.post_quantum { "TLS 1.3, X25519MLKEM768" } else { "TLS 1.3" })?;
        if self.judged_by == "genuine" {
            writeln!(
                page,
                "\n{BOLD}A policy that accepts exactly this{BOLD:#}, once you know from elsewhere that it is right:\n"
            )?;
            write!(page, "{}", facts.policy)?;
        }
        Ok(())
    }
}
