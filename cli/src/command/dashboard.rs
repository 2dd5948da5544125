//! `glacier dashboard`: a node's page that does not come from the node.

use crate::{
    args::NodeArg,
    context::Context,
    door,
    error::{Exit, Failure, Outcome},
    output::{Report, field},
};
use glacier::node::NodeError;
use serde::Serialize;
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
};
use tokio::net::TcpListener;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArg,
    /// Where to serve the page; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8481")]
    listen: SocketAddr,
}

/// Largest document of a node that is passed on: a page of proofs, or evidence.
const MAX_DOCUMENT: usize = 8 << 20;
/// What a browser is told of a node that gives no answer.
const BAD_GATEWAY: u16 = 502;

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let node = Arc::new(door::node(&args.node.node)?);
    let taken = |error: io::Error| {
        let help = "choose another port with --listen, or end what listens there";
        Failure::trouble("port", format!("cannot listen on {}: {error}", args.listen), help)
    };
    let listener = TcpListener::bind(args.listen).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    cx.output.report(&Serving { page: format!("http://{address}/"), node: node.url().to_owned() })?;
    cx.output.remark("Ctrl-C ends it");
    let ask = move |path: String| {
        let node = Arc::clone(&node);
        async move {
            node.said(&path, MAX_DOCUMENT).await.map_err(|error| match error {
                NodeError::Status(status) => status,
                _ => BAD_GATEWAY,
            })
        }
    };
    glacier_host::dashboard::serve_copy(listener, ask).await.map_err(taken)?;
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Serving {
    page: String,
    node: String,
}

impl Report for Serving {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        field(page, "page", &self.page)?;
        field(page, "node", &self.node)
    }
}
