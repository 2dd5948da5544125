//! A sealed-bid auction: bidders tell only the enclave what they bid; the highest pays the second
//! price. Nobody ever learns a losing bid, and the result carries a Work Proof.
//!
//! `POST /lots {"reserve": 50}` makes the caller the seller, `POST /bids {"amount": 120}` bids, and
//! the seller's `POST /lots/close` answers `{"winner": "0x…", "price": 100}`.

use glacier_app::{Address, App, Context, CountingAllocator, Refusal, RefusalCode, Request, Response, serve};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[derive(Default)]
struct Auction(Mutex<Option<Lot>>);

struct Lot {
    seller: Address,
    reserve: u64,
    bids: BTreeMap<Address, u64>,
}

#[derive(Deserialize)]
struct Terms {
    reserve: u64,
}
#[derive(Deserialize)]
struct Bid {
    amount: u64,
}
#[derive(Serialize)]
struct Sale {
    winner: Option<Address>,
    price: Option<u64>,
}

impl App for Auction {
    const NAME: &'static str = "sealed-bid-auction";

    async fn handle(&self, _: &Context, request: Request) -> Result<Response, Refusal> {
        let no = |why| Err(Refusal::new(RefusalCode::App, why));
        let mut lot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (request.path(), lot.as_mut()) {
            ("/lots", None) => {
                let (seller, Terms { reserve }) = (request.peer(), request.json()?);
                *lot = Some(Lot { seller, reserve, bids: BTreeMap::new() });
                Response::json(&BTreeMap::from([("seller", seller)]))
            }
            ("/bids", Some(lot)) if !lot.bids.contains_key(&request.peer()) => {
                let Bid { amount } = request.json()?;
                lot.bids.insert(request.peer(), amount);
                Response::json(&BTreeMap::from([("bids", lot.bids.len())]))
            }
            ("/bids", Some(_)) => no("one bid each"),
            ("/lots/close", Some(open)) if open.seller == request.peer() => {
                let sale = open.sell();
                *lot = None;
                Ok(Response::json(&sale)?.proved(0))
            }
            ("/lots/close", Some(_)) => no("only the seller closes"),
            _ => no("there is no such lot"),
        }
    }
}

impl Lot {
    fn sell(&self) -> Sale {
        let mut bids: Vec<_> = self.bids.iter().filter(|(_, amount)| **amount >= self.reserve).collect();
        bids.sort_by_key(|(_, amount)| std::cmp::Reverse(**amount));
        let second = bids.get(1).map_or(self.reserve, |(_, amount)| **amount);
        Sale { winner: bids.first().map(|(bidder, _)| **bidder), price: bids.first().map(|_| second) }
    }
}

fn main() -> ExitCode {
    serve(Auction::default())
}
