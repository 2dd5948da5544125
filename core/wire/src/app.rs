//! What a sandboxed app made of a data set or of a call: the content of its result file, or of its answer.

use alloc::{string::String, vec::Vec};

/// An app's last word on one data set, or to one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppResult {
    /// What it computed.
    Answer(Vec<u8>),
    /// Why it computed nothing. Goes to the recipients alone, as an answer would: a component may put into its
    /// sentence whatever it has read.
    Refusal(String),
}

/// Bytes that are no result of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a result of an app")]
pub struct BadAppResult;

impl AppResult {
    /// Largest answer.
    pub const MAX_BYTES: usize = 64 << 20;
    /// Largest result file.
    pub const MAX_FILE: u64 = padded((Self::HEAD as u64).saturating_add(Self::MAX_BYTES as u64));
    /// Kind and length.
    const HEAD: usize = 9;

    /// Kind (one byte), length (eight, little-endian), content, and zeros up to [`padded`]: whoever sees the
    /// ciphertext's length learns a few bits of the content's length and not all of them.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Answer(bytes) => (0, bytes.as_slice()),
            Self::Refusal(text) => (1, text.as_bytes()),
        };
        let len = content.len() as u64;
        let file = padded(len.saturating_add(Self::HEAD as u64));
        let mut out = Vec::with_capacity(usize::try_from(file).unwrap_or(usize::MAX));
        out.push(kind);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(content);
        out.resize(usize::try_from(file).unwrap_or(usize::MAX), 0);
        out
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// # Errors
    /// [`BadAppResult`]: cut, too long, of another kind, or padded otherwise.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadAppResult> {
        let (kind, rest) = bytes.split_first().ok_or(BadAppResult)?;
        let (len, rest) = rest.split_first_chunk::<8>().ok_or(BadAppResult)?;
        let len = u64::from_le_bytes(*len);
        let within = usize::try_from(len).ok().filter(|len| *len <= Self::MAX_BYTES).ok_or(BadAppResult)?;
        let (content, padding) = rest.split_at_checked(within).ok_or(BadAppResult)?;
        let whole = bytes.len() as u64 == padded(len.saturating_add(Self::HEAD as u64));
        if !whole || padding.iter().any(|byte| *byte != 0) {
            return Err(BadAppResult);
        }
        match kind {
            0 => Ok(Self::Answer(content.to_vec())),
            1 => core::str::from_utf8(content).map(|text| Self::Refusal(text.into())).map_err(|_| BadAppResult),
            _ => Err(BadAppResult),
        }
    }
}

/// The next length that shows: 1 KiB, and above it sixteen steps from each power of two to the next, so that a
/// length of `n` bits tells about `log2(n) + 4` of them. Costs at most a sixteenth.
pub const fn padded(len: u64) -> u64 {
    let floor = 1024;
    if len <= floor {
        return floor;
    }
    coarse(len)
}

/// The next number that has at most five binary digits before its zeros: what metered fuel is told in, since a
/// component that is not trusted chooses how much it burns.
pub const fn coarse(number: u64) -> u64 {
    let bits = u64::BITS.saturating_sub(number.leading_zeros());
    let step = match bits.checked_sub(5) {
        Some(shift) => 1u64 << shift,
        None => 1,
    };
    number.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{
        Address, Contribution, Digest, EnclaveId, Limits, Manifest, ManifestError, Measurement, Recipient, Settlement,
        UnixTime, Work,
    };
    use alloc::vec;

    /// One app over one data set, spoilt in one way.
    fn check(spoil: fn(&mut Manifest)) -> Result<(), ManifestError> {
        let mut manifest = Manifest {
            work: Work::App,
            data_provider: Address([1; 20]),
            model_provider: Address([2; 20]),
            data: Digest([3; 32]),
            model: Digest([4; 32]),
            measurement: Measurement([5; 32]),
            enclave_id: EnclaveId([6; 32]),
            recipients: vec![Recipient([7; 32])],
            limits: Limits { memory: 1, units: 1, runs: 1, not_after: UnixTime(1) },
            settlement: Settlement { chain_id: 0, ledger: Address::ZERO, payer: Address([1; 20]), price: 0 },
            salt: Digest([8; 32]),
            plan: Digest([9; 32]),
            contributions: vec![],
        };
        spoil(&mut manifest);
        manifest.check()
    }

    fn serve(manifest: &mut Manifest) {
        manifest.recipients.clear();
        (manifest.data, manifest.data_provider) = (Digest::ZERO, Address::ZERO);
    }

    #[test]
    fn a_manifest_of_an_app_names_its_code() {
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(serve), Ok(()));
        assert_eq!(check(|m| m.plan = Digest::ZERO), Err(ManifestError::Missing("digest of the app")));
        assert_eq!(check(|m| m.model = Digest::ZERO), Err(ManifestError::Missing("model asset")));
    }

    #[test]
    fn an_app_has_one_data_set_and_recipients_or_neither() {
        assert_eq!(check(|m| m.recipients.clear()), Err(ManifestError::Missing("recipient")));
        assert_eq!(check(|m| m.data_provider = Address::ZERO), Err(ManifestError::Missing("data provider")));
        assert_eq!(check(|m| m.data = Digest::ZERO), Err(ManifestError::Superfluous("data provider")));
        let to_nobody_named = |m: &mut Manifest| {
            serve(m);
            m.recipients.push(Recipient([7; 32]));
        };
        assert_eq!(check(to_nobody_named), Err(ManifestError::Superfluous("recipient")));
        let more = |m: &mut Manifest| {
            m.contributions.push(Contribution { provider: Address([1; 20]), data: Digest([1; 32]) });
        };
        assert_eq!(check(more), Err(ManifestError::Superfluous("contribution")));
    }

    #[test]
    fn a_result_survives_the_trip() {
        for result in [
            AppResult::Answer(vec![]),
            AppResult::Answer(vec![7; 1015]),
            AppResult::Answer(vec![7; 1016]),
            AppResult::Answer(vec![0; 100_000]),
            AppResult::Refusal("no rows".into()),
        ] {
            let bytes = result.encode();
            assert_eq!(AppResult::decode(&bytes), Ok(result));
        }
    }

    #[test]
    fn lengths_show_in_steps() {
        assert_eq!(AppResult::Answer(vec![1]).encode().len(), AppResult::Answer(vec![1; 1000]).encode().len());
        let shown: alloc::collections::BTreeSet<u64> = (1024..65_536).map(padded).collect();
        assert!(shown.len() <= 16 * 6 + 1, "{}", shown.len());
        assert!((1024..65_536).all(|len| padded(len) >= len && padded(len) <= len + len / 8));
    }

    #[test]
    fn units_show_in_steps() {
        assert_eq!([0, 1, 31, 32, 33, 63, 64, 65].map(coarse), [0, 1, 31, 32, 34, 64, 64, 68]);
        assert_eq!(coarse(u64::MAX), u64::MAX);
    }

    #[test]
    fn what_is_cut_or_dirty_is_refused() {
        let good = AppResult::Refusal("no".into()).encode();
        assert_eq!(AppResult::decode(&good[..good.len() - 1]), Err(BadAppResult));
        assert_eq!(AppResult::decode(&[&good[..], &[0]].concat()), Err(BadAppResult));
        for (at, value) in [(0, 2), (3, 200), (good.len() - 1, 1), (9, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(AppResult::decode(&bad), Err(BadAppResult), "{at}");
        }
        assert_eq!(AppResult::decode(&[]), Err(BadAppResult));
    }
}
