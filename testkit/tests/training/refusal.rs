//! Models, data and plans that cannot be trained with: each is refused by name, and the enclave goes on.

use crate::scene::{Owner, Scene, Table, blobs, checkpoints, plan, real, workers};
use glacier::{
    Error,
    wire::{
        Dtype, Role,
        api::{Refusal, RefusalCode},
        training::{Loss, Optimiser, Target, TrainingPlan},
    },
};
use glacier_engine::{Dim, onnx::Writer};
use glacier_testkit::{Rig, refused};
use glacier_train::build::{Columns, Task, mlp};

/// The bundled table, to be spoiled in one way.
struct Setting {
    model: Vec<u8>,
    data: String,
    plan: TrainingPlan,
    memory: u64,
    units: u64,
}

/// The enclave's refusal, on a node that does the next job and keeps nothing of this one.
async fn refusal(change: impl FnOnce(&mut Setting)) -> Refusal {
    let (table, options) = (Table::read(), glacier::Options::default());
    let (model, data) = (table.model(), table.learnt());
    let mut setting = Setting { model, data, plan: plan(), memory: options.memory, units: options.units };
    change(&mut setting);
    let rig = Rig::start().await;
    let mut owner = Owner::with(&rig, &setting.model, setting.data.as_bytes());
    (owner.options.memory, owner.options.units) = (setting.memory, setting.units);
    let refusal = match owner.train(setting.plan, |_| ()).await {
        Err(error) => match error.refusal() {
            Some(refusal) => refusal.clone(),
            None => panic!("not refused by the enclave but: {error:?}"),
        },
        Ok(refined) => panic!("trained: {:?}", refined.record),
    };
    assert_eq!(workers(&rig), Vec::<u32>::new(), "no worker outlives its job");
    assert_eq!(blobs(&rig).len(), 2, "model and data, and no result");
    let mut next = plan();
    next.epochs = 2;
    Owner::of(&rig).train(next, |_| ()).await.expect("the next job runs");
    refusal
}

#[track_caller]
fn assert_says(refusal: &Refusal, code: RefusalCode, words: &[&str]) {
    assert_eq!(refusal.code, code, "{refusal}");
    for word in words {
        assert!(refusal.detail.contains(word), "{word:?} is not in {:?}", refusal.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_no_number_any_more_says_where() {
    let found = refusal(|setting| {
        // Numbers in the hundreds, steps a thousand times too long.
        let table = Table::read();
        setting.model = mlp(Columns::Named(&table.features[..3]), &[8, 8, 8], Task::Values(1), &[1; 32]).unwrap();
        setting.plan = TrainingPlan {
            target: vec![Target::from("mean area")],
            loss: Loss::Mse,
            optimiser: Optimiser::Sgd,
            learning_rate: real(100.0),
            gradient_limit: real(1e15),
            ..TrainingPlan::default()
        };
    });
    assert_says(&found.await, RefusalCode::Diverged, &["epoch 1, batch ", "step ", "not finite"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gradient_that_explodes_says_where() {
    let found = refusal(|setting| {
        let table = Table::read();
        setting.model = mlp(Columns::Named(&table.features[..3]), &[8], Task::Values(1), &[1; 32]).unwrap();
        setting.plan = TrainingPlan {
            target: vec![Target::from("mean area")],
            loss: Loss::Mse,
            optimiser: Optimiser::Sgd,
            gradient_limit: real(10.0),
            ..TrainingPlan::default()
        };
    });
    assert_says(&found.await, RefusalCode::Diverged, &["epoch 1, batch ", "step 1:", "the limit 10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_diverges_late_keeps_no_checkpoint_with_the_host_and_says_so() {
    let rig = Rig::start().await;
    let owner = Owner::of(&rig);
    let late = TrainingPlan {
        optimiser: Optimiser::Sgd,
        // Rises until it is too much; checkpoints come before.
        learning_rate: real(100.0),
        warmup: 500,
        gradient_limit: real(5.0),
        checkpoint_every: 1,
        epochs: 10_000,
        ..plan()
    };
    let mut told = 0;
    let code = refused(owner.train(late, |page| told = page.checkpoint).await);
    assert_eq!(code, RefusalCode::Diverged);
    assert!(told > 0, "there was a good checkpoint before");
    // The last good one stays, so that the same job can be granted again and looked into.
    assert_eq!(checkpoints(&rig).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_out_of_range_is_refused() {
    let numbered = |setting: &mut Setting, odd: &str| {
        setting.model = mlp(Columns::Named(&Table::read().features), &[4], Task::Classes(2), &[1; 32]).unwrap();
        let rows = setting.data.replace(",benign\n", ",0\n").replace(",malignant\n", ",1\n");
        // The fifth row, the header not counted.
        let mut lines: Vec<String> = rows.lines().map(str::to_owned).collect();
        let cells = lines[5].rsplit_once(',').unwrap().0.to_owned();
        lines[5] = format!("{cells},{odd}");
        setting.data = lines.join("\n");
    };
    for odd in ["2", "7", "1000000", "-1", "0.5"] {
        let found = refusal(|setting| numbered(setting, odd)).await;
        assert_eq!(found.code, RefusalCode::DataInvalid, "{odd}: {found}");
        let where_to_look = ["row 5", "the data has 3 classes"];
        assert!(where_to_look.iter().any(|words| found.detail.contains(words)), "{odd}: {found}");
        assert!(odd.len() < 3 || !found.detail.contains(odd), "a value of the data is quoted: {found}");
    }
    let third = refusal(|setting| setting.data = setting.data.replacen(",benign\n", ",borderline\n", 1)).await;
    assert_eq!(third.code, RefusalCode::DataInvalid, "{third}");
    assert!(!third.detail.contains("borderline"), "{third}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_target_is_refused_by_name() {
    let found = refusal(|setting| setting.plan.target = vec![Target::from("diagnoses")]).await;
    assert!(matches!(found.code, RefusalCode::DataInvalid | RefusalCode::PlanInvalid), "{found}");
    assert!(found.detail.contains("diagnoses"), "{found}");
    let found = refusal(|setting| setting.plan.output = Some("odds".into())).await;
    assert_says(&found, RefusalCode::PlanInvalid, &["odds"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_without_a_gradient_is_refused_by_name_and_node() {
    let found = refusal(|setting| {
        let (rows, wide) = (Dim::Free { name: "rows".into() }, |extent| Dim::Fixed { extent });
        let mut model = Writer::new("creased");
        model.input("features", Dtype::Fp32, &[rows.clone(), wide(30)]);
        model.floats("weight", &[30, 2], &[0.1; 60]);
        model.node("mixed", "MatMul", &["features", "weight"], &["sums"], &[]);
        model.node("crease", "Floor", &["sums"], &["steps"], &[]);
        model.output("steps", Dtype::Fp32, &[rows, wide(2)]);
        model.metadata("glacier.features", &glacier_engine::onnx::list(&Table::read().features));
        setting.model = model.finish().unwrap();
    });
    assert_says(&found.await, RefusalCode::ModelUnsupported, &["Floor", "crease"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_the_data_does_not_fit_is_refused() {
    let mut wider = Table::read().features;
    wider.push("blood pressure".into());
    let found = refusal(|setting| {
        setting.model = mlp(Columns::Named(&wider), &[4], Task::Classes(2), &[1; 32]).unwrap();
    });
    assert_says(&found.await, RefusalCode::DataInvalid, &["blood pressure"]);
    let found = refusal(|setting| {
        setting.model = mlp(Columns::Count(12), &[4], Task::Classes(2), &[1; 32]).unwrap();
    });
    assert_eq!(found.await.code, RefusalCode::DataInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_ends_early_is_refused() {
    // In the middle of a row; after the header; before it.
    let found = refusal(|setting| setting.data.truncate(setting.data.len() / 2)).await;
    assert_eq!(found.code, RefusalCode::DataInvalid, "{found}");
    let found = refusal(|setting| setting.data.truncate(setting.data.find('\n').unwrap())).await;
    assert_eq!(found.code, RefusalCode::DataInvalid, "{found}");
    let found = refusal(|setting| setting.data = "\n".into()).await;
    assert_eq!(found.code, RefusalCode::DataInvalid, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_past_its_units_is_refused_before_its_first_step() {
    let found = refusal(|setting| setting.units = 100_000).await;
    assert_says(&found, RefusalCode::UnitLimit, &["100000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_past_its_memory_is_refused() {
    for memory in [4096, 1 << 20] {
        let found = refusal(|setting| setting.memory = memory).await;
        assert_eq!(found.code, RefusalCode::MemoryLimit, "{found}");
    }
    let wide = refusal(|setting| {
        setting.model =
            mlp(Columns::Named(&Table::read().features), &[4000, 4000], Task::Classes(2), &[1; 32]).unwrap();
        setting.memory = 96 << 20;
    });
    assert_eq!(wide.await.code, RefusalCode::MemoryLimit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_past_its_bounds_is_refused_by_the_enclave_too() {
    // The SDK does not let it come to that; who writes requests by hand finds the enclave as strict.
    let mut long = plan();
    long.epochs = TrainingPlan::MAX_EPOCHS + 1;
    let rig = Rig::start().await;
    match Owner::of(&rig).train(long.clone(), |_| ()).await {
        Err(Error::Job(_)) => {}
        other => panic!("{:?}", other.map(|refined| refined.record)),
    }
    let mut scene = Scene::of_two(rig, plan()).await;
    scene.job.manifest.plan = long.digest();
    scene.job.plan = Some(long);
    scene.job.signatures.clear();
    let hash = scene.job.manifest.hash();
    scene.job.signatures = scene.parts.iter().map(|part| part.key.identity().sign(&hash.0)).collect();
    let session = scene.rig.session(scene.hospital()).await;
    let join = scene.join(&session, &scene.parts[0], scene.hospital());
    assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::ManifestInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_not_signed_is_refused() {
    let scene = Scene::of_two(Rig::start().await, plan()).await;
    for part in &scene.parts {
        let session = scene.rig.session(&part.key).await;
        for spoil in [
            |plan: &mut Option<TrainingPlan>| plan.iter_mut().for_each(|plan| plan.epochs += 1),
            |plan: &mut Option<TrainingPlan>| plan.iter_mut().for_each(|plan| plan.learning_rate = real(0.02)),
            |plan: &mut Option<TrainingPlan>| *plan = None,
        ] {
            let mut spoilt = scene.join(&session, part, &part.key);
            spoil(&mut spoilt.manifest.plan);
            assert_eq!(refused(scene.send(&session, &spoilt).await), RefusalCode::ManifestInvalid);
        }
        // Nor can a party add data.
        let mut join = scene.join(&session, part, &part.key);
        join.manifest
            .manifest
            .contributions
            .push(glacier::wire::Contribution { provider: part.key.address(), data: scene.parts[0].asset });
        assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::ManifestInvalid);
    }
    // The one that all signed is good still.
    assert_eq!(scene.parts[0].role, Role::Data);
    scene.grant(&scene.parts[0], 0).await.expect("a party of the job");
}
