//! What two lists have in common: each party gives its list to the enclave alone, and both learn the
//! items that are in both, and nothing else. A pair has one answer: who could ask again with other
//! items could try out the other's list.

use glacier_app::{Address, App, Context, Refusal, Request, Response, Shared, refuse};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const MOST_ITEMS: usize = 10_000;
const MOST_PAIRS: usize = 100;

type Pair = [Address; 2];

#[derive(Default)]
struct Meetings {
    /// Who came first waits with its list.
    waiting: BTreeMap<Pair, (Address, BTreeSet<String>)>,
    met: BTreeMap<Pair, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Offer {
    with: Address,
    items: BTreeSet<String>,
}
#[derive(Deserialize)]
struct Ask {
    with: Address,
}

impl Meetings {
    fn offer(&mut self, by: Address, Offer { with, items }: Offer) -> Result<(), Refusal> {
        if items.len() > MOST_ITEMS || items.iter().any(|item| item.len() > 256) || with == by {
            return Err(refuse("a list for another party, of at most 10,000 items of 256 bytes"));
        }
        let pair = pair(by, with);
        if self.met.contains_key(&pair) || self.waiting.get(&pair).is_some_and(|(first, _)| *first == by) {
            return Err(refuse("one list each"));
        }
        if let Some((_, other)) = self.waiting.remove(&pair) {
            // Both lists end here; a restart forgets all, and then both must come again of their own will.
            self.met.insert(pair, &items & &other);
            return Ok(());
        }
        if self.waiting.len() + self.met.len() >= MOST_PAIRS {
            return Err(refuse("no room for another pair"));
        }
        self.waiting.insert(pair, (by, items));
        Ok(())
    }

    fn ask(&self, by: Address, Ask { with }: Ask) -> Result<BTreeSet<String>, Refusal> {
        self.met.get(&pair(by, with)).cloned().ok_or_else(|| refuse("the other list is not there yet"))
    }
}

fn pair(one: Address, other: Address) -> Pair {
    if one < other { [one, other] } else { [other, one] }
}

#[derive(Default)]
struct Room(Shared<Meetings>);

impl App for Room {
    const NAME: &'static str = "intersection";

    async fn handle(&self, _: &Context, request: Request) -> Result<Response, Refusal> {
        let (mut meetings, by) = (self.0.lock(), request.peer());
        match request.route() {
            ("POST", "/lists") => request.answer(|offer| meetings.offer(by, offer)),
            ("POST", "/common") => Ok(request.answer(|ask| meetings.ask(by, ask))?.proved(1)),
            _ => Err(request.no_such_path()),
        }
    }
}

glacier_app::main!(Room::default());
