//! What the tests share: recorded collateral, served as Intel's service and a PCCS serve it.

#![allow(dead_code)]

pub(crate) mod server;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use glacier_attest::Anchors;
use glacier_collateral::{Builder, Client, Clock, IntelCollateralRequest, IntelVerifier, PckCa, Retry, Tee, Timeouts};
use glacier_wire::UnixTime;
use serde_json::Value;
use server::{Asked, Reply};

/// The folder of recorded evidence, where there is one.
pub(crate) fn vectors() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors"));
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no vectors");
    None
}

/// Time that tests set.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn at(now: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    pub(crate) fn set(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }
}

impl Clock for Time {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// Short limits: a test waits for them.
pub(crate) fn hasty(builder: Builder) -> Builder {
    builder
        .timeouts(Timeouts {
            connect: Duration::from_secs(2),
            attempt: Duration::from_millis(1500),
            total: Duration::from_secs(4),
        })
        .retry(Retry {
            attempts: 3,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(20),
            rest: Duration::from_secs(1),
        })
}

pub(crate) fn intel() -> Arc<IntelVerifier> {
    Arc::new(IntelVerifier::new(Anchors::vendor()))
}

/// One recorded set.
#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) json: Value,
}

impl Set {
    pub(crate) fn read(path: &str) -> Self {
        let bytes = std::fs::read(vectors().unwrap().join(path)).unwrap();
        Self { json: serde_json::from_slice(&bytes).unwrap() }
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap()
    }

    pub(crate) fn with(mut self, member: &str, text: impl Into<String>) -> Self {
        self.json[member] = Value::String(text.into());
        self
    }

    pub(crate) fn fmspc(&self) -> [u8; 6] {
        let tcb_info: Value = serde_json::from_str(self.text("tcb_info")).unwrap();
        let mut fmspc = [0; 6];
        hex_into(tcb_info["fmspc"].as_str().unwrap(), &mut fmspc);
        fmspc
    }

    pub(crate) fn request(&self, tee: Tee, ca: PckCa) -> IntelCollateralRequest {
        IntelCollateralRequest::new(tee, self.fmspc(), ca)
    }

    /// As Intel's service answers, the root CRL beside it.
    pub(crate) fn pcs(&self, request: &Asked) -> Reply {
        let path = request.target.split('?').next().unwrap();
        let chain = |name: &str| encode(self.text(name));
        let bytes = |name: &str| unhex(self.text(name));
        match path.trim_start_matches("/sgx").trim_start_matches("/tdx") {
            "/certification/v4/pckcrl" => {
                Reply::ok(bytes("pck_crl")).header("SGX-PCK-CRL-Issuer-Chain", chain("pck_crl_issuer_chain"))
            }
            "/certification/v4/tcb" => Reply::ok(format!(
                "{{\"tcbInfo\":{},\"signature\":\"{}\"}}",
                self.text("tcb_info"),
                self.text("tcb_info_signature")
            ))
            .header("TCB-Info-Issuer-Chain", chain("tcb_info_issuer_chain")),
            "/certification/v4/qe/identity" => Reply::ok(format!(
                "{{\"enclaveIdentity\":{},\"signature\":\"{}\"}}",
                self.text("qe_identity"),
                self.text("qe_identity_signature")
            ))
            .header("SGX-Enclave-Identity-Issuer-Chain", chain("qe_identity_issuer_chain")),
            "/IntelSGXRootCA.der" => Reply::ok(bytes("root_ca_crl")),
            _ => Reply::status(404),
        }
    }

    /// As a PCCS answers: lists in hexadecimal, the older name of a header.
    pub(crate) fn pccs(&self, request: &Asked) -> Reply {
        let path = request.target.split('?').next().unwrap();
        match path {
            "/sgx/certification/v4/rootcacrl" => Reply::ok(self.text("root_ca_crl")),
            "/sgx/certification/v4/pckcrl" => Reply { body: self.text("pck_crl").into(), ..self.pcs(request) },
            _ => {
                let mut reply = self.pcs(request);
                for (name, _) in &mut reply.headers {
                    *name = name.replace("TCB-Info", "SGX-TCB-Info");
                }
                reply
            }
        }
    }
}

/// A client of one server, which plays Intel.
pub(crate) fn client(base: &str, folder: &std::path::Path, time: &Time) -> Client {
    hasty(Client::builder(folder)).intel(base, base).clock(time.clone()).build().unwrap()
}

pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn hex_into(text: &str, out: &mut [u8]) {
    hex::decode_to_slice(text, out).unwrap();
}
