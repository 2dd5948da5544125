//! The keys of one run of the enclave, and the evidence that commits to them.

use crate::host::{HostError, HostPort};
use glacier_channel::{Attester, ChannelKey, NoQuote};
use glacier_platform::{Platform, PlatformError};
use glacier_wire::{
    Address, Claims, Evidence, Purpose, UnixTime,
    api::{HOST_CHUNK, HostRequest},
    cbor,
};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Evidence of this epoch. All sessions share a quote, because hardware quotes slowly and one at a
/// time; each is bound to it by a signature of the channel key.
pub(crate) struct Epoch {
    platform: Arc<dyn Platform>,
    claims: Claims,
    cached: RwLock<Arc<Evidence>>,
}

/// How often the keys are quoted anew. By intervals, which the host's clock has no part in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// After a quote. Evidence is young enough for any policy that allows a few hours.
    every: Duration,
    /// After a failure: several attempts before evidence is too old for a policy that says nothing of age.
    again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { every: Duration::from_secs(4 * 60 * 60), again: Duration::from_secs(5 * 60) }
    }
}

impl Epoch {
    /// Has the platform quote the two keys. Blocks for as long as the hardware takes.
    pub(crate) fn begin(
        platform: Arc<dyn Platform>,
        channel_key: &ChannelKey,
        enclave_key: Address,
    ) -> Result<Self, PlatformError> {
        let claims = Claims {
            purpose: Purpose::Channel,
            channel_key: channel_key.spki_sha256(),
            enclave_key,
            issued_at: now(),
            nonce: None,
            devices: None,
        };
        let cached = RwLock::new(Arc::new(evidence(&*platform, &claims)?));
        Ok(Self { platform, claims, cached })
    }

    /// The newest evidence.
    pub(crate) fn evidence(&self) -> Arc<Evidence> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows the evidence to the host, and has the keys quoted anew before it is too old, until the enclave ends.
    pub(crate) async fn renew(&self, host: &HostPort, pace: Pace) {
        loop {
            let _ = show(&self.evidence(), host).await;
            tokio::time::sleep(pace.every).await;
            let renewed = loop {
                match self.quote(None).await {
                    Ok(evidence) => break evidence,
                    // What there is still stands.
                    Err(NoQuote) => tokio::time::sleep(pace.again).await,
                }
            };
            *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(renewed);
        }
    }

    async fn quote(&self, nonce: Option<[u8; 32]>) -> Result<Evidence, NoQuote> {
        let platform = self.platform.clone();
        let claims = Claims { issued_at: now(), nonce, ..self.claims.clone() };
        let quoted = tokio::task::spawn_blocking(move || evidence(&*platform, &claims)).await;
        quoted.ok().and_then(Result::ok).ok_or(NoQuote)
    }
}

impl Attester for Epoch {
    fn cached(&self) -> Arc<Evidence> {
        self.evidence()
    }

    fn fresh(&self, nonce: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>> {
        Box::pin(self.quote(Some(nonce)))
    }
}

/// Has the host show this enclave's evidence to whoever asks. A host that does not show it hides nothing:
/// every client gets it inside the channel.
async fn show(evidence: &Evidence, host: &HostPort) -> Result<(), HostError> {
    let evidence = cbor::encode(evidence);
    if evidence.len() <= HOST_CHUNK {
        // Whatever it answers, nothing waits for that.
        host.begin(HostRequest::Show { evidence }).await?;
    }
    Ok(())
}

fn evidence(platform: &dyn Platform, claims: &Claims) -> Result<Evidence, PlatformError> {
    let collateral = collateral(platform)?;
    Ok(Evidence::new(platform.quote(&claims.report_data())?, claims.encode(), collateral))
}

/// What the platform brings to judge its quotes by.
pub(crate) fn collateral(platform: &dyn Platform) -> Result<Vec<u8>, PlatformError> {
    match platform.collateral() {
        // The verifier brings its own: without it no verdict of its is an acceptance.
        Err(PlatformError::CollateralFromHost) => Ok(Vec::new()),
        other => other,
    }
}

/// The host's clock. Nothing is kept secret by it; see [`Claims::issued_at`].
pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use glacier_platform::{LockedKey, SealingPurpose};
    use glacier_wire::{
        EnclaveId, Measurement, PlatformKind, ReportData,
        api::{HOST_FRAME, HostAnswer, HostCall, HostReply},
    };
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    /// Each quote has its number, and those with one of these numbers fail.
    struct Chip {
        made: AtomicU32,
        fails: [u32; 2],
    }

    impl Platform for Chip {
        fn kind(&self) -> PlatformKind {
            PlatformKind::Simulated
        }

        fn measurement(&self) -> Measurement {
            Measurement([1; 32])
        }

        fn enclave_id(&self) -> EnclaveId {
            EnclaveId([2; 32])
        }

        fn quote(&self, data: &ReportData) -> Result<Vec<u8>, PlatformError> {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            if self.fails.contains(&number) {
                return Err(PlatformError::TimedOut);
            }
            Ok([&number.to_le_bytes()[..], data].concat())
        }

        fn collateral(&self) -> Result<Vec<u8>, PlatformError> {
            Err(PlatformError::CollateralFromHost)
        }

        fn sealing_key(&self, _: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
            Err(PlatformError::NoSealingKey)
        }
    }

    async fn shown(port: &mut UnixStream) -> Evidence {
        let len = port.read_u32_le().await.unwrap();
        let mut bytes = vec![0; len as usize];
        port.read_exact(&mut bytes).await.unwrap();
        let HostCall { id, request } = cbor::decode(&bytes, HOST_FRAME).unwrap();
        let HostRequest::Show { evidence } = request else { panic!("{request:?}") };
        let bytes = cbor::encode(&HostAnswer { id, reply: HostReply::Done });
        port.write_all(&(bytes.len() as u32).to_le_bytes()).await.unwrap();
        port.write_all(&bytes).await.unwrap();
        cbor::decode(&evidence, Evidence::MAX_BYTES).unwrap()
    }

    #[tokio::test]
    async fn the_same_keys_are_quoted_anew_and_shown_and_a_chip_that_fails_is_asked_again() {
        let chip = Arc::new(Chip { made: AtomicU32::new(0), fails: [2, 3] });
        let key = ChannelKey::generate().unwrap();
        let epoch = Arc::new(Epoch::begin(chip.clone(), &key, Address([3; 20])).unwrap());
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (host, renewing) = (HostPort::new(theirs), epoch.clone());
        let pace = Pace { every: Duration::from_millis(30), again: Duration::from_millis(20) };
        tokio::spawn(async move { renewing.renew(&host, pace).await });
        for number in [0, 1, 4, 5u32] {
            let evidence = shown(&mut ours).await;
            assert_eq!(evidence.quote[..4], number.to_le_bytes());
            let claims = Claims::decode(&evidence.claims).unwrap();
            assert_eq!(evidence.quote[4..], claims.report_data());
            assert_eq!((claims.channel_key, claims.enclave_key), (key.spki_sha256(), Address([3; 20])));
            assert_eq!((claims.nonce, claims.purpose), (None, Purpose::Channel));
            // What sessions are given is what the host shows.
            assert_eq!(*epoch.cached(), evidence);
        }
    }
}
