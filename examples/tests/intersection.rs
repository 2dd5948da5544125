//! Two lists and what is in both.

use glacier::wire::api::RefusalCode;
use glacier_testkit::{Rig, program, refused};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn two_parties_learn_what_both_have_and_nothing_else() {
    let rig = Rig::with(program("intersection"), None).await;
    let (clinic, insurer, stranger) = (rig.party("clinic"), rig.party("insurer"), rig.party("stranger"));
    let (one, other) = (rig.session(&clinic).await, rig.session(&insurer).await);

    let list = json!({"with": insurer.address(), "items": ["ada", "bea", "cleo"]});
    one.call::<_, ()>("/lists", &list).await.unwrap();
    let ask = json!({"with": insurer.address()});
    assert_eq!(refused(one.call::<_, Value>("/common", &ask).await), RefusalCode::App, "the other is not there yet");
    assert_eq!(refused(one.call::<_, Value>("/lists", &list).await), RefusalCode::App, "one list each");
    other.call::<_, ()>("/lists", &json!({"with": clinic.address(), "items": ["bea", "dora", "cleo"]})).await.unwrap();

    let mine = one.call_proved::<_, Vec<String>>("/common", &ask).await.unwrap();
    let theirs = other.call_proved::<_, Vec<String>>("/common", &json!({"with": clinic.address()})).await.unwrap();
    assert_eq!((&mine.value, &theirs.value), (&vec!["bea".to_owned(), "cleo".to_owned()], &mine.value));

    // Nobody tries out further items, and nobody else learns anything.
    let probe = json!({"with": clinic.address(), "items": ["ada"]});
    assert_eq!(refused(other.call::<_, Value>("/lists", &probe).await), RefusalCode::App);
    let outside = rig.session(&stranger).await;
    assert_eq!(refused(outside.call::<_, Value>("/common", &ask).await), RefusalCode::App);
    let much: Vec<String> = (0..10_001).map(|item| item.to_string()).collect();
    let much = json!({"with": clinic.address(), "items": much});
    assert_eq!(refused(outside.call::<_, Value>("/lists", &much).await), RefusalCode::App);
}
