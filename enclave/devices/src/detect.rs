//! Which hardware stands under this program.

use crate::{Access, FileError, Files, paths, read_text};
use rustix::io::Errno;
use serde::Serialize;

/// Hardware that this program can ask for evidence, by the interface it is asked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hardware {
    /// Intel SGX, through Gramine's `/dev/attestation`.
    Gramine,
    /// Intel TDX, through configfs-tsm.
    TdxTsm,
    /// AMD SEV-SNP, through configfs-tsm.
    SnpTsm,
    /// AMD SEV-SNP, through `/dev/sev-guest` on a kernel without configfs-tsm.
    SevGuest,
    /// Intel TDX on a kernel without configfs-tsm: reports for this machine alone, no quotes.
    TdxGuest,
    /// Azure's paravisor, which owns the hardware's report and binds user data through a virtual TPM.
    Paravisor,
}

impl Hardware {
    /// Whether evidence for a stranger can be had through it.
    pub fn quotes(self) -> bool {
        !matches!(self, Self::TdxGuest | Self::Paravisor)
    }
}

/// Who answers in a guest's report entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Intel TDX.
    TdxGuest,
    /// AMD SEV-SNP.
    SevGuest,
}

impl Provider {
    /// As the file `provider` spells it; `None` for another.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim_end_matches('\n') {
            "tdx_guest" => Some(Self::TdxGuest),
            "sev_guest" => Some(Self::SevGuest),
            _ => None,
        }
    }
}

/// Why a piece of hardware is not there, or cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// The file that shows it does not exist.
    #[error("there is no {0}")]
    NoFile(&'static str),
    /// The file exists and cannot be opened as it must be.
    #[error("{0} cannot be opened: {1}")]
    Unreadable(&'static str, Errno),
    /// The file holds something that no version of its interface says.
    #[error("{0} does not hold what its interface says")]
    Malformed(&'static str),
    /// Gramine runs the program, and its manifest does not ask for remote attestation.
    #[error("Gramine's manifest has no remote attestation: attestation_type is `none`")]
    NoRemoteAttestation,
    /// configfs-tsm is there, and no driver of a guest answers in it.
    #[error("no driver answers in /sys/kernel/config/tsm/report")]
    NoProvider,
    /// Another guest's driver answers.
    #[error("another platform's driver answers in /sys/kernel/config/tsm/report")]
    OtherProvider,
    /// The better interface to the same hardware is there.
    #[error("configfs-tsm serves it")]
    Superseded,
    /// The machine is not one of Azure's.
    #[error("this is not a machine of Azure's")]
    NotAzure,
}

/// One question, and what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// What was looked for.
    pub hardware: Hardware,
    /// `Ok` when it is there and may be used by this process.
    pub found: Result<(), Absent>,
}

/// All questions, in the order in which they decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// One for each [`Hardware`].
    pub probes: Vec<Probe>,
}

impl Detected {
    /// The first that is there; `None` is a machine without confidential hardware.
    pub fn hardware(&self) -> Option<Hardware> {
        self.probes.iter().find(|probe| probe.found.is_ok()).map(|probe| probe.hardware)
    }

    /// What was found of one.
    pub fn of(&self, hardware: Hardware) -> Option<Result<(), Absent>> {
        self.probes.iter().find(|probe| probe.hardware == hardware).map(|probe| probe.found)
    }
}

/// Looks for each platform. `entry` is the name of the report entry that is made to learn the provider,
/// and removed again; `None` makes nothing and reads the entries that are there, as on a copied tree.
///
/// The entry is shared with everything else in the guest, so its name must be one that nobody else takes.
pub fn detect(files: &dyn Files, entry: Option<&str>) -> Detected {
    let provider = provider(files, entry);
    let by_tsm = |wanted| match provider {
        Ok(found) if found == wanted => Ok(()),
        Ok(_) => Err(Absent::OtherProvider),
        Err(absent) => Err(absent),
    };
    // The old interface is for kernels without the new one, not for a new one that refuses.
    let by_device = |path| match provider {
        Err(Absent::NoFile(_)) => openable(files, path),
        _ => Err(Absent::Superseded),
    };
    let tdx_guest = by_device(paths::TDX_GUEST);
    let probes = vec![
        Probe { hardware: Hardware::Gramine, found: gramine(files) },
        Probe { hardware: Hardware::TdxTsm, found: by_tsm(Provider::TdxGuest) },
        Probe { hardware: Hardware::SnpTsm, found: by_tsm(Provider::SevGuest) },
        Probe { hardware: Hardware::SevGuest, found: by_device(paths::SEV_GUEST) },
        Probe { hardware: Hardware::TdxGuest, found: tdx_guest },
        Probe { hardware: Hardware::Paravisor, found: paravisor(files) },
    ];
    Detected { probes }
}

fn gramine(files: &dyn Files) -> Result<(), Absent> {
    let path = paths::GRAMINE_TYPE;
    match read_text(files, path, MAX_WORD).map_err(|error| absent(path, error))?.trim_end_matches('\n') {
        "dcap" => Ok(()),
        "none" => Err(Absent::NoRemoteAttestation),
        _ => Err(Absent::Malformed(path)),
    }
}

fn provider(files: &dyn Files, entry: Option<&str>) -> Result<Provider, Absent> {
    let path = paths::TSM_REPORT;
    let there = files.list(path).map_err(|errno| absent(path, errno.into()))?;
    let Some(name) = entry else {
        let name = there.first().ok_or(Absent::NoProvider)?;
        return ask(files, &format!("{path}/{name}"));
    };
    let entry = format!("{path}/{name}");
    match files.make_dir(&entry) {
        Ok(()) => {}
        Err(Errno::NXIO) => return Err(Absent::NoProvider),
        Err(errno) => return Err(absent(path, errno.into())),
    }
    let provider = ask(files, &entry);
    // An entry that stays is one more directory in the guest, nothing worse.
    let _ = files.remove_dir(&entry);
    provider
}

fn ask(files: &dyn Files, entry: &str) -> Result<Provider, Absent> {
    match read_text(files, &format!("{entry}/provider"), MAX_WORD) {
        Ok(text) => Provider::parse(&text).ok_or(Absent::OtherProvider),
        Err(FileError::Os(Errno::NXIO | Errno::NOENT)) => Err(Absent::NoProvider),
        Err(error) => Err(absent(paths::TSM_REPORT, error)),
    }
}

/// Azure's confidential machines show a virtual TPM and no guest device.
fn paravisor(files: &dyn Files) -> Result<(), Absent> {
    for guest in [paths::TDX_GUEST, paths::SEV_GUEST] {
        if openable(files, guest) != Err(Absent::NoFile(guest)) {
            return Err(Absent::NotAzure);
        }
    }
    let vendor = read_text(files, paths::DMI_VENDOR, MAX_WORD).unwrap_or_default();
    if vendor.trim_end_matches('\n') != "Microsoft Corporation" {
        return Err(Absent::NotAzure);
    }
    openable(files, paths::TPM)
}

fn openable(files: &dyn Files, path: &'static str) -> Result<(), Absent> {
    files.open(path, Access::Both).map(drop).map_err(|errno| absent(path, errno.into()))
}

fn absent(path: &'static str, error: FileError) -> Absent {
    match error {
        FileError::Os(Errno::NOENT | Errno::NOTDIR) => Absent::NoFile(path),
        FileError::Os(errno) => Absent::Unreadable(path, errno),
        _ => Absent::Malformed(path),
    }
}

/// Longest one-word answer.
const MAX_WORD: usize = 64;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Root;
    use std::fs;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn file(self, path: &str, text: &str) -> Self {
            let path = self.0.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }
        fn dir(self, path: &str) -> Self {
            fs::create_dir_all(self.0.path().join(path.trim_start_matches('/'))).unwrap();
            self
        }
        fn detect(&self) -> Detected {
            detect(&Root::at(self.0.path()), None)
        }
        fn hardware(&self) -> Option<Hardware> {
            self.detect().hardware()
        }
    }

    const ENTRY: &str = "/sys/kernel/config/tsm/report/other/provider";

    #[test]
    fn an_empty_machine_has_nothing_and_says_why() {
        let detected = Tree::new().detect();
        assert_eq!(detected.hardware(), None);
        assert_eq!(detected.of(Hardware::Gramine), Some(Err(Absent::NoFile(paths::GRAMINE_TYPE))));
        assert_eq!(detected.of(Hardware::TdxTsm), Some(Err(Absent::NoFile(paths::TSM_REPORT))));
        assert_eq!(detected.of(Hardware::SevGuest), Some(Err(Absent::NoFile(paths::SEV_GUEST))));
        assert_eq!(detected.of(Hardware::Paravisor), Some(Err(Absent::NotAzure)));
    }

    #[test]
    fn gramine_with_dcap_is_sgx() {
        assert_eq!(Tree::new().file(paths::GRAMINE_TYPE, "dcap").hardware(), Some(Hardware::Gramine));
    }

    #[test]
    fn gramine_without_attestation_is_not() {
        let detected = Tree::new().file(paths::GRAMINE_TYPE, "none\n").detect();
        assert_eq!(detected.hardware(), None);
        assert_eq!(detected.of(Hardware::Gramine), Some(Err(Absent::NoRemoteAttestation)));
    }

    #[test]
    fn another_word_of_gramine_is_malformed() {
        let detected = Tree::new().file(paths::GRAMINE_TYPE, "epid").detect();
        assert_eq!(detected.of(Hardware::Gramine), Some(Err(Absent::Malformed(paths::GRAMINE_TYPE))));
    }

    #[test]
    fn the_provider_tells_the_guests_apart() {
        assert_eq!(Tree::new().file(ENTRY, "tdx_guest\n").hardware(), Some(Hardware::TdxTsm));
        assert_eq!(Tree::new().file(ENTRY, "sev_guest\n").hardware(), Some(Hardware::SnpTsm));
    }

    #[test]
    fn another_provider_is_no_platform_of_ours() {
        let detected = Tree::new().file(ENTRY, "arm_cca_guest\n").detect();
        assert_eq!(detected.hardware(), None);
        assert_eq!(detected.of(Hardware::TdxTsm), Some(Err(Absent::OtherProvider)));
    }

    #[test]
    fn an_old_kernel_has_devices_only() {
        assert_eq!(Tree::new().file(paths::SEV_GUEST, "").hardware(), Some(Hardware::SevGuest));
        let tdx = Tree::new().file(paths::TDX_GUEST, "").hardware().unwrap();
        assert_eq!(tdx, Hardware::TdxGuest);
        assert!(!tdx.quotes());
    }

    #[test]
    fn the_old_device_does_not_bypass_the_new_interface() {
        let tree = Tree::new().file(paths::SEV_GUEST, "").dir(paths::TSM_REPORT);
        assert_eq!(tree.detect().of(Hardware::SevGuest), Some(Err(Absent::Superseded)));
    }

    #[test]
    fn a_paravisor_is_named() {
        let azure = Tree::new().file(paths::TPM, "").file(paths::DMI_VENDOR, "Microsoft Corporation\n");
        assert_eq!(azure.hardware(), Some(Hardware::Paravisor));
        assert!(!Hardware::Paravisor.quotes());
        let other = Tree::new().file(paths::TPM, "").file(paths::DMI_VENDOR, "QEMU\n");
        assert_eq!(other.hardware(), None);
    }

    #[test]
    fn an_entry_that_was_made_is_removed() {
        let tree = Tree::new().dir(paths::TSM_REPORT);
        let root = Root::at(tree.0.path());
        assert_eq!(detect(&root, Some("ours")).of(Hardware::TdxTsm), Some(Err(Absent::NoProvider)));
        assert!(root.list(paths::TSM_REPORT).unwrap().is_empty());
    }

    /// Files whose every call fails alike.
    struct Failing(Errno);

    impl Files for Failing {
        fn open(&self, _: &str, _: Access) -> Result<Box<dyn crate::File>, Errno> {
            Err(self.0)
        }
        fn make_dir(&self, _: &str) -> Result<(), Errno> {
            Err(self.0)
        }
        fn remove_dir(&self, _: &str) -> Result<(), Errno> {
            Err(self.0)
        }
        fn list(&self, _: &str) -> Result<Vec<String>, Errno> {
            if self.0 == Errno::NXIO { Ok(Vec::new()) } else { Err(self.0) }
        }
    }

    #[test]
    fn what_may_not_be_opened_is_named() {
        let detected = detect(&Failing(Errno::ACCESS), None);
        assert_eq!(detected.hardware(), None);
        let unreadable = |path| Some(Err(Absent::Unreadable(path, Errno::ACCESS)));
        assert_eq!(detected.of(Hardware::Gramine), unreadable(paths::GRAMINE_TYPE));
        assert_eq!(detected.of(Hardware::SnpTsm), unreadable(paths::TSM_REPORT));
    }

    #[test]
    fn no_driver_is_no_provider() {
        let detected = detect(&Failing(Errno::NXIO), Some("ours"));
        assert_eq!(detected.of(Hardware::TdxTsm), Some(Err(Absent::NoProvider)));
    }
}
