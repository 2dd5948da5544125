//! Confidential GPUs: their state, their certificates and their reports.
//!
//! The order is the vendor's: state, then certificates, then the report; and only when a verifier has
//! accepted the evidence may the GPUs take work ([`ConfidentialGpus::accept_work`]). A report that fails is not
//! free: the driver then puts confidential computing into its error state until the GPU is reset. So
//! reports are asked for one at a time, with a time limit and never again after a failure.
//!
//! Tested with recorded reports; not run on hardware.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

/// What the driver says about confidential computing. It is the guest's own word, so it is worth as much as
/// the guest's measurement; a report does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CcState {
    /// Where the GPUs believe to be.
    pub environment: Environment,
    /// Whether confidential computing is on.
    pub confidential: bool,
    /// Whether developer tools are let in, which takes the protection away.
    pub developer_tools: bool,
    /// How several GPUs are joined.
    pub multi_gpu: MultiGpu,
}

/// NVML's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// No confidential computing.
    Unavailable,
    /// Fused for tests, or with developer tools.
    Simulation,
    /// The real one.
    Production,
    /// A number that nobody knows.
    Unknown(u32),
}

/// NVML's multi-GPU mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiGpu {
    /// Each GPU for itself, or a driver that knows no such mode.
    None,
    /// Protected PCIe: several GPUs and their switches. The legacy feature bit may read as off in it.
    ProtectedPcie,
    /// NVLink encryption.
    NvlinkEncryption,
    /// A number that nobody knows.
    Unknown(u32),
}

/// A GPU generation, by NVML's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Architecture(pub u32);

impl Architecture {
    /// The first with confidential computing.
    pub const HOPPER: Self = Self(9);
    /// The next.
    pub const BLACKWELL: Self = Self(10);
}

/// The calls that GPUs are asked by. Each is made once; an error is final.
pub trait Gpus: Send + Sync {
    /// The system's state.
    fn state(&self) -> Result<CcState, GpuError>;
    /// How many GPUs there are.
    fn count(&self) -> Result<u32, GpuError>;
    /// The generation of one.
    fn architecture(&self, index: u32) -> Result<Architecture, GpuError>;
    /// The certificates of its attestation key, PEM, leaf first.
    fn certificates(&self, index: u32) -> Result<Vec<u8>, GpuError>;
    /// Its report over a nonce.
    fn report(&self, index: u32, nonce: &[u8; 32]) -> Result<Vec<u8>, GpuError>;
    /// Whether the GPUs take work.
    fn ready(&self) -> Result<bool, GpuError>;
    /// Lets the GPUs take work, or not.
    fn set_ready(&self, ready: bool) -> Result<(), GpuError>;
}

/// Why there is no evidence of GPUs. Any of it means: no GPU for this enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// NVIDIA's management library is not installed.
    #[error("libnvidia-ml.so.1 cannot be loaded: install NVIDIA's driver in this guest")]
    NoLibrary,
    /// The library is older than confidential computing.
    #[error("libnvidia-ml.so.1 has no {0}: install a newer driver")]
    NoFunction(&'static str),
    /// A call failed; NVML's number.
    #[error("{call} failed with NVML error {code}")]
    Call {
        /// The function.
        call: &'static str,
        /// `nvmlReturn_t`.
        code: i32,
    },
    /// No GPU is passed through.
    #[error("there is no GPU in this guest")]
    None,
    /// More than [`ConfidentialGpus::MAX`].
    #[error("there are more GPUs than a machine has")]
    TooMany,
    /// Confidential computing is off.
    #[error("confidential computing is off: switch the GPU to CC mode from the host and restart the guest")]
    Off,
    /// Not the production environment.
    #[error("the GPU's environment is not production")]
    NotProduction,
    /// Developer tools are let in.
    #[error("developer tools are on, which leaves nothing confidential: switch the GPU to CC mode `on`")]
    DeveloperTools,
    /// A generation without confidential computing.
    #[error("a GPU of NVML architecture {} has no confidential computing", .0.0)]
    Architecture(Architecture),
    /// The driver gave a length that its own structure cannot hold, or nothing.
    #[error("{0} gave an impossible length")]
    Length(&'static str),
    /// The report is over another nonce.
    #[error("the GPU's report is over another nonce than was asked for")]
    OtherNonce,
    /// There are other GPUs than the evidence is of.
    #[error("the GPUs changed since their evidence was made")]
    Changed,
    /// No answer in time. The call may still be running.
    #[error("the GPU did not answer in time")]
    TimedOut,
    /// An earlier call failed, and none is made after that before the GPUs are reset and the enclave restarted.
    #[error("an earlier GPU report failed: reset the GPUs and restart the enclave")]
    Spent,
}

/// Evidence of one GPU: to be verified, not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuEvidence {
    /// By the driver's word.
    pub architecture: Architecture,
    /// PEM, leaf first.
    pub certificates: Vec<u8>,
    /// SPDM request and response.
    pub report: Vec<u8>,
}

/// Evidence of all GPUs, over one nonce. Only [`ConfidentialGpus::evidence`] makes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Gathered {
    gpus: Vec<GpuEvidence>,
}

impl Gathered {
    /// One for each GPU, in the driver's order.
    pub fn gpus(&self) -> &[GpuEvidence] {
        &self.gpus
    }
}

/// The GPUs of this guest.
pub struct ConfidentialGpus {
    gpus: Arc<dyn Gpus>,
    /// Set when a report has been asked for and has not come back well.
    spent: Mutex<bool>,
}

impl ConfidentialGpus {
    /// Most GPUs, more than any machine has.
    pub const MAX: u32 = 64;

    /// GPUs behind this interface.
    pub fn new(gpus: Arc<dyn Gpus>) -> Self {
        Self { gpus, spent: Mutex::new(false) }
    }

    /// Evidence of every GPU over `nonce`, within `patience`. The nonce should be derived from the CPU's
    /// challenge, because nothing in a GPU's report names the CPU.
    ///
    /// # Errors
    /// Any error but those of the state is final: the next call is [`GpuError::Spent`].
    pub fn evidence(&self, nonce: &[u8; 32], patience: Duration) -> Result<Gathered, GpuError> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if *spent {
            return Err(GpuError::Spent);
        }
        // Asking the state harms nothing, and what is off must not be asked for reports.
        permitted(self.gpus.state()?)?;
        *spent = true;
        let (answer, answered) = mpsc::sync_channel(1);
        let (gpus, nonce) = (self.gpus.clone(), *nonce);
        // A call into the driver cannot be taken back: when it hangs, its thread stays.
        std::thread::spawn(move || answer.send(gather(&*gpus, &nonce)));
        let gathered = answered.recv_timeout(patience).map_err(|_| GpuError::TimedOut)??;
        *spent = false;
        Ok(gathered)
    }

    /// Lets the GPUs take work. Call it when a verifier has accepted exactly this evidence; until then CUDA
    /// refuses, which is what keeps data away from GPUs that nobody has verified.
    pub fn accept_work(&self, verified: Gathered) -> Result<(), GpuError> {
        // Between evidence and verdict the state may have changed.
        permitted(self.gpus.state()?)?;
        if u32::try_from(verified.gpus.len()) != Ok(self.gpus.count()?) {
            return Err(GpuError::Changed);
        }
        self.gpus.set_ready(true)
    }

    /// Whether the GPUs take work.
    pub fn takes_work(&self) -> Result<bool, GpuError> {
        self.gpus.ready()
    }
}

fn permitted(state: CcState) -> Result<(), GpuError> {
    if !state.confidential && state.multi_gpu != MultiGpu::ProtectedPcie {
        return Err(GpuError::Off);
    }
    // First the cause that can be named: with developer tools the environment reads as simulation, too.
    if state.developer_tools {
        return Err(GpuError::DeveloperTools);
    }
    if state.environment != Environment::Production {
        return Err(GpuError::NotProduction);
    }
    Ok(())
}

fn gather(gpus: &dyn Gpus, nonce: &[u8; 32]) -> Result<Gathered, GpuError> {
    let count = match gpus.count()? {
        0 => return Err(GpuError::None),
        count if count > ConfidentialGpus::MAX => return Err(GpuError::TooMany),
        count => count,
    };
    let one = |index| {
        let architecture = gpus.architecture(index)?;
        if architecture < Architecture::HOPPER {
            return Err(GpuError::Architecture(architecture));
        }
        let certificates = gpus.certificates(index)?;
        let report = gpus.report(index, nonce)?;
        // SPDM GET_MEASUREMENTS, which the driver puts before the answer, has the nonce at 4.
        if report.get(4..36) != Some(nonce) {
            return Err(GpuError::OtherNonce);
        }
        Ok(GpuEvidence { architecture, certificates, report })
    };
    Ok(Gathered { gpus: (0..count).map(one).collect::<Result<_, _>>()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(crate) mod tests {
    use super::*;
    use crate::recorded;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    /// Recorded report, chain and nonce of each GPU.
    pub(crate) fn recorded() -> Vec<(Vec<u8>, Vec<u8>, [u8; 32])> {
        let Some(folder) = recorded::folder("nvidia") else { return Vec::new() };
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        let read =
            |entry: &serde_json::Value, what: &str| Some(std::fs::read(folder.join(entry[what].as_str()?)).unwrap());
        let all: Vec<_> = manifest["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| {
                let nonce = hex::decode(entry["request_nonce"].as_str()?).unwrap().try_into().unwrap();
                Some((read(entry, "report")?, read(entry, "chain")?, nonce))
            })
            .collect();
        assert!(!all.is_empty());
        all
    }

    const ON: CcState = CcState {
        environment: Environment::Production,
        confidential: true,
        developer_tools: false,
        multi_gpu: MultiGpu::None,
    };

    struct Fake {
        state: CcState,
        count: u32,
        architecture: u32,
        report: Result<Vec<u8>, GpuError>,
        delay: Duration,
        reports: AtomicU32,
        ready: AtomicU32,
    }

    /// GPUs that answer with this report.
    fn fake(report: Result<Vec<u8>, GpuError>) -> Fake {
        let (reports, ready) = (AtomicU32::new(0), AtomicU32::new(0));
        Fake { state: ON, count: 1, architecture: 9, report, delay: Duration::ZERO, reports, ready }
    }

    /// A report that is nothing but a nonce.
    fn plain() -> Vec<u8> {
        vec![7; 36]
    }

    impl Gpus for Fake {
        fn state(&self) -> Result<CcState, GpuError> {
            Ok(self.state)
        }
        fn count(&self) -> Result<u32, GpuError> {
            Ok(self.count)
        }
        fn architecture(&self, _: u32) -> Result<Architecture, GpuError> {
            Ok(Architecture(self.architecture))
        }
        fn certificates(&self, _: u32) -> Result<Vec<u8>, GpuError> {
            Ok(b"PEM".to_vec())
        }
        fn report(&self, _: u32, _: &[u8; 32]) -> Result<Vec<u8>, GpuError> {
            self.reports.fetch_add(1, Relaxed);
            std::thread::sleep(self.delay);
            self.report.clone()
        }
        fn ready(&self) -> Result<bool, GpuError> {
            Ok(self.ready.load(Relaxed) == 1)
        }
        fn set_ready(&self, ready: bool) -> Result<(), GpuError> {
            self.ready.store(ready.into(), Relaxed);
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    fn evidence(gpus: Fake) -> Result<Gathered, GpuError> {
        ConfidentialGpus::new(Arc::new(gpus)).evidence(&[7; 32], PATIENCE)
    }

    #[test]
    fn recorded_reports_come_back_whole() {
        for (report, _, nonce) in recorded() {
            let gpus = ConfidentialGpus::new(Arc::new(fake(Ok(report.clone()))));
            assert_eq!(gpus.evidence(&nonce, PATIENCE).unwrap().gpus()[0].report, report);
        }
    }

    #[test]
    fn recorded_reports_answer_no_other_nonce() {
        for (report, _, mut nonce) in recorded() {
            nonce[31] ^= 1;
            let gpus = ConfidentialGpus::new(Arc::new(fake(Ok(report))));
            assert_eq!(gpus.evidence(&nonce, PATIENCE), Err(GpuError::OtherNonce));
        }
    }

    #[test]
    fn each_gpu_reports() {
        assert_eq!(evidence(Fake { count: 8, ..fake(Ok(plain())) }).unwrap().gpus().len(), 8);
    }

    #[test]
    fn what_is_off_is_not_asked_for_a_report() {
        for (state, error) in [
            (CcState { confidential: false, ..ON }, GpuError::Off),
            (CcState { developer_tools: true, ..ON }, GpuError::DeveloperTools),
            (CcState { environment: Environment::Simulation, ..ON }, GpuError::NotProduction),
            (CcState { environment: Environment::Unavailable, ..ON }, GpuError::NotProduction),
            (CcState { environment: Environment::Unknown(3), ..ON }, GpuError::NotProduction),
        ] {
            let gpus = Arc::new(Fake { state, ..fake(Ok(plain())) });
            let guest = ConfidentialGpus::new(gpus.clone());
            assert_eq!(guest.evidence(&[7; 32], PATIENCE), Err(error));
            assert_eq!(guest.evidence(&[7; 32], PATIENCE), Err(error), "asking the state spends nothing");
            assert_eq!(gpus.reports.load(Relaxed), 0);
        }
    }

    #[test]
    fn protected_pcie_counts_as_on() {
        let state = CcState { confidential: false, multi_gpu: MultiGpu::ProtectedPcie, ..ON };
        assert!(evidence(Fake { state, ..fake(Ok(plain())) }).is_ok());
    }

    #[test]
    fn a_failed_report_is_never_asked_for_again() {
        let failed = GpuError::Call { call: "nvmlDeviceGetConfComputeGpuAttestationReport", code: 999 };
        let gpus = Arc::new(fake(Err(failed)));
        let guest = ConfidentialGpus::new(gpus.clone());
        assert_eq!(guest.evidence(&[7; 32], PATIENCE), Err(failed));
        assert_eq!(guest.evidence(&[7; 32], PATIENCE), Err(GpuError::Spent));
        assert_eq!(gpus.reports.load(Relaxed), 1);
    }

    #[test]
    fn a_gpu_that_hangs_is_given_up() {
        let slow = Fake { delay: Duration::from_secs(2), ..fake(Ok(plain())) };
        let guest = ConfidentialGpus::new(Arc::new(slow));
        assert_eq!(guest.evidence(&[7; 32], Duration::from_millis(20)), Err(GpuError::TimedOut));
        assert_eq!(guest.evidence(&[7; 32], PATIENCE), Err(GpuError::Spent));
    }

    #[test]
    fn no_gpu_and_too_many_are_refused() {
        assert_eq!(evidence(Fake { count: 0, ..fake(Ok(plain())) }), Err(GpuError::None));
        assert_eq!(evidence(Fake { count: 65, ..fake(Ok(plain())) }), Err(GpuError::TooMany));
    }

    #[test]
    fn an_older_generation_is_refused() {
        let ampere = Fake { architecture: 7, ..fake(Ok(plain())) };
        assert_eq!(evidence(ampere), Err(GpuError::Architecture(Architecture(7))));
    }

    #[test]
    fn work_is_accepted_after_evidence_and_not_before() {
        let guest = ConfidentialGpus::new(Arc::new(fake(Ok(plain()))));
        let gathered = guest.evidence(&[7; 32], PATIENCE).unwrap();
        assert_eq!(guest.takes_work(), Ok(false));
        guest.accept_work(gathered).unwrap();
        assert_eq!(guest.takes_work(), Ok(true));
    }

    #[test]
    fn evidence_of_fewer_gpus_opens_nothing() {
        let guest = ConfidentialGpus::new(Arc::new(fake(Ok(plain()))));
        assert_eq!(guest.accept_work(Gathered { gpus: Vec::new() }), Err(GpuError::Changed));
        assert_eq!(guest.takes_work(), Ok(false));
    }
}
