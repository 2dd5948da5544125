//! The keys of one run of the enclave, and the evidence that commits to them.

use glacier_channel::{Attester, ChannelKey, NoQuote};
use glacier_platform::{Platform, PlatformError};
use glacier_wire::{Address, Claims, Evidence, Purpose, UnixTime};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Evidence of this epoch. The quote is made once, because hardware quotes slowly and one at a
/// time; each session is bound to it by a signature of the channel key.
pub(crate) struct Epoch {
    platform: Arc<dyn Platform>,
    claims: Claims,
    cached: Arc<Evidence>,
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
        let cached = Arc::new(evidence(&*platform, &claims)?);
        Ok(Self { platform, claims, cached })
    }

    pub(crate) fn evidence(&self) -> Arc<Evidence> {
        self.cached.clone()
    }
}

impl Attester for Epoch {
    fn cached(&self) -> Arc<Evidence> {
        self.cached.clone()
    }

    fn fresh(&self, nonce: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>> {
        let platform = self.platform.clone();
        let claims = Claims { issued_at: now(), nonce: Some(nonce), ..self.claims.clone() };
        Box::pin(async move {
            let quoted = tokio::task::spawn_blocking(move || evidence(&*platform, &claims)).await;
            quoted.ok().and_then(Result::ok).ok_or(NoQuote)
        })
    }
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
