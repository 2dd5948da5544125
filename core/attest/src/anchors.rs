//! Trusted roots.

use crate::hash::name32;
use alloc::vec::Vec;
use glacier_wire::PlatformKind;
use sha2::{Digest as _, Sha256};

name32! {
    /// SHA-256 of a root certificate's DER.
    Fingerprint
}

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// Intel SGX Root CA, valid 2018-05-21 to 2049-12-31: root of SGX and TDX. Parts from before
/// production chain to another root of the same name; only this value keeps them out.
const INTEL_SGX_ROOT: Fingerprint = Fingerprint([
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35, 0x0e, 0x74, 0x24,
    0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
]);

/// NVIDIA Device Identity CA, valid 2021-11-05 to 9999-12-31: root of GPUs and switches.
const NVIDIA_DEVICE_ROOT: Fingerprint = Fingerprint([
    0x10, 0x2b, 0xf6, 0x59, 0xd5, 0x41, 0x96, 0x14, 0xc9, 0xd8, 0xe6, 0xae, 0xce, 0xbc, 0x80, 0x45, 0x4e, 0xb2, 0x6b,
    0x1d, 0xf6, 0xa7, 0x69, 0xac, 0x72, 0x0b, 0x9a, 0x69, 0x0b, 0x16, 0x7b, 0x48,
]);

/// NVIDIA CoRIM signing Root CA, valid 2023-03-16 to 2053-03-08: root of reference manifests.
const NVIDIA_RIM_ROOT: Fingerprint = Fingerprint([
    0x12, 0x97, 0x7b, 0x51, 0x15, 0xac, 0xb0, 0x38, 0x11, 0x79, 0x27, 0x9f, 0xff, 0xeb, 0x5a, 0x8c, 0x4d, 0x26, 0x49,
    0x71, 0xeb, 0xb3, 0x22, 0x98, 0x02, 0x3a, 0x46, 0x5f, 0xa4, 0x1d, 0xf5, 0xd1,
]);

/// AMD's root keys (ARK) of Milan, Genoa and Turin, valid into 2045, 2047 and 2048.
const AMD_ROOTS: [Fingerprint; 3] = [
    Fingerprint([
        0x69, 0xd0, 0x63, 0xb4, 0x53, 0x44, 0xd2, 0x6a, 0x2e, 0x94, 0xe1, 0xf4, 0x21, 0x0d, 0xe4, 0x9e, 0xf5, 0x55,
        0x30, 0x82, 0x87, 0xd4, 0xc1, 0x74, 0x44, 0x5c, 0x95, 0x63, 0x9a, 0x54, 0x0b, 0xcd,
    ]),
    Fingerprint([
        0x4c, 0x65, 0x98, 0xd1, 0x9c, 0x18, 0x71, 0x9c, 0x5d, 0xfd, 0x4a, 0x7d, 0x33, 0x5f, 0x67, 0x4e, 0x5b, 0xfe,
        0x1d, 0x8f, 0x80, 0x0c, 0xea, 0x2c, 0xf2, 0x70, 0xc1, 0x0d, 0x10, 0x3d, 0xb2, 0xf1,
    ]),
    Fingerprint([
        0x1f, 0x08, 0x41, 0x61, 0xa4, 0x4b, 0xb6, 0xd9, 0x37, 0x78, 0xa9, 0x04, 0x87, 0x7d, 0x48, 0x19, 0xca, 0xfa,
        0x5d, 0x05, 0xef, 0x41, 0x93, 0xb2, 0xde, 0xd9, 0xdd, 0x9c, 0x73, 0xdd, 0x3f, 0x6a,
    ]),
];

/// The roots that evidence may chain to: the vendors', and simulated ones that the caller names.
///
/// Hardware and simulation are told apart here and nowhere else: what chains to a root that is not
/// a vendor's is [`PlatformKind::Simulated`], whatever it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors {
    simulated: Vec<Fingerprint>,
}

impl Anchors {
    /// The vendors' roots and no other.
    pub fn vendor() -> Self {
        Self { simulated: Vec::new() }
    }

    /// Trusts one more root, as simulated.
    pub fn with_simulated(mut self, root: Fingerprint) -> Self {
        if !self.is_vendor(&root) && !self.simulated.contains(&root) {
            self.simulated.push(root);
        }
        self
    }

    /// Trusts one more root, given by its certificate in DER, as simulated unless it is a vendor's.
    pub fn with_root_der(self, certificate: &[u8]) -> Self {
        self.with_simulated(Fingerprint::of(certificate))
    }

    /// What evidence of `kind` under this root stands for; `None` if the root is not trusted for it.
    /// Each vendor's root vouches for its own platforms and for no other's.
    pub(crate) fn platform(&self, root: &Fingerprint, kind: PlatformKind) -> Option<PlatformKind> {
        let vendor: &[Fingerprint] = match kind {
            PlatformKind::Sgx | PlatformKind::Tdx => &[INTEL_SGX_ROOT],
            PlatformKind::Snp => &AMD_ROOTS,
            PlatformKind::Nvidia => &[NVIDIA_DEVICE_ROOT],
            _ => &[],
        };
        if vendor.contains(root) {
            return Some(kind);
        }
        self.simulated.contains(root).then_some(PlatformKind::Simulated)
    }

    /// What a reference manifest under this root stands for.
    pub(crate) fn manifest(&self, root: &Fingerprint) -> Option<PlatformKind> {
        if *root == NVIDIA_RIM_ROOT {
            return Some(PlatformKind::Nvidia);
        }
        self.simulated.contains(root).then_some(PlatformKind::Simulated)
    }

    fn is_vendor(&self, root: &Fingerprint) -> bool {
        [INTEL_SGX_ROOT, NVIDIA_DEVICE_ROOT, NVIDIA_RIM_ROOT].contains(root) || AMD_ROOTS.contains(root)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_vendors_root_stays_the_vendors_however_it_is_named() {
        let anchors = Anchors::vendor().with_simulated(INTEL_SGX_ROOT);
        assert_eq!(anchors, Anchors::vendor());
        assert_eq!(anchors.platform(&INTEL_SGX_ROOT, PlatformKind::Sgx), Some(PlatformKind::Sgx));
    }

    #[test]
    fn a_vendors_root_vouches_for_its_own_platforms_only() {
        let vendor = Anchors::vendor();
        assert_eq!(vendor.platform(&INTEL_SGX_ROOT, PlatformKind::Tdx), Some(PlatformKind::Tdx));
        assert_eq!(vendor.platform(&INTEL_SGX_ROOT, PlatformKind::Snp), None);
        assert_eq!(vendor.platform(&AMD_ROOTS[0], PlatformKind::Nvidia), None);
        assert_eq!(vendor.platform(&NVIDIA_RIM_ROOT, PlatformKind::Nvidia), None);
        assert_eq!(vendor.manifest(&NVIDIA_DEVICE_ROOT), None);
    }

    #[test]
    fn a_root_is_untrusted_until_named_and_then_simulated() {
        let root = Fingerprint::of(b"root");
        assert_eq!(Anchors::vendor().platform(&root, PlatformKind::Sgx), None);
        assert_eq!(
            Anchors::vendor().with_root_der(b"root").platform(&root, PlatformKind::Sgx),
            Some(PlatformKind::Simulated)
        );
    }

    #[test]
    fn fingerprints_round_trip_as_text() {
        let root = Fingerprint::of(b"root");
        assert_eq!(root.to_string().parse(), Ok(root));
        assert!("abcd".parse::<Fingerprint>().is_err());
    }
}
