//! `glacier-chip`: the SIMULATED chip of this machine. Started by the host, with the enclave's
//! listening socket as descriptor 3 and the host port as descriptor 4; it measures and launches the
//! enclave program and is the only process that can quote it.
//!
//! It prints one line of JSON when the enclave is up, ends when the enclave ends (with its status), and
//! ends the enclave when its own standard input closes or it is itself ended in any way.

use glacier_platform::{
    SandboxReport,
    launch::{self, Launched},
};
use glacier_simulator::{Home, HomeError, Image, Port, Started};
use glacier_wire::{EnclaveId, Measurement, UnixTime};
use rustix::{
    event::{PollFd, PollFlags},
    fd::AsFd,
    io::Errno,
    process::DumpableBehavior,
};
use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
    time::SystemTime,
};

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("glacier-chip (simulated): {error}");
            ExitCode::from(2)
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("usage: glacier-chip --home DIR --enclave PROGRAM, started by `glacier node`")]
    Usage,
    #[error("descriptor {0} is not a socket; this program is started by `glacier node`")]
    Descriptor(i32),
    #[error("the enclave program {0} cannot be loaded: {1}")]
    Image(PathBuf, io::Error),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("the enclave cannot be launched: {0}")]
    Launch(#[from] Errno),
}

/// One line on standard output when the enclave is up.
#[derive(serde::Serialize)]
struct Announcement {
    simulated: bool,
    measurement: Measurement,
    enclave_id: EnclaveId,
    root_fingerprint: String,
    ppid: String,
    pid: i32,
    sandbox: Option<SandboxReport>,
}

fn run() -> Result<u8, Failure> {
    let arguments = Arguments::parse(std::env::args_os().skip(1)).ok_or(Failure::Usage)?;
    // First of all, so that nothing opened here can take their numbers.
    let listener = launch::inherited(3).map_err(|_| Failure::Descriptor(3))?;
    let host = launch::inherited(4).map_err(|_| Failure::Descriptor(4))?;
    // This process holds the attestation key.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;

    let home = Home::open(&arguments.home, now())?;
    let image = Image::load(&arguments.enclave).map_err(|error| Failure::Image(arguments.enclave.clone(), error))?;
    let (port, enclave_port) = UnixStream::pair().map_err(|_| Errno::MFILE)?;
    let enclave = launch::launch(image.as_fd(), [listener.as_fd(), host.as_fd(), enclave_port.as_fd()])?;
    let announcement = Announcement {
        simulated: true,
        measurement: image.measurement(),
        enclave_id: home.chip.enclave_id(),
        root_fingerprint: home.vendor.root_fingerprint().to_string(),
        ppid: hex::encode(home.chip.hardware().ppid()),
        pid: enclave.pid(),
        sandbox: None,
    };
    // Only the enclave keeps these: when it is gone, the host sees them close.
    drop((listener, host, enclave_port, image));

    std::thread::spawn(move || {
        let measurement = announcement.measurement;
        let mut announcement = Some(announcement);
        let served = Port::new(home, measurement).serve(&port, now, |started| match started {
            Started::Up(sandbox) => {
                if let Some(up) = announcement.take() {
                    announce(&Announcement { sandbox: Some(sandbox), ..up });
                }
            }
            Started::Not(why) => eprintln!("glacier-chip (simulated): the enclave did not start: {why}"),
        });
        if let Err(error) = served {
            eprintln!("glacier-chip (simulated): the chip port failed: {error}");
        }
    });
    watch(&enclave)
}

/// Until the enclave ends, or the host does.
fn watch(enclave: &Launched) -> Result<u8, Failure> {
    let stdin = io::stdin();
    loop {
        let mut polled = [PollFd::new(enclave, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [ended, input] = polled.map(|descriptor| !descriptor.revents().is_empty());
        // What comes in on standard input means nothing; only its end does.
        if input && !matches!(stdin.lock().read(&mut [0; 256]), Ok(1..)) {
            enclave.kill();
            return Ok(status(enclave.wait()?));
        }
        if ended {
            return Ok(status(enclave.wait()?));
        }
    }
}

fn status(ending: i32) -> u8 {
    u8::try_from(ending).unwrap_or(u8::MAX)
}

fn announce(up: &Announcement) {
    match serde_json::to_string(up) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("glacier-chip (simulated): {error}"),
    }
}

struct Arguments {
    home: PathBuf,
    enclave: PathBuf,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let (mut home, mut enclave) = (None, None);
        while let Some(name) = arguments.next() {
            let place = match name.to_str()? {
                "--home" => &mut home,
                "--enclave" => &mut enclave,
                _ => return None,
            };
            if place.replace(PathBuf::from(arguments.next()?)).is_some() {
                return None;
            }
        }
        Some(Self { home: home?, enclave: enclave? })
    }
}

fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
