//! The headers that tell of an application's sealed state.

use glacier_wire::{Digest, api::StateHead};

fn head(name: &str, version: u64) -> StateHead {
    StateHead { name: name.into(), version, digest: Digest([version as u8; 32]) }
}

#[test]
fn heads_are_read_as_they_are_written() {
    let heads = vec![head("book", 7), head("other-2", u64::MAX)];
    assert_eq!(StateHead::parse_all(&StateHead::write_all(&heads)), Some(heads));
}

#[test]
fn what_is_no_head_is_none() {
    let good = StateHead::write_all(&[head("book", 7)]);
    let wrong = ["".into(), "book".into(), good.replace("book", "Book"), good.replace('=', ""), good.replace('7', "x")];
    assert!(wrong.iter().all(|text: &String| StateHead::parse_all(text).is_none()));
    assert!(StateHead::parse_all(&good.replace("book", &"b".repeat(41))).is_none());
    let many: Vec<_> = (0..=StateHead::MOST).map(|at| head("book", at as u64)).collect();
    assert!(StateHead::parse_all(&StateHead::write_all(&many)).is_none());
}
