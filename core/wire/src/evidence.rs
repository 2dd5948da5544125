//! What travels to be appraised: evidence, and the claims it commits to.

use crate::{
    cbor::CborError,
    id::{Address, UnixTime},
};
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// What a quote was made for. A closed list inside the hashed claims, so that a quote made for one
/// purpose never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Announces the keys of this epoch: channel and proofs.
    Channel,
    /// Data chosen by an application's user.
    App,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::App => "app",
        }
    }
}

/// The 64 bytes an enclave puts into its quote.
pub type ReportData = [u8; 64];

/// The claims buffer of the interoperable RA-TLS evidence format: a CBOR map with text keys whose
/// SHA-256 stands in the quote's report data. Foreign verifiers read `pubkey-hash` and `nonce`;
/// the members that begin with `glacier-` are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// What the quote is for.
    pub purpose: Purpose,
    /// SHA-256 of the channel key's SubjectPublicKeyInfo (DER).
    pub channel_key: [u8; 32],
    /// Address of the secp256k1 key that signs Work Proofs in this epoch.
    pub enclave_key: Address,
    /// When the quote was asked for, by the enclave's clock. The host sets that clock: a relying
    /// party that needs certainty asks for a fresh quote over its own nonce.
    pub issued_at: UnixTime,
    /// The relying party's nonce, when the quote was made for one session.
    pub nonce: Option<[u8; 32]>,
    /// [`Device::digest`] of the confidential devices that the enclave uses; `None` where it uses none.
    pub devices: Option<[u8; 32]>,
}

/// IANA Named Information hash id of SHA-256.
const SHA_256: u8 = 1;

impl Claims {
    /// Largest claims buffer that is read.
    pub const MAX_BYTES: usize = 512;

    /// The claims buffer. Keys in the order of RFC 8949 §4.2.3 (length first).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        // Writing into a Vec cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        let mut hash = Vec::with_capacity(40);
        minicbor::Encoder::new(&mut hash).array(2)?.u8(SHA_256)?.bytes(&self.channel_key)?;
        let mut encoder = minicbor::Encoder::new(out);
        encoder.map(match (&self.nonce, &self.devices) {
            (None, None) => 4,
            (Some(_), None) | (None, Some(_)) => 5,
            (Some(_), Some(_)) => 6,
        })?;
        if let Some(nonce) = &self.nonce {
            encoder.str("nonce")?.bytes(nonce)?;
        }
        encoder.str("glacier-key")?.bytes(&self.enclave_key.0)?;
        encoder.str("pubkey-hash")?.bytes(&hash)?;
        if let Some(devices) = &self.devices {
            encoder.str("glacier-gpus")?.bytes(devices)?;
        }
        encoder.str("glacier-issued")?.u64(self.issued_at.0)?;
        encoder.str("glacier-purpose")?.str(self.purpose.as_str())?;
        Ok(())
    }

    /// Reads a claims buffer in its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(CborError::TooLarge { found: bytes.len(), max: Self::MAX_BYTES });
        }
        let claims = Self::read(bytes).map_err(|_| CborError::Malformed)?;
        if claims.encode() != bytes {
            return Err(CborError::NotCanonical);
        }
        Ok(claims)
    }

    fn read(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        let missing = || minicbor::decode::Error::message("claim missing");
        let mut decoder = minicbor::Decoder::new(bytes);
        let members = decoder.map()?.ok_or_else(missing)?;
        let (mut nonce, mut enclave_key, mut channel_key, mut issued_at, mut purpose) = (None, None, None, None, None);
        let mut devices = None;
        for _ in 0..members {
            match decoder.str()? {
                "nonce" => nonce = Some(fixed(decoder.bytes()?)?),
                "glacier-key" => enclave_key = Some(Address(fixed(decoder.bytes()?)?)),
                "pubkey-hash" => {
                    let mut entry = minicbor::Decoder::new(decoder.bytes()?);
                    if entry.array()? != Some(2) || entry.u8()? != SHA_256 {
                        return Err(minicbor::decode::Error::message("key hash of another kind"));
                    }
                    channel_key = Some(fixed(entry.bytes()?)?);
                }
                "glacier-gpus" => devices = Some(fixed(decoder.bytes()?)?),
                "glacier-issued" => issued_at = Some(UnixTime(decoder.u64()?)),
                "glacier-purpose" => {
                    purpose = Some(match decoder.str()? {
                        "channel" => Purpose::Channel,
                        "app" => Purpose::App,
                        _ => return Err(minicbor::decode::Error::message("unknown purpose")),
                    });
                }
                _ => return Err(minicbor::decode::Error::message("unknown claim")),
            }
        }
        Ok(Self {
            purpose: purpose.ok_or_else(missing)?,
            channel_key: channel_key.ok_or_else(missing)?,
            enclave_key: enclave_key.ok_or_else(missing)?,
            issued_at: issued_at.ok_or_else(missing)?,
            nonce,
            devices,
        })
    }

    /// The nonce that the enclave's devices must have answered: SHA-256("glacier/device-nonce/v1" ‖ 0 ‖
    /// these claims without `devices`). So a device's evidence was made for these keys, and the
    /// quote, which commits to that evidence in turn, for this device.
    pub fn device_nonce(&self) -> [u8; 32] {
        let claims = Self { devices: None, ..self.clone() };
        Sha256::new().chain_update(b"glacier/device-nonce/v1\0").chain_update(claims.encode()).finalize().into()
    }

    /// What the quote must carry: SHA-256 of the claims buffer, then 32 zero bytes.
    pub fn report_data(&self) -> ReportData {
        report_data(&self.encode())
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], minicbor::decode::Error> {
    bytes.try_into().map_err(|_| minicbor::decode::Error::message("member of another length"))
}

fn report_data(claims: &[u8]) -> ReportData {
    let mut data = [0u8; 64];
    for (to, from) in data.iter_mut().zip(Sha256::digest(claims)) {
        *to = from;
    }
    data
}

/// What an enclave hands out: a quote, the claims it commits to, and collateral as the host had it.
/// All of it is public and none of it is trusted before `glacier_attest` has appraised it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize, serde::Deserialize)]
pub struct Evidence {
    /// Raw evidence of the platform: a DCAP quote.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::id::hex_bytes")]
    pub quote: Vec<u8>,
    /// [`Claims::encode`].
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::id::hex_bytes")]
    pub claims: Vec<u8>,
    /// Vendor-signed collateral: one JSON object in the field names of DCAP's `QuoteCollateralV3`.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::id::hex_bytes")]
    pub collateral: Vec<u8>,
    /// Confidential devices, in the order in which the claims commit to them.
    #[n(3)]
    #[cbor(default)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Further vendor-signed documents.
    #[n(4)]
    #[cbor(default)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Document>,
}

/// Evidence of one confidential device: a GPU or a switch.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// The device's attestation report, over [`Claims::device_nonce`].
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::id::hex_bytes")]
    pub report: Vec<u8>,
    /// Certificates of the key that signed it, leaf first (PEM).
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::id::hex_bytes")]
    pub chain: Vec<u8>,
}

impl Device {
    /// Devices of one enclave.
    pub const MAX: usize = 16;

    /// What claims commit to: SHA-256("glacier/device-evidence/v1" ‖ 0 ‖ for each device the length of
    /// its report (u32, little-endian), the report, the length of its chain, the chain).
    pub fn digest(devices: &[Self]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"glacier/device-evidence/v1\0");
        for part in devices.iter().flat_map(|device| [&device.report, &device.chain]) {
            // Lengths above 4 GiB are not read, so no two lists share their bytes.
            hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// A vendor-signed document that is needed to judge evidence, other than Intel's collateral.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode, serde::Serialize, serde::Deserialize)]
pub struct Document {
    /// What it is.
    #[n(0)]
    pub kind: DocumentKind,
    /// As the vendor made it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::id::hex_bytes")]
    pub bytes: Vec<u8>,
}

/// Kinds of vendor-signed documents.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
#[non_exhaustive]
pub enum DocumentKind {
    /// AMD: certificate of the key that signed the report (DER).
    #[n(0)]
    Vek,
    /// AMD: an authority's certificate (DER).
    #[n(1)]
    AmdAuthority,
    /// AMD: a revocation list (DER).
    #[n(2)]
    AmdCrl,
    /// NVIDIA: a reference manifest (XML).
    #[n(3)]
    Rim,
    /// NVIDIA: an OCSP answer (DER).
    #[n(4)]
    Ocsp,
}

impl Evidence {
    /// Largest encoded form that is read. Genuine collateral is about 60 kB, a device's evidence 10 kB.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Of an enclave without confidential devices.
    pub fn new(quote: Vec<u8>, claims: Vec<u8>, collateral: Vec<u8>) -> Self {
        Self { quote, claims, collateral, devices: Vec::new(), documents: Vec::new() }
    }
}
