//! Makes `contracts/test/fixtures/simulated.json`: SIMULATED evidence for the tests of the contracts.
//!
//! Every run makes another vendor; the file is committed, and made anew only when its form changes:
//!
//! ```text
//! cargo run --release -p glacier-simulator --example chain_fixtures > contracts/test/fixtures/simulated.json
//! ```
//!
//! | member | value |
//! |---|---|
//! | `now` | time at which everything holds, seconds since 1970 |
//! | `root` | `x`, `y` of the key, `der` of the certificate |
//! | `platformCa`, `tcbSigning` | certificates, DER |
//! | `collateral` | `rootCrl`, `pckCrl` (DER), `tcbInfo`, `qeIdentity` (the texts that are signed), `tcbInfoSignature`, `qeIdentitySignature` (r ‖ s) |
//! | `later` | the same, a day later: evaluation 2, `chips[1]` revoked, level of `chips[0]` out of date |
//! | `chips` | two: `pck` (lean), `pckDer`, `ppid`, `enclaveId`, `attestationKey` (the secret scalar), `quote` (compact), `full` (with its chain), `again` (compact, of the same key), `debug` (compact, of a debug enclave) |
//! | `measurement`, `reportData` | what the quotes say; that of `again` is all bits inverted |

use der::Decode as _;
use glacier_attest::{Compact, CompactError, TcbStatus};
use glacier_simulator::{Attributes, Body, Chip, Collateral, Hardware, Recipe, Seed, Vendor, VendorError};
use glacier_wire::{Measurement, UnixTime};
use serde_json::{Value, json};

const NOW: UnixTime = UnixTime(1_800_000_000);
const DAY: u64 = 86_400;

fn main() -> Result<(), Error> {
    let vendor = Vendor::generate(NOW)?;
    let chips = [vendor.chip(hardware(1), NOW)?, vendor.chip(hardware(2), NOW)?];
    let collateral = vendor.collateral(&hardware(1), &Recipe::new(NOW))?;
    let later = Recipe {
        evaluation: 2,
        status: TcbStatus::OutOfDate,
        advisories: vec!["SIMULATED-SA-00001".into()],
        revoked_chips: vec![chips[1].serial()],
        ..Recipe::new(UnixTime(NOW.0 + DAY))
    };
    let later = vendor.collateral(&hardware(1), &later)?;
    let [platform_ca, root] = certificates(&collateral.pck_crl_issuer_chain)?;
    let [tcb_signing, _] = certificates(&collateral.tcb_info_issuer_chain)?;
    let (x, y) = key(&root)?;
    let fixture = json!({
        "note": "SIMULATED. Made by simulator/examples/chain_fixtures.rs under a root that is nobody's; every key in it is public.",
        "now": NOW.0,
        "root": { "x": hex(&x), "y": hex(&y), "der": hex(&root) },
        "platformCa": hex(&platform_ca),
        "tcbSigning": hex(&tcb_signing),
        "collateral": members(&collateral),
        "later": members(&later),
        "measurement": hex(&MEASUREMENT),
        "reportData": hex(&report_data()),
        "chips": chips.iter().map(of_chip).collect::<Result<Vec<_>, _>>()?,
    });
    println!("{}", serde_json::to_string_pretty(&fixture).map_err(|_| VendorError::Json)?);
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Vendor(#[from] VendorError),
    #[error(transparent)]
    Compact(#[from] CompactError),
    #[error("a certificate of the simulated vendor is not readable")]
    Certificate,
}

const MEASUREMENT: [u8; 32] = [0x42; 32];

fn report_data() -> [u8; 64] {
    std::array::from_fn(|index| index as u8)
}

fn hardware(chip: u8) -> Hardware {
    Hardware::new(Seed::new([chip; 32]))
}

fn of_chip(chip: &Chip) -> Result<Value, Error> {
    let body = Body::new(Measurement(MEASUREMENT), report_data());
    let full = chip.quote(&body)?;
    let compact = Compact::of(&full)?;
    let again = chip.quote(&Body { report_data: report_data().map(|byte| !byte), ..body.clone() })?;
    let debug = chip.quote(&Body { attributes: Attributes::DEBUG, ..body })?;
    Ok(json!({
        "pck": hex(compact.pck()),
        "pckDer": hex(compact.pck_der()),
        "ppid": hex(&chip.hardware().ppid()),
        "enclaveId": hex(&chip.enclave_id().0),
        "attestationKey": hex(chip.expose_attestation_key()?.as_slice()),
        "quote": hex(compact.quote()),
        "again": hex(Compact::of(&again)?.quote()),
        "debug": hex(Compact::of(&debug)?.quote()),
        "full": hex(&full),
    }))
}

fn members(collateral: &Collateral) -> Value {
    json!({
        "rootCrl": format!("0x{}", collateral.root_ca_crl),
        "pckCrl": format!("0x{}", collateral.pck_crl),
        "tcbInfo": collateral.tcb_info,
        "tcbInfoSignature": format!("0x{}", collateral.tcb_info_signature),
        "qeIdentity": collateral.qe_identity,
        "qeIdentitySignature": format!("0x{}", collateral.qe_identity_signature),
    })
}

fn certificates<const N: usize>(chain: &str) -> Result<[Vec<u8>; N], Error> {
    let blocks: Vec<_> = chain
        .split_inclusive("-----END CERTIFICATE-----\n")
        .map(|text| der::pem::decode_vec(text.as_bytes()).map(|(_, der)| der))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Certificate)?;
    blocks.try_into().map_err(|_| Error::Certificate)
}

/// The point is the last 64 bytes of the public key, the sixth member after the version.
fn key(certificate: &[u8]) -> Result<([u8; 32], [u8; 32]), Error> {
    let members = |der: &[u8]| Vec::<der::Any>::from_der(der).map_err(|_| Error::Certificate);
    let to_be_signed = members(certificate)?.into_iter().next().ok_or(Error::Certificate)?;
    let to_be_signed = der::Encode::to_der(&to_be_signed).map_err(|_| Error::Certificate)?;
    let key = members(&to_be_signed)?.into_iter().nth(6).ok_or(Error::Certificate)?;
    let point = key.value().last_chunk::<64>().ok_or(Error::Certificate)?;
    let (x, y) = point.split_at(32);
    Ok((x.try_into().map_err(|_| Error::Certificate)?, y.try_into().map_err(|_| Error::Certificate)?))
}

fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}
