//! Vendor-signed documents that the caller names beside evidence.

use crate::{error::Failure, files};
use glacier_attest::{Collateral, CollateralError, Endorsements, Fingerprint};
use glacier_wire::{Evidence, ReportData};
use std::path::{Path, PathBuf};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Given {
    /// SGX, TDX: Intel's collateral, JSON with the members of QuoteCollateralV3
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// SNP: certificate of the key that signed the report, VCEK or VLEK (DER or PEM)
    #[arg(long, value_name = "FILE")]
    vek: Option<PathBuf>,
    /// SNP: AMD's certificates, or a revocation list of its root (DER or PEM); those of Milan, Genoa and Turin are built in
    #[arg(long, value_name = "FILE", num_args = 1..)]
    amd_ca: Vec<PathBuf>,
    /// NVIDIA: certificates of the device, leaf first
    #[arg(long, value_name = "PEM")]
    gpu_chain: Option<PathBuf>,
    /// NVIDIA: reference manifests of driver and VBIOS (XML)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    rim: Vec<PathBuf>,
    /// NVIDIA: OCSP answers for the certificates of device and manifests (DER)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    ocsp: Vec<PathBuf>,
}

/// The largest certificate, list or answer that is read.
const MAX_DER: u64 = 1 << 20;

impl Given {
    /// Reads every file.
    pub(crate) fn read(&self) -> Result<Endorsements, Failure> {
        let mut endorsements = Endorsements {
            collateral: self.collateral.as_deref().map(collateral).transpose()?,
            gpu_chain: self.gpu_chain.as_deref().map(|path| files::read(path, MAX_DER)).transpose()?,
            rims: self.rim.iter().map(|path| rim(path)).collect::<Result<_, _>>()?,
            ..Endorsements::default()
        };
        if let Some(path) = &self.vek {
            endorsements.vek = documents(path)?.into_iter().next();
        }
        for path in &self.amd_ca {
            for der in documents(path)? {
                if is_list(&der) {
                    endorsements.amd_crls.push(der);
                } else {
                    endorsements.amd_authorities.push(der);
                }
            }
        }
        for path in &self.ocsp {
            endorsements.ocsp.extend(documents(path)?);
        }
        Ok(endorsements)
    }
}

/// Adds what an enclave showed beside its quote to what the caller named. The caller's comes first.
pub(crate) fn add(endorsements: &mut Endorsements, evidence: &Evidence) -> Result<(), CollateralError> {
    let shown = Endorsements::of_enclave(evidence)?;
    endorsements.collateral = endorsements.collateral.take().or(shown.collateral);
    endorsements.vek = endorsements.vek.take().or(shown.vek);
    endorsements.amd_authorities.extend(shown.amd_authorities);
    endorsements.amd_crls.extend(shown.amd_crls);
    endorsements.rims.extend(shown.rims);
    endorsements.ocsp.extend(shown.ocsp);
    Ok(())
}

/// A reference manifest, as it is: the verifier says what is wrong with it.
pub(crate) fn rim(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read(path, MAX_DER)
}

/// A root to trust, by its certificate.
pub(crate) fn root(path: &Path) -> Result<Fingerprint, Failure> {
    let der = documents(path)?.into_iter().next().unwrap_or_default();
    Ok(Fingerprint::of(&der))
}

/// Evidence copied from a log is hex text; nothing that a vendor signs is.
pub(crate) fn unhex(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&bytes) else { return bytes };
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits.strip_prefix("0x").unwrap_or(&digits)).unwrap_or(bytes)
}

/// All 64 bytes of a quote's report data.
pub(crate) fn report_data(text: &str) -> Result<ReportData, Failure> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        Failure::trouble(
            "usage",
            "--expect-report-data is not 64 bytes of hexadecimal",
            "give all 128 digits; a 32-byte value is followed by 64 zeros in most quotes",
        )
    })
}

/// A device's nonce, in the place where quotes have their report data.
pub(crate) fn nonce(text: &str, flag: &str) -> Result<ReportData, Failure> {
    let mut nonce = [0; 32];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut nonce).map_err(|_| {
        let message = format!("{flag} is not 32 bytes of hexadecimal");
        Failure::trouble("usage", message, "give the 64 digits of the nonce that the device was asked with")
    })?;
    let mut expected = [0; 64];
    expected[..32].copy_from_slice(&nonce);
    Ok(expected)
}

pub(crate) fn no_nonce() -> Failure {
    Failure::trouble(
        "usage",
        "--nonce is for NVIDIA evidence; a quote carries report data",
        "pass the 64 bytes that the quote must carry with --expect-report-data",
    )
}

fn collateral(path: &Path) -> Result<Collateral, Failure> {
    let bytes = files::read(path, Collateral::MAX_BYTES as u64)?;
    Collateral::parse(&bytes).map_err(|error| {
        Failure::not_a("collateral", path, error, "pass the JSON object that a PCCS client gives for this quote")
    })
}

/// DER documents: one as it is, or those of a PEM file in their order.
fn documents(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = files::read(path, MAX_DER)?;
    // Certificates, lists and answers are DER SEQUENCEs.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let blocks = text.split_inclusive("-----END ").filter_map(|part| part.find("-----BEGIN ").map(|at| &part[at..]));
    let mut found = Vec::new();
    for block in blocks {
        let label = block["-----BEGIN ".len()..].split("-----").next().unwrap_or_default();
        let whole = format!("{block}{label}-----\n");
        let (_, der) = der::pem::decode_vec(whole.as_bytes())
            .map_err(|error| Failure::not_a("PEM", path, error, "pass the file as the vendor gives it"))?;
        found.push(der);
    }
    if found.is_empty() {
        return Err(Failure::not_a("a certificate", path, "neither PEM nor DER", "pass the certificate itself"));
    }
    Ok(found)
}

/// Whether DER is a revocation list: a certificate's content begins with its version in `[0]` (RFC
/// 5280 §4.1), a list's with an INTEGER or the algorithm (§5.1).
fn is_list(der: &[u8]) -> bool {
    let content = |der: &[u8]| -> Option<usize> {
        Some(match *der.get(1)? {
            length @ 0x81..=0x84 => 2 + usize::from(length & 0x0f),
            _ => 2,
        })
    };
    let Some(inner) = content(der).and_then(|at| der.get(at..)) else { return false };
    content(inner).and_then(|at| inner.get(at)).is_some_and(|tag| *tag != 0xa0)
}
