//! The processor model that a guest is started with: its signature is in the measured state.

use core::str::FromStr;

/// CPUID signature (function 1, EAX) of a virtual processor: QEMU puts it into RDX at reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vcpu(u32);

impl Vcpu {
    /// The signature.
    pub const fn signature(self) -> u32 {
        self.0
    }

    /// The names that [`FromStr`] takes, as QEMU spells them after `-cpu`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        QEMU.iter().map(|(name, ..)| *name)
    }

    /// AMD publication 25481, CPUID Fn0000_0001_EAX.
    const fn from_parts(family: u8, model: u8, stepping: u8) -> Self {
        let extended = family.saturating_sub(0xf) as u32;
        let base = if family > 0xf { 0xf } else { family as u32 };
        let (high, low) = ((model >> 4) as u32, (model & 0xf) as u32);
        Self(extended << 20 | high << 16 | base << 8 | low << 4 | (stepping & 0xf) as u32)
    }
}

/// Neither a model of QEMU nor a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a processor model of QEMU, and not a CPUID signature such as 0x00a00f11")]
pub struct ParseVcpuError;

impl FromStr for Vcpu {
    type Err = ParseVcpuError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(digits) = text.strip_prefix("0x") {
            return u32::from_str_radix(digits, 16).map(Self).map_err(|_| ParseVcpuError);
        }
        let known = QEMU.iter().find(|(name, ..)| *name == text).ok_or(ParseVcpuError)?;
        Ok(Self::from_parts(known.1, known.2, known.3))
    }
}

/// Name, family, model, stepping.
const QEMU: &[(&str, u8, u8, u8)] = &[
    ("EPYC", 23, 1, 2),
    ("EPYC-v1", 23, 1, 2),
    ("EPYC-v2", 23, 1, 2),
    ("EPYC-IBPB", 23, 1, 2),
    ("EPYC-v3", 23, 1, 2),
    ("EPYC-v4", 23, 1, 2),
    ("EPYC-Rome", 23, 49, 0),
    ("EPYC-Rome-v1", 23, 49, 0),
    ("EPYC-Rome-v2", 23, 49, 0),
    ("EPYC-Rome-v3", 23, 49, 0),
    ("EPYC-Milan", 25, 1, 1),
    ("EPYC-Milan-v1", 25, 1, 1),
    ("EPYC-Milan-v2", 25, 1, 1),
    ("EPYC-Genoa", 25, 17, 0),
    ("EPYC-Genoa-v1", 25, 17, 0),
    ("EPYC-Turin", 26, 0, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milan_has_its_signature() {
        assert_eq!("EPYC-Milan".parse(), Ok(Vcpu(0x00a0_0f11)));
        assert_eq!("0x00a00f11".parse(), Ok(Vcpu(0x00a0_0f11)));
    }

    #[test]
    fn an_unknown_model_is_refused() {
        assert_eq!("EPYC-Milano".parse::<Vcpu>(), Err(ParseVcpuError));
        assert_eq!("0xg".parse::<Vcpu>(), Err(ParseVcpuError));
    }
}
