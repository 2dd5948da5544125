//! Reference manifests (RIMs) from NVIDIA's RIM service.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;

use crate::{
    error::{FetchError, Malformed},
    http::Call,
    request::{RequestError, Sources, sealed::Ask},
};

/// Id of a reference manifest, as `NV_GPU_DRIVER_GH100_550.90.07`. The answer is its XML.
///
/// A manifest does not change, but it is signed anew when its signer's certificate ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RimId(String);

impl RimId {
    /// 1 to 128 letters, digits, `_`, `-` and `.`: it becomes part of a URL and of a file name.
    pub fn new(id: impl Into<String>) -> Result<Self, RequestError> {
        let id = id.into();
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        // A URL has no path segments of dots alone.
        let named = id.bytes().any(|byte| byte.is_ascii_alphanumeric());
        if named && id.len() <= 128 && id.bytes().all(known) { Ok(Self(id)) } else { Err(RequestError::RimId) }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ask for RimId {
    fn key(&self) -> String {
        format!("nvidia-rim-{}", self.0)
    }

    async fn fetch(&self, sources: &Sources) -> Result<Vec<u8>, FetchError> {
        let path = format!("/v1/rim/{}", self.0);
        let call = Call { path: &path, accept: "application/json", body: None, max: MAX_RIM };
        Ok(self.read(&sources.nvidia_rim.ask(call).await?.body)?)
    }
}

impl RimId {
    /// The digest beside the manifest comes from the same hand and proves nothing: it is not looked at.
    fn read(&self, body: &[u8]) -> Result<Vec<u8>, Malformed> {
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| Malformed::Json)?;
        if !answer.id.eq_ignore_ascii_case(&self.0) {
            return Err(Malformed::OtherId);
        }
        Base64::decode_vec(answer.rim).map_err(|_| Malformed::Base64)
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: &'a str,
    rim: &'a str,
}

/// Genuine ones take 30 KiB.
const MAX_RIM: usize = 512 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_that_would_leave_their_place_are_refused() {
        for id in ["", ".", "..", "a/b", "a?b", "a b", "ä", &"a".repeat(129)] {
            assert_eq!(RimId::new(id), Err(RequestError::RimId), "{id}");
        }
        assert!(RimId::new("NV_GPU_DRIVER_GH100_550.90.07").is_ok());
    }

    #[test]
    fn the_manifest_of_another_id_is_refused() {
        let id = RimId::new("A").unwrap();
        assert_eq!(id.read(br#"{"id":"B","rim":""}"#), Err(Malformed::OtherId));
        assert_eq!(id.read(br#"{"id":"a","rim":"PD4="}"#).unwrap(), b"<>");
        assert_eq!(id.read(br#"{"id":"A","rim":"PD4"}"#), Err(Malformed::Base64));
        assert_eq!(id.read(br#"{"id":"A"}"#), Err(Malformed::Json));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = RimId::new("A").unwrap().read(&body);
        }
    }
}
