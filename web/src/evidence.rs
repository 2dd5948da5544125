//! Is what the enclave shows genuine, and whose keys does it speak of?

use crate::{Unreadable, document, line::Line};
use glacier_attest::{
    Anchors, Appraisal, Endorsements, Fingerprint, Genuine, Outcome, Reason, Registers, Verdict, appraise_enclave,
};
use glacier_wire::{Address, Claims, EnclaveId, Evidence, Measurement, PlatformKind, Purpose, UnixTime};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// `GET /evidence`, as it came.
    page: String,
    /// The moment to judge at, in seconds since 1970.
    at: u64,
}

/// `GET /evidence`, what is read of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) evidence: Evidence,
}

#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// Under the vendors' roots, and under the simulated one below where there is one.
    verdict: Verdict,
    /// Under the vendors' roots alone.
    verdict_of_hardware: Verdict,
    /// The root that is no vendor's and was admitted for this answer: what it vouches for is simulated.
    simulated_root: Option<Fingerprint>,
    checks: Vec<Line>,
    /// What the evidence says, believed only where the verdict is an acceptance.
    said: Option<Said>,
    claims: Option<Keys>,
}

#[derive(Debug, Serialize)]
struct Said {
    platform: PlatformKind,
    /// The one name of the code.
    measurement: Measurement,
    registers: Registers,
    enclave_id: Option<EnclaveId>,
    hardware_id: Option<String>,
    root: Fingerprint,
    signer: Option<String>,
    tcb_status: Option<&'static str>,
    advisories: Vec<String>,
    exposures: Vec<String>,
    /// Whether the host can read this memory, which is among `exposures` then.
    debug: bool,
    devices: usize,
    /// Last second at which it is genuine under this collateral.
    valid_until: u64,
}

#[derive(Debug, Serialize)]
struct Keys {
    enclave_key: Address,
    /// SHA-256 of the channel key's SubjectPublicKeyInfo.
    channel_key: String,
    issued_at: u64,
}

impl Question {
    pub(crate) fn answer(&self) -> Result<Answer, Unreadable> {
        let Page { evidence } = document("evidence", &self.page)?;
        let endorsements = Endorsements::of_enclave(&evidence).map_err(|_| Unreadable("collateral"))?;
        let claims = Claims::decode(&evidence.claims).map_err(|_| Unreadable("claims"))?;
        let look = |anchors: &Anchors| appraise_enclave(&evidence, &endorsements, anchors, UnixTime(self.at));
        let mut appraisal = look(&Anchors::vendor());
        let verdict_of_hardware = conclusion(&appraisal, &claims).0;
        let simulated_root = unknown_root(&appraisal);
        if let Some(root) = simulated_root {
            appraisal = look(&Anchors::vendor().with_simulated(root));
        }
        let (verdict, bound) = conclusion(&appraisal, &claims);
        let mut checks: Vec<_> = appraisal.checks().iter().map(Line::from).collect();
        checks.extend(bound);
        let said = appraisal.value().map(Said::from);
        let claims = Keys {
            enclave_key: claims.enclave_key,
            channel_key: hex::encode(claims.channel_key),
            issued_at: claims.issued_at.0,
        };
        Ok(Answer { verdict, verdict_of_hardware, simulated_root, checks, said, claims: Some(claims) })
    }
}

/// The verdict, and whether the quote is about the keys that it is shown with.
fn conclusion(appraisal: &Appraisal<Genuine>, claims: &Claims) -> (Verdict, [Line; 2]) {
    let purpose = match claims.purpose {
        Purpose::Channel => Ok(()),
        _ => Err("the evidence was not made to announce an enclave's keys"),
    };
    let (purpose, bound) = (Line::holds("evidence-purpose", purpose), bound(appraisal.value(), claims));
    let refused = purpose.outcome == Outcome::Fail || bound.outcome == Outcome::Fail;
    (if refused { Verdict::Rejected } else { appraisal.verdict() }, [purpose, bound])
}

fn bound(genuine: Option<&Genuine>, claims: &Claims) -> Line {
    let id = "report-data";
    match genuine {
        None => Line::new(id, Outcome::Skip, "nothing that is genuine commits to anything"),
        Some(genuine) if *genuine.report_data() == claims.report_data() => {
            Line::new(id, Outcome::Pass, "the quote commits to these keys")
        }
        Some(_) => Line::new(id, Outcome::Fail, "the quote commits to other keys than those shown with it"),
    }
}

fn unknown_root(appraisal: &Appraisal<Genuine>) -> Option<Fingerprint> {
    appraisal.checks().iter().find_map(|check| match check.reason {
        Reason::UntrustedRoot(root) => Some(root),
        _ => None,
    })
}

impl From<&Genuine> for Said {
    fn from(genuine: &Genuine) -> Self {
        Self {
            platform: genuine.platform(),
            measurement: genuine.measurement(),
            registers: genuine.registers().clone(),
            enclave_id: genuine.enclave_id(),
            hardware_id: genuine.hardware_id().map(hex::encode),
            root: genuine.anchor(),
            signer: genuine.signer().map(|signer| signer.to_string()),
            tcb_status: genuine.tcb_status().map(|status| status.as_str()),
            advisories: genuine.advisories().to_vec(),
            exposures: genuine.exposures().iter().map(ToString::to_string).collect(),
            debug: genuine.debug(),
            devices: genuine.gpus().len(),
            valid_until: genuine.validity().1.0,
        }
    }
}
