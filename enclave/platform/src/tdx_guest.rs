//! Intel TDX: quotes through configfs-tsm, TDREPORTs through `/dev/tdx_guest`
//! (include/uapi/linux/tdx-guest.h), measurement registers through sysfs (Linux 6.16,
//! Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest).
//!
//! Written for the real interface; tested against recorded evidence and faked device files; not run on
//! hardware.
//!
//! A TDREPORT is authenticated for this machine alone; only the host's quoting service makes a quote of
//! it, and the way to that service is configfs-tsm. TDX 1.0 and 1.5 give a guest no sealing key.

use crate::{
    evidence::Format,
    hardware::Source,
    locked::LockedKey,
    platform::{PlatformError, SealingPurpose},
    sev_guest::iowr,
    tsm::Tsm,
};
use glacier_devices::{FileError, Files, Provider, Root, paths, read, write_whole};
use glacier_wire::{PlatformKind, ReportData};
use rustix::{
    fd::{AsRawFd, OwnedFd},
    io::Errno,
};
use std::sync::Arc;

/// The trust domain this program runs in.
pub struct Tdx {
    tsm: Tsm,
    files: Arc<dyn Files>,
}

/// A measurement register, by its name in sysfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TdxRegister {
    /// The guest's initial memory.
    Mrtd,
    /// Firmware configuration.
    Rtmr0,
    /// Kernel and its loader.
    Rtmr1,
    /// What the operating system measures.
    Rtmr2,
    /// What the application measures: the node's own boot facts.
    Rtmr3,
}

impl TdxRegister {
    fn path(self) -> String {
        let name = match self {
            Self::Mrtd => "mrtd",
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
            Self::Rtmr3 => "rtmr3",
        };
        format!("{}/{name}:sha384", paths::TDX_MEASUREMENTS)
    }
}

impl Tdx {
    /// Through configfs-tsm.
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self { tsm: Tsm::new(files.clone(), Provider::TdxGuest), files }
    }

    /// What a register holds now.
    ///
    /// # Errors
    /// [`PlatformError::NoMeasurementRegisters`] on a kernel before 6.16; quotes carry the registers there too.
    pub fn register(&self, register: TdxRegister) -> Result<[u8; REGISTER], PlatformError> {
        let value = read(&*self.files, &register.path(), REGISTER).map_err(unmeasured)?;
        value.try_into().map_err(|_| PlatformError::Malformed)
    }

    /// Extends RTMR3 by a digest of what this node was started with. Call it before the first quote: from
    /// then on every quote shows it, and nothing takes it back before the guest is started again.
    pub fn extend(&self, boot_facts: &[u8; REGISTER]) -> Result<(), PlatformError> {
        let before = self.register(TdxRegister::Rtmr3)?;
        write_whole(&*self.files, &TdxRegister::Rtmr3.path(), boot_facts).map_err(unmeasured)?;
        // SHA-384 over the old value and the digest: a driver that took the write and did nothing is found.
        let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &[before, *boot_facts].concat());
        if self.register(TdxRegister::Rtmr3)? == expected.as_ref() { Ok(()) } else { Err(PlatformError::Interfered) }
    }
}

impl Source for Tdx {
    fn kind(&self) -> PlatformKind {
        PlatformKind::Tdx
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        Format::Tdx.over(self.tsm.report(report_data)?.outblob, report_data)
    }

    /// Always [`PlatformError::NoSealingKey`]: no released TDX module derives keys for a guest that Linux
    /// could ask for. A node on TDX makes its keys anew at each start and binds them by its quotes.
    fn sealing_key(&self, _: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        Err(PlatformError::NoSealingKey)
    }
}

fn unmeasured(error: FileError) -> PlatformError {
    match error {
        FileError::Os(Errno::NOENT) => PlatformError::NoMeasurementRegisters,
        FileError::Os(Errno::ACCESS | Errno::PERM) => PlatformError::NoPermission(paths::TDX_MEASUREMENTS),
        FileError::Os(errno) => PlatformError::Unreachable(errno),
        FileError::Short => PlatformError::NotTaken,
        _ => PlatformError::Malformed,
    }
}

/// Length of a register.
pub const REGISTER: usize = 48;
/// Length of a TDREPORT.
pub const TD_REPORT: usize = 1024;

/// `/dev/tdx_guest`, opened once.
pub struct TdxGuest {
    device: OwnedFd,
}

impl TdxGuest {
    /// Opens the device.
    pub fn open(root: &Root) -> Result<Self, PlatformError> {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::open(root.resolve(paths::TDX_GUEST), flags, rustix::fs::Mode::empty());
        opened.map(|device| Self { device }).map_err(|errno| match errno {
            Errno::NOENT => PlatformError::NoDevice(paths::TDX_GUEST),
            Errno::ACCESS | Errno::PERM => PlatformError::NoPermission(paths::TDX_GUEST),
            errno => PlatformError::Unreachable(errno),
        })
    }

    /// A TDREPORT over `report_data`: for another enclave on this machine, not for a stranger.
    pub fn report(&self, report_data: &ReportData) -> Result<Box<[u8; TD_REPORT]>, PlatformError> {
        let mut request = Box::new(ReportRequest { report_data: *report_data, report: [0; TD_REPORT] });
        let number = iowr(b'T', 1, size_of::<ReportRequest>());
        // SAFETY: the descriptor is ours, and the structure is the one that the number names.
        let done = unsafe { libc::ioctl(self.device.as_raw_fd(), number, &mut *request) };
        if done != 0 {
            return Err(match Errno::from_io_error(&std::io::Error::last_os_error()) {
                Some(Errno::IO) => PlatformError::Refused,
                Some(Errno::INVAL | Errno::NOTTY) => PlatformError::NotTaken,
                errno => PlatformError::Unreachable(errno.unwrap_or(Errno::IO)),
            });
        }
        over(&request.report, report_data)?;
        Ok(Box::new(request.report))
    }
}

impl Source for TdxGuest {
    fn kind(&self) -> PlatformKind {
        PlatformKind::Tdx
    }

    /// Always [`PlatformError::KernelTooOld`]: a TDREPORT is authenticated for this machine alone, and the
    /// host's quoting service, which makes a quote of it, is reached through configfs-tsm only.
    fn quote(&self, _: &ReportData) -> Result<Vec<u8>, PlatformError> {
        Err(PlatformError::KernelTooOld)
    }

    fn sealing_key(&self, _: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        Err(PlatformError::NoSealingKey)
    }
}

/// `struct tdx_report_req`.
#[repr(C)]
struct ReportRequest {
    report_data: ReportData,
    report: [u8; TD_REPORT],
}

/// REPORTMACSTRUCT: type 0x81 first, report data at 128.
fn over(report: &[u8; TD_REPORT], asked: &ReportData) -> Result<(), PlatformError> {
    if report.first() != Some(&0x81) {
        return Err(PlatformError::Malformed);
    }
    if report.get(128..192) == Some(asked) { Ok(()) } else { Err(PlatformError::OtherReportData) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::{
        fake::{Fake, entry},
        recorded,
    };

    fn quote(files: &Fake, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        Tdx::new(Arc::new(files.clone())).quote(report_data)
    }

    #[test]
    fn recorded_quotes_come_back_whole() {
        for (evidence, report_data) in recorded::all("tdx") {
            let files = Fake::new().tsm("tdx_guest", &evidence).chunked(1000).interrupted(&entry("outblob"), 1);
            assert_eq!(quote(&files, &report_data), Ok(evidence));
            assert_eq!(files.written(&entry("inblob")), [report_data.to_vec()]);
            assert_eq!(files.entries().len(), 1);
        }
    }

    #[test]
    fn a_quote_over_other_data_is_refused() {
        for (evidence, _) in recorded::all("tdx") {
            let files = Fake::new().tsm("tdx_guest", &evidence);
            assert_eq!(quote(&files, &[0x5a; 64]), Err(PlatformError::OtherReportData));
            files.entries();
        }
    }

    #[test]
    fn an_sgx_quote_is_no_tds() {
        for (evidence, report_data) in recorded::all("sgx") {
            assert_eq!(quote(&Fake::new().tsm("tdx_guest", &evidence), &report_data), Err(PlatformError::Malformed));
        }
    }

    #[test]
    fn an_empty_quote_is_named() {
        assert_eq!(quote(&Fake::new().tsm("tdx_guest", []), &[0; 64]), Err(PlatformError::Empty));
    }

    #[test]
    fn there_is_no_sealing_key() {
        let tdx = Tdx::new(Arc::new(Fake::new()));
        assert_eq!(tdx.sealing_key(SealingPurpose::State).err(), Some(PlatformError::NoSealingKey));
    }

    #[test]
    fn boot_facts_extend_rtmr3() {
        let files = Fake::new().register(&TdxRegister::Rtmr3.path());
        let tdx = Tdx::new(Arc::new(files));
        tdx.extend(&[1; 48]).unwrap();
        let once = tdx.register(TdxRegister::Rtmr3).unwrap();
        tdx.extend(&[1; 48]).unwrap();
        assert_ne!(tdx.register(TdxRegister::Rtmr3).unwrap(), once);
        assert_ne!(once, [1; 48]);
    }

    #[test]
    fn an_extension_that_the_driver_dropped_is_noticed() {
        let files = Fake::new().register(&TdxRegister::Rtmr3.path()).dropping_writes();
        assert_eq!(Tdx::new(Arc::new(files)).extend(&[1; 48]), Err(PlatformError::Interfered));
    }

    #[test]
    fn an_older_kernel_shows_no_registers() {
        let tdx = Tdx::new(Arc::new(Fake::new()));
        assert_eq!(tdx.register(TdxRegister::Mrtd), Err(PlatformError::NoMeasurementRegisters));
        assert_eq!(tdx.extend(&[1; 48]), Err(PlatformError::NoMeasurementRegisters));
    }

    #[test]
    fn a_register_of_another_length_is_malformed() {
        for len in [0, 47, 49] {
            let files = Fake::new().file(&TdxRegister::Mrtd.path(), vec![1; len]);
            assert_eq!(Tdx::new(Arc::new(files)).register(TdxRegister::Mrtd), Err(PlatformError::Malformed));
        }
    }

    #[test]
    fn a_tdreport_must_be_over_what_was_asked() {
        let mut report = [0; TD_REPORT];
        report[128..192].fill(7);
        assert_eq!(over(&report, &[7; 64]), Err(PlatformError::Malformed));
        report[0] = 0x81;
        assert_eq!(over(&report, &[7; 64]), Ok(()));
        assert_eq!(over(&report, &[8; 64]), Err(PlatformError::OtherReportData));
    }

    #[test]
    fn the_control_call_has_the_kernels_number() {
        assert_eq!(iowr(b'T', 1, size_of::<ReportRequest>()) as u32, 0xc440_5401);
    }

    #[test]
    fn a_plain_file_is_no_device() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::at(tree.path());
        assert_eq!(TdxGuest::open(&root).err(), Some(PlatformError::NoDevice(paths::TDX_GUEST)));
        std::fs::create_dir(tree.path().join("dev")).unwrap();
        std::fs::write(root.resolve(paths::TDX_GUEST), []).unwrap();
        let device = TdxGuest::open(&root).unwrap();
        assert_eq!(device.report(&[7; 64]).err(), Some(PlatformError::NotTaken));
        assert_eq!(device.quote(&[7; 64]), Err(PlatformError::KernelTooOld));
        assert_eq!(device.sealing_key(SealingPurpose::State).err(), Some(PlatformError::NoSealingKey));
    }
}
