//! Versions of the firmware under an SNP guest.

/// The versions that a report states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmdTcb {
    /// What the key is derived from: what was verified against its certificate.
    pub reported: SnpTcb,
    /// What runs.
    pub current: SnpTcb,
    /// What firmware can no longer be rolled back below.
    pub committed: SnpTcb,
    /// What ran when the guest was launched.
    pub launch: SnpTcb,
}

/// Security versions of the parts of the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpTcb {
    /// Firmware of the management controller: Turin and later; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// Trusted execution environment of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode of the cores.
    pub microcode: u8,
}
