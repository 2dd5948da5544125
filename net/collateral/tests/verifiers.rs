//! The verifiers over what the vendors' services gave, as recorded: each answer for its own question,
//! and for no other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use glacier_attest::Anchors;
use glacier_collateral::{
    AmdCrlRequest, AmdProduct, AmdSigner, AmdVerifier, Fault, IntelCollateralRequest, IntelVerifier, NvidiaVerifier,
    OcspRequest, PckCa, RimId, Tee, VcekRequest, Verify,
};
use glacier_wire::UnixTime;
use serde_json::Value;
use std::{fs, path::PathBuf};

fn vectors() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no vectors");
    None
}

fn read(path: &str) -> Vec<u8> {
    fs::read(vectors().unwrap().join(path)).unwrap()
}

fn manifest(kind: &str) -> Vec<Value> {
    let manifest: Value = serde_json::from_slice(&read(&format!("{kind}/manifest.json"))).unwrap();
    manifest["entries"].as_array().unwrap().clone()
}

#[test]
fn every_recorded_set_of_tdx_passes_at_its_time_and_for_its_question() {
    let Some(_) = vectors() else { return };
    let verifier = IntelVerifier::new(Anchors::vendor());
    let mut sets = 0;
    for entry in manifest("tdx") {
        let fmspc: [u8; 6] = hex::decode(entry["fmspc"].as_str().unwrap()).unwrap().try_into().unwrap();
        for case in entry["cases"].as_array().into_iter().flatten() {
            let json = read(&format!("tdx/{}", case["collateral"].as_str().unwrap()));
            let at = |member: &str| UnixTime(case[member].as_u64().unwrap());
            let asked = IntelCollateralRequest::new(Tee::Tdx, fmspc, PckCa::Platform);
            let validity = verifier.verify(&asked, &json, at("eval_time")).unwrap();
            // The recorded span is of quote and collateral together.
            assert!(validity.from <= at("valid_from") && at("valid_to") <= validity.until);
            let other = IntelCollateralRequest::new(Tee::Sgx, fmspc, PckCa::Platform);
            assert_eq!(verifier.verify(&other, &json, at("eval_time")), Err(Fault::Other("TEE")));
            sets += 1;
        }
    }
    assert_eq!(sets, 33);
}

#[test]
fn a_manifest_answers_its_own_id_only_and_while_its_signer_is_current() {
    let Some(_) = vectors() else { return };
    let verifier = NvidiaVerifier::new(Anchors::vendor());
    let at = UnixTime(1_750_000_000);
    let ask = |id: &str, file: &str| verifier.verify(&RimId::new(id).unwrap(), &read(file), at);
    let driver = "nvidia/h100-nvtrust-550.90.07/driver-rim.xml";
    let vbios = "nvidia/h100-nvtrust-550.90.07/vbios-rim.xml";
    let switch = "nvidia/ls10-sdk-96.10.55.00.01/vbios-rim.xml";
    assert!(ask("NV_GPU_DRIVER_GH100_550.90.07", driver).is_ok());
    assert!(ask("NV_GPU_VBIOS_1010_0200_882_96009F0001", vbios).is_ok());
    assert!(ask("NV_SWITCH_BIOS_5612_0002_890_9610550001", switch).is_ok());
    let other = Err(Fault::Other("firmware"));
    assert_eq!(ask("NV_GPU_DRIVER_GH100_550.90.08", driver), other);
    assert_eq!(ask("NV_GPU_VBIOS_1010_0200_882_96009F0001", driver), other);
    assert_eq!(ask("NV_GPU_DRIVER_GH100_96009F0001", vbios), other);
    assert_eq!(ask("NV_GPU_VBIOS_5612_0002_890_9610550001", switch), other);
    let late = UnixTime(1_800_000_000);
    let driver_id = RimId::new("NV_GPU_DRIVER_GH100_550.90.07").unwrap();
    assert!(matches!(verifier.verify(&driver_id, &read(driver), late), Err(Fault::Appraisal(_))));
    assert!(verifier.verify(&driver_id, b"<html/>", at).is_err());
}

#[test]
fn an_answer_about_revocation_holds_for_its_certificate_and_its_day() {
    let Some(_) = vectors() else { return };
    let verifier = NvidiaVerifier::new(Anchors::vendor());
    let pem = String::from_utf8(read("nvidia/h100-nvtrust-550.90.07/chain.pem")).unwrap();
    let chain: Vec<Vec<u8>> = pem
        .split_inclusive("-----END CERTIFICATE-----\n")
        .filter_map(|block| der::pem::decode_vec(block.trim_start().as_bytes()).ok().map(|(_, der)| der))
        .collect();
    let day = UnixTime(1_755_800_000);
    for (index, name) in [(1, "l4"), (2, "l3"), (3, "l2")] {
        let answer = read(&format!("nvidia/h100-nvtrust-550.90.07/ocsp-certificate-{name}.der"));
        let request = OcspRequest::new(&chain[index], &chain[index + 1]).unwrap();
        let validity = verifier.verify(&request, &answer, day).unwrap();
        assert_eq!(validity.until.0 - validity.from.0, 86_400);
        assert!(matches!(verifier.verify(&request, &answer, UnixTime(day.0 + 172_800)), Err(Fault::Refused(_))));
        let other = OcspRequest::new(&chain[index - 1], &chain[index]).unwrap();
        assert!(matches!(verifier.verify(&other, &answer, day), Err(Fault::Refused(_))));
    }
}

#[test]
fn a_chips_certificate_is_for_this_chip_at_this_firmware() {
    let Some(_) = vectors() else { return };
    let verifier = AmdVerifier::new(Anchors::vendor());
    let mut checked = 0;
    for entry in manifest("snp").iter().filter(|entry| entry["signer"] == "VCEK") {
        let product = match entry["product"].as_str().unwrap() {
            "milan" => AmdProduct::Milan,
            "genoa" => AmdProduct::Genoa,
            _ => AmdProduct::Turin,
        };
        let bytes = |member: &str| hex::decode(entry[member].as_str().unwrap()).unwrap();
        let (chip, tcb): ([u8; 64], [u8; 8]) =
            (bytes("chip_id").try_into().unwrap(), bytes("reported_tcb").try_into().unwrap());
        let vek = read(&format!("snp/{}", entry["vek"].as_str().unwrap()));
        let at = UnixTime(entry["eval_time"].as_u64().unwrap());
        let ask = |product, chip, tcb| verifier.verify(&VcekRequest::new(product, chip, tcb).unwrap(), &vek, at);
        let validity = ask(product, chip, tcb).unwrap();
        assert!(validity.until.0 <= entry["cert_valid_to"].as_u64().unwrap());
        let (mut other_chip, mut other_tcb) = (chip, tcb);
        other_chip[0] ^= 1;
        other_tcb[7] ^= 1;
        assert_eq!(ask(product, other_chip, tcb), Err(Fault::Other("chip")));
        assert_eq!(ask(product, chip, other_tcb), Err(Fault::Other("firmware")));
        let other = if product == AmdProduct::Milan { AmdProduct::Genoa } else { AmdProduct::Milan };
        assert_eq!(ask(other, chip, tcb), Err(Fault::Other("product")));
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn a_certificate_is_no_revocation_list_of_amds() {
    let Some(_) = vectors() else { return };
    let verifier = AmdVerifier::new(Anchors::vendor());
    let request = AmdCrlRequest { product: AmdProduct::Milan, signer: AmdSigner::Vcek };
    let found = verifier.verify(&request, &read("snp/roots/milan-ask.der"), UnixTime(1_700_000_000));
    assert!(matches!(found, Err(Fault::Refused(_))), "{found:?}");
}
