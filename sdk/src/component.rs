//! Sandboxed apps: a WebAssembly component of one party, run on the data of another.
//!
//! Its owner seals the component as a model provider seals a model. What the parties sign names it twice: the sealed
//! file's digest, as every asset's, and [`code_digest`], which everybody can compute who has the component or builds it
//! from its source. The enclave compares both. [`run_app`] opens an app that answers callers; a job of
//! [`Draft::app`] runs one over one data set, and [`Session::collect_app`] fetches what it made of it.

use crate::{
    ceremony::Proved,
    deployment::AnswerProof,
    error::Error,
    file::FileError,
    infer::{Deployment, Options, Watch, deploy},
    job::Draft,
    keystore::Key,
    node::Node,
    output::OutputError,
    seal::{Progress, SealError},
    session::{RequestError, Session},
};
use bytes::Bytes;
use glacier_attest::Policy;
use glacier_proof::{Bundle, ProofCheck, VerifiedProof};
use glacier_wire::{Address, Digest, Limits, ManifestHash, SignedManifest, Work, app::AppResult, cbor::CborError};
use hyper::Method;
use serde::{Deserialize, Serialize};
use std::{fs::File, path::Path};

/// What an app is, by the word of the attested enclave that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInfo {
    /// Its name: the manifest's hash.
    pub app: ManifestHash,
    /// The component: its [`code_digest`].
    pub code: Digest,
    /// The sealed file.
    pub asset: Digest,
    /// Whose it is.
    pub owner: Address,
    /// What it may use. A unit is a unit of fuel.
    pub limits: Limits,
}

/// What an app said to a caller, proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppAnswer {
    /// Its answer, or its refusal, which is proved as well.
    pub result: AppResult,
    /// Its proof.
    pub proof: AnswerProof,
}

/// What an app made of a data set, proved.
#[derive(Debug, Clone)]
pub struct FinishedApp {
    /// Its answer, or its refusal, which is proved as well.
    pub result: AppResult,
    /// The statement that was checked.
    pub proof: VerifiedProof,
    /// What it was checked by, for display.
    pub checks: Vec<ProofCheck>,
    /// The proof with its evidence and manifest, to keep or to show to others.
    pub bundle: Bundle,
    /// Bytes of the sealed result, as the host has it.
    pub sealed_bytes: u64,
}

/// The BLAKE3 of a component's file: what a manifest names it by, beside the digest of the sealed asset.
///
/// # Errors
/// The file cannot be read.
pub fn code_digest(component: &Path) -> Result<Digest, FileError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(component)?)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// Opens an app: a component that stays loaded and answers whoever calls, until its time, its runs or its fuel are
/// used up. No caller's data outlives the call.
pub async fn run_app(
    node: &Node,
    policy: &Policy,
    key: &Key,
    component: &Path,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Deployment, Error> {
    let code = code_digest(component).map_err(SealError::Read)?;
    let draft = |asset, place, not_after| Draft::app_deployment(asset, code, place, not_after);
    deploy(node, policy, key, component.into(), options, watch, &draft).await
}

impl Session {
    /// What an app is: compare its code with what you expect before you send it anything.
    pub async fn app(&self, name: &ManifestHash) -> Result<AppInfo, Error> {
        let response = self.get(&format!("/apps/{name}")).await?;
        Ok(serde_json::from_slice(&response.body).map_err(|_| RequestError::Malformed(CborError::Malformed))?)
    }

    /// Calls an app; `path` is as in a URI. What it says comes out only when its proof holds: signed by this session's
    /// enclave, about this app, exactly this request and exactly this answer.
    ///
    /// # Errors
    /// The enclave's refusal, where the app said nothing: it trapped, or used up what it may use.
    pub async fn call_app(&self, name: &ManifestHash, path: &str, body: Bytes) -> Result<AppAnswer, Error> {
        let target = format!("/apps/{name}/{}", path.strip_prefix('/').unwrap_or(path));
        let headers = [("content-type", "application/octet-stream")];
        let response = self.request(Method::POST, &target, &headers, body.clone()).await?;
        let proof = self.check_answer(Work::App, name, &body, &response)?;
        Ok(AppAnswer { result: AppResult::decode(&response.body).map_err(OutputError::App)?, proof })
    }

    /// Fetches what an app made of a data set, as [`Session::collect`] does for a model: the proof is checked first.
    pub async fn collect_app(
        &self,
        node: &Node,
        job: &SignedManifest,
        key: &Key,
        policy: &Policy,
        progress: Progress<'_>,
    ) -> Result<FinishedApp, Error> {
        let (content, proved) = self.collect_file(node, job, key, policy, AppResult::MAX_FILE, progress).await?;
        let Proved { proof, checks, bundle, sealed_bytes } = proved;
        let result = AppResult::decode(&content).map_err(OutputError::App)?;
        Ok(FinishedApp { result, proof, checks, bundle, sealed_bytes })
    }
}
