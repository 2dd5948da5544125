//! Evidence and proofs that somebody has in hand, judged offline: the whole question in one place, so that every
//! front end gives the same answer and only draws it.

use glacier_attest::{
    Anchors, Binding, Check, CheckId, CollateralError, Endorsements, Fingerprint, Format, Genuine, Outcome, Policy,
    Reason, Verdict, appraise, appraise_enclave, look,
};
use glacier_proof::{Bundle, Judge, ProofAppraisal, SettlementAppraisal};
use glacier_wire::{Evidence, ReportData, UnixTime, cbor};

/// What is judged.
#[derive(Debug, Clone)]
pub enum Subject {
    /// What one piece of hardware signed.
    Raw(Vec<u8>),
    /// All that an enclave shows, devices included.
    Enclave(Box<Evidence>),
}

impl Subject {
    /// A quote or report, raw or as hex text, or all that an enclave shows: the content tells.
    pub fn read(bytes: Vec<u8>) -> Self {
        let bytes = unhex(bytes);
        if Format::detect(&bytes).is_some() {
            return Self::Raw(bytes);
        }
        match cbor::decode(&bytes, Evidence::MAX_BYTES) {
            Ok(evidence) => Self::Enclave(Box::new(evidence)),
            Err(_) => Self::Raw(bytes),
        }
    }

    /// What the platform's own hardware signed.
    pub fn signed(&self) -> &[u8] {
        match self {
            Self::Raw(bytes) => bytes,
            Self::Enclave(evidence) => &evidence.quote,
        }
    }

    /// Whether it is a device's own report, which answers a nonce.
    pub fn is_device(&self) -> bool {
        matches!(self, Self::Raw(bytes) if Format::detect(bytes) == Some(Format::NvidiaReport))
    }

    /// Bytes that are expected in it, in the place that it has for them: 64 of report data, and the 32 of a device's
    /// nonce; `None` for any other number of them.
    pub fn report_data(&self, bytes: &[u8]) -> Option<ReportData> {
        let mut expected = [0; 64];
        let place = if self.is_device() { expected.get_mut(..32) } else { expected.get_mut(..) };
        place.filter(|place| place.len() == bytes.len())?.copy_from_slice(bytes);
        Some(expected)
    }

    /// Whether it may carry this, genuine or not: what cannot be taken apart may carry anything.
    fn may_carry(&self, expected: &ReportData, gpu_chain: Option<&[u8]>) -> bool {
        look(self.signed(), gpu_chain).is_none_or(|shown| shown.report_data == *expected)
    }
}

/// Everything that evidence is judged by.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The moment to judge at.
    pub at: UnixTime,
    /// Vendor-signed documents that the caller names; those that an enclave shows are added.
    pub endorsements: Endorsements,
    /// One more root to trust. What it vouches for is simulated.
    pub trust_root: Option<Fingerprint>,
    /// Without a policy the question is only whether it is genuine.
    pub policy: Option<&'a Policy>,
    /// What it must carry: [`Subject::report_data`] puts it in its place.
    pub expected: Option<ReportData>,
}

/// Evidence, judged.
#[derive(Debug, Clone)]
pub struct EvidenceJudgement {
    /// What follows.
    pub verdict: Verdict,
    /// All that was looked at, in order.
    pub checks: Vec<Check>,
    /// What it says, if it is genuine: whether the policy accepts it is another question.
    pub genuine: Option<Genuine>,
}

/// Judges evidence.
///
/// # Errors
/// The collateral that an enclave shows beside its quote cannot be read.
pub fn judge_evidence(subject: &Subject, question: Question<'_>) -> Result<EvidenceJudgement, CollateralError> {
    let Question { at, mut endorsements, trust_root, policy, expected } = question;
    let anchors = policy.map_or_else(Anchors::vendor, Policy::anchors);
    let anchors = trust_root.into_iter().fold(anchors, Anchors::with_simulated);
    let appraisal = match subject {
        Subject::Raw(bytes) => appraise(bytes, &endorsements, &anchors, at),
        Subject::Enclave(evidence) => {
            add_shown(&mut endorsements, evidence)?;
            appraise_enclave(evidence, &endorsements, &anchors, at)
        }
    };
    let (verdict, mut checks) = (appraisal.verdict(), appraisal.checks().to_vec());
    let genuine = appraisal.into_result().ok();
    if let (Some(genuine), Some(policy)) = (&genuine, policy) {
        let binding = expected.as_ref().map_or(Binding::Unbound, Binding::ReportData);
        let accepted = genuine.clone().judge(policy, binding, at);
        let (verdict, checks) = (accepted.verdict(), accepted.checks().to_vec());
        return Ok(EvidenceJudgement { verdict, checks, genuine: Some(genuine.clone()) });
    }
    let Some(expected) = expected else { return Ok(EvidenceJudgement { verdict, checks, genuine }) };
    let (outcome, reason) = match &genuine {
        Some(genuine) if *genuine.report_data() == expected => (Outcome::Pass, Reason::Holds),
        // Not genuine, or not known to be: that it carries what was asked for proves nothing then, that it does not
        // is enough.
        None if subject.may_carry(&expected, endorsements.gpu_chain.as_deref()) => {
            (Outcome::Skip, Reason::NotEvaluated)
        }
        _ => (Outcome::Fail, Reason::ReportDataDiffers),
    };
    checks.push(Check { device: None, id: CheckId::ReportData, outcome, reason });
    let verdict = if outcome == Outcome::Fail { Verdict::Rejected } else { verdict };
    Ok(EvidenceJudgement { verdict, checks, genuine })
}

/// Adds what an enclave shows beside its quote to what the caller names. The caller's comes first.
///
/// # Errors
/// The collateral cannot be read.
pub fn add_shown(endorsements: &mut Endorsements, evidence: &Evidence) -> Result<(), CollateralError> {
    let shown = Endorsements::of_enclave(evidence)?;
    endorsements.collateral = endorsements.collateral.take().or(shown.collateral);
    endorsements.vek = endorsements.vek.take().or(shown.vek);
    endorsements.amd_authorities.extend(shown.amd_authorities);
    endorsements.amd_crls.extend(shown.amd_crls);
    endorsements.rims.extend(shown.rims);
    endorsements.ocsp.extend(shown.ocsp);
    Ok(())
}

/// A proof with all that it stands on, judged.
#[derive(Debug, Clone)]
pub struct ProofJudgement {
    /// The proof, and the evidence of its enclave.
    pub proof: ProofAppraisal,
    /// From the proof to its key's registration, where the file holds one.
    pub settlement: Option<SettlementAppraisal>,
}

impl ProofJudgement {
    /// What follows from all of it: a registration that does not hold makes the whole no better than itself.
    pub fn verdict(&self) -> Verdict {
        conclusion(self.proof.verdict(), self.settlement.as_ref().map(SettlementAppraisal::verdict))
    }
}

/// Judges a proof. Without a policy the question is whether genuine hardware made it.
pub fn judge_proof(bundle: &Bundle, policy: Option<&Policy>, at: UnixTime) -> ProofJudgement {
    let vendor = Anchors::vendor();
    let judge = policy.map_or(Judge::Genuine(&vendor), Judge::Policy);
    ProofJudgement { proof: bundle.verify(judge, at), settlement: bundle.verify_settlement(judge, at) }
}

/// Accepted where everything that was asked is.
pub fn conclusion(first: Verdict, further: impl IntoIterator<Item = Verdict>) -> Verdict {
    further.into_iter().fold(first, |all, next| match (all, next) {
        (Verdict::Rejected, _) | (_, Verdict::Rejected) => Verdict::Rejected,
        (Verdict::Undetermined, _) | (_, Verdict::Undetermined) => Verdict::Undetermined,
        (Verdict::Accepted, Verdict::Accepted) => Verdict::Accepted,
    })
}

/// Why a vendor's document is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Neither of the two forms.
    #[error("neither PEM nor DER")]
    Form,
    /// PEM whose content is none.
    #[error("{0}")]
    Pem(der::pem::Error),
}

/// DER documents: one as it is, or those of PEM in their order; at least one.
///
/// # Errors
/// Neither PEM nor DER, or PEM that cannot be read.
pub fn documents(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, DocumentError> {
    // Certificates, lists and answers are DER SEQUENCEs.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut found = Vec::new();
    let mut rest = text.as_ref();
    while let Some((_, block)) = rest.split_once("-----BEGIN ") {
        let label = block.split("-----").next().unwrap_or_default();
        let end = format!("-----END {label}-----");
        let (block, after) = block.split_once(&end).ok_or(DocumentError::Form)?;
        let whole = format!("-----BEGIN {block}{end}\n");
        let (_, der) = der::pem::decode_vec(whole.as_bytes()).map_err(DocumentError::Pem)?;
        found.push(der);
        rest = after;
    }
    if found.is_empty() { Err(DocumentError::Form) } else { Ok(found) }
}

/// Puts AMD's documents where they belong: certificates, and revocation lists.
pub fn add_amd(endorsements: &mut Endorsements, documents: Vec<Vec<u8>>) {
    let (lists, authorities): (Vec<_>, Vec<_>) = documents.into_iter().partition(|der| is_list(der));
    endorsements.amd_crls.extend(lists);
    endorsements.amd_authorities.extend(authorities);
}

/// Whether DER is a revocation list: a certificate's content begins with its version in `[0]` (RFC
/// 5280 §4.1), a list's with an INTEGER or the algorithm (§5.1).
fn is_list(der: &[u8]) -> bool {
    let content = |der: &[u8]| -> Option<usize> {
        Some(match *der.get(1)? {
            length @ 0x81..=0x84 => usize::from(length & 0x0f).saturating_add(2),
            _ => 2,
        })
    };
    let Some(inner) = content(der).and_then(|at| der.get(at..)) else { return false };
    content(inner).and_then(|at| inner.get(at)).is_some_and(|tag| *tag != 0xa0)
}

/// Evidence copied from a log is hex text; nothing that a vendor signs is.
fn unhex(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&bytes) else { return bytes };
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits.strip_prefix("0x").unwrap_or(&digits)).unwrap_or(bytes)
}
