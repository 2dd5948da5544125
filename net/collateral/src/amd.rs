//! Certificates and revocation lists from AMD's Key Distribution Service.

use glacier_attest::{Anchors, SnpTcb, check_amd_crl, check_vek};
use glacier_wire::UnixTime;

use crate::{
    error::{Fault, FetchError},
    http::Call,
    request::{RequestError, Sources, sealed::Ask},
    verify::{Validity, Verify},
};

/// Product line, by the name under which the service knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AmdProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

/// Whose chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AmdSigner {
    /// The chip's own key.
    Vcek,
    /// A key that AMD lends to a cloud.
    Vlek,
}

/// Asks for the certificate of one chip's key (VCEK) at one version of its firmware. The answer is
/// X.509 in DER. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VcekRequest {
    product: AmdProduct,
    chip_id: [u8; 64],
    reported_tcb: [u8; 8],
}

impl VcekRequest {
    /// From the fields of a report: chip id (offset 0x1A0) and reported TCB (0x180), bytes as they stand.
    pub fn new(product: AmdProduct, chip_id: [u8; 64], reported_tcb: [u8; 8]) -> Result<Self, RequestError> {
        if chip_id == [0; 64] {
            return Err(RequestError::ChipIdMasked);
        }
        Ok(Self { product, chip_id, reported_tcb })
    }

    /// The product line.
    pub fn product(&self) -> AmdProduct {
        self.product
    }

    /// The chip id as the report has it.
    pub fn chip_id(&self) -> &[u8; 64] {
        &self.chip_id
    }

    /// The reported TCB as the report has it.
    pub fn reported_tcb(&self) -> &[u8; 8] {
        &self.reported_tcb
    }

    /// The chip id in as many bytes as the product has.
    fn chip(&self) -> String {
        match self.product {
            AmdProduct::Turin => hex::encode(self.chip_id.first_chunk::<8>().unwrap_or(&[0; 8])),
            _ => hex::encode(self.chip_id),
        }
    }
}

/// Asks for the certificates above a VCEK or VLEK: the signing key's (ASK or ASVK) and the root's
/// (ARK). The answer is PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AmdChainRequest {
    /// The product line.
    pub product: AmdProduct,
    /// Below what.
    pub signer: AmdSigner,
}

/// Asks for the revocation list of a product's root. The answer is DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AmdCrlRequest {
    /// The product line.
    pub product: AmdProduct,
    /// Above what.
    pub signer: AmdSigner,
}

impl Verify<VcekRequest> for AmdVerifier {
    /// AMD's certificate for this chip at this firmware. It does not change.
    fn verify(&self, request: &VcekRequest, answer: &[u8], at: UnixTime) -> Result<Validity, Fault> {
        let facts = check_vek(answer, &self.anchors, at).map_err(Fault::refused)?;
        if facts.product != request.product.word() {
            return Err(Fault::Other("product"));
        }
        let mut asked = request.chip_id;
        if request.product == AmdProduct::Turin {
            // Only the first eight bytes are asked by.
            asked.iter_mut().skip(8).for_each(|byte| *byte = 0);
        }
        if facts.chip_id != Some(asked) {
            return Err(Fault::Other("chip"));
        }
        let tcb = match (request.product, request.reported_tcb) {
            (AmdProduct::Turin, [fmc, bootloader, tee, snp, _, _, _, microcode]) => {
                SnpTcb { fmc: Some(fmc), bootloader, tee, snp, microcode }
            }
            (_, [bootloader, tee, _, _, _, _, snp, microcode]) => SnpTcb { fmc: None, bootloader, tee, snp, microcode },
        };
        if facts.tcb != tcb {
            return Err(Fault::Other("firmware"));
        }
        let (from, until) = facts.validity;
        Ok(Validity { from, until, edition: Vec::new() })
    }
}

impl Verify<AmdCrlRequest> for AmdVerifier {
    /// A revocation list of the product's root. Its edition: when it was made.
    fn verify(&self, request: &AmdCrlRequest, answer: &[u8], at: UnixTime) -> Result<Validity, Fault> {
        let (from, until) = check_amd_crl(answer, request.product.word(), &self.anchors, at).map_err(Fault::refused)?;
        Ok(Validity { from, until, edition: vec![from.0] })
    }
}

/// Verifies what AMD's service answers, under the authorities that the verifier of evidence has built in.
#[derive(Debug, Clone)]
pub struct AmdVerifier {
    anchors: Anchors,
}

impl AmdVerifier {
    /// Trusts these roots.
    pub fn new(anchors: Anchors) -> Self {
        Self { anchors }
    }
}

impl Ask for VcekRequest {
    fn key(&self) -> String {
        format!("amd-vcek-{}-{}-{}", self.product.word(), self.chip(), hex::encode(self.reported_tcb))
    }

    async fn fetch(&self, sources: &Sources) -> Result<Vec<u8>, FetchError> {
        let versions = match (self.product, self.reported_tcb) {
            (AmdProduct::Turin, [fmc, loader, tee, snp, _, _, _, microcode]) => {
                format!("fmcSPL={fmc:02}&blSPL={loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}")
            }
            (_, [loader, tee, _, _, _, _, snp, microcode]) => {
                format!("blSPL={loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}")
            }
        };
        let path = format!("/vcek/v1/{}/{}?{versions}", self.product.word(), self.chip());
        get(sources, &path, MAX_CERTIFICATE).await
    }
}

impl Ask for AmdChainRequest {
    fn key(&self) -> String {
        format!("amd-chain-{}-{}", self.signer.word(), self.product.word())
    }

    async fn fetch(&self, sources: &Sources) -> Result<Vec<u8>, FetchError> {
        let path = format!("/{}/v1/{}/cert_chain", self.signer.word(), self.product.word());
        get(sources, &path, MAX_CHAIN).await
    }
}

impl Ask for AmdCrlRequest {
    fn key(&self) -> String {
        format!("amd-crl-{}-{}", self.signer.word(), self.product.word())
    }

    async fn fetch(&self, sources: &Sources) -> Result<Vec<u8>, FetchError> {
        let path = format!("/{}/v1/{}/crl", self.signer.word(), self.product.word());
        get(sources, &path, MAX_CRL).await
    }
}

async fn get(sources: &Sources, path: &str, max: usize) -> Result<Vec<u8>, FetchError> {
    Ok(sources.amd.ask(Call { path, accept: "*/*", body: None, max }).await?.body)
}

impl AmdProduct {
    fn word(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

impl AmdSigner {
    fn word(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

/// Genuine ones take 1.4 KiB.
const MAX_CERTIFICATE: usize = 8 << 10;
/// Two certificates of RSA-4096 take 5 KiB.
const MAX_CHAIN: usize = 32 << 10;
const MAX_CRL: usize = 64 << 10;
