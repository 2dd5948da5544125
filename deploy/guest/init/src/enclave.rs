//! The enclave: its ports, its start, its end.

use crate::{
    machine::{BootError, errno},
    relay, say,
};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, WaitOptions};
use std::{
    os::{
        fd::OwnedFd,
        unix::{
            net::{UnixListener, UnixStream},
            process::ExitStatusExt,
        },
    },
    process::{Command, ExitStatus, Stdio},
};
use vsock::{VMADDR_CID_ANY, VsockListener};

/// Starts the enclave once the host has connected, and waits for its end.
pub(crate) fn run() -> Result<ExitStatus, BootError> {
    let clients = listen(CLIENTS)?;
    let host = listen(HOST)?;
    let listener = UnixListener::bind(SOCKET).map_err(|error| BootError::Enclave(errno(&error)))?;
    let (port, ours) = UnixStream::pair().map_err(|error| BootError::Enclave(errno(&error)))?;

    say(format_args!("waiting for the host at vsock port {HOST}"));
    let (connected, _) = host.accept().map_err(|error| BootError::Port { port: HOST, errno: errno(&error) })?;
    // One host for the life of the enclave: when it goes, the enclave sees its port close and ends.
    drop(host);
    let enclave = start(listener.into(), port.into())?;
    relay::both_ways(connected, ours).map_err(|error| BootError::Enclave(errno(&error)))?;
    relay::serve(clients, SOCKET).map_err(|error| BootError::Enclave(errno(&error)))?;
    say("the enclave runs");
    wait(enclave)
}

fn listen(port: u32) -> Result<VsockListener, BootError> {
    VsockListener::bind_with_cid_port(VMADDR_CID_ANY, port)
        .map_err(|error| BootError::Port { port, errno: errno(&error) })
}

/// No arguments, no environment, nothing of its output to the console: the host reads that.
fn start(listener: OwnedFd, host: OwnedFd) -> Result<u32, BootError> {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ports = vec![FdMapping { parent_fd: listener, child_fd: 3 }, FdMapping { parent_fd: host, child_fd: 4 }];
    command.fd_mappings(ports).map_err(|_| BootError::Enclave(rustix::io::Errno::BADF))?;
    let child = command.spawn().map_err(|error| BootError::Enclave(errno(&error)))?;
    Ok(child.id())
}

/// Process 1 also inherits, and must reap, what the enclave leaves behind.
fn wait(enclave: u32) -> Result<ExitStatus, BootError> {
    let enclave = i32::try_from(enclave).ok().and_then(Pid::from_raw);
    loop {
        let (ended, status) = match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(BootError::Enclave(errno)),
        };
        if Some(ended) == enclave {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

const PROGRAM: &str = "/bin/glacier-enclave";
const SOCKET: &str = "/run/enclave.sock";
/// Each connection here becomes one to the enclave's listener.
const CLIENTS: u32 = 9000;
/// The one connection for the enclave's calls to its host.
const HOST: u32 = 9001;
