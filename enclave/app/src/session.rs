//! One attested session: HTTP/1.1 inside the channel, request by request to the application.

use crate::{App, Context, Request, Response, Statement, Worked};
use bytes::Bytes;
use glacier_wire::{
    Address, Commitment,
    api::{Refusal, RefusalCode},
    cbor,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};

/// Answers requests until the peer is done.
pub(crate) async fn run<A: App, S>(app: Arc<A>, cx: Context, peer: Address, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (app, cx) = (app.clone(), cx.clone());
        async move { Ok::<_, Infallible>(into_http(answer(&*app, &cx, peer, request).await)) }
    });
    // An error here is a peer that went away or sent no HTTP; there is nobody left to tell.
    let _ = hyper::server::conn::http1::Builder::new()
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer<A: App>(app: &A, cx: &Context, peer: Address, request: hyper::Request<Incoming>) -> Response {
    match try_answer(app, cx, peer, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into(),
    }
}

async fn try_answer<A: App>(
    app: &A,
    cx: &Context,
    peer: Address,
    request: hyper::Request<Incoming>,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, A::MAX_BODY).collect().await.map_err(|fault| {
        if fault.is::<LengthLimitError>() {
            Refusal::new(RefusalCode::TooLarge, format!("a request body has at most {} bytes", A::MAX_BODY))
        } else {
            Refusal::new(RefusalCode::BadRequest, "the request body ended early")
        }
    })?;
    let request = Request { peer, method: head.method, uri: head.uri, headers: head.headers, body: body.to_bytes() };
    if request.path() == "/glacier/v1/enclave" {
        return Ok(Response::cbor(&cx.info()));
    }
    let input = request.body.clone();
    let mut response = app.handle(cx, request).await?;
    if let Some(worked) = response.worked.take() {
        prove(cx, &worked, &input, &mut response).await?;
    }
    Ok(response)
}

/// Binds request and response into a Work Proof. The salts go to the party alone, so the proof
/// itself tells nobody what was asked or answered.
async fn prove(cx: &Context, worked: &Worked, input: &Bytes, response: &mut Response) -> Result<(), Refusal> {
    let (input_salt, output_salt) = (cx.nonce(), cx.nonce());
    let statement = Statement {
        work: worked.work,
        manifest: worked.manifest,
        model: worked.model,
        input: Commitment::to_body(&input_salt, input),
        output: Commitment::to_body(&output_salt, &response.body),
        units: worked.units,
        settlement: worked.settlement,
    };
    let proof = cx.sign(&statement).await?;
    response.headers.push(("glacier-proof", hex(&cbor::encode(&proof))));
    response.headers.push(("glacier-input-salt", input_salt.to_string()));
    response.headers.push(("glacier-output-salt", output_salt.to_string()));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn into_http(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut builder = hyper::Response::builder().status(response.status).header("content-type", response.content_type);
    for (name, value) in response.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(response.body.into())).unwrap_or_else(|_| {
        let mut response = hyper::Response::new(Full::default());
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
