//! `glacier measure --platform tdx`.

use super::{
    Args, Files,
    files::{Input, Named},
    misuse,
};
use crate::{
    error::{Exit, Failure, Outcome},
    output::{DIM, Output, Report, field, paint},
};
use glacier_measure::{DirectBoot, EventLog, Register, mrtd};
use serde::Serialize;
use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// Registers that are known; the others depend on what was not given.
#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Registers {
    #[serde(skip_serializing_if = "Option::is_none")]
    mrtd: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr0: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr1: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr2: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtmr3: Option<Register>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mrconfigid: Option<Register>,
}

#[derive(Serialize)]
struct Measured {
    platform: &'static str,
    registers: Registers,
    /// Of the log, in order.
    events: Vec<Line>,
    files: Vec<Input>,
    policy: String,
}

#[derive(Serialize)]
struct Line {
    register: &'static str,
    kind: String,
    digest: Register,
    /// Words, where the data has some.
    description: String,
    /// Whether the digest covers the data; null where the data only describes.
    explained: Option<bool>,
}

pub(super) fn run(args: &Args, output: Output) -> Outcome {
    if args.vcpus.is_some() || args.vcpu_type.is_some() || args.guest_features.is_some() || args.host_data.is_some() {
        return Err(misuse(
            "an option of SNP with --platform tdx",
            "leave it out; `glacier measure --help` sorts them",
        ));
    }
    if args.firmware.is_none() && args.event_log.is_none() {
        return Err(misuse("nothing to measure", "name a TDVF image with --firmware, or a log with --event-log"));
    }
    let files = Files::read(args)?;
    let order = args.page_order.map(Into::into).unwrap_or_default();
    let firmware = files.firmware.as_ref().map(|file| mrtd(&file.bytes, order));
    let direct = files.boot().as_ref().map(DirectBoot::new).transpose();
    let direct = direct.map_err(|error| files.failure(error))?;
    let mut registers = Registers {
        mrtd: firmware.transpose().map_err(|error| files.failure(error))?,
        rtmr0: args.rtmr0,
        rtmr1: direct.map(|boot| boot.rtmr1()),
        rtmr2: direct.map(|boot| boot.rtmr2()),
        // Neither firmware nor kernel extends it, and the guest of deploy/guest does not either.
        rtmr3: direct.map(|_| Register::ZERO),
        mrconfigid: args.mrconfigid,
    };

    let mut inputs = files.inputs();
    let mut events = Vec::new();
    if let Some(path) = &args.event_log {
        let log = Named::read(path)?;
        inputs.push(log.input());
        let read = |bytes| EventLog::parse(bytes).and_then(|log| Ok((log.replay()?.rtmr, lines(&log)?)));
        let (rtmr, found) = read(&log.bytes).map_err(|fault| {
            let help = "give the bytes of /sys/firmware/acpi/tables/data/CCEL of the guest, unchanged";
            Failure::not_a("an event log", path, format_args!("it {fault}"), help)
        })?;
        events = found;
        let known = [&mut registers.rtmr0, &mut registers.rtmr1, &mut registers.rtmr2, &mut registers.rtmr3];
        for (index, (known, logged)) in known.into_iter().zip(rtmr).enumerate() {
            if *known.get_or_insert(logged) != logged {
                return Err(differs(index, *known, logged));
            }
        }
    }
    output.report(&Measured { platform: "tdx", registers, events, files: inputs, policy: policy(&registers) })?;
    if registers.rtmr0.is_none() {
        output.remark("rtmr0 is not computed: it depends on firmware, monitor and memory size; read it from a log");
    }
    if args.event_log.is_some() {
        output.remark("a log is nobody's word: compare these registers with those of a verified quote");
    }
    if direct.is_some() {
        output.remark("rtmr1 and rtmr2 hold for QEMU 10.2 and Linux 6.9 or later, booted by -kernel");
    }
    Ok(Exit::Yes)
}

fn differs(index: usize, computed: Option<Register>, logged: Register) -> Failure {
    let computed = computed.map(|register| register.to_string()).unwrap_or_default();
    Failure::no(
        "registers-differ",
        format!("rtmr{index} is {computed} by the files, and {logged} by the log"),
        "the machine was started from other files, or its firmware measures in another way: see the events with --json",
    )
}

fn lines(log: &EventLog<'_>) -> Result<Vec<Line>, glacier_measure::LogFault> {
    let line = |event: glacier_measure::Event<'_>| Line {
        register: NAMES.get(event.register as usize).copied().unwrap_or("?"),
        kind: event.kind.to_string(),
        digest: event.digest,
        description: words(event.data),
        explained: event.explained(),
    };
    log.events().map(|event| event.map(line)).collect()
}

/// The longest run of printable letters, wide or not: foreign bytes, so nothing else reaches a terminal.
fn words(data: &[u8]) -> String {
    let narrow = data.split(|byte| *byte != b' ' && !byte.is_ascii_graphic());
    let wide: Vec<u8> = data.iter().copied().filter(|byte| *byte != 0).collect();
    let wide = wide.split(|byte| *byte != b' ' && !byte.is_ascii_graphic());
    let longest = narrow.chain(wide).max_by_key(|run| run.len()).unwrap_or_default();
    let word = if longest.len() < 2 { &[] } else { longest };
    word.iter().take(60).map(|byte| *byte as char).collect()
}

fn policy(registers: &Registers) -> String {
    let Registers { mrtd, rtmr0, rtmr1, rtmr2, rtmr3, mrconfigid } = *registers;
    let keys = [
        ("mrtd", mrtd),
        ("rtmr0", rtmr0),
        ("rtmr1", rtmr1),
        ("rtmr2", rtmr2),
        ("rtmr3", rtmr3),
        ("mrconfigid", mrconfigid),
    ];
    let known = keys.into_iter().filter_map(|(key, register)| Some((key, register?)));
    known.fold("[[registers]]\n".to_owned(), |mut text, (key, register)| {
        let _ = writeln!(text, "{key} = \"{register}\"");
        text
    })
}

impl Report for Measured {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        field(page, "platform", self.platform)?;
        let Registers { mrtd, rtmr0, rtmr1, rtmr2, rtmr3, .. } = self.registers;
        for (name, register) in NAMES.into_iter().zip([mrtd, rtmr0, rtmr1, rtmr2, rtmr3]) {
            let value = register.map_or_else(|| paint(DIM, "not given"), |register| register.to_string());
            field(page, name, value)?;
        }
        if !self.events.is_empty() {
            writeln!(page)?;
        }
        for Line { register, kind, digest, description, explained } in &self.events {
            let mark = if *explained == Some(false) { " (the data is not what was measured)" } else { "" };
            let short: String = digest.to_string().chars().take(16).collect();
            writeln!(page, "{register}  {short}  {kind}  {description}{mark}")?;
        }
        writeln!(page)?;
        self.files.iter().try_for_each(|file| file.human(page))?;
        write!(page, "\n{}", self.policy)
    }
}

const NAMES: [&str; 5] = ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"];
