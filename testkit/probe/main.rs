//! An application that uses what the SDK offers, one path for each thing. For tests.

use glacier_app::{App, Context, Policy, Refusal, Request, Response, SealedState, refuse};
use serde::Deserialize;

struct Probe;

#[derive(Deserialize)]
struct Ask {
    address: String,
    policy: Policy,
    accepts: Policy,
}

const BOOK: SealedState<Vec<String>> = SealedState::new("book");
const OTHER: SealedState<Vec<String>> = SealedState::new("other");

impl App for Probe {
    const NAME: &'static str = "probe";

    fn streams(&self, _: &str, path: &str) -> Option<u64> {
        matches!(path, "/shout" | "/sum").then_some(64 << 20)
    }

    async fn handle(&self, cx: &Context, mut request: Request) -> Result<Response, Refusal> {
        match request.route() {
            // One value for each session.
            ("POST", "/tally") => request.answer(|add: u64| {
                Ok(request.session().with(|tally: &mut u64| {
                    *tally += add;
                    *tally
                }))
            }),
            ("POST", "/book") => write(&BOOK, cx, &request).await,
            ("POST", "/other") => write(&OTHER, cx, &request).await,
            ("POST", "/read") => Ok(Response::json(&BOOK.read(cx, Vec::clone).await?)?.proved(1)),
            // Calls another enclave, and says what that says of this one.
            ("POST", "/ask") => {
                let Ask { address, policy, accepts } = request.json()?;
                let other = cx.connect(&address, &policy).await?;
                Response::json(&other.call::<_, [String; 2]>("/who", &accepts).await?)
            }
            ("POST", "/who") => request.answer(|accepts: Policy| {
                let caller = request.caller(&accepts)?;
                Ok([caller.measurement().to_string(), caller.enclave_id().to_string()])
            }),
            // In whole, out in pieces; how it ends is the caller's to say.
            ("POST", "/count") => {
                let to: u64 = request.json()?;
                Ok(Response::stream(move |mut out| async move {
                    for number in 0..to {
                        out.write(format!("{number}\n")).await?;
                    }
                    Ok(out.finish_proved(to))
                }))
            }
            ("POST", "/break") => Ok(Response::stream(|mut out| async move {
                out.write("half of ").await?;
                Err(refuse("it broke"))
            })),
            // In and out in pieces, side by side.
            ("POST", "/shout") => {
                let mut body = request.take_stream().ok_or_else(|| refuse("no stream"))?;
                Ok(Response::stream(move |mut out| async move {
                    while let Some(piece) = body.next().await? {
                        out.write(piece.to_ascii_uppercase()).await?;
                    }
                    Ok(out.finish_proved(1))
                }))
            }
            // In in pieces, out in whole.
            ("POST", "/sum") => {
                let mut body = request.take_stream().ok_or_else(|| refuse("no stream"))?;
                let mut sum = 0u64;
                while let Some(piece) = body.next().await? {
                    sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                }
                Response::json(&sum)
            }
            _ => Err(request.no_such_path()),
        }
    }
}

async fn write(state: &SealedState<Vec<String>>, cx: &Context, request: &Request) -> Result<Response, Refusal> {
    let line: String = request.json()?;
    let lines = state.update(cx, |lines| {
        if line.is_empty() {
            return Err(refuse("an empty line"));
        }
        lines.push(line);
        Ok(lines.len())
    });
    Response::json(&lines.await?)
}

glacier_app::main!(Probe);
