//! The enclave's processes: starting them, knowing when they end, ending them.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use glacier_wire::{EnclaveId, Measurement};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::{net::UnixStream, task::JoinHandle, time::timeout};
use tracing::{info, instrument, warn};

use crate::{
    config::NodeConfig,
    handover::Pause,
    port::{Closed, PortError, Rest, Service},
};

/// What the chip announces when the enclave is up.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChipInfo {
    /// Whether the chip is software: nothing is protected by hardware then.
    pub simulated: bool,
    /// The code that was launched.
    pub measurement: Measurement,
    /// The hardware it was launched on.
    pub enclave_id: EnclaveId,
    /// Fingerprint of the vendor root that certifies this chip: what a policy must name to accept a simulated one.
    pub root_fingerprint: String,
    /// Process of the enclave.
    pub pid: u32,
}

/// Why the enclave did not come up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The chip's program is not there.
    #[error("there is no chip program {0}")]
    NoChip(PathBuf),
    /// The enclave's program is not there.
    #[error("there is no enclave program {0}")]
    NoEnclave(PathBuf),
    /// The chip could not be started, or its sockets could not be made.
    #[error("the chip could not be started: {0}")]
    Start(io::ErrorKind),
    /// The chip ended before the enclave was up; its own words stand before this.
    #[error("the chip ended before the enclave was up")]
    Ended,
    /// The chip said nothing for [`PATIENCE`](Self::PATIENCE).
    #[error("the enclave was not up in time")]
    TimedOut,
    /// What the chip said is not an announcement.
    #[error("the chip's announcement is not understood")]
    Announcement,
}

impl LaunchError {
    /// How long an enclave may take to come up.
    pub const PATIENCE: Duration = Duration::from_secs(30);
}

impl From<io::Error> for LaunchError {
    fn from(error: io::Error) -> Self {
        Self::Start(error.kind())
    }
}

/// Longest announcement that is read.
const MAX_ANNOUNCEMENT: u64 = 64 << 10;
/// How long the chip may take to end once it was asked to.
const FAREWELL: Duration = Duration::from_secs(5);

/// A chip and its enclave. Dropping it ends both: the chip's standard input closes.
pub(crate) struct Enclave {
    pub(crate) info: ChipInfo,
    chip: Chip,
    port: JoinHandle<Closed>,
    /// What the port was left as, where it came to rest before anybody asked for it.
    rested: Option<Box<Rest>>,
}

/// A process that this one has started, or the run of the host before.
pub(crate) struct Chip {
    pub(crate) pid: Pid,
    pub(crate) stdin: OwnedFd,
    /// Kept open: a chip that prints to a closed pipe would fail.
    pub(crate) stdout: OwnedFd,
}

/// An enclave that runs on while its host is between two runs.
pub(crate) struct Resting {
    pub(crate) info: ChipInfo,
    pub(crate) chip: Chip,
    pub(crate) port: Rest,
}

impl Enclave {
    /// Starts chip and enclave, and answers the enclave's calls from then on.
    #[instrument(skip_all, name = "launch")]
    pub(crate) async fn launch(
        config: &NodeConfig,
        socket: &Path,
        service: Service,
        pause: Pause,
    ) -> Result<Self, LaunchError> {
        for (program, missing) in [
            (&config.chip, LaunchError::NoChip as fn(PathBuf) -> LaunchError),
            (&config.enclave, LaunchError::NoEnclave),
        ] {
            if !program.is_file() {
                return Err(missing(program.clone()));
            }
        }
        // A fresh socket each time: what still waits in the queue of the last one is refused with it.
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;

        let mut command = Command::new(&config.chip);
        command.arg("--home").arg(config.home.join("chip")).arg("--enclave").arg(&config.enclave);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let descriptors = vec![
            FdMapping { parent_fd: listener.into(), child_fd: 3 },
            FdMapping { parent_fd: theirs.into(), child_fd: 4 },
        ];
        command.fd_mappings(descriptors).map_err(|_| LaunchError::Start(io::ErrorKind::InvalidInput))?;
        let mut child = command.spawn()?;
        // Our copies of the enclave's descriptors go with it, so that they close when the enclave ends.
        drop(command);
        let broken = LaunchError::Start(io::ErrorKind::BrokenPipe);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(broken.clone())?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or(broken)?;
        let port = tokio::spawn(service.serve(Rest::new(ours), pause));

        let announced = tokio::task::spawn_blocking(move || read_announcement(stdout));
        match timeout(LaunchError::PATIENCE, announced).await {
            Ok(Ok(Ok((info, stdout)))) => {
                info!(pid = info.pid, measurement = %info.measurement, simulated = info.simulated, "the enclave is up");
                Ok(Self { info, chip: Chip { pid, stdin: stdin.into(), stdout: stdout.into() }, port, rested: None })
            }
            failed => {
                drop(stdin);
                reap(pid).await;
                // The port closes with the enclave, after the last change it asked for.
                let _ = timeout(FAREWELL, port).await;
                Err(match failed {
                    Ok(Ok(Err(error))) => error,
                    Ok(_) => LaunchError::Announcement,
                    Err(_) => LaunchError::TimedOut,
                })
            }
        }
    }

    /// Goes on with one that has been at rest.
    pub(crate) fn resume(resting: Resting, service: Service, pause: Pause) -> Self {
        let Resting { info, chip, port } = resting;
        info!(pid = info.pid, "the enclave is taken over from the run before");
        Self { info, chip, port: tokio::spawn(service.serve(port, pause)), rested: None }
    }

    /// Once it was told to pause: what the next run of the host is to have. `None` where the enclave has ended, or
    /// what it had asked for did not come to rest; it has been ended then.
    pub(crate) async fn rest(mut self) -> Option<Resting> {
        let closed = match self.rested.take() {
            Some(port) => Ok(Closed::Paused(port)),
            None => (&mut self.port).await,
        };
        match closed {
            Ok(Closed::Paused(port)) => Some(Resting { info: self.info, chip: self.chip, port: *port }),
            Ok(Closed::Ended(why)) => {
                warn!(%why, "the enclave cannot be handed over");
                self.stop().await;
                None
            }
            Err(_) => None,
        }
    }

    /// Returns when the enclave has ended, or has broken the host port's rules. A pause is no end: it may begin while
    /// somebody waits here, who comes for [`rest`](Self::rest) next.
    pub(crate) async fn ended(&mut self) -> PortError {
        if self.rested.is_none() {
            match (&mut self.port).await {
                Ok(Closed::Ended(why)) => return why,
                Ok(Closed::Paused(port)) => self.rested = Some(port),
                Err(_) => return PortError::Ended,
            }
        }
        std::future::pending().await
    }

    /// Ends it, and waits until it has.
    pub(crate) async fn stop(self) {
        drop(self.chip.stdin);
        reap(self.chip.pid).await;
        // The port closes with the enclave, after the last change it asked for.
        if !self.port.is_finished() {
            let _ = timeout(FAREWELL, self.port).await;
        }
    }
}

fn read_announcement(stdout: ChildStdout) -> Result<(ChipInfo, ChildStdout), LaunchError> {
    let mut reader = BufReader::new(stdout.take(MAX_ANNOUNCEMENT));
    let mut line = String::new();
    reader.read_line(&mut line).map_err(|_| LaunchError::Announcement)?;
    if line.is_empty() {
        return Err(LaunchError::Ended);
    }
    let info = serde_json::from_str(&line).map_err(|_| LaunchError::Announcement)?;
    Ok((info, reader.into_inner().into_inner()))
}

/// Waits for a process that was asked to end, and kills one that does not.
async fn reap(pid: Pid) {
    let asked = tokio::time::Instant::now();
    loop {
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(None) if asked.elapsed() < FAREWELL => tokio::time::sleep(Duration::from_millis(10)).await,
            Ok(None) => {
                warn!(pid = pid.as_raw_nonzero(), "the chip does not end and is killed");
                let _ = kill_process(pid, Signal::KILL);
                let _ = tokio::task::spawn_blocking(move || waitpid(Some(pid), WaitOptions::empty())).await;
                return;
            }
            Ok(Some(_)) | Err(_) => return,
        }
    }
}
