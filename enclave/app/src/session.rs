//! One attested session: HTTP/1.1 inside the channel, request by request to the application.

use crate::{
    BodyStream, Context, Request, Response, SessionState, Statement, Worked,
    app::Served,
    outbound::PEER,
    stream::{self, StreamBody},
};
use bytes::Bytes;
use glacier_wire::{
    Address, Commitment, Nonce,
    api::{Refusal, RefusalCode, StateHead, Trailer},
    cbor,
    federation::Credential,
};
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    HeaderMap,
    body::{Body, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Answers requests until the peer is done. Then the session's state is wiped.
pub(crate) async fn run<S>(app: Arc<dyn Served>, cx: Context, peer: Address, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let state = SessionState::default();
    let _ending = Ending(state.clone());
    let caller = Caller { peer, state };
    let service = service_fn(move |request| {
        let (app, cx, caller) = (app.clone(), cx.clone(), caller.clone());
        async move { Ok::<_, Infallible>(answer(&*app, &cx, caller, request).await) }
    });
    // An error here is a peer that went away or sent no HTTP; there is nobody left to tell.
    let _ = hyper::server::conn::http1::Builder::new()
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Who is at the other end.
#[derive(Clone)]
struct Caller {
    peer: Address,
    state: SessionState,
}

/// However the session ends.
struct Ending(SessionState);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

type Outgoing = Either<Full<Bytes>, StreamBody>;

async fn answer(
    app: &dyn Served,
    cx: &Context,
    caller: Caller,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Outgoing> {
    let answered = try_answer(app, cx, caller, request).await;
    let (mut response, body) = answered.unwrap_or_else(|refusal| (refusal.into(), None));
    let heads = cx.states().heads().await;
    if !heads.is_empty() {
        response.headers.push((StateHead::TOLD, StateHead::write_all(&heads)));
    }
    into_http(response, body)
}

async fn try_answer(
    app: &dyn Served,
    cx: &Context,
    caller: Caller,
    request: hyper::Request<Incoming>,
) -> Result<(Response, Option<StreamBody>), Refusal> {
    let (head, body) = request.into_parts();
    cx.states().hold_against(cx, &seen(&head.headers)?).await?;
    // A body that comes piece by piece is committed to under a salt that is known before.
    let input_salt = header(&head.headers, INPUT_SALT).and_then(|text| text.parse().ok()).unwrap_or_else(|| cx.nonce());
    let (whole, stream, read) = match app.streams(head.method.as_str(), head.uri.path()) {
        Some(most) if head.uri.path() != PEER => {
            let (stream, read) = BodyStream::new(body, most, &input_salt);
            (Bytes::new(), Some(stream), Some(read))
        }
        _ => {
            let most = if head.uri.path() == PEER { Credential::MAX_BYTES } else { app.max_body() };
            (collect(body, most, cx.room()).await?, None, None)
        }
    };
    let takes_trailers = header(&head.headers, "te").is_some_and(|te| te.contains("trailers"));
    let input = whole.clone();
    let request = Request {
        peer: caller.peer,
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body: whole,
        stream,
        session: caller.state,
    };
    if request.path() == "/glacier/v1/enclave" {
        return Ok((Response::cbor(&cx.info()), None));
    }
    if request.path() == PEER {
        request.show()?;
        return Ok((Response::json(&())?, None));
    }
    let mut response = app.handle(cx, request).await?;
    let commit = move || match read {
        Some(read) => stream::committed(&read),
        None => Ok(Commitment::to_body(&input_salt, &input)),
    };
    let output_salt = cx.nonce();
    if let Some(producer) = response.producer.take() {
        if !takes_trailers {
            let detail = "this answer is a stream, and ends with trailers: send `te: trailers`";
            return Err(Refusal::new(RefusalCode::BadRequest, detail));
        }
        response.headers.push(("trailer", Trailer::ALL.to_owned()));
        response.headers.extend(salts(&input_salt, &output_salt));
        return Ok((response, Some(producer.start(cx.clone(), output_salt, commit))));
    }
    if let Some(worked) = response.worked.take() {
        prove(cx, &worked, commit()?, &output_salt, &mut response).await?;
        response.headers.extend(salts(&input_salt, &output_salt));
    }
    Ok((response, None))
}

/// The whole body, as long as it fits into what all sessions together may hold.
async fn collect<B>(mut body: B, most: usize, room: &Arc<Semaphore>) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let too_large = || Refusal::new(RefusalCode::TooLarge, format!("a request body has at most {most} bytes"));
    let early = |_| Refusal::new(RefusalCode::BadRequest, "the request body ended early");
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let mut whole = Whole { bytes: Vec::new(), taken: None };
    while let Some(frame) = timeout(PATIENCE, body.frame()).await.map_err(|_| early(()))? {
        let Ok(piece) = frame.map_err(|_| early(()))?.into_data() else { continue };
        if piece.len() > most.saturating_sub(whole.bytes.len()) {
            return Err(too_large());
        }
        whole.take_room(piece.len(), room)?;
        whole.bytes.extend_from_slice(&piece);
    }
    Ok(Bytes::from_owner(whole))
}

/// A body that was read. The room that it takes is free again when the last who holds it is done.
struct Whole {
    bytes: Vec<u8>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Whole {
    fn take_room(&mut self, more: usize, room: &Arc<Semaphore>) -> Result<(), Refusal> {
        let len = self.bytes.len().saturating_add(more);
        if len <= SMALL {
            return Ok(());
        }
        let busy = || Refusal::new(RefusalCode::Busy, "too many large requests are under way: try again later");
        let wanted = len.saturating_sub(self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        // Nobody waits here, for all who hold room might.
        let taken = u32::try_from(wanted).ok().and_then(|wanted| room.clone().try_acquire_many_owned(wanted).ok());
        let taken = taken.ok_or_else(busy)?;
        match &mut self.taken {
            Some(before) => before.merge(taken),
            None => self.taken = Some(taken),
        }
        Ok(())
    }
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Room for the bodies of all sessions, in bytes, where one has at most `most`.
pub(crate) fn room(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ROOM.max(most)))
}

/// What the caller was told of the application's states before.
fn seen(headers: &HeaderMap) -> Result<Vec<StateHead>, Refusal> {
    let Some(text) = headers.get(StateHead::SEEN) else { return Ok(Vec::new()) };
    let heads = text.to_str().ok().and_then(StateHead::parse_all);
    heads.ok_or_else(|| Refusal::new(RefusalCode::BadRequest, "the header of states that were seen cannot be read"))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Binds request and response into a Work Proof. The salts go to the party alone, so the proof
/// itself tells nobody what was asked or answered.
async fn prove(
    cx: &Context,
    worked: &Worked,
    input: Commitment,
    output_salt: &Nonce,
    response: &mut Response,
) -> Result<(), Refusal> {
    let output = Commitment::to_body(output_salt, &response.body);
    let proof = cx.sign(&Statement::of(worked, input, output)).await?;
    response.headers.push(("glacier-proof", hex(&cbor::encode(&proof))));
    Ok(())
}

fn salts(input: &Nonce, output: &Nonce) -> [(&'static str, String); 2] {
    [(INPUT_SALT, input.to_string()), ("glacier-output-salt", output.to_string())]
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn into_http(response: Response, stream: Option<StreamBody>) -> hyper::Response<Outgoing> {
    let mut builder = hyper::Response::builder().status(response.status).header("content-type", response.content_type);
    for (name, value) in response.headers {
        builder = builder.header(name, value);
    }
    let body = stream.map_or_else(|| Either::Left(Full::new(response.body.into())), Either::Right);
    builder.body(body).unwrap_or_else(|_| {
        let mut response = hyper::Response::new(Either::Left(Full::default()));
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// Of requests whose body is a stream, chosen by the caller; of proved answers.
const INPUT_SALT: &str = "glacier-input-salt";
/// Bytes of the bodies of all sessions.
const ROOM: usize = 1 << 30;
/// Bytes of a body that count for nothing: whoever fills the room keeps nobody from asking, granting and withdrawing.
const SMALL: usize = 64 << 10;
/// For the next piece of a body.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use hyper::body::{Frame, SizeHint};
    use std::{
        pin::Pin,
        task::{Context as Asked, Poll},
    };

    /// What it says of its length, and what it is.
    struct Told(SizeHint, Option<Bytes>);

    impl Body for Told {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Asked<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.1.take().map(|piece| Ok(Frame::data(piece))))
        }

        fn size_hint(&self) -> SizeHint {
            self.0
        }
    }

    fn full(bytes: usize) -> Full<Bytes> {
        Full::new(vec![7; bytes].into())
    }

    async fn code<B: Body<Data = Bytes> + Unpin>(body: B, most: usize, room: &Arc<Semaphore>) -> Option<RefusalCode> {
        collect(body, most, room).await.err().map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn a_body_that_is_announced_too_large_is_not_read() {
        // Whoever reads this finds it empty.
        let announced = Told(SizeHint::with_exact(101), None);
        assert_eq!(code(announced, 100, &room(100)).await, Some(RefusalCode::TooLarge));
    }

    #[tokio::test]
    async fn one_that_says_nothing_is_read_to_the_limit() {
        let quiet = |bytes| Told(SizeHint::new(), Some(vec![7; bytes].into()));
        assert_eq!(code(quiet(100), 100, &room(100)).await, None);
        assert_eq!(code(quiet(101), 100, &room(100)).await, Some(RefusalCode::TooLarge));
    }

    #[tokio::test]
    async fn all_bodies_together_take_so_much_room_and_small_ones_none() {
        let room = Arc::new(Semaphore::new(3 * SMALL));
        let one = collect(full(2 * SMALL), usize::MAX, &room).await.unwrap();
        assert_eq!(room.available_permits(), SMALL);
        assert_eq!(code(full(SMALL + 1), usize::MAX, &room).await, Some(RefusalCode::Busy));
        assert_eq!(code(full(SMALL), usize::MAX, &room).await, None);
        let again = one.clone();
        drop(one);
        assert_eq!(room.available_permits(), SMALL);
        drop(again);
        assert_eq!(room.available_permits(), 3 * SMALL);
    }
}
