//! Machines of every kind, as trees of files.

use super::*;
use glacier_devices::{Files as _, paths};
use std::{fs, path::Path};

struct Tree(tempfile::TempDir);

impl Tree {
    /// A plain machine with a recent kernel: what every enclave needs, and no more.
    fn plain() -> Self {
        Self(tempfile::tempdir().unwrap())
            .file("/proc/sys/kernel/osrelease", "6.16.3\n")
            .file("/proc/sys/kernel/seccomp/actions_avail", "kill_process errno log allow\n")
            .file("/sys/kernel/security/lsm", "capability,landlock,yama")
            .file("/proc/self/limits", "Max locked memory         8388608              8388608              bytes\n")
            .flags("fpu sse")
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn without(self, path: &str) -> Self {
        fs::remove_file(self.0.path().join(path.trim_start_matches('/'))).unwrap();
        self
    }

    fn flags(self, flags: &str) -> Self {
        self.file("/proc/cpuinfo", &format!("processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: other\n"))
    }

    /// An SGX host with everything.
    fn sgx() -> Self {
        Self::plain()
            .flags("fpu sgx sgx_lc")
            .file(paths::SGX_ENCLAVE, "")
            .file(paths::SGX_PROVISION, "")
            .file(paths::AESM_SOCKET, "")
            .file("/usr/bin/gramine-sgx", "")
    }

    /// A guest with a driver of this name.
    fn guest(flags: &str, provider: &str) -> Self {
        Self::plain()
            .flags(&format!("hypervisor {flags}"))
            .file(paths::MOUNTS, "none /sys/kernel/config configfs rw,relatime 0 0\n")
            .file("/sys/kernel/config/tsm/report/other/provider", provider)
    }

    fn gpu(self) -> Self {
        self.file("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
            .file("/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
            .file("/usr/lib64/libnvidia-ml.so.1", "")
            .file("/dev/nvidiactl", "")
            .driver("550.90.07")
    }

    fn driver(self, version: &str) -> Self {
        let text = format!("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\n");
        self.file("/proc/driver/nvidia/version", &text)
    }

    fn examine(&self) -> Examined {
        examine(&Root::at(self.0.path()))
    }

    /// The state of one finding; `None` when it is not made.
    fn state(&self, part: Part, id: &str) -> Option<State> {
        let examined = self.examine();
        let section = examined.platforms.into_iter().find(|section| section.platform == part).unwrap();
        section.findings.into_iter().find(|finding| finding.id == id).map(|finding| finding.state)
    }

    fn can_run(&self) -> Vec<Part> {
        self.examine().can_run
    }
}

#[test]
fn a_plain_machine_runs_simulated_enclaves_only() {
    let examined = Tree::plain().examine();
    assert_eq!(examined.can_run, [Part::Simulated]);
    assert!(!examined.hardware);
    assert_eq!(examined.chosen, None);
}

#[test]
fn a_kernel_without_seccomp_runs_nothing() {
    let tree = Tree::plain().without("/proc/sys/kernel/seccomp/actions_avail");
    assert_eq!(tree.can_run(), []);
    assert_eq!(tree.state(Part::Simulated, "seccomp"), Some(State::Missing));
}

#[test]
fn everything_that_is_not_ok_says_what_to_do() {
    for tree in [Tree::plain(), Tree::sgx(), Tree::guest("tdx_guest", "tdx_guest\n").gpu()] {
        for finding in tree.examine().platforms.into_iter().flat_map(|section| section.findings) {
            assert_eq!(finding.state == State::Ok, finding.remedy.is_none(), "{finding:?}");
        }
    }
}

#[test]
fn a_complete_sgx_host_lacks_nothing_but_what_this_release_lacks() {
    let tree = Tree::sgx();
    assert_eq!((tree.can_run(), tree.examine().hardware), (vec![Part::Simulated], false));
    let section = tree.examine().platforms.into_iter().find(|section| section.platform == Part::Sgx).unwrap();
    let against: Vec<_> =
        section.findings.iter().filter(|finding| finding.state != State::Ok).map(|finding| finding.id).collect();
    assert_eq!((against.as_slice(), section.usable), (["entrance"].as_slice(), false));
}

#[test]
fn each_thing_an_sgx_host_lacks_is_named() {
    for (id, path) in [
        ("driver", paths::SGX_ENCLAVE),
        ("provision", paths::SGX_PROVISION),
        ("aesm", paths::AESM_SOCKET),
        ("gramine", "/usr/bin/gramine-sgx"),
    ] {
        let tree = Tree::sgx().without(path);
        assert_eq!(tree.state(Part::Sgx, id), Some(State::Missing));
    }
    let locked = Tree::sgx().flags("fpu sgx");
    assert_eq!(locked.state(Part::Sgx, "launch-control"), Some(State::Missing));
    let off = Tree::sgx().flags("fpu");
    assert_eq!(off.state(Part::Sgx, "cpu"), Some(State::Missing));
}

#[test]
fn under_gramine_it_is_gramine_that_is_examined() {
    let gramine = |word| {
        Tree::plain().file(paths::GRAMINE_TYPE, word).file(paths::GRAMINE_QUOTE, "").file(paths::GRAMINE_SEAL_KEY, "")
    };
    assert_eq!(gramine("dcap").examine().chosen, Some(Hardware::Gramine));
    assert_eq!(gramine("dcap").state(Part::Sgx, "gramine"), Some(State::Ok));
    assert_eq!(gramine("dcap").can_run(), [Part::Simulated]);
    assert_eq!(gramine("none").state(Part::Sgx, "gramine"), Some(State::Problem));
    assert_eq!(gramine("dcap").without(paths::GRAMINE_QUOTE).state(Part::Sgx, "quote"), Some(State::Missing));
}

#[test]
fn guests_are_usable_by_their_drivers() {
    let tdx = Tree::guest("tdx_guest", "tdx_guest\n");
    assert_eq!(tdx.can_run(), [Part::Tdx, Part::Simulated]);
    assert_eq!(tdx.examine().chosen, Some(Hardware::TdxTsm));
    assert_eq!(tdx.state(Part::Snp, "reports"), Some(State::Problem));
    let snp = Tree::guest("sev_snp", "sev_guest\n");
    assert_eq!(snp.can_run(), [Part::Snp, Part::Simulated]);
    assert_eq!(snp.state(Part::Snp, "sealing"), Some(State::Missing));
    assert_eq!(snp.file(paths::SEV_GUEST, "").state(Part::Snp, "sealing"), Some(State::Ok));
}

#[test]
fn a_host_of_guests_is_none_itself() {
    for (part, flags) in [(Part::Tdx, "tdx_host_platform"), (Part::Snp, "sev_snp")] {
        let tree = Tree::plain().flags(flags);
        assert_eq!(tree.state(part, "cpu"), Some(State::Missing));
        // A guest's files are not looked for on a machine that is none.
        assert_eq!(tree.state(part, "configfs"), None);
        assert_eq!(tree.can_run(), [Part::Simulated]);
    }
}

#[test]
fn configfs_that_is_not_mounted_is_missing() {
    let tree = Tree::guest("tdx_guest", "tdx_guest\n").file(paths::MOUNTS, "none /mnt configfs rw 0 0\n");
    assert_eq!(tree.state(Part::Tdx, "configfs"), Some(State::Missing));
}

#[test]
fn a_guest_without_a_driver_lacks_it() {
    let tree = Tree::guest("tdx_guest", "tdx_guest\n").without("/sys/kernel/config/tsm/report/other/provider");
    assert_eq!(tree.state(Part::Tdx, "reports"), Some(State::Missing));
}

#[test]
fn an_old_kernel_serves_snp_and_not_tdx() {
    let old = |flags: &str, device| {
        Tree::plain()
            .flags(&format!("hypervisor {flags}"))
            .file("/proc/sys/kernel/osrelease", "6.2.0\n")
            .file(device, "")
    };
    assert_eq!(old("sev_snp", paths::SEV_GUEST).can_run(), [Part::Snp, Part::Simulated]);
    let tdx = old("tdx_guest", paths::TDX_GUEST);
    assert_eq!(tdx.can_run(), [Part::Simulated]);
    assert_eq!(tdx.state(Part::Tdx, "kernel"), Some(State::Problem));
}

#[test]
fn registers_need_a_newer_kernel_and_are_optional() {
    let tree = Tree::guest("tdx_guest", "tdx_guest\n");
    assert_eq!(tree.state(Part::Tdx, "registers"), Some(State::Missing));
    let newer = tree.file(&format!("{}/rtmr3:sha384", paths::TDX_MEASUREMENTS), "");
    assert_eq!(newer.state(Part::Tdx, "registers"), Some(State::Ok));
}

#[test]
fn a_paravisor_is_a_problem() {
    let azure =
        Tree::plain().flags("hypervisor").file(paths::TPM, "").file(paths::DMI_VENDOR, "Microsoft Corporation\n");
    assert_eq!(azure.state(Part::Tdx, "paravisor"), Some(State::Problem));
    assert_eq!(azure.can_run(), [Part::Simulated]);
}

#[test]
fn gpus_alone_are_no_confidential_hardware() {
    let tree = Tree::plain().gpu();
    assert_eq!(tree.can_run(), [Part::Simulated]);
    assert_eq!(tree.state(Part::Nvidia, "gpu"), Some(State::Ok));
    assert_eq!(tree.state(Part::Nvidia, "driver"), Some(State::Ok));
    // What files cannot tell is not called usable.
    assert_eq!(tree.state(Part::Nvidia, "cc-mode"), Some(State::Unknown));
}

#[test]
fn each_thing_a_gpu_lacks_is_named() {
    let plain = Tree::plain();
    for id in ["gpu", "driver", "library", "device"] {
        assert_eq!(plain.state(Part::Nvidia, id), Some(State::Missing), "{id}");
    }
    assert_eq!(plain.state(Part::Nvidia, "cc-mode"), None);
    assert_eq!(Tree::plain().gpu().driver("525.60.13").state(Part::Nvidia, "driver"), Some(State::Problem));
    assert_eq!(Tree::plain().gpu().driver("unknown").state(Part::Nvidia, "driver"), Some(State::Problem));
}

#[test]
fn secret_memory_follows_kernel_and_command_line() {
    let of = |release: &str, line: &str| {
        let tree = Tree::plain().file("/proc/sys/kernel/osrelease", release).file("/proc/cmdline", line);
        tree.state(Part::Simulated, "memfd-secret").unwrap()
    };
    assert_eq!(of("6.5.0", "quiet"), State::Ok);
    assert_eq!(of("6.5.0", "secretmem.enable=0"), State::Missing);
    assert_eq!(of("6.4.0", "quiet"), State::Missing);
    assert_eq!(of("5.14.0", "secretmem.enable=1"), State::Ok);
    assert_eq!(of("5.13.0", "secretmem.enable=1"), State::Missing);
    assert_eq!(of("nonsense", ""), State::Unknown);
}

#[test]
fn too_little_locked_memory_is_a_problem() {
    let tree = Tree::plain().file("/proc/self/limits", "Max locked memory         4096       4096       bytes\n");
    assert_eq!(tree.state(Part::Simulated, "locked-memory"), Some(State::Problem));
    assert_eq!(tree.can_run(), []);
}

#[test]
fn a_copied_tree_is_left_as_it_is() {
    let tree = Tree::guest("tdx_guest", "tdx_guest\n");
    tree.examine();
    assert_eq!(Root::at(tree.0.path()).list(paths::TSM_REPORT).unwrap(), ["other"]);
}

#[test]
fn a_root_that_is_no_folder_is_misuse() {
    let args = Args { root: Some(PathBuf::from("/nonexistent")) };
    let failure = run(&args, Output { json: false, quiet: false }).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.exit), ("root", Exit::Trouble));
}

#[test]
fn the_verdict_line_names_what_runs() {
    let human = |tree: Tree| {
        let mut page = Vec::new();
        tree.examine().human(&mut page).unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&page).unwrap()).to_string()
    };
    assert!(human(Tree::plain()).ends_with("this machine can run: simulated only\n"));
    let guest = Tree::guest("tdx_guest", "tdx_guest\n");
    assert!(human(guest).ends_with("this machine can run: tdx, simulated\n"));
    assert!(human(Tree::sgx()).ends_with("this machine can run: simulated only\n"));
}

#[test]
fn programs_read_the_same_words() {
    let value = serde_json::to_value(Tree::guest("tdx_guest", "tdx_guest\n").examine()).unwrap();
    assert_eq!(value["can_run"], serde_json::json!(["tdx", "simulated"]));
    assert_eq!(value["chosen"], "tdx-tsm");
    assert_eq!(value["hardware"], true);
    let first = &value["platforms"][0]["findings"][0];
    assert_eq!((&first["id"], &first["state"]), (&"cpu".into(), &"missing".into()));
    assert!(first["do"].is_string());
}
