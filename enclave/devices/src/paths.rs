//! The device files of each platform, as the kernel and Gramine name them.

/// SGX under Gramine: `none` or `dcap`.
pub const GRAMINE_TYPE: &str = "/dev/attestation/attestation_type";
/// SGX under Gramine: 64 bytes that the next quote is over.
pub const GRAMINE_REPORT_DATA: &str = "/dev/attestation/user_report_data";
/// SGX under Gramine: a quote, made when it is read.
pub const GRAMINE_QUOTE: &str = "/dev/attestation/quote";
/// SGX under Gramine: 16 bytes that only this code on this processor gets.
pub const GRAMINE_SEAL_KEY: &str = "/dev/attestation/keys/_sgx_mrenclave";

/// Where the confidential guest's report entries are made (configfs-tsm, Linux 6.7).
pub const TSM_REPORT: &str = "/sys/kernel/config/tsm/report";
/// configfs itself; its mount shows in [`MOUNTS`].
pub const CONFIGFS: &str = "/sys/kernel/config";

/// TDX guest driver: TDREPORTs.
pub const TDX_GUEST: &str = "/dev/tdx_guest";
/// TDX measurement registers (Linux 6.16).
pub const TDX_MEASUREMENTS: &str = "/sys/devices/virtual/misc/tdx_guest/measurements";
/// SEV-SNP guest driver: reports and derived keys.
pub const SEV_GUEST: &str = "/dev/sev-guest";
/// The virtual TPM through which Azure's paravisor speaks.
pub const TPM: &str = "/dev/tpmrm0";

/// SGX driver, for whoever starts enclaves.
pub const SGX_ENCLAVE: &str = "/dev/sgx_enclave";
/// SGX driver, for enclaves that may see the provisioning key (the quoting enclaves).
pub const SGX_PROVISION: &str = "/dev/sgx_provision";
/// Socket of Intel's AESM service.
pub const AESM_SOCKET: &str = "/var/run/aesmd/aesm.socket";

/// The running kernel's version.
pub const KERNEL_RELEASE: &str = "/proc/sys/kernel/osrelease";
/// The processors' flags.
pub const CPUINFO: &str = "/proc/cpuinfo";
/// What is mounted.
pub const MOUNTS: &str = "/proc/mounts";
/// Which provider the machine's firmware names.
pub const DMI_VENDOR: &str = "/sys/class/dmi/id/sys_vendor";
