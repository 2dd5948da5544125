//! One way to be wrong after the other, by hand.

use crate::scene::{Scene, refused};
use glacier::{
    Freshness,
    federation::{Made, Worked},
    proof::Bundle,
    wire::{
        Digest, Grant, Recipient, Role, SignedManifest,
        api::{JobStatus, Join, Phase, RefusalCode},
        cbor,
        federation::{Delivery, FederationStatus, Membership},
        training::TrainingPlan,
    },
};
use std::time::Duration;

impl Scene {
    /// Has the model provider join, and stay until the rounds have begun.
    async fn open(&self) {
        let mut unwatched = |_: &FederationStatus| ();
        let begun = self.lead(&mut unwatched);
        let session = self.at_aggregator(0).await;
        let running = async {
            let hash = self.federation.manifest.hash();
            while session.status(&hash).await.map_or(true, |status| status.phase != Phase::Running) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            led = begun => panic!("{led:?}"),
            () = running => {}
        }
    }

    /// One site's training of the round under way, not delivered.
    async fn made(&self, site: usize) -> Made {
        let nodes = self.nodes(site);
        match self.part(site, &nodes).work(&self.sites[site].owner, &mut |_| ()).await.unwrap() {
            Worked::Made(made) => *made,
            other => panic!("{other:?}"),
        }
    }

    async fn deliver(&self, site: usize, delivery: &Delivery) -> Result<(), RefusalCode> {
        let hash = self.federation.manifest.hash();
        match self.at_aggregator(site).await.deliver(&hash, delivery).await {
            Ok(_) => Ok(()),
            refusal => Err(refused(refusal)),
        }
    }
}

/// The same delivery with another bundle.
fn with(made: &Made, change: impl FnOnce(&mut Bundle)) -> Delivery {
    let mut bundle = made.update.bundle.clone();
    change(&mut bundle);
    Delivery { bundle: cbor::encode(&bundle), asset: made.delivery.asset }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_that_are_not_what_was_asked_for_are_refused_and_harm_nothing() {
    let scene = Scene::set(2, 2, 0).await;
    let hash = scene.federation.manifest.hash();
    let early = scene.at_aggregator(0).await;
    assert_eq!(refused(early.federation(&hash).await), RefusalCode::NotFound, "nobody has begun it");
    scene.open().await;
    let (one, two) = (scene.made(0).await, scene.made(1).await);

    // Another party's update, and what is no update at all.
    assert_eq!(scene.deliver(1, &one.delivery).await, Err(RefusalCode::NotYours));
    let nothing = Delivery { bundle: b"nothing".to_vec(), asset: one.delivery.asset };
    assert_eq!(scene.deliver(0, &nothing).await, Err(RefusalCode::UpdateInvalid));
    // A proof of a training that nobody asked for: the other site's evidence, its own, or none.
    let stranger = with(&one, |bundle| bundle.proof.proof.manifest.0[0] ^= 1);
    assert_eq!(scene.deliver(0, &stranger).await, Err(RefusalCode::UpdateInvalid));
    let elsewhere = with(&one, |bundle| bundle.evidence = two.update.bundle.evidence.clone());
    assert_eq!(scene.deliver(0, &elsewhere).await, Err(RefusalCode::UpdateInvalid));
    let swapped = with(&one, |bundle| bundle.proof = two.update.bundle.proof.clone());
    assert_eq!(scene.deliver(0, &swapped).await, Err(RefusalCode::NotYours));
    // Altered in what the proof says of the weights, and of the rows that they count for.
    let result = with(&one, |bundle| bundle.training.as_mut().unwrap().result.0[0] ^= 1);
    assert_eq!(scene.deliver(0, &result).await, Err(RefusalCode::UpdateInvalid));
    let rows = with(&one, |bundle| bundle.training.as_mut().unwrap().rows *= 1000);
    assert_eq!(scene.deliver(0, &rows).await, Err(RefusalCode::UpdateInvalid));
    // Other weights than the proof's: another site's, which the aggregator can open; and none.
    let weights = Delivery { asset: two.delivery.asset, ..one.delivery.clone() };
    assert_eq!(scene.deliver(0, &weights).await, Err(RefusalCode::UpdateInvalid));
    let missing = Delivery { asset: Digest([9; 32]), ..one.delivery.clone() };
    assert_eq!(scene.deliver(0, &missing).await, Err(RefusalCode::AssetMissing));
    // Weights that were not sealed to the aggregator.
    let sealed = Delivery { asset: scene.federation.manifest.model, ..one.delivery.clone() };
    assert_eq!(scene.deliver(0, &sealed).await, Err(RefusalCode::AssetKey));

    // After all that, the honest ones are taken: once each, and in their round alone.
    assert!(scene.at_aggregator(0).await.federation(&hash).await.unwrap().delivered.is_empty());
    assert_eq!(scene.deliver(0, &one.delivery).await, Ok(()));
    assert_eq!(scene.deliver(0, &one.delivery).await, Err(RefusalCode::UpdateRepeated));
    let third = scene.made(2).await;
    assert_eq!(scene.deliver(1, &two.delivery).await, Ok(()));
    let status = scene.at_aggregator(0).await.federation(&hash).await.unwrap();
    assert_eq!((status.round, status.delivered.len()), (2, 0), "a quorum closed the round");
    assert_eq!(scene.deliver(2, &third.delivery).await, Err(RefusalCode::UpdateLate), "a straggler");
    assert_eq!(scene.deliver(0, &one.delivery).await, Err(RefusalCode::UpdateLate), "a replay");
    // The straggler is welcome in the present round.
    let again = scene.made(2).await;
    assert_eq!(again.task.round, 2);
    assert_eq!(scene.deliver(2, &again.delivery).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_enclaves_that_everybody_signed_for_take_part() {
    let scene = Scene::set(1, 2, 60).await;
    let hash = scene.federation.manifest.hash();
    scene.open().await;
    let site = |at: usize| {
        let scene = &scene;
        async move {
            let site = &scene.sites[at];
            let session = site.rig.node().connect(site.rig.policy(), site.owner.identity(), Freshness::Cached).await;
            session.unwrap()
        }
    };
    let (own, other) = (site(0).await, site(1).await);
    let (own_shown, other_shown) = (own.credential().await.unwrap(), other.credential().await.unwrap());

    // The aggregator attests the site.
    let aggregator = scene.at_aggregator(0).await;
    assert_eq!(refused(aggregator.part(&hash, &other_shown).await), RefusalCode::CredentialInvalid);
    let mut recipient = own_shown.clone();
    recipient.recipient = other_shown.recipient;
    assert_eq!(refused(aggregator.part(&hash, &recipient).await), RefusalCode::CredentialInvalid);
    let own_of_aggregator = aggregator.credential().await.unwrap();
    assert_eq!(refused(aggregator.part(&hash, &own_of_aggregator).await), RefusalCode::CredentialInvalid);
    let stranger = scene.aggregator.session(&scene.aggregator.party("stranger")).await;
    assert_eq!(refused(stranger.part(&hash, &own_shown).await), RefusalCode::NotFound);
    let firm = scene.aggregator.session(&scene.firm).await;
    assert_eq!(refused(firm.part(&hash, &own_shown).await), RefusalCode::NotYours, "it contributes no data");

    // The site attests the aggregator.
    let task = aggregator.part(&hash, &own_shown).await.unwrap().task.unwrap();
    let asked_again = aggregator.part(&hash, &own_shown).await.unwrap().task.unwrap();
    assert_eq!(task.manifest, asked_again.manifest, "the same errand while it is the same enclave");
    let owner = &scene.sites[0].owner;
    let signed = |mut manifest: SignedManifest| {
        manifest.signatures.push(owner.identity().sign(&manifest.manifest.hash().0));
        manifest
    };
    let join = |membership: Option<Membership>, manifest: SignedManifest| {
        let grant = Grant {
            manifest: manifest.manifest.hash(),
            role: Role::Data,
            enclave_key: own.claims().enclave_key,
            uses: 1,
            not_after: manifest.manifest.limits.not_after,
            nonce: scene.federation.manifest.salt,
        };
        let grant = grant.sign(&manifest.manifest.domain(), owner.identity());
        let (file_key, now) = (scene.sites[0].file_key.duplicate(), glacier::verify::now());
        let join = Join { manifest, grant, file_key, now, checkpoint: 0, asset: scene.sites[0].data, membership };
        let own = &own;
        async move { own.post("/glacier/v1/jobs", &join).await.map_err(glacier::Error::from) }
    };
    let good = Membership {
        federation: scene.federation.clone(),
        round: task.round,
        site: task.site,
        aggregator: task.aggregator.clone(),
    };
    let job = signed(task.manifest.clone());
    let another = Membership { aggregator: other_shown.clone(), ..good.clone() };
    assert_eq!(refused(join(Some(another), job.clone()).await), RefusalCode::CredentialInvalid, "not the plan's");
    let mut forged = good.clone();
    forged.aggregator.recipient = Recipient([9; 32]);
    assert_eq!(refused(join(Some(forged), job.clone()).await), RefusalCode::CredentialInvalid);
    let round = Membership { round: 2, ..good.clone() };
    assert_eq!(refused(join(Some(round), job.clone()).await), RefusalCode::ManifestInvalid);
    let place = Membership { site: 1, ..good.clone() };
    assert_eq!(refused(join(Some(place), job.clone()).await), RefusalCode::ManifestInvalid);
    let mut unsigned = good.clone();
    unsigned.federation.signatures.pop();
    assert_eq!(refused(join(Some(unsigned), job.clone()).await), RefusalCode::ManifestInvalid);
    // A job that sends the result elsewhere, or trains otherwise, though its own parties signed it.
    let mut elsewhere = task.manifest.clone();
    elsewhere.manifest.recipients = vec![owner.recipient()];
    assert_eq!(refused(join(Some(good.clone()), signed(elsewhere)).await), RefusalCode::ManifestInvalid);
    let mut longer = task.manifest.clone();
    let plan = TrainingPlan { epochs: 9, ..longer.plan.clone().unwrap() };
    (longer.manifest.plan, longer.plan) = (plan.digest(), Some(plan));
    assert_eq!(refused(join(Some(good.clone()), signed(longer)).await), RefusalCode::ManifestInvalid);
    // Without its owner's signature it is no job; without membership it waits for a model provider for ever.
    assert_eq!(refused(join(Some(good.clone()), task.manifest.clone()).await), RefusalCode::ManifestInvalid);
    // The model is not here yet.
    assert_eq!(refused(join(Some(good), job.clone()).await), RefusalCode::AssetMissing);
    let waits: JobStatus = join(None, job).await.unwrap().cbor(64 << 10).unwrap();
    assert_eq!((waits.phase, waits.waiting_for), (Phase::Waiting, vec![Role::Model]));
}
