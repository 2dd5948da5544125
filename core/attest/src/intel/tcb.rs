//! TCB status: how current a platform is.

use core::fmt;

/// Intel's word for how current a platform or a quoting enclave is. Ordered: a later variant is
/// better, and a policy's floor accepts itself and everything after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum TcbStatus {
    /// The vendor withdrew it. Evidence of such a platform is never genuine.
    Revoked,
    /// Behind on security updates, and configured insecurely.
    OutOfDateConfigurationNeeded,
    /// Behind on security updates.
    OutOfDate,
    /// TDX: the domain was started before an update, and configuration is needed.
    TDRelaunchAdvisedConfigurationNeeded,
    /// TDX: the domain was started before an update of what is under it.
    TDRelaunchAdvised,
    /// Both of the next two.
    ConfigurationAndSWHardeningNeeded,
    /// Current, but a setting (hyper-threading, say) leaves a hole open.
    ConfigurationNeeded,
    /// Current, if the enclave's own code has the mitigations of the advisories.
    SWHardeningNeeded,
    /// Current.
    UpToDate,
}

impl TcbStatus {
    /// Intel's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "Revoked",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::TDRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
            Self::TDRelaunchAdvised => "TDRelaunchAdvised",
            Self::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::SWHardeningNeeded => "SWHardeningNeeded",
            Self::UpToDate => "UpToDate",
        }
    }

    /// Status of a platform of which a part (the quoting enclave, the TDX module) has the status
    /// `part`. A part that is behind makes the whole behind, and what the platform lacks in
    /// configuration stays lacking.
    pub(crate) fn folded_with(self, part: Self) -> Self {
        match (part, self) {
            (Self::Revoked, _) => Self::Revoked,
            (Self::OutOfDate, Self::UpToDate | Self::SWHardeningNeeded) => Self::OutOfDate,
            (Self::OutOfDate, Self::ConfigurationNeeded | Self::ConfigurationAndSWHardeningNeeded) => {
                Self::OutOfDateConfigurationNeeded
            }
            (_, platform) => platform,
        }
    }

    /// Status of a TDX domain that was launched at this status on a platform that now has the status
    /// `current`: behind at launch and current now, launching it again would help.
    pub(crate) fn relaunched_at(self, current: Self) -> Self {
        match (self, current) {
            (Self::OutOfDate, Self::UpToDate | Self::SWHardeningNeeded) => Self::TDRelaunchAdvised,
            (
                Self::OutOfDate | Self::OutOfDateConfigurationNeeded,
                Self::UpToDate
                | Self::SWHardeningNeeded
                | Self::ConfigurationNeeded
                | Self::ConfigurationAndSWHardeningNeeded,
            ) => Self::TDRelaunchAdvisedConfigurationNeeded,
            (launch, _) => launch,
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
