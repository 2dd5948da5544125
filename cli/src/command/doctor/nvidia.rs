//! NVIDIA GPUs. Files show the driver; the mode is asked of NVML, which the enclave does itself.

use super::{
    Finding, Part, Section,
    machine::{Machine, There},
};
use glacier_devices::Access;

pub(super) fn examine(machine: &Machine<'_>) -> Section {
    let driver = driver(machine);
    let running = driver.state == super::State::Ok;
    let mut findings = vec![gpu(machine), driver, library(machine), device(machine)];
    if running {
        findings.push(Finding::unknown(
            "cc-mode",
            "only NVML tells whether confidential computing is on; the enclave asks it and refuses off and devtools",
            "nvidia-smi conf-compute -f must say ON, -d OFF, -e PRODUCTION; the host sets it, with a GPU reset",
        ));
        findings.push(
            Finding::unknown(
                "ready",
                "only NVML tells whether the GPUs take work; they must not before the enclave has verified them",
                "nvidia-smi conf-compute -grs shows it; leave it \"not ready\" at start",
            )
            .optional(),
        );
    }
    Section::new(Part::Nvidia, findings)
}

fn gpu(machine: &Machine<'_>) -> Finding {
    let devices = "/sys/bus/pci/devices";
    let is_gpu = |name: &String| {
        let attribute = |what| machine.text(&format!("{devices}/{name}/{what}")).unwrap_or_default();
        // NVIDIA's vendor id; display controllers.
        attribute("vendor").trim_end() == "0x10de" && attribute("class").starts_with("0x03")
    };
    match machine.names(devices).iter().filter(|name| is_gpu(name)).count() {
        0 => Finding::missing(
            "gpu",
            "there is no NVIDIA GPU on the PCI bus",
            "pass a Hopper or Blackwell GPU through to the confidential guest",
        ),
        1 => Finding::ok("gpu", "there is one NVIDIA GPU"),
        many => Finding::ok("gpu", format!("there are {many} NVIDIA GPUs")),
    }
}

fn driver(machine: &Machine<'_>) -> Finding {
    let remedy = "install NVIDIA's open kernel driver in the guest, 550 or later";
    let Ok(text) = machine.text("/proc/driver/nvidia/version") else {
        return Finding::missing("driver", "NVIDIA's kernel driver is not loaded", remedy);
    };
    // NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.90.07  Release Build ...
    let version = text.split_whitespace().find(|word| {
        word.starts_with(|first: char| first.is_ascii_digit())
            && word.split('.').all(|part| part.parse::<u32>().is_ok())
    });
    match version.and_then(|version| version.split('.').next()?.parse::<u32>().ok().map(|major| (version, major))) {
        Some((version, major)) if major < FIRST_DRIVER => {
            Finding::problem("driver", format!("driver {version} is older than confidential computing"), remedy)
        }
        Some((version, _)) => Finding::ok("driver", format!("driver {version} is loaded")),
        None => Finding::problem("driver", "the driver's version is not understood", remedy),
    }
}

fn library(machine: &Machine<'_>) -> Finding {
    let places = [
        "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "/usr/lib64/libnvidia-ml.so.1",
        "/usr/lib/libnvidia-ml.so.1",
        "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    ];
    match machine.first(&places) {
        Some(path) => Finding::ok("library", format!("NVML is at {path}")),
        None => Finding::missing(
            "library",
            "there is no libnvidia-ml.so.1 in the usual folders",
            "install the driver's user-space part of the same version",
        ),
    }
}

fn device(machine: &Machine<'_>) -> Finding {
    let path = "/dev/nvidiactl";
    match machine.is_there(path, Access::Both) {
        There::Yes => Finding::ok("device", format!("{path} can be opened")),
        There::Denied => Finding::problem(
            "device",
            format!("{path} may not be opened by this user"),
            "give the node's user the devices /dev/nvidia*",
        ),
        There::No => Finding::missing(
            "device",
            format!("there is no {path}"),
            "load the driver and run nvidia-modprobe, or nvidia-persistenced",
        ),
    }
}

/// The first branch with confidential computing.
const FIRST_DRIVER: u32 = 535;
