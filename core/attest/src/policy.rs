//! What a relying party accepts.

use crate::{
    amd::SnpTcb,
    anchors::{Anchors, Fingerprint},
    exposure::Exposure,
    genuine::Signer,
    intel::TcbStatus,
    nvidia::{Architecture, GpuMode},
    registers::Register,
};
use alloc::{string::String, vec::Vec};
use core::fmt;
use glacier_wire::{EnclaveId, Measurement, PlatformKind};

/// What a relying party accepts. Everything absent is strict.
///
/// | field | absent means |
/// |---|---|
/// | `platforms` | hardware of any vendor, never simulated |
/// | `simulated_roots` | none |
/// | `measurements`, `registers`, `signers` | all absent: refused, since nobody said which code. What is present must hold, each |
/// | `min_tcb` | `UpToDate`; for SNP see `snp` |
/// | `allowed_advisories` | none may be open |
/// | `allow_debug` | no |
/// | `allow_exposures` | none |
/// | `min_tcb_evaluation` | any that the collateral's own validity lets pass |
/// | `max_collateral_age` | as long as the collateral's own validity |
/// | `max_evidence_age` | [`Policy::DEFAULT_EVIDENCE_AGE`] for evidence that says when it was made |
/// | `enclave_ids` | any chip |
/// | `snp` | SNP is refused: AMD publishes no status, so nobody said how old its firmware may be |
/// | `gpu` | no GPU is asked for; one that is shown is judged by the defaults of [`GpuPolicy`] |
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Kinds of platform. Simulated ones need their root in `simulated_roots` as well.
    pub platforms: Vec<PlatformKind>,
    /// Roots of simulated platforms, by the SHA-256 of their certificate.
    pub simulated_roots: Vec<Fingerprint>,
    /// Code, by name.
    pub measurements: Vec<CodeName>,
    /// Code, by what the hardware measured: one entry must fit in every register that it names.
    pub registers: Vec<RegisterPins>,
    /// Code, by signer. Vouches for every program and version of that signer.
    pub signers: Vec<Signer>,
    /// Floor of the TCB status, in the order of [`TcbStatus`].
    pub min_tcb: TcbStatus,
    /// Advisories that may be open, as `INTEL-SA-00615`.
    pub allowed_advisories: Vec<String>,
    /// Whether debug enclaves are accepted: their host can read their memory.
    pub allow_debug: bool,
    /// Attributes that let somebody in and are accepted, other than debug.
    pub allow_exposures: Vec<Exposure>,
    /// Floor of the TCB evaluation number.
    pub min_tcb_evaluation: Option<u32>,
    /// Largest age of the collateral's oldest monthly part.
    pub max_collateral_age: Option<Age>,
    /// Largest age of the evidence, by the time in its claims, where it introduces an enclave that answers now. A
    /// statement that the enclave signed, such as a Work Proof, is judged without it.
    pub max_evidence_age: Option<Age>,
    /// Chips: node pins.
    pub enclave_ids: Vec<EnclaveId>,
    /// AMD SEV-SNP.
    pub snp: Option<SnpPolicy>,
    /// GPUs.
    pub gpu: Option<GpuPolicy>,
}

impl Default for Policy {
    /// Accepts nothing: no code is named.
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            simulated_roots: Vec::new(),
            measurements: Vec::new(),
            registers: Vec::new(),
            signers: Vec::new(),
            min_tcb: TcbStatus::UpToDate,
            allowed_advisories: Vec::new(),
            allow_debug: false,
            allow_exposures: Vec::new(),
            min_tcb_evaluation: None,
            max_collateral_age: None,
            max_evidence_age: None,
            enclave_ids: Vec::new(),
            snp: None,
            gpu: None,
        }
    }
}

impl Policy {
    /// Age that evidence with claims may have where the policy is silent: a day.
    pub const DEFAULT_EVIDENCE_AGE: Age = Age(24 * 60 * 60);

    /// How far ahead of ours an enclave's clock may be, in seconds.
    pub const CLOCK_SKEW: u64 = 5 * 60;

    /// The vendors' roots and the simulated ones that this policy names.
    pub fn anchors(&self) -> Anchors {
        self.simulated_roots.iter().copied().fold(Anchors::vendor(), Anchors::with_simulated)
    }
}

/// How a policy names code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeName {
    /// 64 hexadecimal digits: [`Registers::name`](crate::Registers::name), which is MRENCLAVE on SGX.
    Name(Measurement),
    /// 96 hexadecimal digits: the launch digest of an SNP guest.
    Launch(Register),
}

impl From<Measurement> for CodeName {
    fn from(name: Measurement) -> Self {
        Self::Name(name)
    }
}

impl serde::Serialize for CodeName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.collect_str(name),
            Self::Launch(digest) => serializer.collect_str(digest),
        }
    }
}

impl<'de> serde::Deserialize<'de> for CodeName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(digest) => Ok(Self::Launch(digest)),
            Err(_) => text.parse().map(Self::Name).map_err(serde::de::Error::custom),
        }
    }
}

/// Registers that must have these values. At least one is named; a name that the platform does not
/// have never fits.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegisterPins {
    /// TDX: what the domain was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrtd: Option<Register>,
    /// TDX: firmware's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr0: Option<Register>,
    /// TDX: kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr1: Option<Register>,
    /// TDX: command line and initrd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr2: Option<Register>,
    /// TDX: facts of the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr3: Option<Register>,
    /// TDX: set at launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrconfigid: Option<Register>,
    /// TDX: set at launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrowner: Option<Register>,
    /// TDX: set at launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrownerconfig: Option<Register>,
    /// TDX: the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mrseam: Option<Register>,
    /// SNP: the launch digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Register>,
    /// SNP: set at launch, 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_data: Option<Fingerprint>,
    /// SNP: whose identity block the guest was launched with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_key_digest: Option<Register>,
}

/// What is asked of SEV-SNP platforms.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpPolicy {
    /// Floor of each version in the reported TCB.
    pub min_tcb: SnpTcb,
    /// Whether reports are accepted though AMD was not asked if it revoked its authorities.
    #[serde(default)]
    pub allow_unchecked_revocation: bool,
}

/// What is asked of GPUs. Everything absent is strict.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuPolicy {
    /// Whether evidence without a GPU is refused.
    pub required: bool,
    /// Families; absent: any GPU that NVIDIA vouches for.
    pub architectures: Vec<Architecture>,
    /// Ways of attachment; absent: alone, or with others over encrypted links.
    pub modes: Vec<GpuMode>,
    /// Floor of the driver's version, compared number by number.
    pub min_driver: Option<String>,
    /// Floor of the VBIOS's version, compared number by number (hexadecimal).
    pub min_vbios: Option<String>,
    /// Whether devices are accepted though NVIDIA was not asked if it revoked their certificates.
    pub allow_unchecked_revocation: bool,
}

/// A span of time, in seconds. In documents a number of seconds or text such as `"90s"`, `"15m"`,
/// `"12h"` or `"30d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(pub u64);

impl serde::Serialize for Age {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Age {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Age;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, or a number with one of the units s, m, h, d")
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Age, E> {
                Ok(Age(seconds))
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Age, E> {
                seconds.try_into().map(Age).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(seconds), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Age, E> {
                Age::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Age {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text.strip_prefix(digits)? {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return None,
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}
