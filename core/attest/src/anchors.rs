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

    /// What an SGX quote under this root stands for; `None` if the root is not trusted.
    pub(crate) fn sgx_platform(&self, root: &Fingerprint) -> Option<PlatformKind> {
        if self.is_vendor(root) {
            Some(PlatformKind::Sgx)
        } else if self.simulated.contains(root) {
            Some(PlatformKind::Simulated)
        } else {
            None
        }
    }

    fn is_vendor(&self, root: &Fingerprint) -> bool {
        *root == INTEL_SGX_ROOT
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_vendors_root_stays_the_vendors_however_it_is_named() {
        let anchors = Anchors::vendor().with_simulated(INTEL_SGX_ROOT);
        assert_eq!(anchors, Anchors::vendor());
        assert_eq!(anchors.sgx_platform(&INTEL_SGX_ROOT), Some(PlatformKind::Sgx));
    }

    #[test]
    fn a_root_is_untrusted_until_named_and_then_simulated() {
        let root = Fingerprint::of(b"root");
        assert_eq!(Anchors::vendor().sgx_platform(&root), None);
        assert_eq!(Anchors::vendor().with_root_der(b"root").sgx_platform(&root), Some(PlatformKind::Simulated));
    }

    #[test]
    fn fingerprints_round_trip_as_text() {
        let root = Fingerprint::of(b"root");
        assert_eq!(root.to_string().parse(), Ok(root));
        assert!("abcd".parse::<Fingerprint>().is_err());
    }
}
