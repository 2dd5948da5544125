//! A node, a deployment and a proxy, and the plainest client.

use glacier::{Options, Policy, serve, wire::ManifestHash};
use glacier_host::danger::Meddler;
use glacier_proxy::{Config, ModelName, Running, start};
use glacier_testkit::{Rig, breast_cancer};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) deployment: ManifestHash,
    pub(crate) proxy: Running,
    http: reqwest::Client,
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

#[allow(dead_code)] // Each test program has its own use for it.
impl Scene {
    pub(crate) async fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(Rig::start().await, |_| (), change).await
    }

    pub(crate) async fn hostile(meddler: Arc<dyn Meddler>) -> Self {
        Self::on(Rig::hostile(meddler).await, |_| (), |_| ()).await
    }

    /// The proxy's policy is the node's own, changed; the model is served under the true one.
    pub(crate) async fn on(rig: Rig, policy: impl FnOnce(&mut Policy), change: impl FnOnce(&mut Config)) -> Self {
        let key = rig.party("firm");
        let options = Options { lasts: 600, ..Options::default() };
        let served = serve(&rig.node(), rig.policy(), &key, &breast_cancer::model(), &options, &mut |_| ()).await;
        let deployment = served.expect("the model serves").name;
        let mut changed = rig.policy().clone();
        policy(&mut changed);
        let proxy = proxy(&rig, changed, "firm", deployment, change).await;
        Self { rig, deployment, proxy, http: reqwest::Client::builder().no_proxy().build().expect("a client") }
    }

    /// Another proxy, for another party.
    pub(crate) async fn restart(&mut self, party: &str, change: impl FnOnce(&mut Config)) {
        self.proxy = proxy(&self.rig, self.rig.policy().clone(), party, self.deployment, change).await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.proxy.address())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_bytes(path, body.to_string().into_bytes(), &[]).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
        let request = self.http.post(self.url(path)).body(body);
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the proxy answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.expect("the body comes whole").to_vec() }
    }
}

async fn proxy(
    rig: &Rig,
    policy: Policy,
    party: &str,
    deployment: ManifestHash,
    change: impl FnOnce(&mut Config),
) -> Running {
    let mut config = Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        models: vec![ModelName { name: "cancer".to_owned(), deployment }],
        ..Config::default()
    };
    change(&mut config);
    start(rig.node(), policy, rig.party(party), config).await.expect("the proxy starts")
}

#[allow(dead_code)] // As above.
impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers));
        value.to_str().expect("text").to_owned()
    }

    /// The fault, in the protocol's own form.
    pub(crate) fn fault(&self) -> (u16, String) {
        let error = self.json()["error"].clone();
        assert!(error.is_string() || error["message"].is_string(), "{error}");
        (self.status, self.header("glacier-fault"))
    }
}

/// A request of so many rows for the bundled classifier.
pub(crate) fn rows(n: usize) -> Value {
    let data: Vec<f64> = (0..n * 30).map(|at| (at % 7) as f64 + 0.5).collect();
    json!({"inputs": [{"name": "features", "shape": [n, 30], "datatype": "FP32", "data": data}]})
}
