//! Policy files: what a party accepts, as TOML.

use crate::file::{self, FileError, NewFile};
use glacier_attest::Fingerprint;
pub use glacier_attest::Policy;
use glacier_wire::{EnclaveId, Measurement, training::nearest};
use std::path::Path;

/// A policy file that cannot be used. None of it is used then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A member that policies do not have: most likely a typing error, which must not weaken anything.
    #[error("a policy has no member `{name}`")]
    Unknown {
        /// As it stands in the file.
        name: String,
        /// The member that was probably meant.
        meant: Option<&'static str>,
    },
    /// Not TOML, or a member of another type.
    #[error("line {line}: {problem}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// The parser's words.
        problem: String,
    },
    /// Larger than a policy can be.
    #[error("the policy is larger than is read")]
    TooLarge,
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

const MAX_BYTES: u64 = 256 << 10;

const MEMBERS: &[&str] = &[
    "platforms",
    "simulated_roots",
    "measurements",
    "registers",
    "signers",
    "min_tcb",
    "allowed_advisories",
    "allow_debug",
    "allow_exposures",
    "min_tcb_evaluation",
    "max_collateral_age",
    "max_evidence_age",
    "enclave_ids",
    "snp",
    "gpu",
];

/// Reads a policy file.
pub fn read_policy(path: &Path) -> Result<Policy, PolicyError> {
    let bytes = file::read_small(path, MAX_BYTES)?.ok_or(PolicyError::TooLarge)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| PolicyError::Malformed { line: 1, problem: "not UTF-8 text".to_owned() })?;
    parse_policy(&text)
}

/// Reads a policy. What it does not name is strict; what it names wrongly is an error.
pub fn parse_policy(text: &str) -> Result<Policy, PolicyError> {
    let malformed = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        PolicyError::Malformed { line, problem: error.message().trim().to_owned() }
    };
    let table: toml::Table = toml::from_str(text).map_err(malformed)?;
    if let Some(name) = table.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(PolicyError::Unknown { name: name.clone(), meant: nearest(name, MEMBERS) });
    }
    toml::from_str(text).map_err(malformed)
}

/// A policy that accepts one program on one simulated chip, with comments that say so.
pub fn simulated_policy(root: &Fingerprint, measurement: &Measurement, enclave_id: &EnclaveId) -> String {
    format!(
        "# SIMULATED: no hardware protects what is given to this enclave. For trying out and for tests.\n\
         platforms = [\"simulated\"]\n\
         # The root this machine's simulated chip was made under.\n\
         simulated_roots = [\"{root}\"]\n\
         # The code that may run: `glacier measure` computes it from the enclave binary.\n\
         measurements = [\"{measurement}\"]\n\
         # The one chip it may run on. Remove the line to accept any chip under the root.\n\
         enclave_ids = [\"{enclave_id}\"]\n"
    )
}

/// Writes a new policy file; an existing one is refused.
pub fn write_policy(path: &Path, text: &str) -> Result<(), PolicyError> {
    parse_policy(text)?;
    let mut file = NewFile::create(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.keep()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use glacier_attest::{Age, GpuPolicy, SnpPolicy, SnpTcb};
    use glacier_wire::PlatformKind;

    #[test]
    fn an_empty_policy_is_the_strict_one() {
        assert_eq!(parse_policy("").unwrap(), Policy::default());
    }

    #[test]
    fn members_list_is_the_policys_own() {
        // Whatever the type can say, the list of known names must have, and nothing else.
        let text = toml::to_string(&Policy {
            min_tcb_evaluation: Some(1),
            max_collateral_age: Some(Age(1)),
            max_evidence_age: Some(Age(1)),
            snp: Some(SnpPolicy { min_tcb: SnpTcb::default(), allow_unchecked_revocation: false }),
            gpu: Some(GpuPolicy::default()),
            ..Policy::default()
        });
        let table: toml::Table = toml::from_str(&text.unwrap()).unwrap();
        let mut known = MEMBERS.to_vec();
        known.sort();
        let mut found: Vec<&str> = table.keys().map(String::as_str).collect();
        found.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn a_typing_error_is_named_with_what_was_meant() {
        let unknown = |name: &str, meant| PolicyError::Unknown { name: name.to_owned(), meant };
        assert_eq!(parse_policy("measurement = []"), Err(unknown("measurement", Some("measurements"))));
        assert_eq!(parse_policy("allow_degub = true"), Err(unknown("allow_degub", Some("allow_debug"))));
        assert_eq!(parse_policy("colour = 1"), Err(unknown("colour", None)));
    }

    #[test]
    fn a_wrong_value_is_named_by_its_line() {
        let wrong = parse_policy("allow_debug = false\nmin_tcb = \"Fine\"\n");
        assert!(matches!(wrong, Err(PolicyError::Malformed { line: 2, .. })), "{wrong:?}");
        assert!(matches!(parse_policy("measurements = [\"12\"]"), Err(PolicyError::Malformed { line: 1, .. })));
    }

    #[test]
    fn the_simulated_policy_reads_back() {
        let text = simulated_policy(&Fingerprint([1; 32]), &Measurement([2; 32]), &EnclaveId([3; 32]));
        let policy = parse_policy(&text).unwrap();
        assert_eq!(policy.platforms, [PlatformKind::Simulated]);
        assert_eq!(policy.simulated_roots, [Fingerprint([1; 32])]);
        assert_eq!(policy.measurements, [Measurement([2; 32]).into()]);
        assert_eq!(policy.enclave_ids, [EnclaveId([3; 32])]);
        assert!(text.starts_with("# SIMULATED"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_crash(text in "\\PC{0,200}") {
            let _ = parse_policy(&text);
        }
    }
}
