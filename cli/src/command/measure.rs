//! `glacier measure`.

use crate::{
    error::{Exit, Failure, Outcome},
    output::{Output, Report},
};
use glacier_wire::{Measurement, PlatformKind};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The enclave program, as its build made it
    #[arg(value_name = "ENCLAVE_BINARY")]
    binary: PathBuf,
}

#[derive(Serialize)]
struct Measured {
    measurement: Measurement,
    platform: PlatformKind,
    file: PathBuf,
}

impl Report for Measured {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}", self.measurement)
    }
}

pub(crate) fn run(args: &Args, output: Output) -> Outcome {
    let measurement =
        glacier_simulator::measure_file(&args.binary).map_err(|error| Failure::reading(&args.binary, &error))?;
    output.report(&Measured { measurement, platform: PlatformKind::Simulated, file: args.binary.clone() })?;
    output.remark("SIMULATED platform: SGX and others measure in their own way, and give other values");
    Ok(Exit::Yes)
}
