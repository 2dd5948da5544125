//! One vendor's service over HTTP: bounded answers, time limits, retries, and rest when it asks for it.

use std::{
    error::Error as _,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use percent_encoding::percent_decode_str;
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    builder::{Retry, Timeouts},
    error::{FetchError, Malformed, Unreachable},
};

/// A service under one base URL.
pub(crate) struct Source {
    client: Client,
    base: String,
    timeouts: Timeouts,
    retry: Retry,
    /// As many requests at a time as it is asked to bear.
    gate: Semaphore,
    /// Until then it asked to be left alone.
    quiet_until: Mutex<Option<Instant>>,
}

/// One question.
pub(crate) struct Call<'a> {
    /// Path and query below the base URL.
    pub(crate) path: &'a str,
    pub(crate) accept: &'static str,
    /// Body and its type, for a POST.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// Most bytes of the answer.
    pub(crate) max: usize,
}

/// A complete answer with status 200.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Source {
    pub(crate) fn new(client: Client, base: String, timeouts: Timeouts, retry: Retry, at_once: usize) -> Self {
        Self { client, base, timeouts, retry, gate: Semaphore::new(at_once), quiet_until: Mutex::new(None) }
    }

    /// Asks until there is an answer, the fault is one that will not pass, or attempts or time are used up.
    /// The time spent in the queue counts.
    pub(crate) async fn ask(&self, call: Call<'_>) -> Result<Reply, FetchError> {
        let deadline = Instant::now().checked_add(self.timeouts.total).ok_or(Unreachable::Timeout)?;
        let mut fault = Unreachable::Timeout.into();
        // When the time is up, the last fault says more than that it is up.
        timeout_at(deadline, self.attempts(&call, deadline, &mut fault)).await.unwrap_or(Err(fault))
    }

    async fn attempts(&self, call: &Call<'_>, deadline: Instant, last: &mut FetchError) -> Result<Reply, FetchError> {
        let _turn = self.gate.acquire().await.map_err(|_| FetchError::Interrupted)?;
        let mut pause = self.retry.first_pause;
        for left in (0..self.retry.attempts.max(1)).rev() {
            self.rest(deadline).await?;
            let fault = match timeout(self.timeouts.attempt, self.attempt(call)).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(fault)) => fault,
                Err(_) => Unreachable::Timeout.into(),
            };
            if left == 0 || !fault.may_pass() {
                return Err(fault);
            }
            *last = fault;
            sleep(jitter(pause)).await;
            pause = pause.saturating_mul(2).min(self.retry.longest_pause);
        }
        Err(last.clone())
    }

    /// Waits out the rest that was asked for, if that fits into the time that is left.
    async fn rest(&self, deadline: Instant) -> Result<(), FetchError> {
        let now = Instant::now();
        let until = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| *until > now);
        let Some(until) = until else { return Ok(()) };
        if until >= deadline {
            return Err(FetchError::RateLimited { seconds: until.duration_since(now).as_secs().saturating_add(1) });
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Reply, FetchError> {
        let url = format!("{}{}", self.base, call.path);
        let request = match &call.body {
            Some((kind, body)) => self.client.post(url).header(CONTENT_TYPE, *kind).body(body.clone()),
            None => self.client.get(url),
        };
        let response = request.header(ACCEPT, call.accept).send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => read(response, call.max).await,
            StatusCode::NOT_FOUND => Err(FetchError::NotFound),
            StatusCode::TOO_MANY_REQUESTS => {
                let rest = self.keep_quiet(retry_after(response.headers()).unwrap_or(DEFAULT_REST));
                Err(FetchError::RateLimited { seconds: rest.as_secs() })
            }
            status => {
                if let (true, Some(rest)) = (status.is_server_error(), retry_after(response.headers())) {
                    self.keep_quiet(rest);
                }
                Err(FetchError::Status(status.as_u16()))
            }
        }
    }

    fn keep_quiet(&self, rest: Duration) -> Duration {
        let rest = rest.min(LONGEST_REST);
        let until = Instant::now().checked_add(rest);
        *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        rest
    }
}

impl Reply {
    /// The PEM chain in the first of these headers that is there.
    pub(crate) fn issuer_chain(&self, names: &[&'static str]) -> Result<String, Malformed> {
        let Some((name, value)) = names.iter().find_map(|name| Some((*name, self.headers.get(*name)?))) else {
            return Err(Malformed::NoHeader(names.first().copied().unwrap_or_default()));
        };
        let text = value.to_str().ok().filter(|text| text.len() <= MAX_CHAIN_HEADER);
        decode_chain(text.ok_or(Malformed::Header(name))?).ok_or(Malformed::Header(name))
    }
}

fn decode_chain(text: &str) -> Option<String> {
    let chain = percent_decode_str(text).decode_utf8().ok()?;
    // What is still encoded was encoded twice.
    (chain.starts_with("-----BEGIN CERTIFICATE-----") && !chain.contains('%')).then(|| chain.into_owned())
}

/// Reads at most `max` bytes, whatever length was announced.
async fn read(mut response: Response, max: usize) -> Result<Reply, FetchError> {
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if chunk.len() > max.saturating_sub(body.len()) {
            return Err(FetchError::TooLarge { max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { headers, body })
}

fn unreachable(error: reqwest::Error) -> FetchError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return Unreachable::Tls.into();
        }
        // What an IO error wraps is not its source: that is the source of what it wraps.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let kind = if error.is_timeout() {
        Unreachable::Timeout
    } else if error.is_connect() {
        Unreachable::Connect
    } else {
        Unreachable::Broken
    };
    kind.into()
}

/// Whole seconds; the form with a date is read as absent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Between half of the pause and the whole, so that clients that failed together do not return together.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness the pause is merely the longest.
    if getrandom::fill(&mut random).is_err() {
        return pause;
    }
    let part = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
    pause.mul_f64(0.5 + part / 2.0)
}

/// After a 429 that does not say for how long.
const DEFAULT_REST: Duration = Duration::from_secs(30);
/// However long a service asks for, it is asked again after this.
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// Two certificates, percent-encoded, take 5 KiB.
const MAX_CHAIN_HEADER: usize = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_is_decoded_once() {
        let chain = "-----BEGIN CERTIFICATE-----\nAB+/\n-----END CERTIFICATE-----\n";
        let encoded = "-----BEGIN%20CERTIFICATE-----%0AAB%2B%2F%0A-----END%20CERTIFICATE-----%0A";
        assert_eq!(decode_chain(encoded).as_deref(), Some(chain));
        assert_eq!(decode_chain(&encoded.replace('%', "%25")), None);
    }

    #[test]
    fn retry_after_is_in_seconds() {
        let after = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())])).map(|rest| rest.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("-1"), None);
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_a_chain_or_nothing(text in "\\PC*") {
            if let Some(chain) = decode_chain(&text) {
                prop_assert!(chain.starts_with("-----BEGIN CERTIFICATE-----"));
            }
        }

        #[test]
        fn pauses_stay_within_half_and_whole(millis in 0..100_000u64) {
            let pause = Duration::from_millis(millis);
            let found = jitter(pause);
            prop_assert!(found <= pause && found >= pause / 2);
        }
    }
}
