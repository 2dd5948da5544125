//! What confines an enclave's process on any platform; it is all that the simulated one needs.

use super::{Finding, Part, Section, machine::Machine};
use glacier_devices::Kernel;

pub(super) fn examine(machine: &Machine<'_>) -> Section {
    Section::new(Part::Simulated, vec![seccomp(machine), landlock(machine), secret_memory(machine), locked(machine)])
}

fn seccomp(machine: &Machine<'_>) -> Finding {
    let remedy = "run a kernel with CONFIG_SECCOMP_FILTER; the enclave does not start without";
    match machine.text("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "errno") => {
            Finding::ok("seccomp", "the kernel filters system calls")
        }
        Ok(_) => Finding::problem("seccomp", "the kernel's filter cannot refuse a call", remedy),
        Err(_) => Finding::missing("seccomp", "the kernel filters no system calls", remedy),
    }
}

fn landlock(machine: &Machine<'_>) -> Finding {
    let remedy =
        "boot with lsm=landlock,... on a kernel with CONFIG_SECURITY_LANDLOCK; until then seccomp stands alone";
    let finding = match machine.text("/sys/kernel/security/lsm") {
        Ok(modules) if modules.trim_end().split(',').any(|module| module == "landlock") => {
            Finding::ok("landlock", "landlock is in force")
        }
        Ok(_) => Finding::missing("landlock", "landlock is not in force", remedy),
        Err(_) => Finding::unknown("landlock", "the kernel's security modules cannot be read", remedy),
    };
    finding.optional()
}

/// On by default since 6.5, by a word on the command line since 5.14.
fn secret_memory(machine: &Machine<'_>) -> Finding {
    let id = "memfd-secret";
    let remedy = "run Linux 6.5 or later, or boot with secretmem.enable=1; until then keys are only locked";
    let asked = machine.text("/proc/cmdline").unwrap_or_default();
    let asked = asked.split_whitespace().rev().find_map(|word| word.strip_prefix("secretmem.enable="));
    let default = Kernel { major: 6, minor: 5 };
    let first = Kernel { major: 5, minor: 14 };
    let on = match (machine.kernel, asked) {
        (None, _) => return Finding::unknown(id, "the kernel's release cannot be read", remedy).optional(),
        (Some(kernel), _) if kernel < first => false,
        (Some(_), Some(word)) => matches!(word, "1" | "y" | "Y" | "on"),
        (Some(kernel), None) => kernel >= default,
    };
    let finding = if on {
        Finding::ok(id, "keys can lie where the kernel itself has no mapping")
    } else {
        Finding::missing(id, "keys can be locked into memory, but not hidden from the kernel's own mapping", remedy)
    };
    finding.optional()
}

fn locked(machine: &Machine<'_>) -> Finding {
    let id = "locked-memory";
    let remedy = "raise the limit: ulimit -l, or LimitMEMLOCK in the unit";
    let limits = machine.text("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().next());
    match (soft, soft.and_then(|soft| soft.parse::<u64>().ok())) {
        (Some("unlimited"), _) => Finding::ok(id, "keys may be locked into memory without limit"),
        (_, Some(bytes)) if bytes >= LEAST => Finding::ok(id, format!("{bytes} bytes may be locked into memory")),
        (_, Some(bytes)) => Finding::problem(id, format!("only {bytes} bytes may be locked into memory"), remedy),
        _ => Finding::unknown(id, "the limit on locked memory cannot be read", remedy).optional(),
    }
}

/// Some pages for each key of an enclave and of its sessions.
const LEAST: u64 = 64 << 10;
