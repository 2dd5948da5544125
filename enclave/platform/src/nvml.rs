//! NVIDIA's management library, loaded at run time: a guest without GPUs has none, and must start.
//!
//! Structures and numbers are those of `nvml.h`. Tested against a library built by the tests that replays
//! recorded reports; not run on hardware.

use crate::gpu::{Architecture, CcState, Environment, GpuError, Gpus, MultiGpu};
use libloading::Library;
use std::{
    ffi::{OsStr, c_int, c_uint, c_void},
    ptr::NonNull,
    sync::{Mutex, PoisonError},
};

/// The library, loaded and initialised.
pub struct Nvml {
    functions: Functions,
    /// The driver is asked one thing at a time.
    turn: Mutex<()>,
    /// Last, so that the code outlives every pointer into it.
    _library: Library,
}

impl Nvml {
    /// Loads the library that the driver installed.
    pub fn load() -> Result<Self, GpuError> {
        Self::load_from(OsStr::new(LIBRARY))
    }

    fn load_from(name: &OsStr) -> Result<Self, GpuError> {
        // SAFETY: loading runs the library's initialisers. It is NVIDIA's, from the guest's own measured
        // file system, found by the loader's own search; whoever could put another there could replace
        // this program as well.
        let library = unsafe { Library::new(name) }.map_err(|_| GpuError::NoLibrary)?;
        let functions = Functions::of(&library)?;
        // SAFETY: `nvmlInit_v2` takes nothing and may be called at any time.
        check("nvmlInit_v2", unsafe { (functions.init)() })?;
        Ok(Self { functions, turn: Mutex::new(()), _library: library })
    }

    /// Calls a function that fills in `T`.
    ///
    /// # Safety
    /// `call` must be a function of NVML that writes at most one `T` there.
    unsafe fn get<T>(&self, name: &'static str, call: GetFn<T>, mut value: T) -> Result<T, GpuError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the library is initialised, and the caller vouches for what is written.
        check(name, unsafe { call(&mut value) })?;
        Ok(value)
    }

    /// The same for one device. Structures of the driver go to the heap: they have up to 12 KiB.
    ///
    /// # Safety
    /// As for [`Self::get`].
    unsafe fn get_of<T>(
        &self,
        name: &'static str,
        call: DeviceFn<T>,
        index: u32,
        value: &mut T,
    ) -> Result<(), GpuError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut device = None;
        // SAFETY: the library is initialised, and this function writes one handle.
        check("nvmlDeviceGetHandleByIndex_v2", unsafe { (self.functions.device)(index, &mut device) })?;
        let device = device.ok_or(GpuError::None)?;
        // SAFETY: the handle is the library's own, valid until it is shut down; the rest as above.
        check(name, unsafe { call(device, value) })
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        // SAFETY: initialised once by `load_from`, and nobody calls anything after this.
        unsafe { (self.functions.shutdown)() };
    }
}

impl Gpus for Nvml {
    fn state(&self) -> Result<CcState, GpuError> {
        // SAFETY: `nvmlConfComputeSystemState_t`.
        let state = unsafe { self.get("nvmlSystemGetConfComputeState", self.functions.state, SystemState::default()) }?;
        let empty = SystemSettings { version: SETTINGS_V1, ..SystemSettings::default() };
        let multi_gpu = match self.functions.settings {
            None => 0,
            // SAFETY: `nvmlSystemConfComputeSettings_v1_t`, with its size in its version.
            Some(call) => match unsafe { self.get("nvmlSystemGetConfComputeSettings", call, empty) } {
                Ok(settings) => settings.multi_gpu_mode,
                // A driver that knows no such mode is not in it.
                Err(GpuError::Call { code: NOT_SUPPORTED | FUNCTION_NOT_FOUND, .. }) => 0,
                Err(error) => return Err(error),
            },
        };
        Ok(CcState {
            environment: match state.environment {
                0 => Environment::Unavailable,
                1 => Environment::Simulation,
                2 => Environment::Production,
                other => Environment::Unknown(other),
            },
            confidential: state.feature == 1,
            developer_tools: state.dev_tools != 0,
            multi_gpu: match multi_gpu {
                0 => MultiGpu::None,
                1 => MultiGpu::ProtectedPcie,
                2 => MultiGpu::NvlinkEncryption,
                other => MultiGpu::Unknown(other),
            },
        })
    }

    fn count(&self) -> Result<u32, GpuError> {
        // SAFETY: one unsigned int.
        unsafe { self.get("nvmlDeviceGetCount_v2", self.functions.count, 0) }
    }

    fn architecture(&self, index: u32) -> Result<Architecture, GpuError> {
        let mut architecture = 0;
        // SAFETY: `nvmlDeviceArchitecture_t`, an unsigned int.
        unsafe { self.get_of("nvmlDeviceGetArchitecture", self.functions.architecture, index, &mut architecture) }?;
        Ok(Architecture(architecture))
    }

    fn certificates(&self, index: u32) -> Result<Vec<u8>, GpuError> {
        let name = "nvmlDeviceGetConfComputeGpuCertificate";
        let mut answer = Box::new(GpuCertificate {
            chain_size: 0,
            attestation_chain_size: 0,
            chain: [0; 0x1000],
            attestation_chain: [0; 0x1400],
        });
        // SAFETY: `nvmlConfComputeGpuCertificate_t`.
        unsafe { self.get_of(name, self.functions.certificate, index, &mut *answer) }?;
        prefix(&answer.attestation_chain, answer.attestation_chain_size).ok_or(GpuError::Length(name))
    }

    fn report(&self, index: u32, nonce: &[u8; 32]) -> Result<Vec<u8>, GpuError> {
        let name = "nvmlDeviceGetConfComputeGpuAttestationReport";
        let mut answer = Box::new(GpuReport {
            cec_present: 0,
            report_size: 0,
            cec_size: 0,
            nonce: *nonce,
            report: [0; 0x2000],
            cec_report: [0; 0x1000],
        });
        // SAFETY: `nvmlConfComputeGpuAttestationReport_t`.
        unsafe { self.get_of(name, self.functions.report, index, &mut *answer) }?;
        prefix(&answer.report, answer.report_size).ok_or(GpuError::Length(name))
    }

    fn ready(&self) -> Result<bool, GpuError> {
        // SAFETY: one unsigned int.
        let ready = unsafe { self.get("nvmlSystemGetConfComputeGpusReadyState", self.functions.ready, 0) }?;
        Ok(ready == 1)
    }

    fn set_ready(&self, ready: bool) -> Result<(), GpuError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: takes one unsigned int.
        check("nvmlSystemSetConfComputeGpusReadyState", unsafe { (self.functions.set_ready)(ready.into()) })
    }
}

/// The first `len` bytes; `None` for none, and for more than there are.
fn prefix(bytes: &[u8], len: c_uint) -> Option<Vec<u8>> {
    let len = usize::try_from(len).ok().filter(|len| *len > 0)?;
    bytes.get(..len).map(<[u8]>::to_vec)
}

fn check(call: &'static str, code: c_int) -> Result<(), GpuError> {
    if code == SUCCESS { Ok(()) } else { Err(GpuError::Call { call, code }) }
}

const LIBRARY: &str = "libnvidia-ml.so.1";
const SUCCESS: c_int = 0;
const NOT_SUPPORTED: c_int = 3;
const FUNCTION_NOT_FOUND: c_int = 13;
/// `NVML_STRUCT_VERSION`: size, and the version in the top byte.
const SETTINGS_V1: c_uint = size_of::<SystemSettings>() as c_uint | 1 << 24;

/// `nvmlDevice_t`, opaque.
type Device = NonNull<c_void>;
type GetFn<T> = unsafe extern "C" fn(*mut T) -> c_int;
type DeviceFn<T> = unsafe extern "C" fn(Device, *mut T) -> c_int;

/// The functions that are called, with the signatures of `nvml.h`.
struct Functions {
    init: unsafe extern "C" fn() -> c_int,
    shutdown: unsafe extern "C" fn() -> c_int,
    count: GetFn<c_uint>,
    device: unsafe extern "C" fn(c_uint, *mut Option<Device>) -> c_int,
    architecture: DeviceFn<c_uint>,
    state: GetFn<SystemState>,
    /// Absent in drivers before the multi-GPU modes.
    settings: Option<GetFn<SystemSettings>>,
    certificate: DeviceFn<GpuCertificate>,
    report: DeviceFn<GpuReport>,
    ready: GetFn<c_uint>,
    set_ready: unsafe extern "C" fn(c_uint) -> c_int,
}

impl Functions {
    fn of(library: &Library) -> Result<Self, GpuError> {
        /// Takes a function out of the library, under the type that the field has.
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the field's type is this function's signature in nvml.h. The pointer is kept
                // beside the library and dropped before it.
                *unsafe { library.get($name) }.map_err(|_| GpuError::NoFunction($name))?
            };
        }
        Ok(Self {
            init: function!("nvmlInit_v2"),
            shutdown: function!("nvmlShutdown"),
            count: function!("nvmlDeviceGetCount_v2"),
            device: function!("nvmlDeviceGetHandleByIndex_v2"),
            architecture: function!("nvmlDeviceGetArchitecture"),
            state: function!("nvmlSystemGetConfComputeState"),
            // SAFETY: as in the macro.
            settings: unsafe { library.get("nvmlSystemGetConfComputeSettings") }.ok().map(|found| *found),
            certificate: function!("nvmlDeviceGetConfComputeGpuCertificate"),
            report: function!("nvmlDeviceGetConfComputeGpuAttestationReport"),
            ready: function!("nvmlSystemGetConfComputeGpusReadyState"),
            set_ready: function!("nvmlSystemSetConfComputeGpusReadyState"),
        })
    }
}

/// `nvmlConfComputeSystemState_t`.
#[repr(C)]
#[derive(Default)]
struct SystemState {
    environment: c_uint,
    feature: c_uint,
    dev_tools: c_uint,
}

/// `nvmlSystemConfComputeSettings_v1_t`.
#[repr(C)]
#[derive(Default)]
struct SystemSettings {
    version: c_uint,
    environment: c_uint,
    feature: c_uint,
    dev_tools: c_uint,
    multi_gpu_mode: c_uint,
}

/// `nvmlConfComputeGpuCertificate_t`.
#[repr(C)]
struct GpuCertificate {
    chain_size: c_uint,
    attestation_chain_size: c_uint,
    chain: [u8; 0x1000],
    attestation_chain: [u8; 0x1400],
}

/// `nvmlConfComputeGpuAttestationReport_t`.
#[repr(C)]
struct GpuReport {
    cec_present: c_uint,
    report_size: c_uint,
    cec_size: c_uint,
    nonce: [u8; 32],
    report: [u8; 0x2000],
    cec_report: [u8; 0x1000],
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::gpu::{ConfidentialGpus, tests::recorded};
    use std::{fmt::Write as _, path::Path, process::Command, sync::Arc, time::Duration};

    /// A library of NVML's interface, written from the interface's description and not from the structures
    /// above. What it answers is set by macros.
    const SOURCE: &str = r#"
#include <string.h>
#ifndef ENVIRONMENT
#define ENVIRONMENT 2
#endif
#ifndef FEATURE
#define FEATURE 1
#endif
#ifndef DEVTOOLS
#define DEVTOOLS 0
#endif
#ifndef SETTINGS
#define SETTINGS 0
#endif
#ifndef REPORT
#define REPORT 0
#endif
#ifndef EXCESS
#define EXCESS 0
#endif
static unsigned ready;
static int device;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = &device; return index ? 2 : 0; }
int nvmlDeviceGetArchitecture(void *handle, unsigned *architecture) {
    *architecture = 9; return handle == &device ? 0 : 2;
}
struct state { unsigned environment, ccFeature, devToolsMode; };
int nvmlSystemGetConfComputeState(struct state *state) {
    state->environment = ENVIRONMENT; state->ccFeature = FEATURE; state->devToolsMode = DEVTOOLS; return 0;
}
#ifndef OLD
struct settings { unsigned version, environment, ccFeature, devToolsMode, multiGpuMode; };
int nvmlSystemGetConfComputeSettings(struct settings *settings) {
    if (settings->version != (sizeof(struct settings) | 1u << 24)) return 25;
    settings->multiGpuMode = 1; return SETTINGS;
}
#endif
struct certificate { unsigned size, attestationSize; unsigned char chain[0x1000], attestationChain[0x1400]; };
int nvmlDeviceGetConfComputeGpuCertificate(void *handle, struct certificate *answer) {
    memset(answer->chain, 0xff, sizeof answer->chain);
    memcpy(answer->attestationChain, CHAIN_BYTES, sizeof CHAIN_BYTES);
    answer->attestationSize = sizeof CHAIN_BYTES; return 0;
}
struct report {
    unsigned isCecPresent, size, cecSize; unsigned char nonce[32], report[0x2000], cecReport[0x1000];
};
int nvmlDeviceGetConfComputeGpuAttestationReport(void *handle, struct report *answer) {
    memcpy(answer->report, REPORT_BYTES, sizeof REPORT_BYTES);
    memcpy(answer->report + 4, answer->nonce, 32);
    answer->size = sizeof REPORT_BYTES + EXCESS; return REPORT;
}
#ifndef ANCIENT
int nvmlSystemGetConfComputeGpusReadyState(unsigned *state) { *state = ready; return 0; }
#endif
int nvmlSystemSetConfComputeGpusReadyState(unsigned state) { ready = state; return 0; }
"#;

    struct Built {
        nvml: Result<Nvml, GpuError>,
        report: Vec<u8>,
        chain: Vec<u8>,
        nonce: [u8; 32],
    }

    /// Builds the library around one recorded GPU, and loads it.
    fn built(defines: &[&str]) -> Option<Built> {
        let (report, chain, nonce) = recorded().into_iter().next()?;
        let folder = tempfile::tempdir().unwrap();
        let mut source = String::new();
        for (name, bytes) in [("REPORT_BYTES", &report), ("CHAIN_BYTES", &chain)] {
            let text = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
            writeln!(source, "static const unsigned char {name}[] = {{{text}}};").unwrap();
        }
        std::fs::write(folder.path().join("nvml.c"), source + SOURCE).unwrap();
        let library = folder.path().join(LIBRARY);
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(folder.path().join("nvml.c"));
        cc.args(defines.iter().map(|define| format!("-D{define}")));
        let Ok(status) = cc.status() else {
            println!("skipped: no C compiler");
            return None;
        };
        assert!(status.success());
        Some(Built { nvml: load(&library), report, chain, nonce })
    }

    fn load(library: &Path) -> Result<Nvml, GpuError> {
        Nvml::load_from(library.as_os_str())
    }

    #[test]
    fn a_recorded_gpu_comes_through_the_loaded_library() {
        let Some(Built { nvml, report, chain, nonce }) = built(&[]) else { return };
        let gpus = ConfidentialGpus::new(Arc::new(nvml.unwrap()));
        let gathered = gpus.evidence(&nonce, Duration::from_secs(20)).unwrap();
        assert_eq!(gathered.gpus().len(), 1);
        assert_eq!(gathered.gpus()[0].architecture, Architecture::HOPPER);
        assert_eq!(gathered.gpus()[0].report, report);
        assert_eq!(gathered.gpus()[0].certificates, chain);
        assert_eq!(gpus.takes_work(), Ok(false));
        gpus.accept_work(gathered).unwrap();
        assert_eq!(gpus.takes_work(), Ok(true));
    }

    #[test]
    fn the_nonce_reaches_the_library() {
        let Some(Built { nvml, .. }) = built(&[]) else { return };
        assert_eq!(nvml.unwrap().report(0, &[0x5a; 32]).unwrap()[4..36], [0x5a; 32]);
    }

    #[test]
    fn the_state_is_read_field_by_field() {
        let Some(Built { nvml, .. }) = built(&["ENVIRONMENT=1", "FEATURE=0", "DEVTOOLS=1"]) else { return };
        let expected = CcState {
            environment: Environment::Simulation,
            confidential: false,
            developer_tools: true,
            multi_gpu: MultiGpu::ProtectedPcie,
        };
        assert_eq!(nvml.unwrap().state(), Ok(expected));
    }

    #[test]
    fn a_driver_without_multi_gpu_modes_is_in_none() {
        for old in ["OLD", "SETTINGS=3", "SETTINGS=13"] {
            let Some(Built { nvml, .. }) = built(&[old]) else { return };
            assert_eq!(nvml.unwrap().state().unwrap().multi_gpu, MultiGpu::None);
        }
    }

    #[test]
    fn settings_that_fail_otherwise_are_an_error() {
        let Some(Built { nvml, .. }) = built(&["SETTINGS=999"]) else { return };
        let call = "nvmlSystemGetConfComputeSettings";
        assert_eq!(nvml.unwrap().state(), Err(GpuError::Call { call, code: 999 }));
    }

    #[test]
    fn a_failed_report_is_named_by_its_number() {
        let Some(Built { nvml, nonce, .. }) = built(&["REPORT=999"]) else { return };
        let call = "nvmlDeviceGetConfComputeGpuAttestationReport";
        assert_eq!(nvml.unwrap().report(0, &nonce), Err(GpuError::Call { call, code: 999 }));
    }

    #[test]
    fn a_length_beyond_the_structure_is_refused() {
        let Some(Built { nvml, nonce, .. }) = built(&["EXCESS=0x2000"]) else { return };
        let call = "nvmlDeviceGetConfComputeGpuAttestationReport";
        assert_eq!(nvml.unwrap().report(0, &nonce), Err(GpuError::Length(call)));
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error() {
        let Some(Built { nvml, .. }) = built(&[]) else { return };
        let call = "nvmlDeviceGetHandleByIndex_v2";
        assert_eq!(nvml.unwrap().architecture(1), Err(GpuError::Call { call, code: 2 }));
    }

    #[test]
    fn a_driver_before_confidential_computing_is_named() {
        let Some(Built { nvml, .. }) = built(&["ANCIENT"]) else { return };
        let missing = Some(GpuError::NoFunction("nvmlSystemGetConfComputeGpusReadyState"));
        assert_eq!(nvml.err(), missing);
    }

    #[test]
    fn no_library_is_named() {
        assert_eq!(load(Path::new("/nonexistent/libnvidia-ml.so.1")).err(), Some(GpuError::NoLibrary));
    }

    #[test]
    fn lengths_are_bounded_by_what_is_there() {
        assert_eq!(prefix(&[1, 2, 3], 2), Some(vec![1, 2]));
        assert_eq!(prefix(&[1, 2, 3], 0), None);
        assert_eq!(prefix(&[1, 2, 3], 4), None);
    }
}
