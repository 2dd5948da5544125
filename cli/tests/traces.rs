//! What a collector of OpenTelemetry hears of a node, and what it must not hear.

mod support;

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message as _;
use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use support::{Node, Party, model_and_data};

type Heard = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

async fn hear(State(heard): State<Heard>, body: Bytes) {
    heard.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
}

fn spans(heard: &Heard) -> Vec<Span> {
    let heard = heard.lock().unwrap();
    let scopes = heard.iter().flat_map(|request| &request.resource_spans).flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn says(span: &Span, key: &str, value: &str) -> bool {
    span.attributes.iter().any(|attribute| attribute.key == key && format!("{:?}", attribute.value).contains(value))
}

#[test]
fn a_collector_hears_of_the_hosts_work_and_of_nothing_else() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let heard = Heard::default();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(hear)).with_state(Arc::clone(&heard));
    runtime.spawn(async move { axum::serve(listener, router).await });

    let node = Node::of(Party::new(), &format!("--no-chain --traces {collector}"));
    let (model, data) = model_and_data();
    let party = Party::new();
    let key = party.json("key new", 0);
    let infer = format!("infer --model {} --input {}", model.display(), data.join("data.csv").display());
    party.json(&format!("{infer} --output labels.csv {}", node.door()), 0);
    party.json(&format!("node status --node {}", node.url()), 0);
    let enclave = node.facts["enclave_id"].as_str().unwrap().to_owned();
    drop(node);

    let begun = Instant::now();
    while named(&spans(&heard), "relay").is_empty() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let all = spans(&heard);
    assert_eq!(named(&all, "launch").len(), 1);
    let requests = named(&all, "request");
    assert!(requests.iter().any(|span| says(span, "http.route", "/status")
        && says(span, "http.request.method", "GET")
        && says(span, "http.response.status_code", "200")));
    assert!(requests.iter().any(|span| says(span, "http.route", "/blobs/{digest}")));
    assert!(named(&all, "relay").iter().all(|span| span.attributes.iter().any(|said| said.key == "to_enclave")));
    assert!(!named(&all, "publish").is_empty());
    let service = format!("{:?}", heard.lock().unwrap()[0].resource_spans[0].resource);
    assert!(service.contains("glacier-node"), "{service}");
    // Neither who it was nor what it was about, nor which chip.
    let text = format!("{all:?}");
    assert!(!text.contains(key["address"].as_str().unwrap()) && !text.contains(&enclave));
    let long = |word: &str| word.len() >= 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = text
        .split(|character: char| !character.is_ascii_alphanumeric())
        .find(|word| long(word.trim_start_matches("0x")));
    assert_eq!(digest, None);
    assert!(fs::read_to_string(party.path("labels.csv")).unwrap().lines().count() > 500);
}

#[test]
fn a_collector_that_is_none_is_refused_and_one_that_is_away_is_waited_for_by_nobody() {
    let party = Party::new();
    let error = party.json("node run --no-chain --listen 127.0.0.1:0 --traces nowhere", 2);
    assert_eq!(error["error"]["code"], "collector");
    let node = Node::of(Party::new(), "--no-chain --traces http://127.0.0.1:9");
    let begun = Instant::now();
    drop(node);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
