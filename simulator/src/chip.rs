//! The simulated chip: one attestation key, signed once per start, and the quotes it makes.

use crate::{
    collateral::Serial,
    key::Key,
    vendor::{Certified, VendorError},
};
use aws_lc_rs::hmac;
use glacier_attest::enclave_id;
use glacier_platform::SealingPurpose;
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The secret a chip is made from: the same seed is the same chip.
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// A new chip.
    pub fn random() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        glacier_platform::random(&mut *seed);
        Self(seed)
    }

    /// A chip known from before.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// For the owner's file alone.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn derive(&self, what: &str) -> [u8; 16] {
        let mut id = [0; 16];
        let hash = Sha256::new_with_prefix(what).chain_update([0]).chain_update(*self.0).finalize();
        id.copy_from_slice(&hash[..16]);
        id
    }
}

/// What kind of chip it is: goes into its certificate and into the TCB level that fits it.
pub struct Hardware {
    /// Which chip.
    pub seed: Seed,
    /// Family, model, stepping, platform, customer.
    pub fmspc: [u8; 6],
    /// Provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// The 16 TCB component versions.
    pub cpu_svn: [u8; 16],
    /// Version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// Version of the quoting enclave.
    pub qe_svn: u16,
}

impl Hardware {
    /// A chip with component versions as a genuine server has them, under an FMSPC that says "SIMUL".
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            fmspc: *b"SIMUL\0",
            pce_id: [0; 2],
            cpu_svn: [14, 14, 16, 15, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            pce_svn: 15,
            qe_svn: 10,
        }
    }

    /// The chip's unique id, derived from its seed.
    pub fn ppid(&self) -> [u8; 16] {
        self.seed.derive("glacier/simulated-ppid/v1")
    }

    pub(crate) fn instance(&self) -> [u8; 16] {
        self.seed.derive("glacier/simulated-instance/v1")
    }
}

/// SGX attributes of an enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub [u8; 16]);

impl Attributes {
    /// Initialised, 64 bit.
    pub const PRODUCTION: Self = Self([5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    /// And its memory is open to the host.
    pub const DEBUG: Self = Self([7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
}

/// What a quote says of an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The code.
    pub measurement: Measurement,
    /// Who signed the code.
    pub signer: [u8; 32],
    /// Flags.
    pub attributes: Attributes,
    /// The signer's number for the product.
    pub product_id: u16,
    /// The signer's security version.
    pub svn: u16,
    /// The enclave's own 64 bytes.
    pub report_data: ReportData,
}

impl Body {
    /// A production enclave, signed by nobody in particular: the simulated platform knows no signers.
    pub fn new(measurement: Measurement, report_data: ReportData) -> Self {
        Self {
            measurement,
            signer: Sha256::digest(b"glacier/simulated-signer/v1").into(),
            attributes: Attributes::PRODUCTION,
            product_id: 0,
            svn: 0,
            report_data,
        }
    }
}

/// Plays the chip. Its attestation key exists in this value only.
pub struct Chip {
    hardware: Hardware,
    pck: Certified,
    attestation: Key,
    /// Signature data after the attestation key: QE report, its signature, authentication data, chain.
    certification: Vec<u8>,
}

impl Chip {
    pub(crate) fn start(hardware: Hardware, pck: Certified, chain: String) -> Result<Self, VendorError> {
        let attestation = Key::generate()?;
        let authentication: [u8; 32] = std::array::from_fn(|index| index as u8);
        let mut binding = [0; 64];
        let hash = Sha256::new_with_prefix(attestation.public()).chain_update(authentication).finalize();
        binding[..32].copy_from_slice(&hash);
        let report = report(
            &hardware.cpu_svn,
            &Body {
                measurement: Measurement(Sha256::digest(b"glacier/simulated-quoting-enclave/v1").into()),
                signer: quoting_signer(),
                attributes: Attributes([0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0]),
                product_id: QE_PRODUCT,
                svn: hardware.qe_svn,
                report_data: binding,
            },
        );
        // Genuine chains end with a NUL.
        let chain = [chain.as_bytes(), &[0]].concat();
        let certification = [
            report.as_slice(),
            &pck.key.sign(&report)?,
            &(authentication.len() as u16).to_le_bytes(),
            &authentication,
            &PEM_CHAIN.to_le_bytes(),
            &(chain.len() as u32).to_le_bytes(),
            &chain,
        ]
        .concat();
        Ok(Self { hardware, pck, attestation, certification })
    }

    /// A DCAP quote, version 3.
    pub fn quote(&self, body: &Body) -> Result<Vec<u8>, VendorError> {
        let mut signed = Vec::with_capacity(48 + 384);
        signed.extend_from_slice(&3u16.to_le_bytes());
        signed.extend_from_slice(&2u16.to_le_bytes()); // attestation key: ECDSA P-256
        signed.extend_from_slice(&0u32.to_le_bytes());
        signed.extend_from_slice(&self.hardware.qe_svn.to_le_bytes());
        signed.extend_from_slice(&self.hardware.pce_svn.to_le_bytes());
        signed.extend_from_slice(&QE_VENDOR);
        signed.extend_from_slice(&self.hardware.seed.derive("glacier/simulated-qe-id/v1"));
        signed.extend_from_slice(&[0; 4]);
        signed.extend_from_slice(&report(&self.hardware.cpu_svn, body));
        let signature = self.attestation.sign(&signed)?;
        let attestation = self.attestation.public();
        let length = (signature.len() + attestation.len() + self.certification.len()) as u32;
        Ok([signed.as_slice(), &length.to_le_bytes(), &signature, &attestation, &self.certification].concat())
    }

    /// The secret scalar of the attestation key, big-endian: for tests of contracts, which sign quotes themselves because
    /// what they quote depends on where a contract is.
    pub fn expose_attestation_key(&self) -> Result<Zeroizing<[u8; 32]>, VendorError> {
        self.attestation.scalar()
    }

    /// What kind of chip it is.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// The chip's Enclave ID.
    pub fn enclave_id(&self) -> EnclaveId {
        enclave_id(PlatformKind::Simulated, &self.hardware.ppid())
    }

    /// Serial number of the chip's certificate: what a revocation list names.
    pub fn serial(&self) -> Serial {
        self.pck.key.serial()
    }

    /// The key that this code on this chip always gets again.
    pub fn sealing_key(&self, measurement: &Measurement, purpose: SealingPurpose) -> Zeroizing<[u8; 32]> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.hardware.seed.expose());
        let mut context = hmac::Context::with_key(&secret);
        context.update(b"glacier/simulated-sealing/v1\0");
        context.update(&measurement.0);
        context.update(purpose.as_str().as_bytes());
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    pub(crate) fn pck(&self) -> &Certified {
        &self.pck
    }
}

/// The format's id of quoting enclaves made by Intel; every DCAP verifier requires it.
const QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// Certification data type: PEM chain, leaf first.
const PEM_CHAIN: u16 = 5;
/// Product id of quoting enclaves for SGX.
pub(crate) const QE_PRODUCT: u16 = 1;

/// Signer of the simulated quoting enclave.
pub(crate) fn quoting_signer() -> [u8; 32] {
    Sha256::digest(b"glacier/simulated-quoting-signer/v1").into()
}

/// An SGX report body.
fn report(cpu_svn: &[u8; 16], body: &Body) -> [u8; 384] {
    let mut report = [0; 384];
    let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, cpu_svn);
    put(48, &body.attributes.0);
    put(64, &body.measurement.0);
    put(128, &body.signer);
    put(256, &body.product_id.to_le_bytes());
    put(258, &body.svn.to_le_bytes());
    put(320, &body.report_data);
    report
}
