//! Manifests that nobody wrote: arbitrary bytes, and genuine ones with anything changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/manifests.rs"]
mod manifests;
#[path = "common/rim_forge.rs"]
mod rim_forge;

use glacier_attest::{Anchors, CheckedRim, Rim, Verdict};
use glacier_wire::UnixTime;
use proptest::{prelude::*, sample::Index};
use rim_forge::World;
use std::sync::LazyLock;

/// A genuine document, under which roots and when it holds, and what it says.
struct Genuine {
    xml: Vec<u8>,
    anchors: Anchors,
    at: UnixTime,
    checked: CheckedRim,
}

impl Genuine {
    fn of(xml: Vec<u8>, anchors: Anchors, at: UnixTime) -> Self {
        let checked = Rim::parse(&xml).unwrap().check(&anchors, at).into_result().unwrap();
        Self { xml, anchors, at, checked }
    }

    /// Refused, or another way to write the same.
    fn holds_against(&self, changed: &[u8]) {
        let Ok(rim) = Rim::parse(changed) else { return };
        let appraisal = rim.check(&self.anchors, self.at);
        assert_eq!(appraisal.value().is_some(), appraisal.verdict() == Verdict::Accepted);
        if let Some(checked) = appraisal.value() {
            assert_eq!(checked, &self.checked, "{}", String::from_utf8_lossy(changed));
        }
    }
}

/// A forged one, and real ones where the vectors are there.
static GENUINE: LazyLock<Vec<Genuine>> = LazyLock::new(|| {
    let world = World::new();
    let mut all = vec![Genuine::of(world.xml().into_bytes(), world.anchors(), UnixTime(rim_forge::NOW))];
    for known in manifests::manifests().into_iter().flatten().filter(|known| known.genuine()) {
        let at = known.inside();
        all.push(Genuine::of(known.xml, Anchors::vendor(), at));
    }
    all
});

#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Insert(Index, &'static str),
    Delete(Index, usize),
    Copy(Index, Index, usize),
}

impl Edit {
    fn apply(&self, xml: &mut Vec<u8>) {
        match self {
            Self::Set(at, byte) => {
                let at = at.index(xml.len());
                xml[at] = *byte;
            }
            Self::Insert(at, text) => {
                let at = at.index(xml.len());
                xml.splice(at..at, text.bytes());
            }
            Self::Delete(at, length) => {
                let at = at.index(xml.len());
                let end = xml.len().min(at + length);
                xml.drain(at..end);
            }
            Self::Copy(from, to, length) => {
                let from = from.index(xml.len());
                let part = xml[from..xml.len().min(from + length)].to_vec();
                let at = to.index(xml.len());
                xml.splice(at..at, part);
            }
        }
        xml.push(b' '); // never empty
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let text = prop::sample::select(vec![
        "<",
        ">",
        "/>",
        "</",
        "\"",
        "'",
        "&",
        ";",
        "&#",
        "&amp;",
        "<!--",
        "-->",
        "<![CDATA[",
        "<!DOCTYPE",
        "<?",
        " xmlns:ns2=\"urn:x\"",
        " xmlns=\"\"",
        "ds:",
        "ns0:",
        "<ns0:Payload>",
        "</ns0:Payload>",
        "<ds:Signature>",
        "\r",
        "\n",
        "\u{e9}",
        "=",
        " ",
    ]);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), text).prop_map(|(at, text)| Edit::Insert(at, text)),
        (any::<Index>(), 1..400usize).prop_map(|(at, length)| Edit::Delete(at, length)),
        (any::<Index>(), any::<Index>(), 1..400usize).prop_map(|(from, to, length)| Edit::Copy(from, to, length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Rim::parse(&bytes).is_err());
    }

    #[test]
    fn arbitrary_markup_is_refused(
        parts in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "/", "a", ":", "=", "\"", "'", " ", "&", "#", "x", ";", "!", "--", "?", "[", "]", "xmlns", "xml", "urn:x", "\n", "1",
        ]), 0..60),
    ) {
        prop_assert!(Rim::parse(parts.concat().as_bytes()).is_err());
    }

    #[test]
    fn a_genuine_manifest_with_edits_is_refused_or_says_the_same(
        which in any::<Index>(), edits in prop::collection::vec(edit(), 1..4),
    ) {
        let genuine = which.get(&GENUINE);
        let mut xml = genuine.xml.clone();
        edits.iter().for_each(|edit| edit.apply(&mut xml));
        genuine.holds_against(&xml);
    }

    #[test]
    fn a_piece_of_a_manifest_is_refused(which in any::<Index>(), end in any::<Index>()) {
        let xml = &which.get(&GENUINE).xml;
        let end = end.index(xml.trim_ascii_end().len());
        prop_assert!(Rim::parse(&xml[..end]).is_err());
    }
}

#[test]
fn every_byte_of_a_manifest_counts() {
    let genuine = &GENUINE[0];
    let mut refused = 0;
    for at in 0..genuine.xml.len() {
        for flip in [0x01, 0x20] {
            let mut xml = genuine.xml.clone();
            xml[at] ^= flip;
            genuine.holds_against(&xml);
            let accepted = Rim::parse(&xml).is_ok_and(|rim| rim.check(&genuine.anchors, genuine.at).value().is_some());
            refused += usize::from(!accepted);
        }
    }
    // All but white space inside tags and the like.
    assert!(refused * 100 > genuine.xml.len() * 2 * 99, "{refused} of {}", genuine.xml.len() * 2);
}
