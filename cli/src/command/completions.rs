//! `glacier completions`.

use crate::{
    args::Cli,
    error::{Exit, Outcome},
    output::{Output, Report},
};
use clap::CommandFactory;
use serde::Serialize;
use std::io::{self, Write};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell
    shell: clap_complete::Shell,
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

impl Report for Script {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        page.write_all(self.script.as_bytes())
    }
}

pub(crate) fn run(args: &Args, output: Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "glacier", &mut script);
    output.report(&Script { shell: args.shell.to_string(), script: String::from_utf8_lossy(&script).into_owned() })?;
    Ok(Exit::Yes)
}
