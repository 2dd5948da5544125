//! `glacier key`: identities in this machine's key store.

use crate::{
    context::{Context, key_name},
    error::{Exit, Failure, Outcome},
    explain,
    output::{BOLD, Report, field},
};
use glacier::keystore::Key;
use glacier_wire::Address;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Identities of parties, kept in this machine's key store.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make an identity
    New {
        /// Its name here; nobody else learns it
        #[arg(default_value = "default")]
        name: String,
    },
    /// All identities of this key store
    List,
    /// One identity, as others need it: never its secret
    Show {
        /// Its name
        #[arg(default_value = "default")]
        name: String,
    },
}

pub(crate) fn run(command: &Command, cx: &Context) -> Outcome {
    let keys = cx.keystore()?;
    match command {
        Command::New { name } => {
            let key = keys.create(&key_name(name)?).map_err(explain::keystore)?;
            cx.output.report(&Card::new(&key))?;
            cx.output
                .remark(format_args!("kept in {}; back this folder up, nothing can restore it", cx.home.display()));
        }
        Command::List => {
            let names = keys.list().map_err(explain::keystore)?;
            let cards = names.iter().map(|name| Ok(Card::new(&keys.load(name).map_err(explain::keystore)?)));
            let cards = cards.collect::<Result<Vec<_>, Failure>>()?;
            if cards.is_empty() {
                cx.output.remark("no keys yet: make one with `glacier key new`");
            }
            cx.output.report(&Cards { home: cx.home.clone(), keys: cards })?;
        }
        Command::Show { name } => {
            let key = keys.load(&key_name(name)?).map_err(explain::keystore)?;
            cx.output.report(&Card::new(&key))?;
        }
    }
    Ok(Exit::Yes)
}

/// What others may know of a key.
#[derive(Debug, Serialize)]
struct Card {
    name: String,
    address: Address,
    recipient: String,
}

impl Card {
    fn new(key: &Key) -> Self {
        Self {
            name: key.name().to_string(),
            address: key.address(),
            recipient: glacier_asset::print_recipient(&key.recipient()),
        }
    }
}

impl Report for Card {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{BOLD}{}{BOLD:#}", self.name)?;
        field(page, "address", self.address)?;
        field(page, "recipient", &self.recipient)
    }
}

#[derive(Debug, Serialize)]
struct Cards {
    home: PathBuf,
    keys: Vec<Card>,
}

impl Report for Cards {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        self.keys.iter().try_for_each(|card| card.human(page))
    }
}
