//! `glacier measure --platform snp`.

use super::{Args, Files, files::Input, misuse};
use crate::{
    error::{Exit, Failure, Outcome},
    output::{Output, Report, field},
};
use glacier_measure::{Guest, Register, Vcpu, launch_digest};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Measured {
    platform: &'static str,
    measurement: Register,
    vcpus: u32,
    files: Vec<Input>,
    policy: String,
}

pub(super) fn run(args: &Args, output: Output) -> Outcome {
    if args.event_log.is_some() || args.rtmr0.is_some() || args.mrconfigid.is_some() || args.page_order.is_some() {
        return Err(misuse(
            "an option of TDX with --platform snp",
            "leave it out; `glacier measure --help` sorts them",
        ));
    }
    let (Some(vcpus), Some(vcpu)) = (args.vcpus, args.vcpu_type) else { return Err(processors()) };
    let files = Files::read(args)?;
    let Some(firmware) = &files.firmware else {
        return Err(misuse("no firmware to measure", "name the OVMF image with --firmware"));
    };
    let features = args.guest_features.unwrap_or(SNP_ACTIVE);
    let guest = Guest { firmware: &firmware.bytes, boot: files.boot(), vcpus, vcpu, features };
    let measurement = launch_digest(&guest).map_err(|error| files.failure(error))?;
    let host_data = args.host_data.map(|bytes| format!("host_data = \"{}\"\n", hex::encode(bytes)));
    let policy = format!("[[registers]]\nmeasurement = \"{measurement}\"\n{}", host_data.unwrap_or_default());
    output.report(&Measured { platform: "snp", measurement, vcpus, files: files.inputs(), policy })?;
    if guest.boot.is_none() {
        output.remark("no kernel given: this pins the firmware, and whatever boots in it is not measured");
    }
    Ok(Exit::Yes)
}

fn processors() -> Failure {
    let names = Vcpu::names().collect::<Vec<_>>().join(", ");
    misuse(
        "the processors of an SNP guest are measured, and were not named",
        &format!("add --vcpus N and --vcpu-type MODEL, one of {names}"),
    )
}

impl Report for Measured {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        field(page, "platform", self.platform)?;
        field(page, "measurement", self.measurement)?;
        writeln!(page)?;
        self.files.iter().try_for_each(|file| file.human(page))?;
        write!(page, "\n{}", self.policy)
    }
}

/// SEV_FEATURES, bit 0.
const SNP_ACTIVE: u64 = 1;
