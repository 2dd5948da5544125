//! NVIDIA's and AMD's services, each in its own shape.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64ct::{Base64, Encoding as _};
use common::{Time, hasty, server::*, vectors};
use glacier_collateral::*;
use glacier_wire::UnixTime;

const NOW: u64 = 1_750_000_000;

/// Accepts what begins so: signatures are the matter of the verifiers proper.
fn begins<R: 'static>(with: &'static [u8]) -> Arc<impl Verify<R>> {
    Arc::new(move |_: &R, answer: &[u8], at: UnixTime| {
        let validity = Validity { from: UnixTime(at.0 - 10), until: UnixTime(at.0 + 1000), edition: Vec::new() };
        if answer.starts_with(with) { Ok(validity) } else { Err(Fault::Malformed) }
    })
}

async fn client(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Server, Client, tempfile::TempDir) {
    let server = Server::start(answers).await;
    let folder = tempfile::tempdir().unwrap();
    let builder = hasty(Client::builder(folder.path())).clock(Time::at(NOW));
    let builder = builder.nvidia_rim(&server.base).nvidia_ocsp(&server.base).amd_kds(&server.base);
    (server, builder.build().unwrap(), folder)
}

#[tokio::test]
async fn a_manifest_comes_out_of_its_json() {
    let Some(path) = vectors() else { return };
    let xml = fs::read(path.join("nvidia/h100-nvtrust-550.90.07/driver-rim.xml")).unwrap();
    let id = RimId::new("NV_GPU_DRIVER_GH100_550.90.07").unwrap();
    let rim = Base64::encode_string(&xml);
    let json = format!(r#"{{"id":"{id}","rim":"{rim}","sha256":"00","request_id":"1","last_updated":"x"}}"#);
    let (server, client, _folder) = client(move |_| Reply::ok(json.clone())).await;
    let answer = client.get(&id, &begins(b"<")).await.unwrap();
    assert_eq!(answer.bytes, xml);
    assert_eq!(client.get(&id, &begins(b"<")).await.unwrap().freshness, Freshness::Cached);
    assert_eq!(server.hits("/v1/rim/NV_GPU_DRIVER_GH100_550.90.07"), 1);
}

#[tokio::test]
async fn a_manifest_under_another_id_is_refused() {
    let (_server, client, _folder) = client(|_| Reply::ok(r#"{"id":"B","rim":"PD4="}"#)).await;
    let fault = client.get(&RimId::new("A").unwrap(), &begins(b"<")).await;
    assert_eq!(fault, Err(FetchError::Malformed(Malformed::OtherId)));
}

#[tokio::test]
async fn a_manifest_that_the_verifier_refuses_is_not_kept() {
    let (_server, client, folder) = client(|_| Reply::ok(r#"{"id":"A","rim":"PD4="}"#)).await;
    let fault = client.get(&RimId::new("A").unwrap(), &begins(b"<?xml")).await;
    assert_eq!(fault, Err(FetchError::Refused(Fault::Malformed)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_endless_manifest_is_cut() {
    let (_server, client, _folder) = client(|_| Reply::ok(vec![b' '; 4096]).body_is(Body::Endless)).await;
    let fault = client.get(&RimId::new("A").unwrap(), &begins(b"<")).await;
    assert_eq!(fault, Err(FetchError::TooLarge { max: 512 << 10 }));
}

/// The recorded responses name their certificates by hash: the request must name them alike.
#[tokio::test]
async fn ocsp_asks_about_the_certificate_that_the_recorded_response_is_about() {
    let Some(path) = vectors() else { return };
    let path = path.join("nvidia/h100-nvtrust-550.90.07");
    let chain = pem_chain(&fs::read_to_string(path.join("chain.pem")).unwrap());
    for (index, name) in
        [(1, "ocsp-certificate-l4.der"), (2, "ocsp-certificate-l3.der"), (3, "ocsp-certificate-l2.der")]
    {
        let recorded = fs::read(path.join(name)).unwrap();
        let (response, seen) = (recorded.clone(), Arc::new(Mutex::new(Vec::new())));
        let asked = seen.clone();
        let (_server, client, _folder) = client(move |request| {
            *asked.lock().unwrap() = request.body.clone();
            Reply::ok(response.clone())
        })
        .await;
        let request = OcspRequest::new(&chain[index], &chain[index + 1]).unwrap();
        let answer = client.get(&request, &begins(&[0x30])).await.unwrap();
        assert_eq!(answer.bytes, recorded);
        // CertID: hashes and serial number, one after the other, are in the request as in the response.
        let octets = |hash: &[u8; 48]| [&[4, 48][..], hash].concat();
        let id = [octets(request.issuer_name_hash()), octets(request.issuer_key_hash())].concat();
        let id = [&id[..], &[2, u8::try_from(request.serial().len()).unwrap()], request.serial()].concat();
        let holds = |bytes: &[u8]| bytes.windows(id.len()).any(|window| window == id);
        assert!(holds(&recorded), "{name}");
        assert!(holds(&seen.lock().unwrap()), "{name}");
    }
}

#[tokio::test]
async fn ocsp_asks_with_a_new_nonce_each_time() {
    let Some(path) = vectors() else { return };
    let path = path.join("nvidia/h100-nvtrust-550.90.07");
    let chain = pem_chain(&fs::read_to_string(path.join("chain.pem")).unwrap());
    let recorded = fs::read(path.join("ocsp-certificate-l4.der")).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked = seen.clone();
    let (_server, client, _folder) = client(move |request| {
        asked.lock().unwrap().push(request.body.clone());
        Reply::ok(recorded.clone())
    })
    .await;
    let request = OcspRequest::new(&chain[1], &chain[2]).unwrap();
    for _ in 0..2 {
        client.refresh(&request, &begins(&[0x30])).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].len(), seen[1].len());
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn an_ocsp_response_answers_the_nonce_or_is_refused() {
    let Some(path) = vectors() else { return };
    let chain = pem_chain(&fs::read_to_string(path.join("nvidia/h100-nvtrust-550.90.07/chain.pem")).unwrap());
    let request = OcspRequest::new(&chain[1], &chain[2]).unwrap();
    // The nonce is the last thing in a request.
    let (server, client, _folder) =
        client(|request| Reply::ok(ocsp_response(&request.body[request.body.len() - 32..]))).await;
    client.get(&request, &begins(&[0x30])).await.unwrap();
    server.answer(|_| Reply::ok(ocsp_response(&[0; 32])));
    let answer = client.refresh(&request, &begins(&[0x30])).await.unwrap();
    assert_eq!(answer.fault, Some(FetchError::Malformed(Malformed::Nonce)));
}

#[tokio::test]
async fn an_ocsp_responder_that_is_busy_has_not_answered() {
    let Some(path) = vectors() else { return };
    let chain = pem_chain(&fs::read_to_string(path.join("nvidia/h100-nvtrust-550.90.07/chain.pem")).unwrap());
    let (_server, client, _folder) = client(|_| Reply::ok([0x30, 3, 0x0a, 1, 3])).await;
    let fault = client.get(&OcspRequest::new(&chain[1], &chain[2]).unwrap(), &begins(&[0x30])).await;
    assert_eq!(fault, Err(FetchError::Malformed(Malformed::Responder)));
}

#[test]
fn ocsp_is_not_asked_about_a_certificate_of_another_issuer() {
    let Some(path) = vectors() else { return };
    let chain = pem_chain(&fs::read_to_string(path.join("nvidia/h100-nvtrust-550.90.07/chain.pem")).unwrap());
    assert_eq!(OcspRequest::new(&chain[1], &chain[3]), Err(RequestError::Issuer));
    assert_eq!(OcspRequest::new(b"", &chain[1]), Err(RequestError::Certificate));
}

#[tokio::test]
async fn each_product_has_its_own_question_for_a_chip() {
    let Some(path) = vectors() else { return };
    for (name, product, expected) in [
        ("snp-milan-virtee", AmdProduct::Milan, "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"),
        ("snp-genoa-ms", AmdProduct::Genoa, "?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84"),
        ("snp-turin-ms", AmdProduct::Turin, "?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"),
    ] {
        let report = fs::read(path.join(format!("snp/{name}/report.bin"))).unwrap();
        let certificate = fs::read(path.join(format!("snp/{name}/vek.der"))).unwrap();
        let served = certificate.clone();
        let (server, client, _folder) = client(move |_| Reply::ok(served.clone())).await;
        let chip: [u8; 64] = report[0x1a0..0x1e0].try_into().unwrap();
        let tcb = report[0x180..0x188].try_into().unwrap();
        let request = VcekRequest::new(product, chip, tcb).unwrap();
        assert_eq!(client.get(&request, &begins(&[0x30])).await.unwrap().bytes, certificate);
        let chip = hex::encode(if product == AmdProduct::Turin { &chip[..8] } else { &chip[..] });
        assert_eq!(server.hits(&format!("/vcek/v1/{product:?}/{chip}{expected}")), 1, "{name}");
    }
}

#[test]
fn a_masked_chip_cannot_be_asked_for() {
    assert_eq!(VcekRequest::new(AmdProduct::Milan, [0; 64], [0; 8]), Err(RequestError::ChipIdMasked));
}

#[tokio::test]
async fn chains_and_lists_of_amd_have_their_paths() {
    let (server, client, _folder) = client(|_| Reply::ok("-----BEGIN")).await;
    for (signer, word) in [(AmdSigner::Vcek, "vcek"), (AmdSigner::Vlek, "vlek")] {
        let (product, verifier) = (AmdProduct::Genoa, begins(b"-----BEGIN"));
        client.get(&AmdChainRequest { product, signer }, &verifier).await.unwrap();
        assert_eq!(server.hits(&format!("/{word}/v1/Genoa/cert_chain")), 1);
        client.get(&AmdCrlRequest { product, signer }, &begins(b"-----BEGIN")).await.unwrap();
        assert_eq!(server.hits(&format!("/{word}/v1/Genoa/crl")), 1);
    }
}

#[tokio::test]
async fn amd_is_asked_one_thing_at_a_time() {
    let (server, client, _folder) = client(|_| Reply::ok("0").after(Duration::from_millis(20))).await;
    let callers: Vec<_> = (1..=16)
        .map(|chip| {
            let (client, request) = (client.clone(), VcekRequest::new(AmdProduct::Milan, [chip; 64], [0; 8]).unwrap());
            tokio::spawn(async move { client.get(&request, &begins(b"0")).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!((server.hits("/"), server.most_at_once()), (16, 1));
}

#[tokio::test]
async fn amd_is_left_alone_for_as_long_as_it_asks() {
    let (server, client, _folder) =
        client(
            |request| {
                if request.before == 0 { Reply::status(429).header("Retry-After", "1") } else { Reply::ok("0") }
            },
        )
        .await;
    let request = VcekRequest::new(AmdProduct::Milan, [1; 64], [0; 8]).unwrap();
    let begun = std::time::Instant::now();
    client.get(&request, &begins(b"0")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.hits("/"), 2);
}

#[test]
fn what_is_no_base_url_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["", "localhost:8081", "ftp://a", "https://a/?b", "https://a/#b", "file:///a"] {
        let built = Client::builder(folder.path()).amd_kds(url).build();
        assert_eq!(built.err(), Some(BuildError::Url(Service::AmdKds)), "{url}");
    }
}

fn pem_chain(text: &str) -> Vec<Vec<u8>> {
    let block = |block: &str| {
        let (body, _) = block.split_once("-----END").unwrap();
        Base64::decode_vec(&body.split_whitespace().collect::<String>()).unwrap()
    };
    text.split("-----BEGIN CERTIFICATE-----").skip(1).map(block).collect()
}

/// Successful, and nothing in it but a nonce: RFC 6960 §4.2.1.
fn ocsp_response(nonce: &[u8]) -> Vec<u8> {
    let tlv = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap()][..], &content].concat()
    };
    let oid = |last: u8| tlv(6, &[&[0x2b, 6, 1, 5, 5, 7, 48, 1, last]]);
    let extension = tlv(0x30, &[&oid(2), &tlv(4, &[&tlv(4, &[nonce])])]);
    let (responder, time, answers) = (tlv(0xa1, &[&[0x30, 0]]), tlv(0x18, &[b"20250821064708Z"]), tlv(0x30, &[]));
    let data = tlv(0x30, &[&responder, &time, &answers, &tlv(0xa1, &[&tlv(0x30, &[&extension])])]);
    let bytes = tlv(0x30, &[&oid(1), &tlv(4, &[&tlv(0x30, &[&data])])]);
    tlv(0x30, &[&[0x0a, 1, 0], &tlv(0xa0, &[&bytes])])
}
