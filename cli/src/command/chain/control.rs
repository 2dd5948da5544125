//! How commands reach the node that runs on this machine: one line each way over a socket in the
//! node's folder, which its owner alone may enter.

use super::{Done, part::NodeKeeper};
use crate::error::Failure;
use alloy::primitives::U256;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// What a running node is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ask {
    Register,
    Status,
    Checkpoint,
    Claim,
    Withdraw,
    /// Amounts in units of 10^-18.
    Bond {
        amount: U256,
    },
    Unbond {
        keep: U256,
    },
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Done(Box<Done>),
    Failed { message: String },
}

/// More than any line has.
const MAX_LINE: u64 = 64 << 10;
/// A registration may wait for a quote, a transaction for its block.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks the node whose folder this is.
pub(crate) async fn ask(home: &Path, ask: Ask) -> Result<Done, Failure> {
    let socket = socket(home);
    let stream = UnixStream::connect(&socket).await.map_err(|_| {
        Failure::trouble(
            "node-not-running",
            format!("no node runs in {}", home.display()),
            "start it with `glacier node run`, or name its folder with --node-home",
        )
    })?;
    let answer = timeout(PATIENCE, exchange(stream, ask)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let answer = answer.map_err(|error| {
        Failure::trouble("node-not-running", format!("the node went away: {error}"), "look at its log, and ask again")
    })?;
    answer.into()
}

async fn exchange(mut stream: UnixStream, ask: Ask) -> io::Result<Answer> {
    let mut line = serde_json::to_vec(&ask)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}

/// Answers until it is dropped.
pub(crate) struct Control {
    task: JoinHandle<()>,
    socket: PathBuf,
}

impl Control {
    /// Listens in the node's folder.
    pub(crate) fn listen(home: &Path, keeper: Arc<NodeKeeper>) -> io::Result<Self> {
        let socket = socket(home);
        // Of a run that was killed. The chain's file is locked, so nobody else listens there.
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        let task = tokio::spawn(async move {
            // They end with this task: whoever ends it wants the keeper for itself.
            let mut asking = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while asking.try_join_next().is_some() {}
                let keeper = Arc::clone(&keeper);
                asking.spawn(async move {
                    let _ = serve(stream, &keeper).await;
                });
            }
        });
        Ok(Self { task, socket })
    }
}

impl Control {
    /// Ends, and lets go of the keeper.
    pub(crate) async fn end(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn serve(stream: UnixStream, keeper: &NodeKeeper) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_LINE)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(ask) => act(keeper, ask).await,
        Err(_) => Answer::Failed { message: "the node does not know this request: is it of another version?".into() },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

async fn act(keeper: &NodeKeeper, ask: Ask) -> Answer {
    let done = async {
        let (mut settled_now, mut received) = (None, None);
        match ask {
            Ask::Status => {}
            Ask::Register => {
                keeper.register().await?;
            }
            Ask::Checkpoint => settled_now = Some(keeper.settle(true).await?),
            Ask::Claim => received = Some(keeper.claim().await?),
            Ask::Withdraw => received = Some(keeper.withdraw().await?),
            Ask::Bond { amount } => drop(keeper.bond(amount).await?),
            Ask::Unbond { keep } => drop(keeper.unbond(keep).await?),
        }
        Ok::<_, glacier_chain::KeeperError>(Done { settled_now, received, standing: keeper.standing().await? })
    };
    match done.await {
        Ok(done) => Answer::Done(Box::new(done)),
        Err(error) => Answer::Failed { message: error.to_string() },
    }
}

fn socket(home: &Path) -> PathBuf {
    home.join("chain").join("control.sock")
}
