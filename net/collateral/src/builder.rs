//! How a client is set up.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::{Url, redirect::Policy};

use crate::{
    cache::Cache,
    client::Client,
    clock::{self, Clock},
    http::Source,
    request::Sources,
    tls,
};

/// Sets up a [`Client`]. What is not set is the vendors' own services and the machine's clock.
pub struct Builder {
    cache_folder: PathBuf,
    ca_file: Option<PathBuf>,
    timeouts: Timeouts,
    retry: Retry,
    clock: Arc<dyn Clock>,
    intel: String,
    intel_root_crl: String,
    intel_root_crl_path: &'static str,
    nvidia_rim: String,
    nvidia_ocsp: String,
    amd_kds: String,
}

/// Limits of time for one HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection. 5 s.
    pub connect: Duration,
    /// Until one attempt is finished, to the last byte of the answer. 10 s.
    pub attempt: Duration,
    /// Until all attempts, pauses and the queue are finished. 30 s.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(5), attempt: seconds(10), total: seconds(30) }
    }
}

/// How often and when to try again what may pass: no connection, a time limit, status 429 and 5xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all. 4.
    pub attempts: u32,
    /// Pause after the first, at most; each further pause is twice as long. 500 ms.
    pub first_pause: Duration,
    /// No pause is longer. 8 s.
    pub longest_pause: Duration,
    /// After all attempts failed, the same question is not put again for this long. 30 s.
    pub rest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { attempts: 4, first_pause: Duration::from_millis(500), longest_pause: seconds(8), rest: seconds(30) }
    }
}

/// A service that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Service {
    /// Intel's Provisioning Certification Service, or a PCCS.
    Intel,
    /// Where Intel's root CRL lies.
    IntelRootCrl,
    /// NVIDIA's reference manifests.
    NvidiaRim,
    /// NVIDIA's OCSP responder.
    NvidiaOcsp,
    /// AMD's Key Distribution Service.
    AmdKds,
}

/// Why a client cannot be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Not an `http` or `https` URL with a host and without query and fragment.
    #[error("no base URL for {0:?}")]
    Url(Service),
    /// The cache folder cannot be made.
    #[error("the cache folder cannot be made: {0}")]
    Cache(io::ErrorKind),
    /// The file of additional authorities cannot be read.
    #[error("the CA file cannot be read: {0}")]
    CaFile(io::ErrorKind),
    /// The file of additional authorities holds no PEM certificate, or a damaged one.
    #[error("the CA file holds no certificate, or a damaged one")]
    NoCertificate,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls,
}

impl Builder {
    /// Keeps answers in this folder, which is made if need be. Processes may share it.
    pub fn new(cache_folder: impl Into<PathBuf>) -> Self {
        Self {
            cache_folder: cache_folder.into(),
            ca_file: None,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            clock: Arc::new(clock::system),
            intel: "https://api.trustedservices.intel.com".into(),
            intel_root_crl: "https://certificates.trustedservices.intel.com".into(),
            intel_root_crl_path: "/IntelSGXRootCA.der",
            nvidia_rim: "https://rim.attestation.nvidia.com".into(),
            nvidia_ocsp: "https://ocsp.ndis.nvidia.com".into(),
            amd_kds: "https://kdsintf.amd.com".into(),
        }
    }

    /// Asks a PCCS at this base URL, as `https://localhost:8081`, for all that is Intel's, the root CRL
    /// included. The path `/sgx/certification/v4`, with which Intel's own tools name it, may follow. Its
    /// certificate goes into the [`ca_file`](Self::ca_file).
    pub fn pccs(mut self, base: impl Into<String>) -> Self {
        let base = base.into();
        let base = base.trim_end_matches('/');
        self.intel = base.strip_suffix("/sgx/certification/v4").unwrap_or(base).to_owned();
        self.intel_root_crl = self.intel.clone();
        self.intel_root_crl_path = "/sgx/certification/v4/rootcacrl";
        self
    }

    /// Asks Intel's service at another base URL, and another host for `/IntelSGXRootCA.der`.
    pub fn intel(mut self, base: impl Into<String>, root_crl_base: impl Into<String>) -> Self {
        self.intel = base.into();
        self.intel_root_crl = root_crl_base.into();
        self.intel_root_crl_path = "/IntelSGXRootCA.der";
        self
    }

    /// Asks for NVIDIA's reference manifests here: `/v1/rim/…` below it.
    pub fn nvidia_rim(mut self, base: impl Into<String>) -> Self {
        self.nvidia_rim = base.into();
        self
    }

    /// Asks for the revocation of NVIDIA's certificates here.
    pub fn nvidia_ocsp(mut self, url: impl Into<String>) -> Self {
        self.nvidia_ocsp = url.into();
        self
    }

    /// Asks AMD's service here: `/vcek/v1/…` below it.
    pub fn amd_kds(mut self, base: impl Into<String>) -> Self {
        self.amd_kds = base.into();
        self
    }

    /// Trusts, beside the machine's authorities, the PEM certificates in this file: authorities, or
    /// a server's own certificate, which then is recognised byte for byte under any name.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Limits of time.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How often to try again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Judges validity by this clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Reads the CA file and makes the cache folder. Connects to nobody.
    pub fn build(self) -> Result<Client, BuildError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(self.ca_file.as_deref().map(Path::new))?)
            .connect_timeout(self.timeouts.connect)
            // None of the services sends elsewhere, and whom to ask was named here.
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("glacier-collateral/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| BuildError::Tls)?;
        let source = |service, base: &str, at_once| {
            Ok(Source::new(http.clone(), base_url(service, base)?, self.timeouts, self.retry, at_once))
        };
        let sources = Sources {
            intel: source(Service::Intel, &self.intel, AT_ONCE)?,
            intel_root_crl: source(Service::IntelRootCrl, &self.intel_root_crl, AT_ONCE)?,
            intel_root_crl_path: self.intel_root_crl_path,
            nvidia_rim: source(Service::NvidiaRim, &self.nvidia_rim, AT_ONCE)?,
            nvidia_ocsp: source(Service::NvidiaOcsp, &self.nvidia_ocsp, AT_ONCE)?,
            // The service counts requests per address and answers 429 to more than one in some seconds.
            amd: source(Service::AmdKds, &self.amd_kds, 1)?,
        };
        let cache = Cache::open(&self.cache_folder).map_err(|error| BuildError::Cache(error.kind()))?;
        Ok(Client::new(sources, cache, self.clock, self.retry.rest))
    }
}

fn base_url(service: Service, text: &str) -> Result<String, BuildError> {
    let url = Url::parse(text).map_err(|_| BuildError::Url(service))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.has_host();
    if !plain || !matches!(url.scheme(), "http" | "https") {
        return Err(BuildError::Url(service));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Requests to one service at a time.
const AT_ONCE: usize = 8;
