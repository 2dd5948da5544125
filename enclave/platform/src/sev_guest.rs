//! AMD SEV-SNP: reports through configfs-tsm, or through `/dev/sev-guest` on a kernel without it, and
//! sealing keys through `/dev/sev-guest` on every kernel (include/uapi/linux/sev-guest.h).
//!
//! Written for the real interface; tested against recorded evidence and faked devices; not run on hardware.

use crate::{
    cert_table::{CertTable, CertTableError},
    evidence::{Format, SNP_REPORT, u32_at},
    hardware::Source,
    locked::LockedKey,
    platform::{PlatformError, SealingPurpose},
    sealing,
    tsm::Tsm,
};
use glacier_devices::{Files, Provider, Root, paths};
use glacier_wire::{PlatformKind, ReportData};
use rustix::{
    fd::{AsRawFd, OwnedFd},
    io::Errno,
};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The guest's own processor.
pub struct Snp {
    /// configfs-tsm; `None` on a kernel without it.
    tsm: Option<Tsm>,
    /// `/dev/sev-guest`; without it nothing can be sealed.
    device: Option<Box<dyn SevDevice>>,
}

/// A report and what the host put beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsed {
    /// The report, over the data that was asked for.
    pub evidence: Vec<u8>,
    /// The host's certificates, unverified. A table that is not understood does not spoil the report:
    /// the certificate can be fetched by chip id and TCB.
    pub certificates: Result<CertTable, CertTableError>,
}

/// The control calls of `/dev/sev-guest`. Replies are as the firmware made them.
pub trait SevDevice: Send + Sync {
    /// `SNP_GET_REPORT`.
    fn report(&self, request: &[u8; REPORT_REQUEST], response: &mut [u8; RESPONSE]) -> Result<(), Fault>;

    /// `SNP_GET_EXT_REPORT`; `certificates` is a whole number of pages.
    fn extended_report(
        &self,
        request: &[u8; REPORT_REQUEST],
        response: &mut [u8; RESPONSE],
        certificates: &mut [u8],
    ) -> Result<(), Fault>;

    /// `SNP_GET_DERIVED_KEY`.
    fn derived_key(&self, request: &[u8; KEY_REQUEST], response: &mut [u8; KEY_RESPONSE]) -> Result<(), Fault>;
}

/// A control call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The system's error.
    pub errno: Errno,
    /// The low half is the firmware's status, the high half the hypervisor's.
    pub exit_info: u64,
}

/// `struct snp_report_req`: user data 64, VMPL u32, 28 reserved.
pub const REPORT_REQUEST: usize = 96;
/// `struct snp_report_resp`: status u32, size u32, 24 reserved, report.
pub const RESPONSE: usize = 4000;
/// `struct snp_derived_key_req`.
pub const KEY_REQUEST: usize = 32;
/// `struct snp_derived_key_resp`: status u32, 28 reserved, key 32.
pub const KEY_RESPONSE: usize = 64;

impl Snp {
    /// Through configfs-tsm. `device` serves sealing keys.
    pub fn by_tsm(files: Arc<dyn Files>, device: Option<Box<dyn SevDevice>>) -> Self {
        Self { tsm: Some(Tsm::new(files, Provider::SevGuest)), device }
    }

    /// Through `/dev/sev-guest` alone.
    pub fn by_device(device: Box<dyn SevDevice>) -> Self {
        Self { tsm: None, device: Some(device) }
    }

    /// A report and the host's certificates for it.
    ///
    /// # Errors
    /// [`PlatformError::MaskedChip`] when the report says no chip id: nobody could register such a node.
    pub fn endorsed(&self, report_data: &ReportData) -> Result<Endorsed, PlatformError> {
        let (evidence, table) = match (&self.tsm, &self.device) {
            (Some(tsm), _) => {
                let answer = tsm.report(report_data)?;
                (answer.outblob, answer.auxblob)
            }
            (None, Some(device)) => by_device(&**device, report_data)?,
            (None, None) => return Err(PlatformError::NoDevice(paths::SEV_GUEST)),
        };
        let evidence = Format::Snp.over(evidence, report_data)?;
        // Bit 1 of the key information is the host's mask; a VLEK report shows zeros as well.
        let masked = u32_at(&evidence, KEY_INFO).ok_or(PlatformError::Malformed)? & 0b10 != 0;
        if masked || field::<64>(&evidence, CHIP_ID)? == [0; 64] {
            return Err(PlatformError::MaskedChip);
        }
        Ok(Endorsed { evidence, certificates: CertTable::parse(&table) })
    }
}

impl Source for Snp {
    fn kind(&self) -> PlatformKind {
        PlatformKind::Snp
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        Ok(self.endorsed(report_data)?.evidence)
    }

    /// From a key that the firmware derives from the chip's own (never from a VLEK, which a cloud's chips
    /// share), the guest's policy and measurement, and the committed firmware version. So another guest,
    /// another chip, a debugged guest, or a committed firmware update gives another key; and firmware that
    /// was rolled back gives none.
    fn sealing_key(&self, purpose: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        let device = self.device.as_ref().ok_or(PlatformError::NoDevice(paths::SEV_GUEST))?;
        let report = self.quote(&[0; 64])?;
        let mut request = [0; KEY_REQUEST];
        let fields: [(usize, &[u8]); 4] = [
            (0, &ROOT_VCEK.to_le_bytes()),
            (8, &(FIELD_POLICY | FIELD_MEASUREMENT | FIELD_TCB).to_le_bytes()),
            (16, &field::<4>(&report, VMPL)?),
            (24, &field::<8>(&report, COMMITTED_TCB)?),
        ];
        for (at, bytes) in fields {
            let end = bytes.len().saturating_add(at);
            request.get_mut(at..end).ok_or(PlatformError::Malformed)?.copy_from_slice(bytes);
        }
        let mut response = Zeroizing::new([0; KEY_RESPONSE]);
        device.derived_key(&request, &mut response).map_err(fault)?;
        status(&*response)?;
        let key = response.get(32..).ok_or(PlatformError::Malformed)?;
        if key == [0; 32] {
            return Err(PlatformError::Malformed);
        }
        sealing::derive(key, PlatformKind::Snp, purpose)
    }
}

/// Report and table. A host that has no certificates, or a firmware too old to pass them, still reports.
fn by_device(device: &dyn SevDevice, report_data: &ReportData) -> Result<(Vec<u8>, Vec<u8>), PlatformError> {
    let mut request = [0; REPORT_REQUEST];
    request.get_mut(..64).ok_or(PlatformError::Malformed)?.copy_from_slice(report_data);
    let mut response = Box::new([0; RESPONSE]);
    let mut table = vec![0; CERTIFICATES];
    if let Err(first) = device.extended_report(&request, &mut response, &mut table) {
        // The rate limit concerns both calls, and the driver has waited it out already.
        if vmm_status(first) == VMM_BUSY {
            return Err(PlatformError::Busy);
        }
        table.clear();
        response.fill(0);
        device.report(&request, &mut response).map_err(fault)?;
    }
    status(&*response)?;
    let len = u32_at(&*response, 4).ok_or(PlatformError::Malformed)?;
    if usize::try_from(len) != Ok(SNP_REPORT) {
        return Err(PlatformError::Malformed);
    }
    let report = response.get(32..).and_then(|rest| rest.get(..SNP_REPORT)).ok_or(PlatformError::Malformed)?;
    Ok((report.to_vec(), table))
}

fn status(response: &[u8]) -> Result<(), PlatformError> {
    match u32_at(response, 0).ok_or(PlatformError::Malformed)? {
        0 => Ok(()),
        status => Err(PlatformError::Firmware(status)),
    }
}

fn fault(fault: Fault) -> PlatformError {
    let [a, b, c, d, ..] = fault.exit_info.to_le_bytes();
    match (fault.errno, u32::from_le_bytes([a, b, c, d])) {
        _ if vmm_status(fault) == VMM_BUSY => PlatformError::Busy,
        (Errno::IO, status @ 1..) => PlatformError::Firmware(status),
        (Errno::IO, _) => PlatformError::HostRefused,
        (Errno::INVAL | Errno::NOTTY, _) => PlatformError::NotTaken,
        (Errno::ACCESS | Errno::PERM, _) => PlatformError::NoPermission(paths::SEV_GUEST),
        (errno, _) => PlatformError::Unreachable(errno),
    }
}

fn vmm_status(fault: Fault) -> u32 {
    let [.., a, b, c, d] = fault.exit_info.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn field<const N: usize>(report: &[u8], at: usize) -> Result<[u8; N], PlatformError> {
    report.get(at..).and_then(|rest| rest.first_chunk().copied()).ok_or(PlatformError::Malformed)
}

const VMPL: usize = 0x30;
const KEY_INFO: usize = 0x48;
const CHIP_ID: usize = 0x1a0;
const COMMITTED_TCB: usize = 0x1e0;
/// The chip's key is the root (bit 0 clear), and of the chip's keys the VCEK (bits 1 and 2).
const ROOT_VCEK: u32 = 1 << 1;
const FIELD_POLICY: u64 = 1;
const FIELD_MEASUREMENT: u64 = 1 << 3;
const FIELD_TCB: u64 = 1 << 5;
const VMM_BUSY: u32 = 2;
/// The kernel's bound on the host's certificates, a whole number of pages.
const CERTIFICATES: usize = 16 << 10;

/// `/dev/sev-guest`, opened once.
pub struct SevGuest {
    device: OwnedFd,
}

impl SevGuest {
    /// Opens the device.
    pub fn open(root: &Root) -> Result<Self, PlatformError> {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::open(root.resolve(paths::SEV_GUEST), flags, rustix::fs::Mode::empty());
        opened.map(|device| Self { device }).map_err(|errno| match errno {
            Errno::NOENT => PlatformError::NoDevice(paths::SEV_GUEST),
            Errno::ACCESS | Errno::PERM => PlatformError::NoPermission(paths::SEV_GUEST),
            errno => PlatformError::Unreachable(errno),
        })
    }

    /// # Safety
    /// `request` and `response` must be what call `number` takes: readable, and writable, for as many bytes
    /// as its structures have, and so must be whatever `request` points to.
    unsafe fn call(&self, number: u8, request: *const u8, response: *mut u8) -> Result<(), Fault> {
        let mut message = GuestRequest {
            message_version: 1,
            request: request.expose_provenance() as u64,
            response: response.expose_provenance() as u64,
            exit_info: 0,
        };
        // SAFETY: the descriptor is ours; the structure is the one that the number names, lives on this
        // frame, and points to memory that the caller vouches for.
        let done =
            unsafe { libc::ioctl(self.device.as_raw_fd(), iowr(b'S', number, size_of_val(&message)), &mut message) };
        if done == 0 {
            return Ok(());
        }
        let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO);
        Err(Fault { errno, exit_info: message.exit_info })
    }
}

/// The device's three control calls.
pub(crate) const CALLS: [libc::Ioctl; 3] = [
    iowr(b'S', 0, size_of::<GuestRequest>()),
    iowr(b'S', 1, size_of::<GuestRequest>()),
    iowr(b'S', 2, size_of::<GuestRequest>()),
];

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    message_version: u8,
    request: u64,
    response: u64,
    exit_info: u64,
}

/// `struct snp_ext_report_req`.
#[repr(C)]
struct ExtendedRequest {
    report: [u8; REPORT_REQUEST],
    certificates: u64,
    len: u32,
}

impl SevDevice for SevGuest {
    fn report(&self, request: &[u8; REPORT_REQUEST], response: &mut [u8; RESPONSE]) -> Result<(), Fault> {
        // SAFETY: both are exactly the structures of call 0.
        unsafe { self.call(0, request.as_ptr(), response.as_mut_ptr()) }
    }

    fn extended_report(
        &self,
        request: &[u8; REPORT_REQUEST],
        response: &mut [u8; RESPONSE],
        certificates: &mut [u8],
    ) -> Result<(), Fault> {
        let too_long = Fault { errno: Errno::INVAL, exit_info: 0 };
        let request = ExtendedRequest {
            report: *request,
            len: u32::try_from(certificates.len()).map_err(|_| too_long)?,
            certificates: certificates.as_mut_ptr().expose_provenance() as u64,
        };
        // SAFETY: call 2 takes this request, whose certificates are writable for `len` bytes, and the
        // response of call 0. The kernel may write the length back; nobody reads it, so a copy will do.
        unsafe { self.call(2, std::ptr::from_ref(&request).cast(), response.as_mut_ptr()) }
    }

    fn derived_key(&self, request: &[u8; KEY_REQUEST], response: &mut [u8; KEY_RESPONSE]) -> Result<(), Fault> {
        // SAFETY: both are exactly the structures of call 1.
        unsafe { self.call(1, request.as_ptr(), response.as_mut_ptr()) }
    }
}

/// `_IOWR(kind, number, size)` of the kernel (asm-generic/ioctl.h).
pub(crate) const fn iowr(kind: u8, number: u8, size: usize) -> libc::Ioctl {
    let word = 3 << 30 | (size as u32 & 0x3fff) << 16 | (kind as u32) << 8 | number as u32;
    word as libc::Ioctl
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{
        cert_table::{
            Certificate,
            tests::{ASK, VCEK, table},
        },
        fake::{Fake, entry},
        recorded,
    };
    use std::sync::Mutex;

    /// A firmware that gives out one report, and keys that depend on every byte of the request.
    #[derive(Clone)]
    struct Firmware {
        report: Vec<u8>,
        table: Option<Vec<u8>>,
        fault: Option<Fault>,
        status: u32,
        key_requests: Arc<Mutex<Vec<[u8; KEY_REQUEST]>>>,
    }

    fn firmware(report: &[u8]) -> Firmware {
        Firmware {
            report: report.to_vec(),
            table: Some(Vec::new()),
            fault: None,
            status: 0,
            key_requests: Arc::default(),
        }
    }

    impl SevDevice for Firmware {
        fn report(&self, _: &[u8; REPORT_REQUEST], response: &mut [u8; RESPONSE]) -> Result<(), Fault> {
            if let Some(fault) = self.fault {
                return Err(fault);
            }
            response[..4].copy_from_slice(&self.status.to_le_bytes());
            response[4..8].copy_from_slice(&(self.report.len() as u32).to_le_bytes());
            response[32..32 + self.report.len()].copy_from_slice(&self.report);
            Ok(())
        }

        fn extended_report(
            &self,
            request: &[u8; REPORT_REQUEST],
            response: &mut [u8; RESPONSE],
            certificates: &mut [u8],
        ) -> Result<(), Fault> {
            // ENOSPC and EIO are what older and newer kernels say of certificates that do not fit.
            let table = self.table.as_ref().ok_or(Fault { errno: Errno::NOSPC, exit_info: 1 << 32 })?;
            certificates[..table.len()].copy_from_slice(table);
            self.report(request, response)
        }

        fn derived_key(&self, request: &[u8; KEY_REQUEST], response: &mut [u8; KEY_RESPONSE]) -> Result<(), Fault> {
            self.key_requests.lock().unwrap().push(*request);
            if let Some(fault) = self.fault {
                return Err(fault);
            }
            response[..4].copy_from_slice(&self.status.to_le_bytes());
            response[32..].copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, request).as_ref());
            Ok(())
        }
    }

    /// Recorded reports that show their chip.
    fn shown() -> Vec<(Vec<u8>, ReportData)> {
        let all = recorded::all("snp").into_iter();
        all.filter(|(report, _)| report[CHIP_ID..CHIP_ID + 64] != [0; 64]).collect()
    }

    /// A report of zeros but for what is looked at.
    fn plain() -> Vec<u8> {
        let mut report = vec![0; SNP_REPORT];
        report[0] = 2;
        report[CHIP_ID] = 1;
        report[COMMITTED_TCB..COMMITTED_TCB + 8].copy_from_slice(&[9; 8]);
        report[VMPL] = 3;
        report
    }

    fn of(device: Firmware, report_data: &ReportData) -> Result<Endorsed, PlatformError> {
        Snp::by_device(Box::new(device)).endorsed(report_data)
    }

    #[test]
    fn recorded_reports_come_back_whole_from_either_interface() {
        for (evidence, report_data) in shown() {
            let device = Firmware { table: Some(table(&[(VCEK, b"vcek"), (ASK, b"ask")])), ..firmware(&evidence) };
            let endorsed = of(device, &report_data).unwrap();
            assert_eq!(endorsed.evidence, evidence);
            assert_eq!(endorsed.certificates.unwrap().get(Certificate::Vcek), Some(b"vcek".as_slice()));

            let files = Fake::new()
                .tsm("sev_guest", &evidence)
                .file(&entry("auxblob"), table(&[(VCEK, b"vcek")]))
                .chunked(33)
                .interrupted(&entry("auxblob"), 2);
            let endorsed = Snp::by_tsm(Arc::new(files), None).endorsed(&report_data).unwrap();
            assert_eq!(endorsed.evidence, evidence);
            assert_eq!(endorsed.certificates.unwrap().get(Certificate::Vcek), Some(b"vcek".as_slice()));
        }
    }

    #[test]
    fn a_report_over_other_data_is_refused() {
        for (evidence, _) in recorded::all("snp") {
            assert_eq!(of(firmware(&evidence), &[0x5a; 64]), Err(PlatformError::OtherReportData));
        }
    }

    #[test]
    fn a_table_that_is_not_understood_spoils_no_report() {
        let files = Fake::new().tsm("sev_guest", plain()).file(&entry("auxblob"), [1; 23]);
        let endorsed = Snp::by_tsm(Arc::new(files), None).endorsed(&[0; 64]).unwrap();
        assert_eq!(endorsed.certificates, Err(CertTableError::Truncated));
    }

    #[test]
    fn a_host_without_certificates_still_reports() {
        let endorsed = of(Firmware { table: None, ..firmware(&plain()) }, &[0; 64]).unwrap();
        assert_eq!(endorsed.certificates, Ok(CertTable::default()));
    }

    #[test]
    fn the_recorded_vlek_report_shows_no_chip() {
        for (evidence, report_data) in recorded::all("snp") {
            if evidence[CHIP_ID..CHIP_ID + 64] == [0; 64] {
                assert_eq!(of(firmware(&evidence), &report_data), Err(PlatformError::MaskedChip));
            }
        }
    }

    #[test]
    fn a_masked_chip_is_refused() {
        let mut masked = plain();
        masked[KEY_INFO] = 0b10;
        assert_eq!(of(firmware(&masked), &[0; 64]), Err(PlatformError::MaskedChip));
        let mut zero = plain();
        zero[CHIP_ID] = 0;
        assert_eq!(of(firmware(&zero), &[0; 64]), Err(PlatformError::MaskedChip));
    }

    #[test]
    fn a_firmware_that_refuses_is_named_by_its_status() {
        let device = Firmware { status: 0x16, ..firmware(&plain()) };
        assert_eq!(of(device, &[0; 64]), Err(PlatformError::Firmware(0x16)));
        let fault = Fault { errno: Errno::IO, exit_info: 0x16 };
        let device = Firmware { table: None, fault: Some(fault), ..firmware(&plain()) };
        assert_eq!(of(device, &[0; 64]), Err(PlatformError::Firmware(0x16)));
    }

    #[test]
    fn each_failing_call_is_named() {
        for (errno, exit_info, expected) in [
            (Errno::IO, 2 << 32, PlatformError::Busy),
            (Errno::IO, 0, PlatformError::HostRefused),
            (Errno::NOTTY, 0, PlatformError::NotTaken),
            (Errno::PERM, 0, PlatformError::NoPermission(paths::SEV_GUEST)),
            (Errno::NOMEM, 0, PlatformError::Unreachable(Errno::NOMEM)),
        ] {
            let device = Firmware { fault: Some(Fault { errno, exit_info }), ..firmware(&plain()) };
            assert_eq!(of(device, &[0; 64]), Err(expected));
        }
    }

    #[test]
    fn a_response_of_another_size_is_malformed() {
        for len in [0, 1183, 1185, 3968] {
            let mut report = plain();
            report.resize(len, 0);
            assert_eq!(of(firmware(&report), &[0; 64]), Err(PlatformError::Malformed), "{len}");
        }
    }

    fn key(device: Firmware, purpose: SealingPurpose) -> Result<[u8; 32], PlatformError> {
        Snp::by_device(Box::new(device)).sealing_key(purpose).map(|key| *key.expose())
    }

    #[test]
    fn the_key_is_bound_to_chip_policy_measurement_and_committed_firmware() {
        let device = firmware(&plain());
        key(device.clone(), SealingPurpose::State).unwrap();
        let mut expected = [0; KEY_REQUEST];
        expected[0] = 0b010;
        expected[8] = 0b10_1001;
        expected[16] = 3;
        expected[24..].fill(9);
        assert_eq!(*device.key_requests.lock().unwrap(), [expected]);
    }

    #[test]
    fn keys_repeat_and_differ_by_purpose_and_firmware() {
        let state = key(firmware(&plain()), SealingPurpose::State);
        assert_eq!(key(firmware(&plain()), SealingPurpose::State), state);
        assert_ne!(key(firmware(&plain()), SealingPurpose::App), state);
        let mut newer = plain();
        newer[COMMITTED_TCB] = 10;
        assert_ne!(key(firmware(&newer), SealingPurpose::State), state);
    }

    #[test]
    fn a_firmware_without_the_key_gives_none() {
        let device = Firmware { status: 0x16, ..firmware(&plain()) };
        assert_eq!(key(device, SealingPurpose::State), Err(PlatformError::Firmware(0x16)));
    }

    #[test]
    fn without_the_device_nothing_can_be_sealed() {
        let snp = Snp::by_tsm(Arc::new(Fake::new().tsm("sev_guest", plain())), None);
        assert_eq!(snp.sealing_key(SealingPurpose::State).err(), Some(PlatformError::NoDevice(paths::SEV_GUEST)));
    }

    #[test]
    fn structures_and_numbers_are_the_kernels() {
        assert_eq!(size_of::<GuestRequest>(), 32);
        assert_eq!(size_of::<ExtendedRequest>(), 112);
        assert_eq!(CALLS.map(|number| number as u32), [0xc020_5300, 0xc020_5301, 0xc020_5302]);
    }

    #[test]
    fn a_plain_file_is_no_device() {
        let tree = tempfile::tempdir().unwrap();
        let root = Root::at(tree.path());
        assert_eq!(SevGuest::open(&root).err(), Some(PlatformError::NoDevice(paths::SEV_GUEST)));
        std::fs::create_dir(tree.path().join("dev")).unwrap();
        std::fs::write(root.resolve(paths::SEV_GUEST), []).unwrap();
        let snp = Snp::by_device(Box::new(SevGuest::open(&root).unwrap()));
        assert_eq!(snp.endorsed(&[0; 64]), Err(PlatformError::NotTaken));
    }
}
