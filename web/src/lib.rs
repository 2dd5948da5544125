//! What a page asks of the verifier, and what it is answered: JSON in, JSON out, no clock, no IO.
//!
//! There is one verifier, in `glacier_attest` and `glacier_proof`; this crate puts questions to it for
//! whoever has only a browser. `cargo xtask dashboard` builds it for WebAssembly. Programs want the crate
//! `glacier`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod evidence;
#[cfg(target_arch = "wasm32")]
mod exports;
mod line;
mod log;
mod proof;

use serde::{Deserialize, Serialize};

/// Largest question that is read, in bytes: evidence twice over, in hexadecimal, and what stands beside it.
pub const MAX_QUESTION: usize = 8 << 20;

/// One question. Documents of a node stand in it as text, as the node gave them: a script that read and
/// wrote them would round large numbers.
#[derive(Debug, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
enum Question {
    Evidence(evidence::Question),
    Proof(proof::Question),
    Log(log::Question),
}

/// Answers one question. What cannot be read is answered with `{"error": …}`.
pub fn answer(question: &[u8]) -> Vec<u8> {
    if question.len() > MAX_QUESTION {
        return fault("the question is longer than is read");
    }
    match serde_json::from_slice(question) {
        Ok(Question::Evidence(question)) => written(question.answer()),
        Ok(Question::Proof(question)) => written(question.answer()),
        Ok(Question::Log(question)) => written(question.answer()),
        Err(_) => fault("the question cannot be read"),
    }
}

fn written<T: Serialize>(answer: Result<T, Unreadable>) -> Vec<u8> {
    match answer {
        Ok(answer) => serde_json::to_vec(&answer).unwrap_or_else(|_| fault("the answer cannot be written")),
        Err(Unreadable(what)) => fault(&format!("the node's {what} cannot be read")),
    }
}

fn fault(error: &str) -> Vec<u8> {
    serde_json::json!({ "error": error }).to_string().into_bytes()
}

/// A document of the node that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unreadable(&'static str);

/// Reads a document of the node.
fn document<'a, T: Deserialize<'a>>(what: &'static str, text: &'a str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|_| Unreadable(what))
}
