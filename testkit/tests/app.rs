//! What the SDK promises applications, against hosts that do not play along.

use glacier::{Error, Policy, Session, StateMemory, Upload, session::RequestError, wire::Digest, wire::ManifestHash};
use glacier_host::danger::{Direction, Meddler};
use glacier_testkit::{Chaos, Rig, program, refused};
use glacier_wire::api::{HostFault, HostReply, HostRequest, RefusalCode};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

async fn probe(meddler: Option<Arc<dyn Meddler>>) -> Rig {
    Rig::with(program("glacier-probe-app"), meddler).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_session_has_a_state_of_its_own() {
    let rig = probe(None).await;
    let ada = rig.party("ada");
    let (one, other) = (rig.session(&ada).await, rig.session(&ada).await);
    assert_eq!(one.call::<_, u64>("/tally", &2).await.unwrap(), 2);
    assert_eq!(other.call::<_, u64>("/tally", &5).await.unwrap(), 5);
    assert_eq!(one.call::<_, u64>("/tally", &2).await.unwrap(), 4);
    drop(one);
    assert_eq!(rig.session(&ada).await.call::<_, u64>("/tally", &1).await.unwrap(), 1);
}

/// A host that brings back another state than the newest, once it is told to.
#[derive(Default)]
struct Keeper {
    kept: Mutex<Vec<(ManifestHash, Digest)>>,
    brings: Mutex<Brings>,
    denies: Mutex<Denies>,
}

/// What it says when it is asked to keep a state.
#[derive(Default, Clone, Copy, PartialEq)]
enum Denies {
    #[default]
    Nothing,
    /// That it does not, and does.
    Falsely,
    /// That it does not, and so it is.
    Truly,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Brings {
    #[default]
    Newest,
    Nothing,
    First,
    Other,
    Cut,
}

impl Keeper {
    fn bring(&self, what: Brings) {
        *self.brings.lock().unwrap() = what;
    }

    fn deny(&self, how: Denies) {
        *self.denies.lock().unwrap() = how;
    }
}

impl Meddler for Keeper {
    fn called(&self, request: &mut HostRequest) {
        if let HostRequest::Keep { job, asset } = request {
            if *self.denies.lock().unwrap() != Denies::Truly {
                self.kept.lock().unwrap().push((*job, *asset));
            }
            // What replaces a state removes it; a host that means to set it back keeps it.
            *job = ManifestHash(*blake3::hash(&asset.0).as_bytes());
        }
    }

    fn answered(&self, request: &HostRequest, reply: &mut HostReply) {
        let (kept, brings) = (self.kept.lock().unwrap(), *self.brings.lock().unwrap());
        match (request, reply) {
            (HostRequest::Recall { job }, HostReply::Recalled { asset }) => {
                let mut own = kept.iter().filter(|(of, _)| of == job);
                *asset = match brings {
                    Brings::Nothing => None,
                    Brings::First => own.next().map(|(_, asset)| *asset),
                    Brings::Other => kept.iter().find(|(of, _)| of != job).map(|(_, asset)| *asset),
                    Brings::Newest | Brings::Cut => own.next_back().map(|(_, asset)| *asset),
                };
            }
            (HostRequest::Size { .. }, HostReply::Size { bytes }) if brings == Brings::Cut => *bytes -= 1,
            (HostRequest::Keep { .. }, reply) if *self.denies.lock().unwrap() != Denies::Nothing => {
                *reply = HostReply::Failed { fault: HostFault::Io };
            }
            _ => {}
        }
    }
}

async fn write(session: &Session, path: &str, line: &str) -> Result<usize, Error> {
    session.call(path, line).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_state_survives_restarts_and_does_not_go_back() {
    let keeper = Arc::new(Keeper::default());
    let mut rig = probe(Some(keeper.clone())).await;
    let (ada, eve) = (rig.party("ada"), rig.party("eve"));
    let memory = StateMemory::open(&rig.home().join("states.json")).unwrap();
    let session = async |rig: &Rig, memory: &StateMemory| {
        let node = rig.node().remembering(memory.clone());
        node.connect(rig.policy(), ada.identity(), glacier::Freshness::Cached).await.unwrap()
    };

    let first = session(&rig, &memory).await;
    write(&first, "/other", "another state").await.unwrap();
    for (count, line) in (1..).zip(["one", "two", "three"]) {
        assert_eq!(write(&first, "/book", line).await.unwrap(), count);
    }
    assert_eq!(refused(write(&first, "/book", "").await), RefusalCode::App);
    rig.restart().await;
    let read = async |session: &Session| session.call_proved::<_, Vec<String>>("/read", &()).await;
    assert_eq!(read(&session(&rig, &memory).await).await.unwrap().value, ["one", "two", "three"]);

    // Whoever was told of the newest state is not served from an older one, nor from none.
    for (brings, code) in [
        (Brings::First, RefusalCode::CheckpointStale),
        (Brings::Nothing, RefusalCode::CheckpointStale),
        (Brings::Other, RefusalCode::CheckpointForged),
        (Brings::Cut, RefusalCode::CheckpointForged),
    ] {
        keeper.bring(brings);
        rig.restart().await;
        // What was told outlives the process that was told.
        let memory = StateMemory::open(&rig.home().join("states.json")).unwrap();
        assert_eq!(refused(read(&session(&rig, &memory).await).await), code);
    }

    // Who never came here before cannot tell: that remains. From then on there are two ways, and ada's is refused.
    keeper.bring(Brings::First);
    rig.restart().await;
    let stranger = rig.session(&eve).await;
    assert_eq!(stranger.call::<_, Vec<String>>("/read", &()).await.unwrap(), ["one"]);
    for line in ["zwei", "drei", "vier"] {
        write(&stranger, "/book", line).await.unwrap();
    }
    assert_eq!(refused(read(&session(&rig, &memory).await).await), RefusalCode::StateForked);

    keeper.bring(Brings::Newest);
    rig.restart().await;
    assert_eq!(rig.session(&eve).await.call::<_, Vec<String>>("/read", &()).await.unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_does_not_say_that_it_keeps_is_not_known_and_is_looked_at_again() {
    let keeper = Arc::new(Keeper::default());
    let rig = probe(Some(keeper.clone())).await;
    let session = rig.session(&rig.party("ada")).await;
    let read = async || session.call::<_, Vec<String>>("/read", &()).await;
    assert_eq!(write(&session, "/book", "one").await.unwrap(), 1);

    keeper.deny(Denies::Falsely);
    assert_eq!(refused(write(&session, "/book", "two").await), RefusalCode::StateUnknown);
    keeper.deny(Denies::Nothing);
    assert_eq!(read().await.unwrap(), ["one", "two"]);

    keeper.deny(Denies::Truly);
    assert_eq!(refused(write(&session, "/book", "three").await), RefusalCode::StateUnknown);
    keeper.deny(Denies::Nothing);
    assert_eq!(read().await.unwrap(), ["one", "two"]);
    assert_eq!(write(&session, "/book", "drei").await.unwrap(), 3);

    // It is no way to set a state back: this enclave had a newer one. A stranger, who was told of none, is told so too.
    keeper.deny(Denies::Falsely);
    assert_eq!(refused(write(&session, "/book", "four").await), RefusalCode::StateUnknown);
    keeper.bring(Brings::First);
    let stranger = rig.session(&rig.party("eve")).await;
    let told = stranger.call::<_, Vec<String>>("/read", &()).await;
    assert_eq!(refused(told), RefusalCode::CheckpointStale);
    keeper.bring(Brings::Newest);
    assert_eq!(read().await.unwrap(), ["one", "two", "drei", "four"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_in_a_change_leaves_the_enclave_and_its_state_whole() {
    let rig = probe(None).await;
    let ada = rig.party("ada");
    let pid = rig.host().info().unwrap().pid;
    let line = "a line of half a megabyte ".repeat(20_000);
    for wait in 0..24 {
        let hasty = rig.session(&ada).await;
        let _ = tokio::time::timeout(Duration::from_millis(2 * wait), write(&hasty, "/book", &line)).await;
    }
    let patient = rig.session(&ada).await;
    let lines = patient.call::<_, Vec<String>>("/read", &()).await.unwrap();
    assert!(lines.iter().all(|found| *found == line));
    assert_eq!(write(&patient, "/book", "the last").await.unwrap(), lines.len() + 1);
    assert_eq!(rig.host().info().unwrap().pid, pid, "no other enclave had to be started");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_in_and_out_in_pieces_and_the_proof_is_over_all_of_them() {
    let rig = probe(None).await;
    let session = rig.session(&rig.party("ada")).await;

    let mut counted = session.stream("/count", bytes::Bytes::from_static(b"3000")).await.unwrap();
    let text = String::from_utf8(counted.whole(1 << 20).await.unwrap()).unwrap();
    assert!(text.starts_with("0\n1\n") && text.ends_with("2999\n"));
    assert_eq!(counted.check().unwrap().signed().proof.units, 3000);
    drop(counted);

    // Both ways at once, more than any buffer between them holds.
    let (mut upload, body) = Upload::pair();
    let sending = tokio::spawn(async move {
        for _ in 0..64 {
            upload.write(vec![b'a'; 256 << 10]).await.unwrap();
        }
        upload.finish().await.unwrap();
    });
    let mut shouted = session.stream("/shout", body).await.unwrap();
    let mut read = 0;
    while let Some(piece) = shouted.next().await.unwrap() {
        assert!(piece.iter().all(|byte| *byte == b'A'));
        read += piece.len();
    }
    sending.await.unwrap();
    assert_eq!((read, shouted.check().unwrap().signed().proof.units), (64 * (256 << 10), 1));
    drop(shouted);
    let mut summed = session.stream("/sum", bytes::Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(summed.whole(10).await.unwrap(), b"294");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_cut_is_an_error_on_both_sides() {
    let rig = probe(None).await;
    let ada = rig.party("ada");
    let session = rig.session(&ada).await;
    let mut broken = session.stream("/break", bytes::Bytes::new()).await.unwrap();
    let said = broken.whole(100).await;
    assert!(matches!(said, Err(RequestError::Refused(refusal)) if refusal.detail == "it broke"));
    drop(broken);

    // The caller gives up half-way: what the application read so far is no request.
    let (mut upload, body) = Upload::pair();
    upload.write("abc").await.unwrap();
    drop(upload);
    assert!(session.stream("/sum", body).await.is_err());

    // The host cuts the answer after some records.
    #[derive(Default)]
    struct Cutter(Mutex<usize>);
    impl Meddler for Cutter {
        fn relayed(&self, _: u64, direction: Direction, bytes: &mut Vec<u8>) {
            let mut passed = self.0.lock().unwrap();
            if direction == Direction::ToClient {
                *passed += bytes.len();
                if *passed > 200_000 {
                    bytes.clear();
                }
            }
        }
    }
    let rig = probe(Some(Arc::new(Cutter::default()))).await;
    let mut session = rig.session(&rig.party("ada")).await;
    session.set_deadline(Duration::from_secs(2));
    let mut counted = session.stream("/count", bytes::Bytes::from_static(b"200000")).await.unwrap();
    let outcome = counted.whole(64 << 20).await;
    assert!(matches!(outcome, Err(RequestError::Cut | RequestError::Deadline)), "{outcome:?}");
    assert!(counted.check().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_host_spoils_an_answer_is_right_or_there_is_none() {
    let (mut right, mut none, mut acts) = (0, 0, 0);
    for seed in 0..6 {
        let chaos = Arc::new(Chaos::seeded(seed).one_in(6).sparing(8));
        let rig = probe(Some(chaos.clone())).await;
        let ada = rig.party("ada");
        for _ in 0..4 {
            let node = rig.node();
            let session = node.connect(rig.policy(), ada.identity(), glacier::Freshness::Cached).await;
            let Ok(mut session) = session else {
                none += 1;
                continue;
            };
            session.set_deadline(Duration::from_millis(500));
            for total in (7..).step_by(7).take(6) {
                match session.call::<_, u64>("/tally", &7).await {
                    Ok(tally) => {
                        assert_eq!(tally, total);
                        right += 1;
                    }
                    // Nothing more is said in a session that was spoiled.
                    Err(_) => {
                        none += 1;
                        break;
                    }
                }
            }
        }
        acts += chaos.acts().len();
    }
    assert!(right > 0 && none > 0 && acts >= none, "{right} right, {none} none, {acts} spoiled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_calls_another_and_each_knows_who_the_other_is() {
    let callee = probe(None).await;
    let address = callee.host().address().to_string();
    let caller = Rig::dialling(program("glacier-probe-app"), vec![address.clone()]).await;
    let session = caller.session(&caller.party("ada")).await;
    let ask = |address: &str, policy: &Policy, accepts: &Policy| serde_json::json!({"address": address, "policy": policy, "accepts": accepts});

    // The callee's application says whom it was called by: code and chip.
    let told: [String; 2] = session.call("/ask", &ask(&address, callee.policy(), caller.policy())).await.unwrap();
    let info = caller.host().info().unwrap();
    assert_eq!(told, [info.measurement.to_string(), info.enclave_id.to_string()]);

    // Either may refuse the other, and the operator may refuse the way.
    let wrong = ask(&address, caller.policy(), caller.policy());
    assert_eq!(refused(session.call::<_, [String; 2]>("/ask", &wrong).await), RefusalCode::CredentialInvalid);
    let wrong = ask(&address, callee.policy(), callee.policy());
    assert_eq!(refused(session.call::<_, [String; 2]>("/ask", &wrong).await), RefusalCode::CredentialInvalid);
    let elsewhere = ask("127.0.0.1:1", callee.policy(), caller.policy());
    assert_eq!(refused(session.call::<_, [String; 2]>("/ask", &elsewhere).await), RefusalCode::Host);

    // A party that is no enclave is none.
    let plain = callee.session(&callee.party("eve")).await;
    let policy = serde_json::to_value(caller.policy()).unwrap();
    assert_eq!(refused(plain.call::<_, [String; 2]>("/who", &policy).await), RefusalCode::CredentialInvalid);
}
