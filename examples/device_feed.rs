//! A feed of device data that others can build on: devices sign their readings; the enclave takes what is
//! signed, new and of a known device, and signs batches of it that anybody anchors on chain (`DeviceAnchor`).
//! What a device measured is as true as its sensor; who signed what, in which order, is proven.

use glacier_app::{Address, AnchorAt, App, Context, Refusal, Request, Response, Shared, Signature};
use glacier_app::{SignedBatch, keccak, refuse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MOST_DEVICES: usize = 1000;
const MOST_READINGS: usize = 10_000;

#[derive(Default)]
struct Feed {
    /// Whoever names the first device says which devices count.
    owner: Option<Address>,
    /// The number of each device's next reading: what was taken is not taken again.
    next: BTreeMap<Address, u64>,
    pending: Vec<String>,
}

/// `NUMBER TIME VALUE`, as the device wrote it, and its signature over the Keccak-256 of that.
#[derive(Deserialize)]
struct Signed {
    reading: String,
    signature: Signature,
}
#[derive(Serialize)]
struct Closed {
    batch: SignedBatch,
    readings: Vec<String>,
}

impl Feed {
    fn know(&mut self, by: Address, device: Address) -> Result<(), Refusal> {
        if *self.owner.get_or_insert(by) != by || self.next.len() >= MOST_DEVICES {
            return Err(refuse("only the owner names devices, and at most 1,000"));
        }
        self.next.entry(device).or_insert(0);
        Ok(())
    }

    fn take(&mut self, Signed { reading, signature }: Signed) -> Result<usize, Refusal> {
        let device = signature.recover(&keccak(reading.as_bytes())).map_err(|_| refuse("no signature"))?;
        let next = self.next.get_mut(&device).ok_or_else(|| refuse("no device of this feed signed that"))?;
        let number = reading.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        let number = number.filter(|number| number >= next).ok_or_else(|| refuse("not the device's next reading"))?;
        if self.pending.len() >= MOST_READINGS || reading.len() > 1000 {
            return Err(refuse("the batch is full, or the reading too long"));
        }
        *next = number.saturating_add(1);
        self.pending.push(reading);
        Ok(self.pending.len())
    }

    fn close(&mut self, cx: &Context, at: AnchorAt) -> Result<Closed, Refusal> {
        let hashes: Vec<_> = self.pending.iter().map(|reading| keccak(reading.as_bytes())).collect();
        Ok(Closed { batch: cx.anchor(&hashes, at)?, readings: std::mem::take(&mut self.pending) })
    }
}

#[derive(Default)]
struct Hub(Shared<Feed>);

impl App for Hub {
    const NAME: &'static str = "device-feed";

    async fn handle(&self, cx: &Context, request: Request) -> Result<Response, Refusal> {
        let (mut feed, by) = (self.0.lock(), request.peer());
        match request.route() {
            ("POST", "/devices") => request.answer(|device| feed.know(by, device)),
            ("POST", "/readings") => request.answer(|signed| feed.take(signed)),
            ("POST", "/batches") if feed.owner == Some(by) => Ok(request.answer(|at| feed.close(cx, at))?.proved(1)),
            _ => Err(request.no_such_path()),
        }
    }
}

glacier_app::main!(Hub::default());
