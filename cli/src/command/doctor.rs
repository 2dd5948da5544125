//! `glacier node doctor`: what this machine lacks to run an enclave on confidential hardware.
//!
//! It reads the same files as the enclave does when it looks for its hardware (`glacier-devices`), and tells
//! people what to do about each. It proves nothing: the proof is evidence that a verifier accepted.

mod guest;
mod machine;
mod nvidia;
mod process;
mod sgx;

use crate::{
    error::{Exit, Failure, Outcome},
    output::{BAD, BOLD, DIM, GOOD, Output, Report, WARN, paint},
};
use glacier_devices::{Hardware, Provider, Root};
use machine::Machine;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Look at a copy of another machine's /dev, /proc, /sys and so on, below this folder. For support:
    /// nothing is written there, so a guest's driver shows only where one of its report entries was copied
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// Stable word for programs.
    id: &'static str,
    state: State,
    /// Whether the platform cannot be used without it.
    required: bool,
    /// One sentence.
    why: String,
    /// One sentence, where there is something to do.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it must be.
    Ok,
    /// Not there.
    Missing,
    /// There, and not as it must be.
    Problem,
    /// Files do not tell.
    Unknown,
}

impl Finding {
    fn ok(id: &'static str, why: impl Into<String>) -> Self {
        Self { id, state: State::Ok, required: true, why: why.into(), remedy: None }
    }

    fn missing(id: &'static str, why: impl Into<String>, remedy: &'static str) -> Self {
        Self { state: State::Missing, remedy: Some(remedy), ..Self::ok(id, why) }
    }

    fn problem(id: &'static str, why: impl Into<String>, remedy: &'static str) -> Self {
        Self { state: State::Problem, remedy: Some(remedy), ..Self::ok(id, why) }
    }

    fn unknown(id: &'static str, why: impl Into<String>, remedy: &'static str) -> Self {
        Self { state: State::Unknown, remedy: Some(remedy), ..Self::ok(id, why) }
    }

    /// Good to have; the platform works without it.
    fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}

/// One platform's findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Section {
    platform: Part,
    /// Nothing that is required stands against it.
    usable: bool,
    findings: Vec<Finding>,
}

impl Section {
    fn new(platform: Part, findings: Vec<Finding>) -> Self {
        let usable = findings.iter().all(|finding| finding.state == State::Ok || !finding.required);
        Self { platform, usable, findings }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Sgx,
    Tdx,
    Snp,
    Nvidia,
    Simulated,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::Nvidia => "nvidia",
            Self::Simulated => "simulated",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Sgx => "Intel SGX, under Gramine",
            Self::Tdx => "Intel TDX, inside a trust domain",
            Self::Snp => "AMD SEV-SNP, inside a guest",
            Self::Nvidia => "NVIDIA confidential GPUs, beside TDX or SEV-SNP",
            Self::Simulated => "simulated, and what confines every enclave",
        }
    }
}

/// The whole examination.
#[derive(Debug, Serialize)]
struct Examined {
    /// Platforms an enclave can run on here, `simulated` included.
    can_run: Vec<Part>,
    /// Whether confidential hardware is among them.
    hardware: bool,
    /// The interface that an enclave started here and now would use.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<Hardware>,
    platforms: Vec<Section>,
}

pub(crate) fn run(args: &Args, output: Output) -> Outcome {
    let root = match &args.root {
        Some(folder) if folder.is_dir() => Root::at(folder),
        Some(folder) => {
            let message = format!("there is no folder {}", folder.display());
            return Err(Failure::trouble("root", message, "name the folder that holds the copied dev, proc and sys"));
        }
        None => Root::system(),
    };
    let examined = examine(&root);
    output.report(&examined)?;
    Ok(if examined.hardware { Exit::Yes } else { Exit::No })
}

fn examine(root: &Root) -> Examined {
    let machine = Machine::look(root);
    let platforms = vec![
        sgx::examine(&machine),
        guest::examine(&machine, Provider::TdxGuest),
        guest::examine(&machine, Provider::SevGuest),
        nvidia::examine(&machine),
        process::examine(&machine),
    ];
    // GPUs are confidential only beside a processor that is.
    let usable = platforms.iter().filter(|section| section.usable && section.platform != Part::Nvidia);
    let can_run: Vec<_> = usable.map(|section| section.platform).collect();
    let hardware = can_run.iter().any(|part| *part != Part::Simulated);
    Examined { can_run, hardware, chosen: machine.detected.hardware(), platforms }
}

impl Report for Examined {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        for section in &self.platforms {
            let verdict = if section.usable { paint(GOOD, "usable") } else { paint(WARN, "not usable") };
            writeln!(page, "{BOLD}{}{BOLD:#}: {verdict}", section.platform.title())?;
            let width = section.findings.iter().map(|finding| finding.id.len()).max().unwrap_or_default();
            for finding in &section.findings {
                let (style, word) = match (finding.state, finding.required) {
                    (State::Ok, _) => (GOOD, "ok"),
                    (State::Missing, true) => (BAD, "missing"),
                    (State::Problem, true) => (BAD, "problem"),
                    (State::Missing, false) => (WARN, "missing"),
                    (State::Problem, false) => (WARN, "problem"),
                    (State::Unknown, _) => (WARN, "unknown"),
                };
                writeln!(page, "  {style}{word:<7}{style:#}  {:<width$}  {}", finding.id, finding.why)?;
                if let Some(remedy) = finding.remedy {
                    writeln!(page, "  {:<7}  {:<width$}  {DIM}-> {remedy}{DIM:#}", "", "")?;
                }
            }
            writeln!(page)?;
        }
        let words: Vec<_> = self.can_run.iter().map(|part| part.word()).collect();
        let runs = match words.as_slice() {
            [] => "nothing".to_owned(),
            ["simulated"] => "simulated only".to_owned(),
            words => words.join(", "),
        };
        let style = if self.hardware { GOOD } else { WARN };
        writeln!(page, "this machine can run: {}", paint(style.bold(), runs))
    }
}

#[cfg(test)]
mod tests;
