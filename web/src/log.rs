//! Is a head of a log signed by the log's key, and does it continue a head that was seen before?

use crate::{Unreadable, document, line::Line};
use glacier_attest::{Outcome, Verdict};
use glacier_proof::{Head, SignedCheckpoint, verify_consistency};
use glacier_wire::{Address, LogHash};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Whose log it has to be.
    key: Address,
    /// `GET /log/{key}/head`, as it came.
    head: String,
    /// The head that this browser remembers; absent on its first visit.
    before: Option<Head>,
    /// `GET /log/{key}/consistency` between the two, as it came.
    consistency: Option<String>,
}

/// `GET /log/{key}/head`, what is read of it.
#[derive(Debug, Deserialize)]
pub(crate) struct HeadPage {
    pub(crate) checkpoint: Option<SignedCheckpoint>,
}

#[derive(Debug, Deserialize)]
struct Consistency {
    path: Vec<LogHash>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    verdict: Verdict,
    checks: Vec<Line>,
    /// The signed head, where everything holds: what is to be remembered.
    head: Option<Head>,
    /// Units that the head counts, as text.
    units: Option<String>,
}

impl Question {
    pub(crate) fn answer(&self) -> Result<Answer, Unreadable> {
        let HeadPage { checkpoint } = document("log", &self.head)?;
        let Some(signed) = checkpoint else { return Ok(self.unsigned()) };
        let checkpoint = &signed.checkpoint;
        let owner = if checkpoint.enclave_key == self.key { Ok(()) } else { Err("the head is of another key's log") };
        let checks = vec![
            Line::holds("log-key", owner),
            Line::holds("checkpoint-signature", signed.verify()),
            self.continues(&checkpoint.head())?,
        ];
        let verdict = match checks.iter().any(|line| line.outcome == Outcome::Fail) {
            true => Verdict::Rejected,
            false => Verdict::Accepted,
        };
        let head = Some(checkpoint.head()).filter(|_| verdict == Verdict::Accepted);
        Ok(Answer { verdict, checks, head, units: Some(checkpoint.units.to_string()) })
    }

    fn continues(&self, head: &Head) -> Result<Line, Unreadable> {
        let id = "log-consistency";
        let Some(before) = &self.before else {
            return Ok(Line::new(id, Outcome::Skip, "this browser saw no earlier head of this log"));
        };
        if before.size > head.size {
            return Ok(Line::new(id, Outcome::Fail, "the log is shorter than the one this browser saw before"));
        }
        let path = match &self.consistency {
            Some(page) => document::<Consistency>("log", page)?.path,
            None => Vec::new(),
        };
        let said = |error| format!("the log does not continue the one this browser saw before: {error}");
        Ok(Line::holds(id, verify_consistency(before, head, &path).map_err(said)))
    }

    /// No head at all: nothing to hold against it, unless there was one before.
    fn unsigned(&self) -> Answer {
        let (verdict, line) = match self.before {
            None => (
                Verdict::Undetermined,
                Line::new(
                    "checkpoint-signature",
                    Outcome::Skip,
                    "no head of this log is signed: the node settles nowhere",
                ),
            ),
            Some(_) => (
                Verdict::Rejected,
                Line::new(
                    "checkpoint-signature",
                    Outcome::Fail,
                    "the signed head that this browser saw before is gone",
                ),
            ),
        };
        Answer { verdict, checks: vec![line], head: None, units: None }
    }
}
