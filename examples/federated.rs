//! Three hospitals train one model, and no hospital's rows leave it. Three nodes and an aggregator, all on this
//! machine: their hardware is SIMULATED and protects nothing; processes, sockets, attestation and proofs are real.
//!
//! `cargo build --release && cargo run --release -p glacier-examples --example federated`

use glacier::{
    Draft, Job, Key, Material, Node, Options, Policy, Results,
    asset::{Header, Parsed},
    federation::{Merged, Part, Place, SiteStep, lead, take_part},
    infer,
    wire::{
        Contribution, Digest, FileKey, UnixTime,
        federation::{FederationPlan, Weighting},
        training::{Metric, Real, TrainingPlan, Validation},
    },
};
use glacier_engine::onnx::patch;
use glacier_testkit::{Rig, breast_cancer};
use glacier_train::Network;
use std::{collections::HashMap, fmt::Write as _, path::Path, sync::Mutex};
use tokio::sync::watch;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const HOSPITALS: [&str; 3] = ["north", "south", "coast"];
const ROUNDS: u32 = 6;
const EPOCHS: u32 = 3;

#[tokio::main]
async fn main() -> Outcome<()> {
    println!("SIMULATED hardware: this shows how it works, and protects nothing.\n");
    let rows = Rows::read()?;
    let aggregator = Rig::start().await;
    let firm = aggregator.party("firm");
    let model = aggregator.home().join("initial.onnx");
    std::fs::write(&model, untrained(&std::fs::read(breast_cancer::model())?)?)?;
    let (model_asset, model_key) = seal(&aggregator, &firm, &model).await?;

    // Each hospital has a node of its own, and seals its rows to itself.
    let (mut nodes, mut owners) = (Vec::new(), Vec::new());
    for (place, name) in HOSPITALS.iter().enumerate() {
        let rig = Rig::start().await;
        let (owner, table) = (rig.party(name), rig.home().join("rows.csv"));
        std::fs::write(&table, rows.table(|at| at % HOSPITALS.len() == place))?;
        let (data, file_key) = seal(&rig, &owner, &table).await?;
        let seat = rig.session(&owner).await.seat()?;
        owners.push(Hospital { name, node: rig.node(), policy: rig.policy().clone(), owner, data, file_key, seat });
        nodes.push(Some(rig));
    }

    // All of them sign what is done, where, and with whom.
    let local = plan(EPOCHS);
    let federation = FederationPlan {
        rounds: ROUNDS,
        local,
        quorum: 2,
        patience: 3,
        weighting: Weighting::Rows,
        aggregator: aggregator.session(&firm).await.seat()?,
        sites: owners.iter().map(|hospital| hospital.seat.clone()).collect(),
    };
    let sets = owners.iter().map(|hospital| Contribution { provider: hospital.owner.address(), data: hospital.data });
    let until = UnixTime(glacier::verify::now().0 + 3600);
    let mut job = Job::propose(Draft::federation(
        (firm.address(), model_asset),
        sets.collect(),
        federation,
        vec![firm.recipient()],
        until,
    ))?;
    for key in owners.iter().map(|hospital| &hospital.owner).chain([&firm]) {
        job.sign(key.identity())?;
    }
    let job = job.complete()?;

    // The firm releases the initial model to the aggregator, the hospitals take part. One loses power in round 2.
    let (round, rounds) = watch::channel(1);
    let (fail, mut failing) = watch::channel(false);
    let told = Mutex::new(Vec::new());
    let home = Node::at(&aggregator.url())?;
    let place = Place::new(&home, aggregator.policy());
    let victim = nodes.pop().flatten().ok_or("three nodes")?;
    let outage = async {
        let _ = failing.wait_for(|fail| *fail).await;
        let stopped = victim.stop().await;
        println!("  round 2: the node of `coast` is off");
        let _ = rounds.clone().wait_for(|round| *round > 3).await;
        println!("  round 4: the node of `coast` is on again");
        stopped.start().await
    };
    let taking = owners.iter().map(|hospital| {
        let (told, fail, place) = (&told, &fail, &place);
        async move {
            let mut watch = |step: SiteStep<'_>| match step {
                SiteStep::Begun { round: 2 } if hospital.name == "coast" => drop(fail.send(true)),
                SiteStep::Trained { round, metrics } => {
                    let accuracy = metrics.epochs.last().and_then(|last| last.of(Metric::Accuracy));
                    if let (Ok(mut told), Some(accuracy)) = (told.lock(), accuracy) {
                        told.push((round, hospital.name, accuracy));
                    }
                }
                _ => {}
            };
            let part = Part {
                federation: job,
                aggregator: *place,
                site: Place::new(&hospital.node, &hospital.policy),
                data: hospital.data,
                file_key: hospital.file_key.duplicate(),
            };
            take_part(&part, &hospital.owner, &mut watch).await
        }
    });
    let mut told_round = |status: &glacier::wire::federation::FederationStatus| {
        let _ = round.send(status.round);
    };
    let mut taking = taking.collect::<Vec<_>>().into_iter();
    let (Some(one), Some(two), Some(three)) = (taking.next(), taking.next(), taking.next()) else { return Ok(()) };
    let leading = lead(job, place, &model_key, &firm, 0, &mut told_round);
    let (merged, _coast, one, two, three) = tokio::join!(leading, outage, one, two, three);
    let (merged, _parts) = (merged?, [one?, two?, three?]);

    println!("\n round  delivered            accuracy on the rows that each hospital holds out");
    let told = told.lock().map(|told| told.clone()).unwrap_or_default();
    for (number, round) in (1u32..).zip(&merged.record.rounds) {
        let names: Vec<_> = round.updates.iter().filter_map(|update| HOSPITALS.get(update.site as usize)).collect();
        let mut figures = String::new();
        for (_, name, accuracy) in told.iter().filter(|(round, name, _)| *round == number && names.contains(&name)) {
            write!(figures, "  {name} {accuracy:.3}")?;
        }
        println!("{number:6}  {:<20} {figures}", names.iter().map(|name| **name).collect::<Vec<_>>().join(", "));
    }
    compare(&aggregator, &firm, &rows, &model, &merged).await
}

/// One hospital, and its node as its clients see it.
struct Hospital {
    name: &'static str,
    node: Node,
    policy: Policy,
    owner: Key,
    data: Digest,
    file_key: FileKey,
    seat: glacier::wire::federation::Seat,
}

fn plan(epochs: u32) -> TrainingPlan {
    let real = |value| Real::new(value).unwrap_or(Real::ONE);
    TrainingPlan {
        epochs,
        batch: 16,
        target: vec!["diagnosis".into()],
        learning_rate: real(0.01),
        // The scaling of the columns is the firm's, and the same everywhere.
        freeze: vec!["mean".into(), "scale".into()],
        validation: Validation::Fraction(real(0.2)),
        ..TrainingPlan::default()
    }
}

/// The federation's model beside one that was trained on all rows at one place, both on rows that neither saw.
async fn compare(rig: &Rig, key: &Key, rows: &Rows, initial: &Path, merged: &Merged) -> Outcome<()> {
    let (node, options) = (rig.node(), Options::default());
    let table = rig.home().join("all.csv");
    std::fs::write(&table, rows.table(|_| true))?;
    let material = Material { model: initial.into(), data: &[table.as_path().into()], validation: None };
    let central =
        glacier::train(&node, rig.policy(), key, material, plan(ROUNDS * EPOCHS), &options, &mut |_| ()).await?;
    println!("\naccuracy on the {} rows that nobody trained on:", rows.held_out());
    for (what, model) in [("three hospitals, federated", &merged.model), ("all rows at one place", &central.model)] {
        let file = rig.home().join("trained.onnx");
        std::fs::write(&file, model)?;
        let done =
            infer(&node, rig.policy(), key, &file, &breast_cancer::data(), &options, &mut |_| ()).await?.finished;
        println!("  {what:<28} {:.3}", rows.accuracy(&done.results)?);
    }
    let proof = merged.proof.proof();
    let updates: usize = merged.record.rounds.iter().map(|round| round.updates.len()).sum();
    println!("\none proof of {} rounds and {updates} site proofs, {} checks passed", ROUNDS, merged.checks.len());
    println!("signed by {} on {} hardware", proof.enclave_key, proof.platform);
    Ok(())
}

/// The bundled rows with their labels.
struct Rows {
    header: String,
    rows: Vec<(String, String, bool)>,
}

impl Rows {
    fn read() -> Outcome<Self> {
        let data = std::fs::read_to_string(breast_cancer::data())?;
        let labels = std::fs::read_to_string(breast_cancer::data().with_file_name("labels.csv"))?;
        let (header, data) = data.split_once('\n').ok_or("a header")?;
        let rows = data.lines().zip(labels.lines().skip(1)).filter_map(|(row, label)| {
            let (label, held_out) = label.split_once(',')?;
            Some((row.to_owned(), label.to_owned(), held_out == "1"))
        });
        Ok(Self { header: header.trim_end().to_owned(), rows: rows.collect() })
    }

    /// Rows to learn from, of those that `mine` says.
    fn table(&self, mine: impl Fn(usize) -> bool) -> String {
        let learnt = self.rows.iter().filter(|(_, _, held_out)| !held_out).enumerate().filter(|(at, _)| mine(*at));
        let lines = learnt.map(|(_, (row, label, _))| format!("{row},{}\n", u8::from(label == "benign")));
        format!("{},diagnosis\n{}", self.header, lines.collect::<String>())
    }

    fn held_out(&self) -> usize {
        self.rows.iter().filter(|(_, _, held_out)| *held_out).count()
    }

    fn accuracy(&self, results: &Results) -> Outcome<f64> {
        let labels = results.labels.as_ref().ok_or("the model names its classes")?;
        let pairs = self.rows.iter().zip(labels).filter(|((_, _, held_out), _)| *held_out);
        let right = pairs.filter(|((_, known, _), label)| known == *label).count();
        Ok(right as f64 / self.held_out() as f64)
    }
}

/// The bundled model with small weights that say nothing.
fn untrained(model: &[u8]) -> Outcome<Vec<u8>> {
    let (_, weights) = Network::read(model)?;
    let mut state = 7u64;
    let mut small = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / 16_777_216.0 - 0.5) * 0.4
    };
    let learnt = weights.spans().iter().filter(|span| !["mean", "scale"].contains(&span.name.as_str()));
    let drawn: Vec<(&str, Vec<f32>)> =
        learnt.map(|span| (span.name.as_str(), span.range.clone().map(|_| small()).collect())).collect();
    let values: HashMap<&str, &[f32]> = drawn.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    Ok(patch(model, &values)?)
}

/// Seals a file to its owner alone and brings the ciphertext to the owner's node.
async fn seal(rig: &Rig, owner: &Key, file: &Path) -> Outcome<(Digest, FileKey)> {
    let to = file.with_extension("age");
    let sealed = glacier::seal_file(file, &to, &[owner.recipient()], &mut |_, _| ())?;
    rig.node().upload(&sealed.digest, &to, &mut |_, _| ()).await?;
    let Parsed::Complete { header, .. } = Header::parse(&sealed.header)? else { return Err("a header".into()) };
    Ok((sealed.digest, header.unwrap(owner.age())?))
}
