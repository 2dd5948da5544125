//! configfs-tsm: how Linux 6.7 and later gives a confidential guest its evidence, whichever vendor's
//! (Documentation/ABI/testing/configfs-tsm-report).
//!
//! Written for the real interface; tested against recorded evidence and faked device files; not run on
//! hardware.
//!
//! One request is one directory of our own, under a name nobody guesses. The kernel takes what was written
//! to `inblob` when the file is closed, so no error of that write is seen; and it shares the directory with
//! everything else that runs as root in the guest. Both are why `generation`, which counts writes, is
//! compared with our own writes before and after, and why the answer must carry the bytes that were asked
//! for. The directory is removed whatever happens.

use crate::{locked, platform::PlatformError};
use glacier_devices::{FileError, Files, Provider, paths, read, read_text, write_whole};
use glacier_wire::ReportData;
use rustix::io::Errno;
use std::sync::{Arc, Mutex, PoisonError};

/// The guest's report entries.
pub(crate) struct Tsm {
    files: Arc<dyn Files>,
    provider: Provider,
}

/// What an entry answered. Nothing of it has been compared with the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The evidence.
    pub(crate) outblob: Vec<u8>,
    /// What the host added: on SEV-SNP a table of certificates, possibly empty.
    pub(crate) auxblob: Vec<u8>,
}

impl Tsm {
    pub(crate) fn new(files: Arc<dyn Files>, provider: Provider) -> Self {
        Self { files, provider }
    }

    pub(crate) fn report(&self, asked: &ReportData) -> Result<Answer, PlatformError> {
        let _one_at_a_time = HARDWARE.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry::make(&*self.files)?;
        if entry.provider()? != Some(self.provider) {
            return Err(PlatformError::WrongProvider);
        }
        entry.is_at_generation(0)?;
        write_whole(&*self.files, &entry.attribute("inblob"), asked).map_err(refused)?;
        let outblob = entry.outblob(self.provider)?;
        let auxblob = match self.provider {
            Provider::SevGuest => entry.auxblob()?,
            Provider::TdxGuest => Vec::new(),
        };
        entry.is_at_generation(1)?;
        Ok(Answer { outblob, auxblob })
    }
}

/// A directory of ours; dropping it removes it.
struct Entry<'a> {
    files: &'a dyn Files,
    path: String,
}

impl<'a> Entry<'a> {
    fn make(files: &'a dyn Files) -> Result<Self, PlatformError> {
        let mut name = [0; 16];
        locked::random(&mut name);
        let path = format!("{}/glacier-{:032x}", paths::TSM_REPORT, u128::from_le_bytes(name));
        files.make_dir(&path).map_err(|errno| refused(errno.into()))?;
        Ok(Self { files, path })
    }

    fn attribute(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn provider(&self) -> Result<Option<Provider>, PlatformError> {
        let text = read_text(self.files, &self.attribute("provider"), MAX_WORD).map_err(refused)?;
        Ok(Provider::parse(&text))
    }

    fn is_at_generation(&self, own_writes: u64) -> Result<(), PlatformError> {
        let text = read_text(self.files, &self.attribute("generation"), MAX_WORD).map_err(refused)?;
        let found: u64 = text.trim_end_matches('\n').parse().map_err(|_| PlatformError::Malformed)?;
        if found == own_writes { Ok(()) } else { Err(PlatformError::Interfered) }
    }

    fn outblob(&self, provider: Provider) -> Result<Vec<u8>, PlatformError> {
        let (max, too_long) = match provider {
            Provider::TdxGuest => (MAX_QUOTE, PlatformError::DiceQuote),
            Provider::SevGuest => (crate::evidence::SNP_REPORT, PlatformError::TooLarge),
        };
        read(self.files, &self.attribute("outblob"), max).map_err(|error| match error {
            FileError::TooLong => too_long,
            error => refused(error),
        })
    }

    /// The host need not give one, and an older driver has no such file.
    fn auxblob(&self) -> Result<Vec<u8>, PlatformError> {
        match read(self.files, &self.attribute("auxblob"), MAX_AUXBLOB) {
            Err(FileError::Os(Errno::NOENT)) => Ok(Vec::new()),
            other => other.map_err(refused),
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // One that stays is a directory more in the guest; there is nobody to tell.
        let _ = self.files.remove_dir(&self.path);
    }
}

/// What each error of the interface means.
fn refused(error: FileError) -> PlatformError {
    match error {
        FileError::Os(Errno::NXIO) => PlatformError::NoProvider,
        FileError::Os(Errno::NOENT) => PlatformError::NoDevice(paths::TSM_REPORT),
        FileError::Os(Errno::ACCESS | Errno::PERM) => PlatformError::NoPermission(paths::TSM_REPORT),
        FileError::Os(Errno::BUSY) => PlatformError::Busy,
        FileError::Os(Errno::TIMEDOUT) => PlatformError::TimedOut,
        FileError::Os(Errno::IO) => PlatformError::HostRefused,
        FileError::Os(Errno::INVAL) | FileError::Short => PlatformError::NotTaken,
        FileError::Os(Errno::FBIG) | FileError::TooLong => PlatformError::TooLarge,
        FileError::Os(errno) => PlatformError::Unreachable(errno),
        _ => PlatformError::Malformed,
    }
}

/// The kernel makes one quote at a time anyway; waiting here keeps our own callers from seeing `EBUSY`.
static HARDWARE: Mutex<()> = Mutex::new(());
const MAX_WORD: usize = 64;
/// Largest quote of version 4 or 5; the buffer shared with the host was of this size before the DICE form.
const MAX_QUOTE: usize = 8192;
/// The kernel's own bound on what an entry gives out.
const MAX_AUXBLOB: usize = 32 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::fake::{Fake, entry};

    fn report(files: &Fake, provider: Provider) -> Result<Answer, PlatformError> {
        let answer = Tsm::new(Arc::new(files.clone()), provider).report(&[7; 64]);
        files.entries();
        answer
    }

    /// The error of a TDX guest's report.
    fn error(files: Fake) -> Option<PlatformError> {
        report(&files, Provider::TdxGuest).err()
    }

    fn tdx() -> Fake {
        Fake::new().tsm("tdx_guest", [4; 5000])
    }

    #[test]
    fn an_answer_comes_back_whole_through_short_and_interrupted_reads() {
        let files = tdx().chunked(7).interrupted(&entry("outblob"), 10);
        assert_eq!(report(&files, Provider::TdxGuest).unwrap().outblob, [4; 5000]);
        assert_eq!(files.written(&entry("inblob")), [[7; 64]]);
    }

    #[test]
    fn each_request_has_an_entry_of_its_own_name() {
        let files = tdx().generation(0);
        assert!(report(&files, Provider::TdxGuest).is_ok());
        // The second entry of this fake starts where the first ended: its counter is another's.
        assert_eq!(report(&files, Provider::TdxGuest), Err(PlatformError::Interfered));
        let names = files.entries();
        assert_eq!(names.len(), 2);
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn the_hosts_certificates_come_with_a_report_of_snp() {
        let files = Fake::new().tsm("sev_guest", [2; 1184]).file(&entry("auxblob"), [9; 4096]);
        assert_eq!(report(&files, Provider::SevGuest).unwrap().auxblob, [9; 4096]);
    }

    #[test]
    fn no_certificates_of_the_host_are_none() {
        let files = Fake::new().tsm("sev_guest", [2; 1184]);
        assert_eq!(report(&files, Provider::SevGuest).unwrap().auxblob, Vec::<u8>::new());
    }

    #[test]
    fn a_table_beyond_the_bound_is_refused() {
        let files = Fake::new().tsm("sev_guest", [2; 1184]).file(&entry("auxblob"), vec![9; MAX_AUXBLOB + 1]);
        assert_eq!(report(&files, Provider::SevGuest), Err(PlatformError::TooLarge));
    }

    #[test]
    fn another_provider_is_refused_before_anything_is_written() {
        let files = Fake::new().tsm("sev_guest", [2; 1184]);
        assert_eq!(error(files.clone()), Some(PlatformError::WrongProvider));
        assert!(files.written(&entry("inblob")).is_empty());
    }

    #[test]
    fn a_provider_nobody_knows_is_refused() {
        assert_eq!(error(Fake::new().tsm("arm_cca_guest", [])), Some(PlatformError::WrongProvider));
    }

    #[test]
    fn no_driver_is_named() {
        assert_eq!(error(Fake::new().tsm_without_entries(Errno::NXIO)), Some(PlatformError::NoProvider));
        assert_eq!(error(tdx().failing(&entry("provider"), Errno::NXIO)), Some(PlatformError::NoProvider));
    }

    #[test]
    fn no_configfs_is_named() {
        assert_eq!(error(Fake::new()), Some(PlatformError::NoDevice(paths::TSM_REPORT)));
    }

    #[test]
    fn no_permission_is_named() {
        let denied = Some(PlatformError::NoPermission(paths::TSM_REPORT));
        assert_eq!(error(Fake::new().tsm_without_entries(Errno::ACCESS)), denied);
        assert_eq!(error(tdx().closed(&entry("inblob"), Errno::PERM)), denied);
    }

    #[test]
    fn a_quote_still_being_made_is_busy() {
        assert_eq!(error(tdx().failing(&entry("outblob"), Errno::BUSY)), Some(PlatformError::Busy));
    }

    #[test]
    fn a_silent_host_is_a_time_out() {
        assert_eq!(error(tdx().failing(&entry("outblob"), Errno::TIMEDOUT)), Some(PlatformError::TimedOut));
    }

    #[test]
    fn a_host_that_refuses_is_named() {
        assert_eq!(error(tdx().failing(&entry("outblob"), Errno::IO)), Some(PlatformError::HostRefused));
    }

    #[test]
    fn a_driver_that_does_not_take_the_request_is_named() {
        assert_eq!(error(tdx().failing(&entry("outblob"), Errno::INVAL)), Some(PlatformError::NotTaken));
    }

    #[test]
    fn a_storm_of_interruptions_ends() {
        let files = tdx().interrupted(&entry("outblob"), u32::MAX);
        assert_eq!(error(files), Some(PlatformError::Unreachable(Errno::INTR)));
    }

    #[test]
    fn anothers_write_before_ours_is_noticed() {
        let files = tdx().generation(1);
        assert_eq!(error(files.clone()), Some(PlatformError::Interfered));
        assert!(files.written(&entry("inblob")).is_empty());
    }

    #[test]
    fn anothers_write_in_between_is_noticed() {
        assert_eq!(error(tdx().others_write(1)), Some(PlatformError::Interfered));
    }

    #[test]
    fn a_write_that_the_kernel_dropped_is_noticed() {
        assert_eq!(error(tdx().dropping_writes()), Some(PlatformError::Interfered));
    }

    #[test]
    fn a_counter_that_is_no_number_is_malformed() {
        assert_eq!(error(tdx().file(&entry("generation"), "-1\n")), Some(PlatformError::Malformed));
    }

    #[test]
    fn a_short_write_is_not_taken_for_one() {
        assert_eq!(error(tdx().taking(&entry("inblob"), 63)), Some(PlatformError::NotTaken));
    }

    #[test]
    fn a_quote_above_8_kib_is_refused_by_name() {
        assert_eq!(error(Fake::new().tsm("tdx_guest", [4; MAX_QUOTE + 1])), Some(PlatformError::DiceQuote));
        let files = tdx().failing(&entry("outblob"), Errno::FBIG);
        assert_eq!(error(files), Some(PlatformError::TooLarge));
    }

    #[test]
    fn a_report_of_snp_has_one_length_at_most() {
        let files = Fake::new().tsm("sev_guest", [2; 1185]);
        assert_eq!(report(&files, Provider::SevGuest), Err(PlatformError::TooLarge));
    }
}
