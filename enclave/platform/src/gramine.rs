//! Intel SGX under Gramine, whose runtime shows the processor's instructions as files below
//! `/dev/attestation`.
//!
//! Written for the real interface; tested against recorded evidence and faked device files; not run on
//! hardware.
//!
//! Two of those files are one register of the whole process: what is written to `user_report_data` is
//! what the next read of `quote` is over. One lock covers both, and the quote that comes back must carry
//! the bytes that were written. The quoting enclave, reached through Gramine and AESM, is lost after a
//! fork and after the machine slept; then reads fail with `EACCES` ([`PlatformError::NoQuotingEnclave`]).

use crate::{
    evidence::Format,
    hardware::Source,
    locked::LockedKey,
    platform::{PlatformError, SealingPurpose},
    sealing,
};
use glacier_devices::{Access, FileError, Files, paths, read, read_text, write_whole};
use glacier_wire::{PlatformKind, ReportData};
use rustix::io::Errno;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// The enclave's own processor, asked through Gramine.
pub struct Gramine {
    files: Arc<dyn Files>,
}

impl Gramine {
    /// Sees that Gramine runs this program with remote attestation.
    pub fn open(files: Arc<dyn Files>) -> Result<Self, PlatformError> {
        let path = paths::GRAMINE_TYPE;
        match read_text(&*files, path, 64).map_err(|error| at(path, error))?.trim_end_matches('\n') {
            "dcap" => Ok(Self { files }),
            "none" => Err(PlatformError::NoRemoteAttestation),
            _ => Err(PlatformError::Malformed),
        }
    }
}

impl Source for Gramine {
    fn kind(&self) -> PlatformKind {
        PlatformKind::Sgx
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        let _register = REGISTER.lock().unwrap_or_else(PoisonError::into_inner);
        let path = paths::GRAMINE_REPORT_DATA;
        write_whole(&*self.files, path, report_data).map_err(|error| at(path, error))?;
        let path = paths::GRAMINE_QUOTE;
        let quote = read(&*self.files, path, MAX_QUOTE).map_err(|error| match error {
            FileError::Os(Errno::ACCESS) => PlatformError::NoQuotingEnclave,
            error => at(path, error),
        })?;
        Format::Sgx.over(quote, report_data)
    }

    /// From the key that Gramine derived for this MRENCLAVE: the same code on the same processor gets it
    /// again after a restart; an update of the enclave, another board or an "SGX factory reset" does not.
    fn sealing_key(&self, purpose: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        let key = self.hardware_key()?;
        let key = key.first_chunk::<HARDWARE_KEY>().ok_or(PlatformError::Malformed)?;
        // Gramine shows a key of zeros where there is no processor to derive one (gramine-direct).
        if key == &[0; HARDWARE_KEY] {
            return Err(PlatformError::Refused);
        }
        sealing::derive(key, PlatformKind::Sgx, purpose)
    }
}

impl Gramine {
    /// Exactly 16 bytes, read without passing through any buffer that is not wiped. The last byte is room
    /// to see that nothing follows.
    fn hardware_key(&self) -> Result<Zeroizing<[u8; HARDWARE_KEY + 1]>, PlatformError> {
        let path = paths::GRAMINE_SEAL_KEY;
        let os = |errno: Errno| at(path, errno.into());
        let mut file = self.files.open(path, Access::Read).map_err(os)?;
        let mut key = Zeroizing::new([0; HARDWARE_KEY + 1]);
        let mut filled = 0;
        let mut interruptions = 0_u8;
        while let Some(room) = key.get_mut(filled..).filter(|room| !room.is_empty()) {
            match file.read(room) {
                Ok(0) => break,
                Ok(len) => filled = len.saturating_add(filled),
                Err(Errno::INTR) if interruptions < u8::MAX => interruptions = interruptions.saturating_add(1),
                Err(errno) => return Err(os(errno)),
            }
        }
        if filled == HARDWARE_KEY { Ok(key) } else { Err(PlatformError::Malformed) }
    }
}

fn at(path: &'static str, error: FileError) -> PlatformError {
    match error {
        FileError::Os(Errno::NOENT) => PlatformError::NoDevice(path),
        FileError::Os(Errno::ACCESS | Errno::PERM) => PlatformError::NoPermission(path),
        FileError::Os(errno) => PlatformError::Unreachable(errno),
        FileError::TooLong => PlatformError::TooLarge,
        FileError::Short => PlatformError::NotTaken,
        _ => PlatformError::Malformed,
    }
}

/// `user_report_data` and `quote` of this process.
static REGISTER: Mutex<()> = Mutex::new(());
/// Gramine's own bound.
const MAX_QUOTE: usize = 8192;
const HARDWARE_KEY: usize = 16;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::{fake::Fake, recorded};

    /// Gramine's files, of which the quote is `quote`.
    fn gramine(quote: &[u8]) -> Fake {
        Fake::new()
            .file(paths::GRAMINE_TYPE, "dcap")
            .file(paths::GRAMINE_REPORT_DATA, [0; 64])
            .file(paths::GRAMINE_QUOTE, quote)
            .file(paths::GRAMINE_SEAL_KEY, [7; 16])
    }

    fn quote(files: Fake, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        Gramine::open(Arc::new(files)).unwrap().quote(report_data)
    }

    #[test]
    fn recorded_quotes_come_back_whole() {
        for (evidence, report_data) in recorded::all("sgx") {
            let files = Arc::new(gramine(&evidence));
            let platform = Gramine::open(files.clone()).unwrap();
            assert_eq!(platform.quote(&report_data), Ok(evidence));
            assert_eq!(files.written(paths::GRAMINE_REPORT_DATA), [report_data.to_vec()]);
        }
    }

    #[test]
    fn short_and_interrupted_reads_give_the_same_quote() {
        for (evidence, report_data) in recorded::all("sgx") {
            let files = gramine(&evidence).chunked(100).interrupted(paths::GRAMINE_QUOTE, 5);
            assert_eq!(quote(files, &report_data), Ok(evidence));
        }
    }

    #[test]
    fn a_quote_over_other_data_is_refused() {
        for (evidence, _) in recorded::all("sgx") {
            assert_eq!(quote(gramine(&evidence), &[0x5a; 64]), Err(PlatformError::OtherReportData));
        }
    }

    #[test]
    fn a_quote_cut_short_is_malformed() {
        for (evidence, report_data) in recorded::all("sgx") {
            assert_eq!(quote(gramine(&evidence[..400]), &report_data), Err(PlatformError::Malformed));
        }
    }

    #[test]
    fn a_quote_beyond_gramines_bound_is_refused() {
        assert_eq!(quote(gramine(&[3; MAX_QUOTE + 1]), &[0; 64]), Err(PlatformError::TooLarge));
    }

    #[test]
    fn an_empty_quote_is_named() {
        assert_eq!(quote(gramine(&[]), &[0; 64]), Err(PlatformError::Empty));
    }

    #[test]
    fn no_quoting_enclave_is_named() {
        let files = gramine(&[]).failing(paths::GRAMINE_QUOTE, Errno::ACCESS);
        assert_eq!(quote(files, &[0; 64]), Err(PlatformError::NoQuotingEnclave));
    }

    #[test]
    fn a_short_write_is_not_taken_for_one() {
        let files = gramine(&[]).taking(paths::GRAMINE_REPORT_DATA, 63);
        assert_eq!(quote(files, &[0; 64]), Err(PlatformError::NotTaken));
    }

    #[test]
    fn plain_files_of_a_copied_tree_will_do() {
        for (evidence, report_data) in recorded::all("sgx").into_iter().take(1) {
            let tree = tempfile::tempdir().unwrap();
            let root = glacier_devices::Root::at(tree.path());
            std::fs::create_dir_all(root.resolve("/dev/attestation/keys")).unwrap();
            std::fs::write(root.resolve(paths::GRAMINE_TYPE), "dcap").unwrap();
            std::fs::write(root.resolve(paths::GRAMINE_REPORT_DATA), [0; 64]).unwrap();
            std::fs::write(root.resolve(paths::GRAMINE_QUOTE), &evidence).unwrap();
            let platform = Gramine::open(Arc::new(root.clone())).unwrap();
            assert_eq!(platform.quote(&report_data), Ok(evidence));
            assert_eq!(std::fs::read(root.resolve(paths::GRAMINE_REPORT_DATA)).unwrap(), report_data);
        }
    }

    #[test]
    fn without_remote_attestation_there_is_no_platform() {
        let files = Fake::new().file(paths::GRAMINE_TYPE, "none\n");
        assert_eq!(Gramine::open(Arc::new(files)).err(), Some(PlatformError::NoRemoteAttestation));
    }

    #[test]
    fn without_gramine_there_is_no_platform() {
        assert_eq!(Gramine::open(Arc::new(Fake::new())).err(), Some(PlatformError::NoDevice(paths::GRAMINE_TYPE)));
    }

    #[test]
    fn the_sealing_key_is_derived_from_the_processors() {
        let key = |files: Fake| {
            let platform = Gramine::open(Arc::new(files)).unwrap();
            platform.sealing_key(SealingPurpose::State).map(|key| *key.expose())
        };
        let expected = *sealing::derive(&[7; 16], PlatformKind::Sgx, SealingPurpose::State).unwrap().expose();
        assert_eq!(key(gramine(&[])), Ok(expected));
        assert_eq!(key(gramine(&[]).chunked(3)), Ok(expected));
    }

    #[test]
    fn a_key_of_another_length_or_of_zeros_is_refused() {
        let key = |bytes: &[u8]| {
            let platform = Gramine::open(Arc::new(gramine(&[]).file(paths::GRAMINE_SEAL_KEY, bytes))).unwrap();
            platform.sealing_key(SealingPurpose::State).err()
        };
        assert_eq!(key(&[7; 15]), Some(PlatformError::Malformed));
        assert_eq!(key(&[7; 17]), Some(PlatformError::Malformed));
        assert_eq!(key(&[0; 16]), Some(PlatformError::Refused));
    }
}
