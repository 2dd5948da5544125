//! `glacier measure`: what a policy should name, computed before anything runs.

mod files;
mod snp;
mod tdx;

use crate::{
    error::{Exit, Failure, Outcome},
    output::{Output, Report},
};
use files::Files;
use glacier_measure::{PageOrder, Register, Vcpu};
use glacier_wire::{Digest, Measurement, PlatformKind};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

const EXAMPLES: &str = "\
Examples:
  glacier measure glacier-enclave
  glacier measure app.wasm
  glacier measure --platform snp --firmware OVMF.amdsev.fd --kernel vmlinuz --initrd guest.cpio \\
      --append \"$(cat cmdline)\" --vcpus 4 --vcpu-type EPYC-Milan
  glacier measure --platform tdx --firmware OVMF.inteltdx.fd --kernel vmlinuz --initrd guest.cpio \\
      --append \"$(cat cmdline)\" --rtmr0 HEX
  glacier measure --platform tdx --firmware OVMF.inteltdx.fd --event-log ccel.bin

SGX is measured by Gramine: `gramine-sgx-sign` prints mr_enclave; see deploy/gramine.";

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The enclave program, as its build made it (simulated platform), or the component of a sandboxed app
    #[arg(value_name = "ENCLAVE_BINARY", required_unless_present = "platform")]
    binary: Option<PathBuf>,
    /// The platform that will measure
    #[arg(long, value_enum, conflicts_with = "binary")]
    platform: Option<Machine>,
    /// The firmware image given to QEMU: OVMF for SNP, TDVF for TDX
    #[arg(long, value_name = "FILE", requires = "platform")]
    firmware: Option<PathBuf>,
    /// The kernel given to QEMU
    #[arg(long, value_name = "FILE", requires = "firmware")]
    kernel: Option<PathBuf>,
    /// The initial file system given to QEMU
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The kernel command line given to QEMU
    #[arg(long, value_name = "CMDLINE", requires = "kernel")]
    append: Option<String>,
    /// SNP: number of virtual processors
    #[arg(long, value_name = "N", requires = "firmware")]
    vcpus: Option<u32>,
    /// SNP: processor model, as after QEMU's -cpu, or a CPUID signature (0x00a00f11)
    #[arg(long, value_name = "MODEL", requires = "firmware")]
    vcpu_type: Option<Vcpu>,
    /// SNP: SEV_FEATURES that the monitor turns on [default: 0x1]
    #[arg(long, value_name = "HEX", value_parser = features, requires = "firmware")]
    guest_features: Option<u64>,
    /// SNP: the 32 bytes of host data that the guest is started with
    #[arg(long, value_name = "HEX", value_parser = host_data, requires = "firmware")]
    host_data: Option<[u8; 32]>,
    /// TDX: in which order the monitor adds pages; `two-pass` before Linux 6.16
    #[arg(long, value_enum, value_name = "ORDER", requires = "firmware")]
    page_order: Option<Order>,
    /// TDX: the event log of a running machine (/sys/firmware/acpi/tables/data/CCEL)
    #[arg(long, value_name = "FILE", requires = "platform")]
    event_log: Option<PathBuf>,
    /// TDX: RTMR0, which depends on firmware, monitor and memory size and is not computed
    #[arg(long, value_name = "HEX", requires = "platform")]
    rtmr0: Option<Register>,
    /// TDX: MRCONFIGID that the guest is started with
    #[arg(long, value_name = "HEX", requires = "platform")]
    mrconfigid: Option<Register>,
}

/// A platform that measures a whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Machine {
    /// AMD SEV-SNP
    Snp,
    /// Intel TDX
    Tdx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    Interleaved,
    TwoPass,
}

impl From<Order> for PageOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Interleaved => Self::Interleaved,
            Order::TwoPass => Self::TwoPass,
        }
    }
}

pub(crate) fn run(args: &Args, output: Output) -> Outcome {
    match (args.platform, &args.binary) {
        (Some(Machine::Snp), _) => snp::run(args, output),
        (Some(Machine::Tdx), _) => tdx::run(args, output),
        (None, Some(binary)) if is_wasm(binary)? => component(binary, output),
        (None, Some(binary)) => simulated(binary, output),
        (None, None) => Err(misuse("nothing to measure", "name an enclave binary, or a --platform")),
    }
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

fn simulated(binary: &Path, output: Output) -> Outcome {
    let measurement = glacier_simulator::measure_file(binary).map_err(|error| Failure::reading(binary, &error))?;
    output.report(&Measured { measurement, platform: PlatformKind::Simulated, file: binary.to_owned() })?;
    output.remark("SIMULATED platform: SGX and others measure in their own way, and give other values");
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Component {
    code: Digest,
    file: PathBuf,
}

impl Report for Component {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}", self.code)
    }
}

/// A sandboxed app is measured by no hardware: the enclave compares it with what the manifest names.
fn component(binary: &Path, output: Output) -> Outcome {
    output.report(&Component { code: crate::files::digest(binary)?, file: binary.to_owned() })?;
    output.remark("a component: manifests name it so, and `glacier app ask --code` takes it");
    Ok(Exit::Yes)
}

fn is_wasm(file: &Path) -> Result<bool, Failure> {
    let mut magic = [0; 4];
    let read = File::open(file).and_then(|mut file| file.read(&mut magic));
    Ok(read.map_err(|error| Failure::reading(file, &error))? == magic.len() && magic == *b"\0asm")
}

fn misuse(message: &str, help: &str) -> Failure {
    Failure::trouble("usage", message, help)
}

fn features(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16)
}

fn host_data(text: &str) -> Result<[u8; 32], &'static str> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| "host data is 64 hexadecimal digits")?;
    Ok(bytes)
}
