//! A feed of device data that others can build on: devices sign their readings; the enclave takes what is
//! signed, new and of a known device, and signs batches of it that anybody anchors on chain (`DeviceAnchor`).
//! What a device measured is as true as its sensor; who signed what, in which order, is proven.

use glacier_app::{Address, AnchorAt, App, Context, Refusal, Request, Response, SealedState, Signature};
use glacier_app::{SignedBatch, keccak, refuse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MOST_DEVICES: usize = 1000;
const MOST_READINGS: usize = 1000;

/// Sealed, so that after a restart too no reading is taken twice, and none that was taken is gone.
const FEED: SealedState<Feed> = SealedState::new("feed");

#[derive(Default, Serialize, Deserialize)]
struct Feed {
    /// Whoever names the first device says which devices count.
    owner: Option<Address>,
    /// The number of each device's next reading.
    next: BTreeMap<Address, u64>,
    pending: Vec<String>,
    /// The batch that is handed out until the owner says that it is anchored, and its number.
    closed: Vec<String>,
    number: u64,
}

/// `NUMBER TIME VALUE`, as the device wrote it, and its signature over the Keccak-256 of that.
#[derive(Deserialize)]
struct Signed {
    reading: String,
    signature: Signature,
}
#[derive(Deserialize)]
struct Close {
    at: AnchorAt,
    /// The number of the last batch, once it is anchored.
    anchored: Option<u64>,
}
#[derive(Serialize)]
struct Closed {
    number: u64,
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

    /// Once closed a batch stays as it is: what is signed again is the same, and its series has no gap.
    fn close(&mut self, by: Address, anchored: Option<u64>) -> Result<(u64, Vec<String>), Refusal> {
        if self.owner != Some(by) {
            return Err(refuse("only the owner closes a batch"));
        }
        if anchored == Some(self.number) {
            (self.closed, self.number) = (Vec::new(), self.number.saturating_add(1));
        }
        if self.closed.is_empty() {
            self.closed = std::mem::take(&mut self.pending);
        }
        Ok((self.number, self.closed.clone()))
    }
}

struct Hub;

impl App for Hub {
    const NAME: &'static str = "device-feed";

    async fn handle(&self, cx: &Context, request: Request) -> Result<Response, Refusal> {
        let by = request.peer();
        match request.route() {
            ("POST", "/devices") => {
                let device = request.json()?;
                Response::json(&FEED.update(cx, |feed| feed.know(by, device)).await?)
            }
            ("POST", "/readings") => {
                let signed = request.json()?;
                Response::json(&FEED.update(cx, |feed| feed.take(signed)).await?)
            }
            ("POST", "/batches") => {
                let Close { at, anchored } = request.json()?;
                let (number, readings) = FEED.update(cx, |feed| feed.close(by, anchored)).await?;
                let hashes: Vec<_> = readings.iter().map(|reading| keccak(reading.as_bytes())).collect();
                let batch = cx.anchor(&hashes, at)?;
                Ok(Response::json(&Closed { number, batch, readings })?.proved(1))
            }
            _ => Err(request.no_such_path()),
        }
    }
}

glacier_app::main!(Hub);
