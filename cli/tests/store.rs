//! Assets in an S3-compatible store (the crate `s3s-fs`, on a folder), sealed into it and joined from it. *SIMULATED*
//! platform.

mod support;

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use serde_json::Value;
use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};
use support::{Node, Party, model_and_data, text};

/// A server with one bucket, `clinic`, for as long as the runtime lives.
fn serve(folder: &Path) -> (tokio::runtime::Runtime, SocketAddr) {
    fs::create_dir(folder.join("clinic")).unwrap();
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    service.set_auth(SimpleAuth::from_single("hospital", "not-a-secret"));
    let service = service.build();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (runtime, address)
}

fn json(party: &Party, store: SocketAddr, secret: &str, args: &str, status: i32) -> Value {
    let mut command = party.command(&format!("--json {args}"));
    command.env("AWS_ENDPOINT", format!("http://{store}")).env("AWS_ALLOW_HTTP", "true");
    command.env("AWS_REGION", "eu-west-1").env("AWS_ACCESS_KEY_ID", "hospital").env("AWS_SECRET_ACCESS_KEY", secret);
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(status), "glacier {args}\n{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn a_job_of_assets_in_a_store() {
    let (node, party, folder) = (Node::start(), Party::new(), tempfile::tempdir().unwrap());
    let (_runtime, store) = serve(folder.path());
    let run = |args: &str, status| json(&party, store, "not-a-secret", args, status);
    let (model, data) = model_and_data();
    run("key new", 0);
    fs::copy(data.join("data.csv"), folder.path().join("clinic/rows.csv")).unwrap();
    fs::copy(model, folder.path().join("clinic/model.onnx")).unwrap();

    // What is in the store in the clear, sealed into the store.
    let rows = run("seal s3://clinic/rows.csv -o s3://clinic/study/rows.age", 0);
    let model = run("seal s3://clinic/model.onnx -o s3://clinic/study/model.age", 0);
    assert!(folder.path().join("clinic/study/rows.age").exists());
    let propose = format!("job propose --data {} --model {}", text(&rows, "digest"), text(&model, "digest"));
    run(&format!("{propose} {}", node.door()), 0);
    run("job sign job.json", 0);
    run(&format!("job join job.json --role model --asset s3://clinic/study/model.age {}", node.door()), 0);
    run(&format!("job join job.json --role data --asset s3://clinic/study/rows.age --wait {}", node.door()), 0);
    run(&format!("job result job.json -o labels.csv {}", node.door()), 0);
    assert_eq!(fs::read_to_string(party.path("labels.csv")).unwrap().lines().count(), 570);

    // The wrong file, no file, no access: each says so, and nothing was released.
    let join = format!("job join job.json --role data {} --asset", node.door());
    let error = run(&format!("{join} s3://clinic/study/model.age"), 2);
    assert_eq!(error["error"]["code"], "asset-digest");
    assert_eq!(run(&format!("{join} s3://clinic/nothing.age"), 2)["error"]["code"], "store-missing");
    let denied = json(&party, store, "wrong", &format!("{join} s3://clinic/study/rows.age"), 2);
    assert_eq!(denied["error"]["code"], "store-denied");

    // Nothing that was fetched is left on this machine.
    let left: Vec<_> = fs::read_dir(party.path("home/fetched")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let lock = |path: &Path| path.extension().is_some_and(|it| it == "lock") && fs::metadata(path).unwrap().len() == 0;
    assert!(left.iter().all(|path| lock(path)), "{left:?}");
}

#[test]
fn a_model_and_rows_from_a_store_in_one_call() {
    let (node, party, folder) = (Node::start(), Party::new(), tempfile::tempdir().unwrap());
    let (_runtime, store) = serve(folder.path());
    let (model, data) = model_and_data();
    fs::copy(data.join("data.csv"), folder.path().join("clinic/rows.csv")).unwrap();
    fs::copy(model, folder.path().join("clinic/model.onnx")).unwrap();
    json(&party, store, "not-a-secret", "key new", 0);
    let infer = "infer --model s3://clinic/model.onnx --input s3://clinic/rows.csv --output labels.csv";
    json(&party, store, "not-a-secret", &format!("{infer} {}", node.door()), 0);
    assert_eq!(fs::read_to_string(party.path("labels.csv")).unwrap().lines().count(), 570);
}

#[test]
fn an_app_and_held_out_rows_from_a_store() {
    let (node, party, folder) = (Node::start(), Party::new(), tempfile::tempdir().unwrap());
    let (_runtime, store) = serve(folder.path());
    let run = |args: &str| json(&party, store, "not-a-secret", &format!("{args} {}", node.door()), 0);
    let (_, data) = model_and_data();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join("clinic").join(name), bytes).unwrap();
    let rows = fs::read_to_string(data.join("data.csv")).unwrap();
    put("rows.csv", rows.as_bytes());
    put("cohort.wasm", include_bytes!("../../examples/wasm/cohort.wasm"));
    json(&party, store, "not-a-secret", "key new", 0);

    let app = run("app run s3://clinic/cohort.wasm");
    let asked =
        run(&format!("app ask {} --code {} --input s3://clinic/rows.csv", text(&app, "app"), text(&app, "code")));
    assert!(text(&asked, "answer").contains("569"));

    let labels = fs::read_to_string(data.join("labels.csv")).unwrap();
    let joined = rows.lines().zip(labels.lines());
    let table: String = joined.map(|(row, label)| format!("{row},{}\n", label.split(',').next().unwrap())).collect();
    put("tumours.csv", table.as_bytes());
    let trained = run("train --data s3://clinic/tumours.csv --target label --standardise --epochs 1 \
         --validation s3://clinic/tumours.csv --output refined.onnx");
    assert_eq!(trained["proof"]["work"], "training");
}

/// A web server with rows, and with a model that never comes.
fn serve_rows() -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new()
        .route("/rows.csv", axum::routing::get(|| async { "1,2\n" }))
        .route("/model.onnx", axum::routing::get(std::future::pending::<&str>));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (runtime, address)
}

#[test]
fn what_was_fetched_goes_with_a_command_that_is_ended() {
    let party = Party::new();
    let (_runtime, web) = serve_rows();
    party.json("key new", 0);
    fs::write(party.path("policy.toml"), "").unwrap();
    let infer = format!("infer --model http://{web}/model.onnx --input http://{web}/rows.csv --output labels.csv");
    let mut command = party.command(&format!("--quiet {infer} --node http://127.0.0.1:1 --policy policy.toml"));
    let mut child = command.spawn().unwrap();
    let fetched = || {
        let folders = fs::read_dir(party.path("home/fetched")).into_iter().flatten();
        folders.filter(|folder| folder.as_ref().unwrap().path().join("rows.csv").exists()).count()
    };
    let wait = |until: &mut dyn FnMut() -> bool| {
        let came = (0..600).any(|_| {
            until() || {
                std::thread::sleep(Duration::from_millis(50));
                false
            }
        });
        assert!(came, "it took too long");
    };
    wait(&mut || fetched() == 1);
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap().success());
    let mut status = None;
    wait(&mut || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(130));
    assert_eq!(fetched(), 0, "the rows are gone");
}

#[test]
fn a_taken_output_is_found_out_before_anything_is_sent() {
    let party = Party::new();
    fs::write(party.path("taken"), "mine").unwrap();
    fs::write(party.path("taken.csv"), "mine").unwrap();
    let node = "--node http://127.0.0.1:1 --policy policy.toml";
    let code = |args: &str| text(&party.json(&format!("{args} {node}"), 2)["error"], "code").to_owned();
    let infer = "infer --model model.onnx --input rows.csv";
    assert_eq!(code(&format!("{infer} --output taken.csv")), "exists");
    assert_eq!(code(&format!("{infer} --output labels.csv --proof taken")), "exists");
    assert_eq!(code(&format!("{infer} --output same.csv --proof ./same.csv")), "usage");
    assert_eq!(code("job result job.json -o taken.csv"), "exists");
    assert_eq!(code("job result job.json -o labels.csv --proof taken"), "exists");
}
