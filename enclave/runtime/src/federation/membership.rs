//! A site's side: why its enclave trains a model for which nobody released a key.

use glacier_app::{Context, Refusal, RefusalCode};
use glacier_proof::{AttestedPeer, Judge, seat_policy};
use glacier_wire::{
    FileKey, Manifest, UnixTime, Work,
    federation::{Errand, Membership},
};

/// The key of the model, if the job is exactly the one that the federation gives this site in this round, and
/// its aggregator is the enclave that the federation's parties named.
pub(crate) async fn release(cx: &Context, membership: &Membership, job: &Manifest) -> Result<FileKey, Refusal> {
    check(membership, job, cx.now())?;
    cx.unwrap(job.model).await
}

/// Everything in it is signed by all parties of the federation, or attested, or follows from that.
fn check(membership: &Membership, job: &Manifest, now: UnixTime) -> Result<(), Refusal> {
    let invalid = |detail: String| Refusal::new(RefusalCode::ManifestInvalid, detail);
    let federation = &membership.federation;
    federation.verify().map_err(|fault| invalid(format!("the federation: {fault}")))?;
    let plan = federation.federation.as_ref().filter(|_| federation.manifest.work == Work::Federation);
    let plan = plan.ok_or_else(|| invalid("the membership is of no federation".to_owned()))?;
    if membership.round == 0 || membership.round > plan.rounds {
        return Err(invalid("the federation has no such round".to_owned()));
    }
    let policy = seat_policy(&plan.aggregator);
    let aggregator = AttestedPeer::of(&membership.aggregator, Judge::Policy(&policy), now).map_err(|fault| {
        Refusal::new(RefusalCode::CredentialInvalid, format!("the aggregator's credential: {fault}"))
    })?;
    let errand = Errand {
        round: membership.round,
        site: membership.site,
        aggregator: aggregator.enclave_key(),
        recipient: aggregator.recipient(),
        model: job.model,
    };
    if plan.site_manifest(&federation.manifest, &errand).as_ref() != Some(job) {
        return Err(invalid("the job is not what the federation gives this site in this round".to_owned()));
    }
    Ok(())
}
