//! `glacier demo`: the whole path on this machine, told as a story.
//!
//! Nothing here is staged: the parties are real key stores, the node is the real daemon, the chip and
//! the enclave are the real programs, and whatever travels goes through a relay that records it all.

mod act;
mod host_view;
mod payment;
mod scan;
mod score;
mod stage;
mod story;
mod train;
mod wire;

use crate::{
    context::Context,
    error::{Exit, Failure, Outcome},
    output::Report,
};
use act::Facts;
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep everything in this new folder: keys, sealed assets, policy, job, labels, proof
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Train a model instead: on the bundled data, or on a table of yours
    #[arg(long)]
    train: bool,
    /// A table of yours (.csv .parquet .arrow)
    #[arg(long, value_name = "FILE", requires = "train", requires = "target")]
    data: Option<PathBuf>,
    /// Its column with the wanted answers
    #[arg(long, value_name = "COL|NAME", requires = "data")]
    target: Option<String>,
    /// Where to write the refined model
    #[arg(long, value_name = "FILE", requires = "train")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let begun = Instant::now();
    let folder = stage::Folder::make(args.dir)?;
    if args.train {
        let own = train::Own { data: args.data, target: args.target, output: args.output };
        let mut facts = train::play(&folder, own, cx.output).await?;
        facts.seconds = begun.elapsed().as_secs_f64();
        let good = facts.good();
        cx.output.report(&facts)?;
        return if good { Ok(Exit::Yes) } else { Err(broken()) };
    }
    let mut facts = act::play(&folder, cx.output).await?;
    facts.seconds = begun.elapsed().as_secs_f64();
    let good = facts.good();
    cx.output.report(&facts)?;
    if good {
        return Ok(Exit::Yes);
    }
    Err(broken())
}

fn broken() -> Failure {
    Failure::no(
        "demo",
        "the ceremony did not end as it must",
        "this is a fault of glacier; please report it with this output",
    )
}

impl Report for Facts {
    /// The story has been told; what remains is where to go from here.
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "\nAll of it took {:.1} s.", self.seconds)?;
        writeln!(page, "\nTo go on:")?;
        match &self.kept_in {
            Some(folder) => {
                let folder = folder.display();
                writeln!(page, "   glacier verify proof {folder}/proof.cbor --policy {folder}/policy.toml")?;
                writeln!(page, "   glacier --home {folder}/hospital key list")?;
            }
            None => writeln!(page, "   glacier demo --dir demo      keeps every file, for a closer look")?,
        }
        writeln!(page, "   glacier node run             starts a node of your own (SIMULATED)")?;
        writeln!(page, "   glacier job --help           the same ceremony, each party on its own machine")
    }
}
