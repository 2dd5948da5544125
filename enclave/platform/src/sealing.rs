//! Sealing keys, from what the hardware derives.

use crate::{
    locked::LockedKey,
    platform::{PlatformError, SealingPurpose},
};
use aws_lc_rs::hkdf;
use glacier_wire::PlatformKind;

/// HKDF-SHA-256 (RFC 5869) over a key of the hardware's, straight into locked memory. The hardware's key
/// is used for nothing else, and each platform and purpose gets its own.
pub(crate) fn derive(
    hardware_key: &[u8],
    platform: PlatformKind,
    purpose: SealingPurpose,
) -> Result<LockedKey<32>, PlatformError> {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL).extract(hardware_key);
    // The words hold no zero byte, so the zeros keep one pair from reading like another.
    let info = [platform.as_str().as_bytes(), &[0], purpose.as_str().as_bytes(), &[0]];
    LockedKey::try_fill_with(|key| {
        let okm = prk.expand(&info, KeyLength).map_err(|_| PlatformError::Derivation)?;
        okm.fill(key).map_err(|_| PlatformError::Derivation)
    })
}

struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

const LABEL: &[u8] = b"glacier sealing key v1";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(root: &[u8], platform: PlatformKind, purpose: SealingPurpose) -> [u8; 32] {
        *derive(root, platform, purpose).unwrap().expose()
    }

    #[test]
    fn the_same_hardware_gives_the_same_key() {
        // HMAC and concatenation alone, as RFC 5869 defines it, computed outside of this library.
        assert_eq!(
            hex::encode(key(&[7; 16], PlatformKind::Sgx, SealingPurpose::State)),
            "0ec8c81faf5a805fff00bd560689824e5b956de6d9146266256f926f4c13fd4c"
        );
    }

    #[test]
    fn hardware_platform_and_purpose_each_change_it() {
        let base = key(&[7; 16], PlatformKind::Sgx, SealingPurpose::State);
        assert_ne!(base, key(&[8; 16], PlatformKind::Sgx, SealingPurpose::State));
        assert_ne!(base, key(&[7; 16], PlatformKind::Snp, SealingPurpose::State));
        assert_ne!(base, key(&[7; 16], PlatformKind::Sgx, SealingPurpose::App));
    }
}
