//! What the proxy knows of the enclave, and its proofs, for whoever asks.

use crate::{fault::Fault, oip, pool::Lease, proofs::Kept, proxy::Proxy};
use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use glacier::attest::Check;
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};

const OPENAPI: &str = include_str!("../proto/openapi.json");

pub(crate) fn routes() -> Router<Arc<Proxy>> {
    Router::new()
        .route("/glacier/v1/attestation", get(attestation))
        .route("/glacier/v1/proofs", get(proofs))
        .route("/glacier/v1/proofs/{name}", get(proof))
        .route("/openapi.json", get(openapi))
}

/// Attests, or takes a session that is attested, and tells what was found.
pub(crate) async fn document(proxy: &Proxy) -> Result<Value, Fault> {
    let lease = proxy.pool.take().await?;
    let said = describe(proxy, &lease);
    proxy.pool.give_back(lease);
    Ok(said)
}

fn describe(proxy: &Proxy, lease: &Lease<'_>) -> Value {
    let session = lease.session();
    let (accepted, claims) = (session.accepted(), session.claims());
    json!({
        "accepted": true,
        "node": proxy.pool.node(),
        "platform": accepted.platform().as_str(),
        "simulated": accepted.platform() == glacier::wire::PlatformKind::Simulated,
        "enclave_id": accepted.enclave_id(),
        "measurement": accepted.measurement(),
        "checks": checks(session.appraisal()),
        "claims": {
            "enclave_key": claims.enclave_key,
            "channel_key": hex::encode(claims.channel_key),
            "issued_at": claims.issued_at,
            "nonce": claims.nonce.map(hex::encode),
        },
        "policy": proxy.pool.policy(),
        "session": {
            "age_seconds": lease.age().as_secs(),
            "ends_after_seconds": proxy.config.reattest.as_secs(),
            "post_quantum": session.post_quantum(),
            "party": session.party(),
        },
        "answered": proxy.counts.answered.load(Ordering::Relaxed),
        "failed": proxy.counts.failed.load(Ordering::Relaxed),
    })
}

pub(crate) fn checks(checks: &[Check]) -> Value {
    let line = |check: &Check| json!({"id": check.id.as_str(), "outcome": check.outcome, "reason": check.reason.to_string(), "device": check.device});
    checks.iter().map(line).collect()
}

async fn attestation(State(proxy): State<Arc<Proxy>>) -> Response {
    match document(&proxy).await {
        Ok(said) => Json(said).into_response(),
        Err(fault) => {
            let said = json!({
                "accepted": false,
                "node": proxy.pool.node(),
                "error": fault.to_string(),
                "code": fault.code,
                "checks": checks(&fault.checks),
                "policy": proxy.pool.policy(),
            });
            (oip::status(&fault), Json(said)).into_response()
        }
    }
}

async fn proofs(State(proxy): State<Arc<Proxy>>) -> Response {
    let listed: Vec<Value> = proxy.proofs.list().iter().map(|kept| json!(**kept)).collect();
    Json(listed).into_response()
}

/// The file of one proof; what opens its commitments is in the headers.
async fn proof(State(proxy): State<Arc<Proxy>>, name: Result<Path<String>, PathRejection>) -> Response {
    let Some(kept) = name.ok().and_then(|Path(name)| proxy.proofs.find(&name)) else {
        let help = "`GET /glacier/v1/proofs` lists the latest; start the proxy with --proofs DIR to keep all";
        return oip::error(&Fault::new(404, "not-found", "no such proof is in memory", help));
    };
    let mut response = kept.file.clone().into_response();
    let said = said_of_file(&kept);
    response.headers_mut().extend(said);
    response
}

fn said_of_file(kept: &Kept) -> HeaderMap {
    let said = [
        (header::CONTENT_TYPE, "application/cbor".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.proof\"", kept.hash)),
        (HeaderName::from_static("glacier-input-salt"), kept.input_salt.to_string()),
        (HeaderName::from_static("glacier-output-salt"), kept.output_salt.to_string()),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?))).collect()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
