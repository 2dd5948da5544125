//! Which deployments clients can name, and how.

use crate::{config::ModelName, fault::Fault, pool::Pool};
use bytes::Bytes;
use glacier::wire::{ManifestHash, SignedManifest};
use hyper::Method;
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Names that were given when the proxy started, and what was learned of what they stand for.
pub(crate) struct Models {
    named: Vec<ModelName>,
    signed: Mutex<HashMap<ManifestHash, Arc<SignedManifest>>>,
}

/// Most manifests that are remembered; past them, all are asked for again.
const REMEMBERED: usize = 256;

/// The name that always means the only model there is.
pub(crate) const DEFAULT: &str = "default";

#[derive(Deserialize)]
struct Indexed {
    name: ManifestHash,
}

impl Models {
    pub(crate) fn new(named: Vec<ModelName>) -> Self {
        Self { named, signed: Mutex::default() }
    }

    /// What the owner of a model has signed: others need it to check the proofs of its answers.
    pub(crate) async fn signed(&self, pool: &Pool, deployment: &ManifestHash) -> Result<Arc<SignedManifest>, Fault> {
        let known = || self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signed) = known().get(deployment) {
            return Ok(signed.clone());
        }
        let signed = Arc::new(pool.served(deployment).await?);
        let mut all = known();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(*deployment, signed.clone());
        Ok(signed)
    }

    /// The deployment behind a name: one given at the start, a deployment's own, or `default`.
    pub(crate) async fn resolve(&self, pool: &Pool, name: &str) -> Result<ManifestHash, Fault> {
        if let Some(named) = self.named.iter().find(|named| named.name == name) {
            return Ok(named.deployment);
        }
        if let Ok(hash) = name.parse() {
            return Ok(hash);
        }
        if name == DEFAULT {
            return match self.list(pool).await?.as_slice() {
                [only] => Ok(only.deployment),
                _ => Err(unknown("there is not exactly one model, so `default` names none")),
            };
        }
        Err(unknown("no model has this name here"))
    }

    /// Those named at the start; without any, those that the enclave serves for this party.
    pub(crate) async fn list(&self, pool: &Pool) -> Result<Vec<ModelName>, Fault> {
        if !self.named.is_empty() {
            return Ok(self.named.clone());
        }
        let (_, answer) = pool.ask(Method::POST, "/v2/repository/index", &[], Bytes::new()).await?;
        let indexed: Vec<Indexed> = serde_json::from_slice(&answer.body).map_err(|_| {
            Fault::new(502, "node", "the node's list of models cannot be read", "compare `glacier --version`")
        })?;
        let alone = indexed.len() == 1;
        let name = |hash: &ManifestHash| if alone { DEFAULT.to_owned() } else { hash.to_string() };
        Ok(indexed.iter().map(|model| ModelName { name: name(&model.name), deployment: model.name }).collect())
    }
}

fn unknown(message: &str) -> Fault {
    let help = "name it when you start the proxy, --model NAME=DEPLOYMENT, or use the deployment's own name";
    Fault::new(404, "not-found", message, help)
}
