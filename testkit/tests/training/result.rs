//! What the owner gets, and that it can be believed.

use crate::scene::{Owner, Scene, Table, blobs, checkpoints, plan, undisturbed, write};
use glacier::{
    Error, Unproved,
    proof::{Bundle, ProofCheckId},
    wire::{
        Digest,
        api::{Event, RefusalCode},
        cbor::encode,
        training::{Ending, Metric, TrainingPage, TrainingRecord},
    },
};
use glacier_testkit::{Recorder, Rig, contains, read_all, refused};
use std::{path::Path, sync::Arc};

#[tokio::test(flavor = "multi_thread")]
async fn a_refined_model_is_good_at_rows_that_it_never_saw() {
    let rig = Rig::start().await;
    let (table, owner) = (Table::read(), Owner::of(&rig));
    let mut steps = 0;
    let refined = owner.train(plan(), |page| steps = steps.max(page.points.last().map_or(0, |point| point.step))).await;
    let refined = refined.expect("the training runs");
    assert_eq!(refined.record.ending, Ending::Completed);
    assert_eq!(refined.metrics.epochs.len(), plan().epochs as usize);
    assert_eq!(steps, refined.record.steps, "the course goes to the last step");
    assert!(refined.points.windows(2).all(|two| two[0].step < two[1].step), "each point is told once, in order");
    let best = &refined.metrics.epochs[refined.record.best as usize - 1];
    assert!(best.validation.iter().any(|found| found.metric == Metric::Accuracy && found.value.get() > 0.9));
    assert!(refined.events.iter().any(|event| matches!(event, Event::Trained { .. })));

    // The enclave takes the refined model as it takes any other.
    let (rows, classes) = table.held_out();
    let (model, data) = (write(&rig, "refined.onnx", &refined.model), write(&rig, "held-out.csv", rows.as_bytes()));
    let (node, options) = (rig.node(), &owner.options);
    let inference = glacier::infer(&node, rig.policy(), &owner.key, &model, &data, options, &mut |_| ()).await;
    let labels = inference.expect("the refined model runs").finished.results.labels.expect("the classes have names");
    let right = labels.iter().zip(&classes).filter(|(found, wanted)| found == *wanted).count();
    assert_eq!(labels.len(), classes.len());
    assert!(right * 100 >= classes.len() * 94, "{right} of {} held-out rows", classes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_binds_its_training_record() {
    let rig = Rig::start().await;
    let mut short = plan();
    short.epochs = 3;
    let refined = Owner::of(&rig).train(short, |_| ()).await.expect("the training runs");
    let first_fault = |bundle: &Bundle| {
        let judge = glacier::proof::Judge::Policy(rig.policy());
        let judged = glacier::verify::verify_proof(bundle, judge, glacier::verify::now());
        judged.into_result().err().map(|(check, _)| check)
    };
    assert_eq!(first_fault(&refined.bundle), None);

    let record = || refined.bundle.training.clone().expect("a training's bundle has its record");
    let with = |training| Bundle { training, ..refined.bundle.clone() };
    let mut altered = vec![None, Some(undisturbed().await.record.clone())];
    for spoil in [
        |record: &mut TrainingRecord| record.result.0[0] ^= 1,
        |record: &mut TrainingRecord| record.weights[1].0[0] ^= 1,
        |record: &mut TrainingRecord| record.plan = Digest::ZERO,
        |record: &mut TrainingRecord| record.data[0].0[31] ^= 1,
        |record: &mut TrainingRecord| record.model.0[0] ^= 1,
        |record: &mut TrainingRecord| record.metrics.0[0] ^= 1,
        |record: &mut TrainingRecord| record.units -= 1,
        |record: &mut TrainingRecord| record.steps += 1,
        |record: &mut TrainingRecord| record.processor.push('x'),
        |record: &mut TrainingRecord| record.best = 1 + record.best % 3,
    ] {
        let mut record = record();
        spoil(&mut record);
        altered.push(Some(record));
    }
    for training in altered {
        assert_eq!(first_fault(&with(training.clone())), Some(ProofCheckId::ManifestBinding), "{training:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_exchanged_in_the_store_is_not_opened() {
    let mut short = plan();
    short.epochs = 2;
    let scene = Scene::of_two(Rig::start().await, short).await;
    scene.play().await.expect("the training runs");
    // Until the owner says that it has the result.
    assert_eq!(checkpoints(&scene.rig).len(), 1);
    let session = scene.rig.session(scene.hospital()).await;
    session.collected(&scene.job.manifest.hash()).await.expect("the owner may");
    assert_eq!(checkpoints(&scene.rig), Vec::<String>::new(), "a finished training leaves no checkpoint");
    // The host puts another file of this owner in the result's place.
    let named = |path: &Path, asset: &Digest| path.ends_with(asset.to_string());
    let (inputs, results): (Vec<_>, Vec<_>) =
        blobs(&scene.rig).into_iter().partition(|path| scene.parts.iter().any(|part| named(path, &part.asset)));
    assert_eq!((inputs.len(), results.len()), (2, 1), "inputs and result are all that is stored");
    std::fs::copy(&inputs[0], &results[0]).expect("the host may write its own store");
    let session = scene.rig.session(scene.hospital()).await;
    let (node, hospital) = (scene.rig.node(), scene.hospital());
    let opened = session.refinement(&node, &scene.job, hospital, scene.rig.policy(), &mut |_, _| ()).await;
    assert!(matches!(opened, Err(Error::Node(_) | Error::Seal(_) | Error::Unproved(Unproved::OtherOutput))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_is_the_data_providers_alone() {
    let mut short = plan();
    short.epochs = 2;
    let scene = Scene::of_two(Rig::start().await, short).await;
    let hash = scene.job.manifest.hash();
    scene.play().await.expect("the training runs");
    let firm = scene.rig.session(scene.firm()).await;
    assert_eq!(refused(firm.result(&hash).await), RefusalCode::NotYours);
    assert_eq!(refused(firm.course(&hash, 0, 0).await), RefusalCode::NotYours);
    let place = format!("/glacier/v1/jobs/{hash}/refined");
    assert_eq!(refused(firm.get(&place).await.map_err(Error::from)), RefusalCode::NotYours);
    let bundle = firm.proof(&hash).await.expect("the proof is for every party");
    assert!(bundle.training.is_some(), "and with it how the result came about");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_relay_nor_store_ever_has_rows_weights_or_losses() {
    let recorder = Arc::new(Recorder::default());
    let rig = Rig::hostile(recorder.clone()).await;
    let (table, owner) = (Table::read(), Owner::of(&rig));
    let refined = owner.train(plan(), |_| ()).await.expect("the training runs");
    let mut seen = recorder.seen();
    read_all(&rig.home().join("node"), &mut seen);

    let (rows, initial) = (table.learnt(), table.model());
    let mut secrets: Vec<(&str, Vec<u8>)> = Vec::new();
    for (what, bytes) in [("rows", rows.as_bytes()), ("initial model", &initial), ("refined model", &refined.model)] {
        for part in 0..8 {
            let at = (bytes.len() - 48) * part / 7;
            secrets.push((what, bytes[at..at + 48].to_vec()));
        }
    }
    assert!(refined.points.len() > 3, "a course is told");
    secrets.extend(refined.points.iter().map(|point| ("loss", encode(point))));
    let epochs = refined.metrics.epochs.iter();
    secrets.extend(epochs.map(|epoch| ("metrics", encode(epoch))));
    secrets.push(("salt of the metrics", refined.metrics.salt.0.to_vec()));
    let digests = &refined.record.weights;
    secrets.extend(digests.iter().map(|digest| ("record", digest.0.to_vec())));
    for (what, secret) in secrets {
        assert!(secret.len() >= 12, "{what}: too short to be found by chance only");
        assert!(!contains(&seen, &secret), "the host saw the {what}");
    }
    // The search finds what is there: what the host was given to keep.
    let data = refined.manifest.manifest.data.to_string();
    let ciphertext = blobs(&rig).into_iter().find(|path| path.ends_with(&data)).expect("the data is in the store");
    let ciphertext = std::fs::read(ciphertext).unwrap();
    assert!(contains(&recorder.seen(), &ciphertext[1000..1048]), "the recorder must see what passes");
    assert!(recorder.seen().len() > 2 * TrainingPage::BYTES, "pages of the course among it");
}
