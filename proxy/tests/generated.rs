//! The committed code of the gRPC interface is what `proto/inference.proto` says. `WRITE_GENERATED=1` writes it anew.

use std::{fs, path::Path};

#[test]
fn the_code_of_the_interface_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let described = protox::compile(["inference.proto"], [here.join("proto")]).expect("the interface compiles");
    let out = tempfile::tempdir().expect("a temporary folder");
    tonic_prost_build::configure()
        .build_client(true)
        .build_transport(false)
        .bytes(".")
        .out_dir(out.path())
        .compile_fds(described)
        .expect("code is written");
    let written = fs::read_to_string(out.path().join("inference.rs")).expect("the code");
    let kept = here.join("src").join("inference.rs");
    if std::env::var_os("WRITE_GENERATED").is_some() {
        fs::write(&kept, &written).expect("the code is kept");
    }
    let kept = fs::read_to_string(&kept).expect("the committed code");
    assert!(
        kept == written,
        "src/inference.rs is stale: WRITE_GENERATED=1 cargo test -p glacier-proxy --test generated"
    );
}
