//! Intel SGX.

use super::{
    Finding, Part, Section,
    machine::{Machine, There},
};
use glacier_devices::{Absent, Access, Hardware, paths};

pub(super) fn examine(machine: &Machine<'_>) -> Section {
    let mut findings = match machine.detected.of(Hardware::Gramine) {
        Some(Err(Absent::NoFile(_))) | None => host(machine),
        Some(found) => inside(machine, found),
    };
    findings.push(entrance());
    Section::new(Part::Sgx, findings)
}

/// A limit of this release and not of the machine: what cannot be started here is not called usable all the same.
fn entrance() -> Finding {
    let why = "this release's enclave program does not start under Gramine yet: it needs inherited sockets and forks";
    Finding::problem("entrance", why, "use a TDX or SEV-SNP guest until it does")
}

/// This very program runs under Gramine.
fn inside(machine: &Machine<'_>, found: Result<(), Absent>) -> Vec<Finding> {
    let runtime = match found {
        Ok(()) => Finding::ok("gramine", "this program runs under Gramine with remote attestation"),
        Err(absent) => Finding::problem(
            "gramine",
            format!("this program runs under Gramine: {absent}"),
            "set sgx.remote_attestation = \"dcap\" in the manifest and sign it again",
        ),
    };
    let file = |id, path: &str, there: &str, remedy| match machine.is_there(path, Access::Read) {
        There::Yes => Finding::ok(id, there),
        _ => Finding::missing(id, format!("{path} cannot be read"), remedy),
    };
    vec![
        runtime,
        file(
            "quote",
            paths::GRAMINE_QUOTE,
            "Gramine gives quotes",
            "check that aesmd runs on the host and that its socket is passed in",
        ),
        file(
            "sealing",
            paths::GRAMINE_SEAL_KEY,
            "Gramine gives this enclave's sealing key",
            "run it with gramine-sgx: gramine-direct has no processor to derive keys",
        ),
    ]
}

/// A machine that could start Gramine.
fn host(machine: &Machine<'_>) -> Vec<Finding> {
    let cpu = if machine.flag("sgx") {
        Finding::ok("cpu", "the processor has SGX and the BIOS lets it be used")
    } else if machine.virtual_machine() {
        Finding::missing(
            "cpu",
            "this virtual machine is shown no SGX",
            "have the hypervisor pass SGX memory through, or use a machine type that has it",
        )
    } else {
        Finding::missing(
            "cpu",
            "the processor shows no SGX",
            "enable SGX in the BIOS (\"enabled\", not \"software controlled\"), or use a processor that has it",
        )
    };
    // Without SGX the flag says nothing.
    let launch = match (machine.flag("sgx"), machine.flag("sgx_lc")) {
        (false, _) => None,
        (true, true) => Some(Finding::ok("launch-control", "the BIOS lets enclaves of any signer start")),
        (true, false) => Some(Finding::missing(
            "launch-control",
            "the BIOS does not let the kernel choose whose enclaves start",
            "set SGX launch control to \"unlocked\" in the BIOS",
        )),
    };
    let device = |id, path: &str, absent, denied| match machine.is_there(path, Access::Both) {
        There::Yes => Finding::ok(id, format!("{path} can be opened")),
        There::Denied => Finding::problem(id, format!("{path} may not be opened by this user"), denied),
        There::No => Finding::missing(id, format!("there is no {path}"), absent),
    };
    let aesm = match machine.first(&[paths::AESM_SOCKET, "/run/aesmd/aesm.socket"]) {
        Some(socket) => Finding::ok("aesm", format!("aesmd listens at {socket}")),
        None => Finding::missing(
            "aesm",
            "there is no socket of aesmd, which reaches the quoting enclave",
            "install Intel's sgx-aesm-service with its quote-ex and ecdsa plugins, and start aesmd",
        ),
    };
    let gramine = match machine.first(&["/usr/bin/gramine-sgx", "/usr/local/bin/gramine-sgx"]) {
        Some(program) => Finding::ok("gramine", format!("Gramine is installed at {program}")),
        None => Finding::missing("gramine", "Gramine is not installed", "install the package gramine"),
    };
    let rest = [
        device(
            "driver",
            paths::SGX_ENCLAVE,
            "run Linux 5.11 or later with CONFIG_X86_SGX, and give SGX memory in the BIOS",
            "add the user to the group that owns it, `sgx` as a rule",
        ),
        device(
            "provision",
            paths::SGX_PROVISION,
            "run Linux 5.11 or later with CONFIG_X86_SGX",
            "add the user to the group `sgx_prv`",
        ),
        aesm,
        gramine,
    ];
    [cpu].into_iter().chain(launch).chain(rest).collect()
}
