//! What a site's proof must say before its weights count.

use glacier_app::{Address, Refusal, RefusalCode};
use glacier_proof::{Bundle, Judge, seat_policy};
use glacier_wire::{
    Digest, UnixTime,
    federation::{Seat, SiteUpdate},
};

/// A training that the aggregator has asked a site for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) round: u32,
    pub(crate) site: u32,
    /// Of the enclave that the model was sealed to.
    pub(crate) enclave_key: Address,
}

/// Verified: what was asked for was done, by the enclave that it was asked of. `result` is the digest of the
/// weights' file, whose content is still to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// All but the weights.
    pub(crate) record: SiteUpdate,
    pub(crate) result: Digest,
}

/// Checks the bundle of a training that was asked for: `issued` is what stands behind the manifest that its
/// proof names.
///
/// # Errors
/// [`RefusalCode::UpdateInvalid`], with the first check that does not hold.
pub(crate) fn verify(bundle: &Bundle, issued: &Issued, seat: &Seat, now: UnixTime) -> Result<Verified, Refusal> {
    let invalid = |detail: String| Refusal::new(RefusalCode::UpdateInvalid, detail);
    let policy = seat_policy(seat);
    let proved = bundle.verify(Judge::Policy(&policy), now).into_result();
    let proved = proved.map_err(|(check, fault)| invalid(format!("the site's proof: {check}: {fault}")))?;
    let proof = proved.proof();
    if proof.enclave_key != issued.enclave_key {
        return Err(invalid("the proof is of another enclave than the model was sealed to".to_owned()));
    }
    // That the record is the proof's, and of the manifest that was issued, is among the checks of the bundle.
    let record = bundle.training.as_ref().ok_or_else(|| invalid("the proof is of no training".to_owned()))?;
    let epochs = (record.weights.len() as u64).saturating_sub(1);
    let rows = record.rows.checked_div(epochs).filter(|rows| *rows > 0);
    let data = record.data.first().copied();
    let (Some(rows), Some(data)) = (rows, data) else {
        return Err(invalid("the site has learnt from no row".to_owned()));
    };
    let record_of_site = SiteUpdate {
        site: issued.site,
        proof: proof.hash(),
        enclave_id: proof.enclave_id,
        data,
        rows,
        weights: Digest::ZERO,
        privacy: record.privacy,
    };
    Ok(Verified { record: record_of_site, result: record.result })
}
