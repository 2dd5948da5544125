//! Vendor-signed documents that the caller names beside evidence.

use crate::{error::Failure, files};
use glacier::judgement::{self, Subject};
use glacier_attest::{Collateral, Endorsements, Fingerprint};
use glacier_wire::ReportData;
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
            judgement::add_amd(&mut endorsements, documents(path)?);
        }
        for path in &self.ocsp {
            endorsements.ocsp.extend(documents(path)?);
        }
        Ok(endorsements)
    }
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

/// All 64 bytes of a quote's report data, or the nonce of a device.
pub(crate) fn report_data(subject: &Subject, text: &str, flag: &str) -> Result<ReportData, Failure> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok();
    bytes.and_then(|bytes| subject.report_data(&bytes)).ok_or_else(|| {
        let (length, help) = match subject.is_device() {
            true => (32, "give the 64 digits of the nonce that the device was asked with"),
            false => (64, "give all 128 digits; a 32-byte value is followed by 64 zeros in most quotes"),
        };
        Failure::trouble("usage", format!("{flag} is not {length} bytes of hexadecimal"), help)
    })
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
    judgement::documents(files::read(path, MAX_DER)?)
        .map_err(|error| Failure::not_a("a certificate", path, error, "pass the file as the vendor gives it"))
}
