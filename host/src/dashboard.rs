//! The page for people at `/`: files that are part of this program, and the headers that confine them.
//!
//! The page asks this node and nobody else, and checks what it is told by itself: evidence and proofs with
//! the verifier in `verifier.wasm`. This crate serves the bytes and has no part in that.

use std::io;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

/// One file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its name under `/dashboard/`; `index.html` is also `/`.
    pub name: &'static str,
    /// What it is.
    pub media_type: &'static str,
    /// All of it.
    pub bytes: &'static [u8],
}

macro_rules! files {
    ($($name:literal $media:literal,)*) => {
        /// Every file of the page.
        pub const FILES: &[File] = &[$(File {
            name: $name,
            media_type: $media,
            bytes: include_bytes!(concat!("../dashboard/", $name)),
        },)*];
    };
}

files! {
    "index.html" "text/html; charset=utf-8",
    "style.css" "text/css; charset=utf-8",
    "icon.svg" "image/svg+xml",
    "app.js" "text/javascript; charset=utf-8",
    "dom.js" "text/javascript; charset=utf-8",
    "format.js" "text/javascript; charset=utf-8",
    "node.js" "text/javascript; charset=utf-8",
    "verifier.js" "text/javascript; charset=utf-8",
    "tree.js" "text/javascript; charset=utf-8",
    "identity.js" "text/javascript; charset=utf-8",
    "traffic.js" "text/javascript; charset=utf-8",
    "plot.js" "text/javascript; charset=utf-8",
    "proofs.js" "text/javascript; charset=utf-8",
    "chain.js" "text/javascript; charset=utf-8",
    "verifier.wasm" "application/wasm",
    "SHA256SUMS" "text/plain; charset=utf-8",
}

/// SHA-256 of every other file, as `sha256sum` writes it: what a stranger compares with the sources.
const SUMS: &str = include_str!("../dashboard/SHA256SUMS");

/// Nothing from elsewhere, nothing inline, in nobody's frame. The one concession is that WebAssembly of this
/// very page may be compiled.
pub const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What the page asks of a node.
const ASKED: [&str; 6] = ["/status", "/samples", "/proofs", "/evidence", "/log/", "/metrics"];

/// On each answer of this program, whatever it is.
const ALWAYS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
];

/// The file of this name; none but those of [`FILES`].
pub fn file(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

/// Serves this program's own page on `listener` for a node that is elsewhere: what the page asks goes to `ask`,
/// path and query, which answers with the node's document or with the status of its refusal. So a reader's page
/// does not come from the node that it judges.
///
/// # Errors
/// The listener's.
pub async fn serve_copy<A>(
    listener: TcpListener,
    ask: impl Fn(String) -> A + Clone + Send + Sync + 'static,
) -> io::Result<()>
where
    A: Future<Output = Result<Vec<u8>, u16>> + Send,
{
    let pass = move |request: Request| {
        let ask = ask.clone();
        async move {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            if !ASKED.iter().any(|known| path.starts_with(known)) {
                return StatusCode::NOT_FOUND.into_response();
            }
            // What it is, this side says: the node is not to choose how its words are read.
            let media_type =
                if path.starts_with("/metrics") { "text/plain; charset=utf-8" } else { "application/json" };
            match ask(path.to_owned()).await {
                Ok(document) => ([(header::CONTENT_TYPE, media_type)], document).into_response(),
                Err(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY).into_response(),
            }
        }
    };
    let router = Router::new()
        .route("/", get(index))
        .route("/dashboard/{file}", get(named))
        .fallback(get(pass))
        .layer(axum::middleware::from_fn(confine));
    axum::serve(listener, router).await
}

pub(crate) async fn index(headers: HeaderMap) -> Response {
    answer("index.html", &headers)
}

pub(crate) async fn named(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

/// Puts the headers that every answer has on one.
pub(crate) async fn confine(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in ALWAYS {
        response.headers_mut().insert(name, value);
    }
    response
}

fn answer(name: &str, asked: &HeaderMap) -> Response {
    let Some(file) = file(name) else { return StatusCode::NOT_FOUND.into_response() };
    // Asked for anew each time, and answered with nothing while it is the same: an update of the node is an
    // update of its page.
    let tag = digest(name).map(|digest| format!("\"{digest}\""));
    let mut response = match (&tag, asked.get(header::IF_NONE_MATCH)) {
        (Some(tag), Some(known)) if known.as_bytes() == tag.as_bytes() => StatusCode::NOT_MODIFIED.into_response(),
        _ => ([(header::CONTENT_TYPE, file.media_type)], Body::from(file.bytes)).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn digest(name: &str) -> Option<&'static str> {
    SUMS.lines().filter_map(|line| line.split_once("  ")).find(|(_, of)| *of == name).map(|(digest, _)| digest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_sums_are_those_of_the_files() {
        let expected: String = FILES
            .iter()
            .filter(|file| file.name != "SHA256SUMS")
            .map(|file| format!("{}  {}\n", hex::encode(Sha256::digest(file.bytes)), file.name))
            .collect();
        assert_eq!(SUMS, expected, "run `cargo xtask dashboard --write` and commit what it writes");
    }

    #[test]
    fn no_file_asks_for_anything_elsewhere_or_has_anything_inline() {
        for file in FILES.iter().filter(|file| !file.name.ends_with(".wasm")) {
            let text = std::str::from_utf8(file.bytes).unwrap().replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http://", "https://", "style=\"", " onclick", "<style", "eval(", "innerHTML"] {
                assert!(!text.contains(foreign), "{} has {foreign}", file.name);
            }
        }
    }
}
