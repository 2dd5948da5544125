//! What hardware measured: each platform's registers, and the one name of 32 bytes that manifests,
//! proofs and policies use for the code behind them.

use crate::genuine::Signer;
use alloc::{boxed::Box, vec::Vec};
use glacier_wire::{Measurement, PlatformKind};
use sha2::{Digest as _, Sha256};

/// A register of 48 bytes: SHA-384 over what was measured into it, or zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(pub [u8; 48]);

/// What hardware measured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registers {
    /// Intel SGX.
    Sgx(SgxRegisters),
    /// Intel TDX.
    Tdx(Box<TdRegisters>),
    /// AMD SEV-SNP.
    Snp(Box<SnpRegisters>),
    /// NVIDIA: the firmware measurements that reference manifests vouch for.
    Gpu(GpuRegisters),
}

/// What SGX says of an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgxRegisters {
    /// MRENCLAVE.
    pub mrenclave: Measurement,
    /// MRSIGNER.
    pub mrsigner: Signer,
    /// ISVPRODID.
    pub product_id: u16,
    /// ISVSVN.
    pub svn: u16,
}

/// What TDX says of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdRegisters {
    /// What the domain was built from: firmware.
    pub mrtd: Register,
    /// Extended at run time: by firmware (0: its configuration, 1: kernel, 2: command line and
    /// initrd) and by the guest (3).
    pub rtmr: [Register; 4],
    /// Set by the host at launch.
    pub mrconfigid: Register,
    /// Set by the host at launch.
    pub mrowner: Register,
    /// Set by the host at launch.
    pub mrownerconfig: Register,
    /// The TDX module.
    pub mrseam: Register,
    /// The TDX module's signer; zero is Intel.
    pub mrsignerseam: Register,
    /// Service domains bound to it; `None` in a report of version 1.0, which has no such register.
    pub mrservicetd: Option<Register>,
    /// TDATTRIBUTES.
    pub attributes: u64,
    /// XFAM.
    pub xfam: u64,
    /// TEE_TCB_SVN: the module's level when the domain was started.
    pub tee_tcb_svn: [u8; 16],
}

/// What SEV-SNP says of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpRegisters {
    /// The launch digest.
    pub measurement: Register,
    /// Set by the host at launch.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the guest's identity block, or zero.
    pub id_key_digest: Register,
    /// SHA-384 of that key's author, or zero.
    pub author_key_digest: Register,
    /// Chosen by the guest's owner.
    pub family_id: [u8; 16],
    /// Chosen by the guest's owner.
    pub image_id: [u8; 16],
    /// Security version that the guest's owner gave it.
    pub guest_svn: u32,
    /// Guest policy bits.
    pub policy: u64,
    /// Privilege level of who asked for the report, 0 the highest.
    pub vmpl: u32,
}

/// What a GPU or switch says of its firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRegisters {
    /// Index (that of the manifests, from 0) and value of each measurement that was compared.
    pub vouched: Vec<(u8, Register)>,
}

impl Registers {
    /// The name of the code: MRENCLAVE on SGX; on the others SHA-256("glacier/measurement/v1" ‖ 0 ‖
    /// kind ‖ 0 ‖ registers), over
    ///
    /// | kind | registers |
    /// |---|---|
    /// | `tdx` | MRTD, RTMR0, RTMR1, RTMR2, MRCONFIGID, MROWNER, MROWNERCONFIG |
    /// | `snp` | launch digest, host data |
    /// | `nvidia` | each vouched measurement: index (one byte), value |
    ///
    /// RTMR3 is left out: the guest extends it with facts of its own, and only what was measured
    /// before decides what those are.
    pub fn name(&self) -> Measurement {
        let mut hash = Sha256::new();
        hash.update(b"glacier/measurement/v1\0");
        let mut kind = |kind: PlatformKind| {
            hash.update(kind.as_str());
            hash.update([0]);
        };
        match self {
            Self::Sgx(sgx) => return sgx.mrenclave,
            Self::Tdx(td) => {
                kind(PlatformKind::Tdx);
                let [rtmr0, rtmr1, rtmr2, _] = &td.rtmr;
                for register in [&td.mrtd, rtmr0, rtmr1, rtmr2, &td.mrconfigid, &td.mrowner, &td.mrownerconfig] {
                    hash.update(register.0);
                }
            }
            Self::Snp(snp) => {
                kind(PlatformKind::Snp);
                hash.update(snp.measurement.0);
                hash.update(snp.host_data);
            }
            Self::Gpu(gpu) => {
                kind(PlatformKind::Nvidia);
                for (index, value) in &gpu.vouched {
                    hash.update([*index]);
                    hash.update(value.0);
                }
            }
        }
        Measurement(hash.finalize().into())
    }

    /// Who signed the code, where the platform says so: MRSIGNER on SGX.
    pub fn signer(&self) -> Option<Signer> {
        match self {
            Self::Sgx(sgx) => Some(sgx.mrsigner),
            _ => None,
        }
    }
}

/// As documents show it: a string for SGX and SNP, an object of registers for TDX.
impl serde::Serialize for Registers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match self {
            Self::Sgx(sgx) => serializer.collect_str(&sgx.mrenclave),
            Self::Snp(snp) => serializer.collect_str(&snp.measurement),
            Self::Gpu(_) => serializer.collect_str(&self.name()),
            Self::Tdx(td) => {
                let [rtmr0, rtmr1, rtmr2, rtmr3] = &td.rtmr;
                let mut out = serializer.serialize_map(None)?;
                out.serialize_entry("mrtd", &td.mrtd)?;
                out.serialize_entry("rtmr0", rtmr0)?;
                out.serialize_entry("rtmr1", rtmr1)?;
                out.serialize_entry("rtmr2", rtmr2)?;
                out.serialize_entry("rtmr3", rtmr3)?;
                out.serialize_entry("mrconfigid", &td.mrconfigid)?;
                out.serialize_entry("mrowner", &td.mrowner)?;
                out.serialize_entry("mrownerconfig", &td.mrownerconfig)?;
                out.serialize_entry("mrseam", &td.mrseam)?;
                out.serialize_entry("mrsignerseam", &td.mrsignerseam)?;
                if let Some(register) = &td.mrservicetd {
                    out.serialize_entry("mrservicetd", register)?;
                }
                out.end()
            }
        }
    }
}

impl Register {
    /// Nothing was measured into it.
    pub const ZERO: Self = Self([0; 48]);
}

impl core::fmt::Display for Register {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl core::fmt::Debug for Register {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Register({self})")
    }
}

impl core::str::FromStr for Register {
    type Err = glacier_wire::ParseIdError;

    /// Reads 96 hexadecimal digits, with or without `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut out = [0; 48];
        match hex::decode_to_slice(digits, &mut out) {
            Ok(()) => Ok(Self(out)),
            Err(hex::FromHexError::InvalidHexCharacter { .. }) => Err(glacier_wire::ParseIdError::NotHex),
            Err(_) => Err(glacier_wire::ParseIdError::Length { expected: 48, found: digits.len() / 2 }),
        }
    }
}

impl serde::Serialize for Register {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Register {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        alloc::string::String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
