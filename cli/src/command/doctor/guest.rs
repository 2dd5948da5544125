//! Confidential guests: Intel TDX and AMD SEV-SNP. The node runs inside of them.

use super::{
    Finding, Part, Section, State,
    machine::{Machine, There},
};
use glacier_devices::{Absent, Access, Hardware, Kernel, Provider, paths};

pub(super) fn examine(machine: &Machine<'_>, provider: Provider) -> Section {
    let (part, tsm) = match provider {
        Provider::TdxGuest => (Part::Tdx, Hardware::TdxTsm),
        Provider::SevGuest => (Part::Snp, Hardware::SnpTsm),
    };
    let mut findings = vec![processor(machine, provider)];
    // On bare metal the files of a guest are nobody's; a guest may hide what it is until its driver is loaded.
    if findings.iter().any(|cpu| cpu.state != State::Ok) && !machine.virtual_machine() {
        return Section::new(part, findings);
    }
    if machine.detected.of(Hardware::Paravisor) == Some(Ok(())) {
        findings.push(Finding::problem(
            "paravisor",
            "a paravisor owns the hardware's report and shows this guest a virtual TPM instead",
            "use a machine whose guests are given reports of their own; this chain of proof is not supported",
        ));
    }
    // An old kernel's device serves SEV-SNP as well; everything about configfs is beside the point then.
    let by_device = provider == Provider::SevGuest && machine.detected.of(Hardware::SevGuest) == Some(Ok(()));
    if by_device {
        findings.push(Finding::ok("reports", "/dev/sev-guest gives reports on this older kernel"));
        findings.push(kernel(machine).optional());
    } else {
        findings.push(kernel(machine));
        findings.push(configfs(machine));
        findings.push(driver(machine, tsm, provider));
    }
    findings.extend(match provider {
        Provider::TdxGuest => [registers(machine), tdx_sealing()],
        Provider::SevGuest => [snp_sealing(machine), certificates()],
    });
    Section::new(part, findings)
}

fn processor(machine: &Machine<'_>, provider: Provider) -> Finding {
    let guest = machine.virtual_machine();
    let (inside, hosting) = match provider {
        Provider::TdxGuest => (machine.flag("tdx_guest"), machine.flag("tdx_host_platform")),
        Provider::SevGuest => (guest && machine.flag("sev_snp"), !guest && machine.flag("sev_snp")),
    };
    // Some kernels show a guest no flag; its driver's device says the same.
    let device = match provider {
        Provider::TdxGuest => paths::TDX_GUEST,
        Provider::SevGuest => paths::SEV_GUEST,
    };
    if inside || machine.is_there(device, Access::Read) != There::No {
        return Finding::ok("cpu", "this is a confidential guest");
    }
    match (hosting, guest) {
        (true, _) => Finding::missing(
            "cpu",
            "this machine can host such guests and is none itself",
            "start a confidential guest on it and run the node, and this doctor, inside",
        ),
        (false, true) => Finding::missing(
            "cpu",
            "this virtual machine shows no sign of being confidential",
            "load the guest's driver, or start the machine again as a confidential one",
        ),
        (false, false) => Finding::missing(
            "cpu",
            "the processor shows no such guests",
            "enable them in BIOS and kernel of a processor that has them, and run the node in such a guest",
        ),
    }
}

fn kernel(machine: &Machine<'_>) -> Finding {
    let remedy = "run Linux 6.7 or later in the guest, with CONFIG_TSM_REPORTS";
    match machine.kernel {
        Some(kernel) if kernel >= Kernel::TSM_REPORTS => {
            Finding::ok("kernel", format!("Linux {kernel} is recent enough for configfs-tsm"))
        }
        Some(kernel) => Finding::problem("kernel", format!("Linux {kernel} is older than configfs-tsm"), remedy),
        None => Finding::unknown("kernel", "the kernel's release cannot be read", remedy),
    }
}

fn configfs(machine: &Machine<'_>) -> Finding {
    let mounts = machine.text(paths::MOUNTS).unwrap_or_default();
    let mounted = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(paths::CONFIGFS) && fields.next() == Some("configfs")
    });
    if mounted {
        return Finding::ok("configfs", "configfs is mounted");
    }
    Finding::missing("configfs", "configfs is not mounted", "mount -t configfs none /sys/kernel/config")
}

fn driver(machine: &Machine<'_>, tsm: Hardware, provider: Provider) -> Finding {
    let load = match provider {
        Provider::TdxGuest => "load the guest's driver: modprobe tdx_guest (CONFIG_TDX_GUEST_DRIVER)",
        Provider::SevGuest => "load the guest's driver: modprobe sev-guest (CONFIG_SEV_GUEST)",
    };
    match machine.detected.of(tsm) {
        Some(Ok(())) => Finding::ok("reports", "the guest's driver answers in configfs-tsm"),
        Some(Err(absent @ Absent::NoFile(_) | absent @ Absent::NoProvider)) => {
            Finding::missing("reports", absent.to_string(), load)
        }
        Some(Err(absent @ Absent::OtherProvider)) => {
            Finding::problem("reports", absent.to_string(), "see the section of the other platform")
        }
        Some(Err(absent @ Absent::Unreadable(..))) => Finding::problem(
            "reports",
            absent.to_string(),
            "run the node as root in the guest, or give its user the folder (chown at each start)",
        ),
        Some(Err(absent)) => Finding::problem("reports", absent.to_string(), load),
        None => Finding::missing("reports", "the guest's driver was not looked for", load),
    }
}

fn registers(machine: &Machine<'_>) -> Finding {
    let id = "registers";
    if !machine.names(paths::TDX_MEASUREMENTS).is_empty() {
        return Finding::ok(id, "the kernel shows and extends measurement registers").optional();
    }
    let remedy = match machine.kernel {
        Some(kernel) if kernel >= Kernel::TDX_MEASUREMENTS => "they come with the guest's driver, tdx_guest",
        _ => "run Linux 6.16 or later in the guest to have the node's settings measured into RTMR3",
    };
    Finding::missing(id, "the kernel shows no measurement registers", remedy).optional()
}

fn tdx_sealing() -> Finding {
    let remedy = "nothing to do: the node makes new keys at each start and binds them by its evidence";
    Finding::missing("sealing", "TDX gives guests no key to keep things under", remedy).optional()
}

fn snp_sealing(machine: &Machine<'_>) -> Finding {
    let path = paths::SEV_GUEST;
    let finding = match machine.is_there(path, Access::Both) {
        There::Yes => Finding::ok("sealing", format!("{path} derives sealing keys")),
        There::Denied => Finding::problem(
            "sealing",
            format!("{path} may not be opened by this user"),
            "run the node as root in the guest, or give its user the device",
        ),
        There::No => Finding::missing(
            "sealing",
            format!("there is no {path}, so nothing can be kept over a restart"),
            "load the driver: modprobe sev-guest",
        ),
    };
    finding.optional()
}

fn certificates() -> Finding {
    Finding::unknown(
        "chip-id",
        "whether the host shows the chip's identity is seen in the first report only",
        "have the host not mask the chip id, and certify by VCEK instead of VLEK",
    )
    .optional()
}
