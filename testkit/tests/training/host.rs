//! The host alters, withholds, rolls back and repeats what it keeps for a training.

use crate::scene::{Owner, enclave, endless, many_rows, plan, streamed, wide_model, workers};
use glacier::{
    Refinement, Step,
    wire::{
        Digest,
        api::{HostReply, HostRequest, RefusalCode},
        training::TrainingPlan,
    },
};
use glacier_host::danger::Meddler;
use glacier_testkit::{Rig, kill, refused};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// What the host does with checkpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trick {
    /// Keeps the first there was, and only says that it keeps the others.
    RollsBack,
    /// Knows of none.
    Withholds,
    /// Flips a bit of the newest, at this part of its length in percent.
    Alters(usize),
    /// Gives out half of the newest.
    Cuts,
    /// Gives out the data set for it.
    Exchanges,
}

struct Keeper {
    trick: Trick,
    kept: Mutex<Vec<Digest>>,
    /// A request to keep was exchanged for one that changes nothing.
    swallowed: AtomicBool,
    data: Mutex<Option<Digest>>,
}

impl Meddler for Keeper {
    fn called(&self, request: &mut HostRequest) {
        if let HostRequest::Keep { job, asset } = *request {
            let mut kept = self.kept.lock().unwrap();
            kept.push(asset);
            if self.trick == Trick::RollsBack && kept.len() > 1 {
                self.swallowed.store(true, Ordering::SeqCst);
                *request = HostRequest::Recall { job };
            }
        }
    }

    fn answered(&self, request: &HostRequest, reply: &mut HostReply) {
        let kept = |asset: &Digest| self.kept.lock().unwrap().contains(asset);
        if matches!(reply, HostReply::Recalled { .. }) && self.swallowed.swap(false, Ordering::SeqCst) {
            *reply = HostReply::Done;
        }
        match (self.trick, request, reply) {
            (Trick::Withholds, HostRequest::Recall { .. }, HostReply::Recalled { asset }) => *asset = None,
            (Trick::Exchanges, HostRequest::Recall { .. }, HostReply::Recalled { asset: Some(asset) }) => {
                *asset = self.data.lock().unwrap().expect("the manifest is signed");
            }
            (Trick::Alters(part), HostRequest::Read { asset, .. }, HostReply::Data { data }) if kept(asset) => {
                let at = (data.len() - 1) * part / 100;
                data[at] ^= 1;
            }
            (Trick::Cuts, HostRequest::Size { asset }, HostReply::Size { bytes }) if kept(asset) => *bytes /= 2,
            _ => {}
        }
    }
}

/// Trains on such a host, and kills once two checkpoints were told of.
async fn interrupted(trick: Trick, victim: fn(&Rig)) -> Result<Refinement, glacier::Error> {
    let keeper =
        Arc::new(Keeper { trick, kept: Mutex::default(), swallowed: AtomicBool::new(false), data: Mutex::default() });
    let rig = Rig::hostile(keeper.clone()).await;
    let (owner, mut killed) = (Owner::of(&rig), false);
    owner
        .follow(endless(), &mut |step| match step {
            Step::Signed(signed) => *keeper.data.lock().unwrap() = Some(signed.manifest.data),
            Step::Course(page) if !killed && page.checkpoint >= 2 * u64::from(plan().checkpoint_every) => {
                killed = true;
                victim(&rig);
            }
            _ => {}
        })
        .await
}

fn kill_enclave(rig: &Rig) {
    enclave(rig).into_iter().for_each(kill);
}

fn kill_worker(rig: &Rig) {
    workers(rig).into_iter().for_each(kill);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_checkpoint_is_refused() {
    assert_eq!(refused(interrupted(Trick::RollsBack, kill_enclave).await), RefusalCode::CheckpointStale);
    assert_eq!(refused(interrupted(Trick::RollsBack, kill_worker).await), RefusalCode::CheckpointStale);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_checkpoint_is_refused() {
    assert_eq!(refused(interrupted(Trick::Withholds, kill_enclave).await), RefusalCode::CheckpointStale);
    assert_eq!(refused(interrupted(Trick::Withholds, kill_worker).await), RefusalCode::CheckpointStale);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_checkpoint_is_refused() {
    for trick in [Trick::Alters(0), Trick::Alters(50), Trick::Alters(100), Trick::Cuts, Trick::Exchanges] {
        let code = refused(interrupted(trick, kill_enclave).await);
        assert_eq!(code, RefusalCode::CheckpointForged, "{trick:?}");
    }
    assert_eq!(refused(interrupted(Trick::Alters(50), kill_worker).await), RefusalCode::CheckpointForged);
}

/// What the host does with the data, in one of its passes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Twist {
    /// Nothing.
    Honest,
    /// Flips a bit in the middle.
    Alters,
    /// Exchanges two parts that are enciphered each on its own.
    Reorders,
    /// Gives out a part twice, and another not at all.
    Repeats,
    /// Ends early, where a part ends.
    Cuts,
    /// Has never seen it.
    Loses,
}

/// Ciphertext of a part: 64 KiB and a tag.
const PART: usize = (64 << 10) + 16;

struct Twister {
    twist: Twist,
    /// Of the times that the data is opened, the one that goes wrong, and all after it.
    from: usize,
    opened: AtomicUsize,
    data: Mutex<Option<Digest>>,
}

impl Twister {
    fn active(&self, of: &Digest) -> bool {
        *self.data.lock().unwrap() == Some(*of) && self.opened.load(Ordering::SeqCst) >= self.from
    }
}

impl Meddler for Twister {
    fn called(&self, request: &mut HostRequest) {
        match request {
            HostRequest::Size { asset } if *self.data.lock().unwrap() == Some(*asset) => {
                self.opened.fetch_add(1, Ordering::SeqCst);
                if self.twist == Twist::Loses && self.active(asset) {
                    *asset = Digest::ZERO;
                }
            }
            HostRequest::Read { asset, offset, .. } if self.twist == Twist::Repeats && self.active(asset) => {
                *offset = offset.saturating_sub(PART as u64);
            }
            _ => {}
        }
    }

    fn answered(&self, request: &HostRequest, reply: &mut HostReply) {
        match (self.twist, request, reply) {
            (Twist::Alters, HostRequest::Read { asset, .. }, HostReply::Data { data }) if self.active(asset) => {
                let at = data.len() / 2;
                data[at] ^= 1;
            }
            (Twist::Reorders, HostRequest::Read { asset, .. }, HostReply::Data { data }) if self.active(asset) => {
                let header = 1000;
                for at in header..header + PART {
                    data.swap(at, at + 2 * PART);
                }
            }
            (Twist::Cuts, HostRequest::Size { asset }, HostReply::Size { bytes }) if self.active(asset) => {
                *bytes -= (2 * PART) as u64;
            }
            _ => {}
        }
    }
}

/// More rows than a job of this memory holds, so each epoch reads them anew.
const ROWS: u32 = 40_000;
const COLUMNS: u32 = 30;
const MEMORY: u64 = 18 << 20;

async fn twisted(twist: Twist, from: usize, plan: TrainingPlan) -> (Result<Refinement, glacier::Error>, usize) {
    let (opened, data) = (AtomicUsize::new(0), Mutex::default());
    let twister = Arc::new(Twister { twist, from, opened, data });
    let rig = Rig::hostile(twister.clone()).await;
    let mut owner = Owner::with(&rig, &wide_model(COLUMNS), many_rows(ROWS, COLUMNS).as_bytes());
    owner.options.memory = MEMORY;
    let mut watch = |step: Step<'_>| {
        if let Step::Signed(signed) = step {
            *twister.data.lock().unwrap() = Some(signed.manifest.data);
        }
    };
    let trained = owner.follow(plan, &mut watch).await;
    (trained, twister.opened.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_what_was_signed_in_every_pass() {
    let epochs = 3;
    let (trained, opened) = twisted(Twist::Honest, 0, streamed(epochs)).await;
    let honest = trained.expect("the training runs");
    assert_eq!(honest.metrics.epochs.len(), 3);
    // Once to see how long it is, once to get to know it, then for each epoch, and for its validation rows.
    assert_eq!(opened, 2 + 2 * epochs as usize, "the rows are streamed");
    // The first pass, that of the first epoch, and the very last.
    for from in [2, 3, opened] {
        for twist in [Twist::Alters, Twist::Reorders, Twist::Repeats, Twist::Cuts] {
            let (trained, _) = twisted(twist, from, streamed(epochs)).await;
            let code = refused(trained);
            assert_eq!(code, RefusalCode::AssetDigest, "{twist:?} from the time numbered {from}");
        }
        let (trained, _) = twisted(Twist::Loses, from, streamed(epochs)).await;
        assert_eq!(refused(trained), RefusalCode::AssetMissing, "from the time numbered {from}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_streamed_make_the_bits_of_rows_that_are_held() {
    let (trained, opened) = twisted(Twist::Honest, 0, streamed(2)).await;
    let streamed_rows = trained.expect("the training runs");
    assert!(opened > 2);
    let rig = Rig::start().await;
    let owner = Owner::with(&rig, &wide_model(COLUMNS), many_rows(ROWS, COLUMNS).as_bytes());
    let held_rows = owner.train(streamed(2), |_| ()).await.expect("the training runs");
    assert_eq!(streamed_rows.record.weights, held_rows.record.weights);
    assert_eq!(*streamed_rows.model, *held_rows.model);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_enclave_resumes_streamed_rows_to_the_same_bits() {
    let undisturbed = twisted(Twist::Honest, 0, streamed(3)).await.0.expect("the training runs");
    let rig = Rig::start().await;
    let mut owner = Owner::with(&rig, &wide_model(COLUMNS), many_rows(ROWS, COLUMNS).as_bytes());
    owner.options.memory = MEMORY;
    let mut killed = false;
    let refined = owner.train(streamed(3), |page| {
        if page.checkpoint > 0 && !killed {
            killed = true;
            kill_enclave(&rig);
        }
    });
    let refined = refined.await.expect("the training goes on");
    assert!(killed, "a checkpoint is told of before the end");
    crate::scene::assert_undisturbed(&refined, &undisturbed, "streamed and killed");
}
