//! The host's certificate table beside a SEV-SNP report (GHCB specification, section 4.1.8.1): entries of
//! {GUID 16, offset u32, length u32}, ended by one of zeros, then the certificates.
//!
//! The host writes it and nothing signs it, so it is bounded, and what it holds is worth what the
//! verifier makes of it: the root that counts is the verifier's own.

use crate::evidence::u32_at;

/// What the host says each certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Certificate {
    /// The chip's own key, for its firmware as reported.
    Vcek,
    /// A key that AMD gave the cloud instead.
    Vlek,
    /// The product's intermediate certificate.
    Ask,
    /// The product's root.
    Ark,
}

/// Certificates that the host put beside a report. Each is as the host gave it: not verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertTable {
    certificates: Vec<(Certificate, Vec<u8>)>,
}

/// Why a table was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertTableError {
    /// It ends before its last entry does, or has no last entry.
    #[error("the host's certificate table is cut short")]
    Truncated,
    /// An entry points outside of the table, or into its head.
    #[error("the host's certificate table points outside of itself")]
    OutOfBounds,
    /// More than [`CertTable::MAX_ENTRIES`].
    #[error("the host's certificate table has too many entries")]
    TooMany,
    /// A certificate above [`CertTable::MAX_CERTIFICATE`].
    #[error("a certificate of the host's table is too long")]
    TooLong,
    /// Two certificates of one kind.
    #[error("the host's certificate table names one kind of certificate twice")]
    Twice,
}

impl CertTable {
    /// Most entries.
    pub const MAX_ENTRIES: usize = 32;
    /// Longest certificate; AMD's are below 2 KiB.
    pub const MAX_CERTIFICATE: usize = 8 << 10;

    /// Reads a table; no bytes, or zeros only, are a table of no certificates. Entries of kinds that
    /// nobody here uses are skipped.
    pub fn parse(table: &[u8]) -> Result<Self, CertTableError> {
        if table.is_empty() {
            return Ok(Self::default());
        }
        let mut entries = Vec::new();
        let mut rest = table;
        let head = loop {
            let (entry, behind) = rest.split_at_checked(ENTRY).ok_or(CertTableError::Truncated)?;
            rest = behind;
            let Some(guid) = entry.first_chunk::<16>().filter(|guid| *guid != &[0; 16]) else {
                break table.len().saturating_sub(rest.len());
            };
            if entries.len() == Self::MAX_ENTRIES {
                return Err(CertTableError::TooMany);
            }
            entries.push((*guid, range(entry)?));
        };
        let mut found = Self::default();
        for (guid, (offset, len)) in entries {
            let end = offset.checked_add(len).ok_or(CertTableError::OutOfBounds)?;
            let bytes = table.get(offset..end).filter(|_| offset >= head).ok_or(CertTableError::OutOfBounds)?;
            let Some(kind) = kind(&guid) else { continue };
            if len > Self::MAX_CERTIFICATE {
                return Err(CertTableError::TooLong);
            }
            if found.get(kind).is_some() {
                return Err(CertTableError::Twice);
            }
            found.certificates.push((kind, bytes.to_vec()));
        }
        Ok(found)
    }

    /// The certificate of one kind, DER as a rule.
    pub fn get(&self, kind: Certificate) -> Option<&[u8]> {
        self.certificates.iter().find(|(of, _)| *of == kind).map(|(_, bytes)| bytes.as_slice())
    }
}

fn range(entry: &[u8]) -> Result<(usize, usize), CertTableError> {
    let word = |at| u32_at(entry, at).and_then(|word| usize::try_from(word).ok()).ok_or(CertTableError::Truncated);
    Ok((word(16)?, word(20)?))
}

/// GUIDs stand in the order in which they are written down, not in the mixed order of UEFI.
fn kind(guid: &[u8; 16]) -> Option<Certificate> {
    match u128::from_be_bytes(*guid) {
        0x63da_758d_e664_4564_adc5_f4b9_3be8_accd => Some(Certificate::Vcek),
        0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1 => Some(Certificate::Vlek),
        0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782 => Some(Certificate::Ask),
        0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae => Some(Certificate::Ark),
        _ => None,
    }
}

const ENTRY: usize = 24;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const VCEK: u128 = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd;
    pub(crate) const ASK: u128 = 0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782;

    /// A table of these certificates.
    pub(crate) fn table(certificates: &[(u128, &[u8])]) -> Vec<u8> {
        let mut head = Vec::new();
        let mut body = Vec::<u8>::new();
        for (guid, bytes) in certificates {
            let offset = (certificates.len() + 1) * ENTRY + body.len();
            head.extend(guid.to_be_bytes());
            head.extend((offset as u32).to_le_bytes());
            head.extend((bytes.len() as u32).to_le_bytes());
            body.extend(*bytes);
        }
        head.extend([0; ENTRY]);
        head.extend(body);
        head
    }

    #[test]
    fn certificates_are_found_by_kind() {
        let parsed = CertTable::parse(&table(&[(VCEK, b"vcek"), (0x17, b"else"), (ASK, b"ask")])).unwrap();
        assert_eq!(parsed.get(Certificate::Vcek), Some(b"vcek".as_slice()));
        assert_eq!(parsed.get(Certificate::Ask), Some(b"ask".as_slice()));
        assert_eq!(parsed.get(Certificate::Ark), None);
    }

    #[test]
    fn no_bytes_and_zeros_are_an_empty_table() {
        assert_eq!(CertTable::parse(&[]), Ok(CertTable::default()));
        assert_eq!(CertTable::parse(&[0; 4096]), Ok(CertTable::default()));
    }

    #[test]
    fn a_table_cut_short_anywhere_is_refused() {
        let whole = table(&[(VCEK, b"vcek"), (ASK, b"ask")]);
        for len in 1..whole.len() {
            let expected = if len < 3 * ENTRY { CertTableError::Truncated } else { CertTableError::OutOfBounds };
            assert_eq!(CertTable::parse(&whole[..len]), Err(expected), "{len}");
        }
    }

    #[test]
    fn an_entry_that_points_outside_is_refused() {
        for (offset, len) in [(u32::MAX, 4), (48, u32::MAX), (0, 4), (47, 4), (48, 5)] {
            let mut bytes = table(&[(VCEK, b"vcek")]);
            bytes[16..20].copy_from_slice(&offset.to_le_bytes());
            bytes[20..24].copy_from_slice(&len.to_le_bytes());
            assert_eq!(CertTable::parse(&bytes), Err(CertTableError::OutOfBounds), "{offset} {len}");
        }
    }

    #[test]
    fn too_many_entries_are_refused() {
        let entries = vec![(0x17, b"".as_slice()); CertTable::MAX_ENTRIES + 1];
        assert_eq!(CertTable::parse(&table(&entries)), Err(CertTableError::TooMany));
        assert_eq!(CertTable::parse(&table(&entries[1..])), Ok(CertTable::default()));
    }

    #[test]
    fn a_certificate_of_one_kind_twice_is_refused() {
        assert_eq!(CertTable::parse(&table(&[(VCEK, b"a"), (VCEK, b"a")])), Err(CertTableError::Twice));
    }

    #[test]
    fn a_certificate_beyond_the_bound_is_refused() {
        let long = vec![1; CertTable::MAX_CERTIFICATE + 1];
        assert_eq!(CertTable::parse(&table(&[(VCEK, &long)])), Err(CertTableError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_give_what_it_was_not_given(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(parsed) = CertTable::parse(&bytes) {
                for (_, certificate) in parsed.certificates {
                    prop_assert!(certificate.is_empty() || bytes.windows(certificate.len()).any(|part| part == certificate));
                }
            }
        }

        #[test]
        fn what_is_written_is_read(vcek in proptest::collection::vec(any::<u8>(), 0..99), ask in proptest::collection::vec(any::<u8>(), 0..99)) {
            let parsed = CertTable::parse(&table(&[(ASK, &ask), (VCEK, &vcek)])).unwrap();
            prop_assert_eq!(parsed.get(Certificate::Vcek), Some(vcek.as_slice()));
            prop_assert_eq!(parsed.get(Certificate::Ask), Some(ask.as_slice()));
        }
    }
}
