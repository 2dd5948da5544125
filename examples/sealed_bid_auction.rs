//! A sealed-bid auction: bidders tell only the enclave what they bid; the highest pays the second
//! price. No bid is told but that price, and not whose it was; the result carries a Work Proof.

use glacier_app::{Address, App, Context, Refusal, Request, Response, Shared, refuse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Default)]
struct Auction(Option<Lot>);

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

impl Auction {
    fn open(&mut self, seller: Address, Terms { reserve }: Terms) -> Result<(), Refusal> {
        if self.0.is_some() {
            return Err(refuse("a lot is open"));
        }
        self.0 = Some(Lot { seller, reserve, bids: BTreeMap::new() });
        Ok(())
    }

    fn bid(&mut self, bidder: Address, bid: Bid) -> Result<usize, Refusal> {
        let lot = self.0.as_mut().ok_or_else(|| refuse("no lot is open"))?;
        if lot.bids.contains_key(&bidder) {
            return Err(refuse("one bid each"));
        }
        lot.bids.insert(bidder, bid.amount);
        Ok(lot.bids.len())
    }

    fn close(&mut self, by: Address) -> Result<Sale, Refusal> {
        let lot = self.0.take_if(|lot| lot.seller == by).ok_or_else(|| refuse("only the seller closes"))?;
        let mut bids: Vec<_> = lot.bids.into_iter().filter(|(_, amount)| *amount >= lot.reserve).collect();
        bids.sort_by_key(|(_, amount)| std::cmp::Reverse(*amount));
        let second = bids.get(1).map_or(lot.reserve, |(_, amount)| *amount);
        Ok(Sale { winner: bids.first().map(|(bidder, _)| *bidder), price: bids.first().map(|_| second) })
    }
}

#[derive(Default)]
struct House(Shared<Auction>);

impl App for House {
    const NAME: &'static str = "sealed-bid-auction";

    async fn handle(&self, _: &Context, request: Request) -> Result<Response, Refusal> {
        let (mut auction, by) = (self.0.lock(), request.peer());
        match request.route() {
            ("POST", "/lots") => request.answer(|terms| auction.open(by, terms)),
            ("POST", "/bids") => request.answer(|bid| auction.bid(by, bid)),
            ("POST", "/lots/close") => Ok(request.answer(|()| auction.close(by))?.proved(1)),
            _ => Err(request.no_such_path()),
        }
    }
}

glacier_app::main!(House::default());
