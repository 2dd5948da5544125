//! Killed at any instant, or paused: the bits are those of a training that nobody disturbed.

use crate::scene::{Owner, Scene, assert_undisturbed, enclave, endless, eventually, plan, undisturbed, workers};
use glacier::wire::{
    api::{Event, Phase},
    training::TrainingPage,
};
use glacier_testkit::{Rig, kill, program, random};
use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// So many milliseconds at most.
fn some(most: u64) -> Duration {
    let [a, b, ..] = random();
    Duration::from_millis(u64::from(u16::from_le_bytes([a, b])) % most)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_enclave_resumes_to_the_same_bits() {
    let undisturbed = undisturbed().await;
    let mut resumed = 0;
    for _ in 0..6 {
        let rig = Rig::start().await;
        let owner = Owner::of(&rig);
        // From before the keys are released to about when the result is collected, twice.
        let waits = [some(2500), some(2500)];
        let killing = async {
            for wait in waits {
                tokio::time::sleep(wait).await;
                let Some(pid) = enclave(&rig) else { continue };
                kill(pid);
                rig.host().restarted(pid).await.expect("the host starts it again");
            }
            pending::<()>().await;
        };
        let refined = tokio::select! {
            refined = owner.train(plan(), |_| ()) => refined,
            () = killing => unreachable!(),
        };
        let refined = refined.unwrap_or_else(|error| panic!("killed after {waits:?}: {error:?}"));
        assert_undisturbed(&refined, undisturbed, &format!("killed after {waits:?}"));
        resumed += refined.events.iter().filter(|event| matches!(event, Event::Resumed { .. })).count();
    }
    assert!(resumed > 0, "no kill fell between the first checkpoint and the end: the waits are wrong for this machine");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_killed_right_after_a_checkpoint_resumes_from_it() {
    let rig = Rig::start().await;
    let (owner, mut killed) = (Owner::of(&rig), 0);
    let refined = owner.train(plan(), |page: &TrainingPage| {
        if page.checkpoint > killed && killed < 3 * page.steps_per_epoch {
            killed = page.checkpoint + page.steps_per_epoch;
            enclave(&rig).into_iter().for_each(kill);
        }
    });
    let refined = refined.await.expect("the training goes on");
    assert!(killed > 0, "a checkpoint is told of before the end");
    let resumed = refined.events.iter().any(|event| matches!(event, Event::Resumed { checkpoint } if *checkpoint > 0));
    assert!(resumed, "{:?}", refined.events);
    assert_undisturbed(&refined, undisturbed().await, "killed after a checkpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_replaced() {
    let undisturbed = undisturbed().await;
    for _ in 0..3 {
        let rig = Rig::start().await;
        let (owner, mut last) = (Owner::of(&rig), 0);
        let pid = enclave(&rig);
        // Each time that a checkpoint is news, so that there is progress between two deaths.
        let refined = owner.train(plan(), |page| {
            if page.checkpoint > last {
                last = page.checkpoint;
                std::thread::sleep(some(100));
                workers(&rig).into_iter().for_each(kill);
            }
        });
        let refined = refined.await.expect("the training goes on");
        let resumed = refined.events.iter().filter(|event| matches!(event, Event::Resumed { .. })).count();
        assert!(resumed > 0, "no worker was killed: {:?}", refined.events);
        assert_eq!(enclave(&rig), pid, "the enclave itself lived on");
        assert_undisturbed(&refined, undisturbed, "killed workers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_started_again_resumes() {
    let undisturbed = undisturbed().await;
    let mut rig = Rig::start().await;
    let owner = Owner::of(&rig);
    let told = AtomicU64::new(0);
    let restarting = async {
        for wanted in [1, 600] {
            while told.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            rig.restart().await;
        }
        pending::<()>().await;
    };
    let refined = tokio::select! {
        refined = owner.train(plan(), |page| told.store(page.checkpoint, Ordering::Relaxed)) => refined,
        () = restarting => unreachable!(),
    };
    assert_undisturbed(&refined.expect("the training goes on"), undisturbed, "node started again");
}

/// The program that operators run, in a process of its own.
struct Process(Child);

impl Process {
    fn start(home: &std::path::Path, listen: SocketAddr) -> Self {
        let mut command = Command::new(program("glacier"));
        command.args(["node", "run", "--no-chain", "--listen", &listen.to_string(), "--home"]).arg(home);
        command.arg("--write-policy").arg(home.join("policy.toml"));
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"))
    }

    fn kill(&mut self) {
        kill(self.0.id());
        self.0.wait().expect("a child of this process");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_resumes() {
    let undisturbed = undisturbed().await;
    // Files and keys of the owner; its node is not used.
    let rig = Rig::start().await;
    let home = rig.home().join("operator");
    std::fs::create_dir(&home).unwrap();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap();
    let mut node = Process::start(&home, free);
    eventually("the node has written its policy", || home.join("policy.toml").exists()).await;
    let mut owner = Owner::of(&rig);
    owner.node = glacier::Node::at(&format!("http://{free}")).unwrap();
    owner.policy = glacier::read_policy(&home.join("policy.toml")).unwrap();
    let told = AtomicU64::new(0);
    let killing = async {
        for wanted in [1, 600] {
            while told.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(some(100)).await;
            node.kill();
            // A node that died while it started has not written one yet.
            let _ = std::fs::remove_file(home.join("policy.toml"));
            node = Process::start(&home, free);
        }
        pending::<()>().await;
    };
    let refined = tokio::select! {
        refined = owner.train(plan(), |page| told.store(page.checkpoint, Ordering::Relaxed)) => refined,
        () = killing => unreachable!(),
    };
    assert_undisturbed(&refined.expect("the training goes on"), undisturbed, "node killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_training_goes_on_to_the_same_bits() {
    let undisturbed = undisturbed().await;
    let rig = Rig::start().await;
    let scene = Scene::of_two(rig, plan()).await;
    scene.begin().await;
    let session = scene.under_way().await;
    let hash = scene.job.manifest.hash();
    for _ in 0..2 {
        session.pause(&hash, true).await.expect("the owner may");
        eventually("the worker is gone", || workers(&scene.rig).is_empty()).await;
        loop {
            match session.status(&hash).await.unwrap().phase {
                Phase::Paused => break,
                // Not for ever: a machine may be too quick for the plan.
                phase => assert_ne!(phase, Phase::Done, "it was to be paused before its end"),
            }
        }
        let before = session.course(&hash, 0, 0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(session.course(&hash, 0, 0).await.unwrap(), before, "nothing moves");
        session.pause(&hash, false).await.expect("the owner may");
        eventually("a worker works", || !workers(&scene.rig).is_empty()).await;
        let newer = before.checkpoint;
        while session.course(&hash, 0, 0).await.unwrap().checkpoint <= newer {}
    }
    let status = scene.end(scene.hospital()).await.expect("the training ends");
    assert!(status.events.iter().any(|event| matches!(event, Event::Resumed { .. })), "{:?}", status.events);
    let (node, policy) = (scene.rig.node(), scene.rig.policy());
    let refined = session.refinement(&node, &scene.job, scene.hospital(), policy, &mut |_, _| ()).await;
    assert_undisturbed(&refined.expect("a result"), undisturbed, "paused twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlasts_a_moment_and_a_withdrawal_ends_it() {
    let scene = Scene::of_two(Rig::start().await, endless()).await;
    scene.begin().await;
    let session = scene.under_way().await;
    let hash = scene.job.manifest.hash();
    session.pause(&hash, true).await.expect("the owner may");
    eventually("the worker is gone", || workers(&scene.rig).is_empty()).await;
    session.withdraw(&hash).await.expect("the owner may");
    let ended = glacier_testkit::refused(scene.end(scene.hospital()).await);
    assert_eq!(ended, glacier::wire::api::RefusalCode::Withdrawn);
}
