//! Confidential computing between parties that do not trust each other: a model and a data set meet
//! in an attested enclave, neither owner nor the operator of the machine sees what is not theirs, and
//! the result comes with a proof.
//!
//! This crate is the client. It talks to a node: an untrusted *host* that stores ciphertext and relays
//! bytes, and behind it an *enclave*, which is believed only after its evidence was accepted by your
//! policy. Nothing private is sent before.
//!
//! # One owner, one call
//!
//! ```no_run
//! # async fn hospital() -> Result<(), glacier::Error> {
//! use glacier::{KeyName, Keystore, Node, Options, infer, read_policy};
//! use std::path::Path;
//!
//! let policy = read_policy(Path::new("policy.toml"))?; // which code, on which hardware
//! let keystore = Keystore::open(Keystore::default_home()?)?;
//! let key = keystore.load_or_create(&KeyName::default_key())?;
//! let node = Node::at("http://127.0.0.1:8480")?;
//!
//! let done = infer(
//!     &node,
//!     &policy,
//!     &key,
//!     Path::new("model.onnx"),
//!     Path::new("patients.csv"),
//!     &Options::default(),
//!     &mut |_| {}, // progress
//! )
//! .await?;
//! done.finished.results.write_file(Path::new("labels.csv"))?;
//! println!("proved, with {} multiply-accumulates", done.finished.proof.proof().units);
//! # Ok(())
//! # }
//! ```
//!
//! # Several parties, each on its own machine
//!
//! Each seals its file ([`seal_for`]) and brings the ciphertext to the node ([`Node::upload`]). One
//! writes the job down ([`Job::propose`]), and each signs it ([`Job::sign`]). Then each connects, and
//! releases its key for this one job to this one enclave:
//!
//! ```no_run
//! # async fn firm(node: glacier::Node, policy: glacier::Policy, keystore: glacier::Keystore, key: glacier::Key,
//! #     job: glacier::Job) -> Result<(), glacier::Error> {
//! use glacier::{Freshness, Release, wire::Role};
//!
//! let session = node.connect(&policy, key.identity(), Freshness::Cached).await?;
//! let manifest = job.complete()?; // signed by everybody, or an error that names who is missing
//! let release = Release {
//!     role: Role::Model,
//!     manifest,
//!     file_key: keystore.file_key(&manifest.manifest.model)?,
//!     uses: 1,
//!     not_after: manifest.manifest.limits.not_after,
//! };
//! session.join(key.identity(), release).await?;
//! session.wait(&job.hash(), &mut |status| println!("{:?}", status.phase)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The data provider then calls [`Session::collect`], which checks the proof, fetches the sealed result,
//! opens it, and hands it out only if it is the one that the proof names.
//!
//! # A model that serves
//!
//! [`serve`] opens a deployment, [`ask`] calls it: the Open Inference Protocol inside the channel, and a
//! proof with every answer.
//!
//! # Where things are
//!
//! | module | what it owns |
//! |---|---|
//! | [`keystore`] | keys, and notes about sealed files |
//! | [`policy`] | what a party accepts, as TOML |
//! | [`seal`] | files to assets and back |
//! | [`job`] | the document that all parties sign |
//! | [`node`] | the host, and the way through it |
//! | [`session`] | one attested connection |
//! | [`app`] | applications of one's own: typed calls |
//! | [`stream`] | requests and answers piece by piece |
//! | [`settle`] | where proofs count |
//! | [`source`] | files, or bytes that never were one |
//! | [`ceremony`] | joining, waiting, collecting |
//! | [`deployment`] | served models, and proved answers |
//! | [`mod@infer`] | the common cases in one call |
//! | [`mod@training`] | the same for training |
//! | [`component`] | sandboxed apps: one party's code on another's data |
//! | [`federation`] | training across sites, each with its own node |
//! | [`input`], [`output`] | tensors and tables as files |
//! | [`judgement`] | evidence and proofs that one has in hand, offline |
//! | [`verify`] | the same with a memory, for sessions |
//!
//! What is *simulated* is software that plays hardware and protects nothing: a policy accepts it only if
//! it names the root of that simulation.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod app;
pub mod ceremony;
pub mod component;
pub mod deployment;
mod error;
pub mod federation;
mod file;
pub mod infer;
pub mod input;
pub mod job;
pub mod judgement;
pub mod keystore;
mod memory;
pub mod node;
pub mod output;
pub mod policy;
pub mod seal;
pub mod session;
pub mod settle;
pub mod source;
pub mod stream;
pub mod training;
mod transfer;
pub mod verify;

/// What an `async fn` gives is compiled anew in every program that waits for it. This is compiled once, here.
pub(crate) type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub use app::Proved;
pub use ceremony::{Finished, Release};
pub use component::{AppAnswer, AppInfo, FinishedApp, run_app};
pub use deployment::{Answer, AnswerProof};
pub use error::{Actor, Error, Place, Unproved};
pub use file::{FileError, write_new};
pub use glacier_asset as asset;
pub use glacier_attest as attest;
pub use glacier_channel::{ChannelError, Freshness};
pub use glacier_proof as proof;
pub use glacier_wire as wire;
pub use infer::{Deployment, Inference, Options, Step, ask, infer, serve};
pub use job::{Draft, Job};
pub use keystore::{Key, KeyName, Keystore};
pub use memory::StateMemory;
pub use node::Node;
pub use output::{Format, Results};
pub use policy::{Policy, parse_policy, read_policy};
pub use seal::{open_file, seal_file, seal_for};
pub use session::Session;
pub use settle::Settle;
pub use source::Source;
pub use stream::{Streaming, Upload};
pub use training::{Material, Refinement, train};
