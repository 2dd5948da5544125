//! Rounds from the first to the last, with everybody, and without some.

use crate::scene::{SITES, Scene};
use glacier::{
    federation::SiteStep,
    proof::{Bundle, Judge},
    verify::now,
    wire::{Commitment, Work, api::RefusalCode, cbor, federation::FederationStatus},
};
use glacier_testkit::Rig;
use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn three_sites_train_one_model_and_one_proof_says_how() {
    let scene = Scene::set(2, 3, 60).await;
    let mut quiet = [|_: SiteStep<'_>| (); SITES];
    let [one, two, three] = &mut quiet;
    let mut unwatched = |_: &FederationStatus| ();
    let (merged, one, two, three) = tokio::join!(
        scene.lead(&mut unwatched),
        scene.take_part(0, one),
        scene.take_part(1, two),
        scene.take_part(2, three),
    );
    let (merged, parts) = (merged.unwrap(), [one.unwrap(), two.unwrap(), three.unwrap()]);
    let proof = merged.proof.proof();
    assert_eq!(proof.work, Work::Federation);
    assert_eq!(proof.manifest, scene.federation.manifest.hash());
    assert_eq!(proof.output, Commitment::from(merged.record.digest()));
    assert_eq!(merged.record.rounds.len(), 2);
    assert_ne!(merged.record.rounds[0].before, merged.record.rounds[1].after, "something was learnt");
    for (number, round) in (1u32..).zip(&merged.record.rounds) {
        assert_eq!(round.updates.len(), SITES);
        for (update, part) in round.updates.iter().zip(&parts) {
            // Every site finds its own proof in the combined one.
            let own = part.updates.iter().find(|own| own.round == number).unwrap();
            assert_eq!(own.bundle.proof.proof.hash(), update.proof);
            assert!(update.rows > 90, "{} rows", update.rows);
        }
    }
    // It is as good to a stranger who has the document alone.
    let read = Bundle::decode(&cbor::encode(&merged.bundle)).unwrap();
    assert!(read.verify(Judge::Policy(scene.aggregator.policy()), now()).into_result().is_ok());
    let mut other = merged.bundle.clone();
    other.federation.as_mut().unwrap().rounds[0].updates[0].rows += 1;
    assert!(other.verify(Judge::Policy(scene.aggregator.policy()), now()).into_result().is_err());
    assert_ne!(*merged.model, std::fs::read(glacier_testkit::breast_cancer::model()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_away_is_done_without_and_comes_back() {
    let mut scene = Scene::set(4, 2, 1).await;
    // The third hospital's node is off until the others are in the third round.
    let nodes = scene.nodes(2);
    let gone = scene.sites.remove(2);
    let away = gone.rig.stop().await;
    let rounds = AtomicU32::new(0);
    let returned = async {
        while rounds.load(Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        away.start().await
    };
    let mut watch = |status: &FederationStatus| rounds.store(status.round, Relaxed);
    let absent = async {
        let rig = returned.await;
        let part = glacier::federation::Part {
            federation: &scene.federation,
            aggregator: glacier::federation::Place::new(&nodes.0, scene.aggregator.policy()),
            site: glacier::federation::Place::new(&nodes.1, rig.policy()),
            data: gone.data,
            file_key: gone.file_key.duplicate(),
        };
        let done = glacier::federation::take_part(&part, &gone.owner, &mut |_| ()).await;
        (rig, done)
    };
    let (mut quiet, mut silent) = (|_: SiteStep<'_>| (), |_: SiteStep<'_>| ());
    let (merged, one, two, (_rig, third)) =
        tokio::join!(scene.lead(&mut watch), scene.take_part(0, &mut quiet), scene.take_part(1, &mut silent), absent,);
    let record = merged.unwrap().record;
    one.unwrap();
    two.unwrap();
    let third = third.unwrap();
    let sites = |round: usize| record.rounds[round].updates.iter().map(|update| update.site).collect::<Vec<_>>();
    assert_eq!((sites(0), sites(1)), (vec![0, 1], vec![0, 1]), "two are a quorum");
    assert_eq!(third.status.round, 5, "it saw the end");
    for update in &third.updates {
        assert!(sites(update.round as usize - 1).contains(&2), "what was taken counts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_is_killed_in_the_middle_of_a_round_has_a_successor_in_it() {
    let scene = Scene::set(2, 3, 60).await;
    let begun = AtomicU32::new(0);
    let killer = async {
        while begun.load(Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        scene.sites[0].rig.kill_enclave().await;
    };
    let mut watch = |step: SiteStep<'_>| {
        if matches!(step, SiteStep::Begun { .. }) {
            begun.fetch_add(1, Relaxed);
        }
    };
    let (mut quiet, mut silent) = (|_: SiteStep<'_>| (), |_: SiteStep<'_>| ());
    let mut unwatched = |_: &FederationStatus| ();
    let (merged, one, two, three, ()) = tokio::join!(
        scene.lead(&mut unwatched),
        scene.take_part(0, &mut watch),
        scene.take_part(1, &mut quiet),
        scene.take_part(2, &mut silent),
        killer,
    );
    for part in [one, two, three] {
        part.unwrap();
    }
    assert!(merged.unwrap().record.rounds.iter().all(|round| round.updates.len() == SITES));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_is_killed_goes_on_from_its_last_round() {
    let scene = Scene::set(3, 3, 60).await;
    let round = AtomicU32::new(0);
    let killer = async {
        while round.load(Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.aggregator.kill_enclave().await;
    };
    // A site hears of each round; whoever leads asks now and then, and may miss them all.
    let mut begun = |step: SiteStep<'_>| {
        if let SiteStep::Begun { round: begun } = step {
            round.store(begun, Relaxed);
        }
    };
    let mut unwatched = |_: &FederationStatus| ();
    let mut quiet = [|_: SiteStep<'_>| (); SITES - 1];
    let [second, third] = &mut quiet;
    let (merged, one, two, three, ()) = tokio::join!(
        scene.lead(&mut unwatched),
        scene.take_part(0, &mut begun),
        scene.take_part(1, second),
        scene.take_part(2, third),
        killer,
    );
    let record = merged.unwrap().record;
    for part in [one, two, three] {
        part.unwrap();
    }
    assert_eq!(record.rounds.len(), 3);
    assert!(record.rounds.iter().all(|round| round.updates.len() == SITES));
}

/// The sites' part to the end; whoever leads has released the model, and went away.
async fn without_a_lead(scene: &Scene) {
    let mut quiet = [|_: SiteStep<'_>| (); SITES];
    let [one, two, three] = &mut quiet;
    scene.release().await;
    let (one, two, three) = tokio::join!(scene.take_part(0, one), scene.take_part(1, two), scene.take_part(2, three));
    for part in [one, two, three] {
        part.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_has_fetched_outlives_its_aggregator() {
    let scene = Scene::set(2, 3, 60).await;
    without_a_lead(&scene).await;
    assert_eq!(checkpoints(&scene.aggregator).len(), 1);
    for site in &scene.sites {
        assert_eq!(checkpoints(&site.rig), Vec::<String>::new(), "what was delivered is not kept");
    }
    scene.aggregator.kill_enclave().await;
    let again = async { scene.lead(&mut |_: &FederationStatus| ()).await };
    let merged = tokio::time::timeout(Duration::from_secs(60), again).await.expect("no round is begun anew").unwrap();
    assert_eq!(merged.record.rounds.len(), 2);
    assert_eq!(checkpoints(&scene.aggregator), Vec::<String>::new(), "it was fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federation_that_has_ended_can_be_withdrawn_from() {
    let scene = Scene::set(1, 3, 60).await;
    without_a_lead(&scene).await;
    let (session, job) = (scene.at_aggregator(0).await, scene.federation.manifest.hash());
    session.withdraw(&job).await.expect("any party may");
    assert_eq!(checkpoints(&scene.aggregator), Vec::<String>::new());
}

/// The jobs that a host keeps a checkpoint of.
fn checkpoints(rig: &Rig) -> Vec<String> {
    let entries = std::fs::read_dir(rig.home().join("node/checkpoints")).expect("a folder of the node").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // A pointer that is being written stands beside its place for a moment, under another name.
    names.filter(|name| name.len() == 64).collect()
}

/// Each site would name its own classes, and one output would mean different things.
#[tokio::test(flavor = "multi_thread")]
async fn words_that_nobody_named_are_refused_at_a_site() {
    let scene = Scene::set_in_words().await;
    scene.release().await;
    let refused = scene.take_part(0, &mut |_: SiteStep<'_>| ()).await.unwrap_err();
    assert_eq!(refused.refusal().map(|refusal| refusal.code), Some(RefusalCode::PlanInvalid), "{refused}");
}
