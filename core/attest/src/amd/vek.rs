//! What the certificate of a report's signing key says of the chip: AMD's extensions
//! (Versioned Chip Endorsement Key Certificate and KDS Interface Specification, 57230, §3.1).

use super::{
    fault::SnpFault,
    product::{KeyKind, Product},
    tcb::SnpTcb,
};
use crate::x509::Certificate;
use der::{
    Decode,
    asn1::{Ia5StringRef, ObjectIdentifier},
};

/// Which chip, at which firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chip {
    pub(crate) tcb: SnpTcb,
    /// As reports state it; `None` for a provider's key.
    pub(crate) id: Option<[u8; 64]>,
}

const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const BOOTLOADER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const MICROCODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");

impl Chip {
    /// Reads the certificate of a key that an authority of `product` certified as `kind`.
    pub(crate) fn read(certificate: &Certificate, product: Product, kind: KeyKind) -> Result<Self, SnpFault> {
        let name = certificate.extension(PRODUCT_NAME).and_then(|value| Ia5StringRef::from_der(value).ok());
        if Product::of_chip(name.ok_or(SnpFault::ProductExtension)?.as_str()) != Some(product) {
            return Err(SnpFault::OtherProduct);
        }
        Ok(Self { tcb: tcb(certificate, product)?, id: hardware_id(certificate, product, kind)? })
    }
}

fn tcb(certificate: &Certificate, product: Product) -> Result<SnpTcb, SnpFault> {
    let version = |oid| {
        let value = certificate.extension(oid)?;
        Some(u8::from_der(value).map_err(|_| SnpFault::TcbExtension))
    };
    let required = |oid| version(oid).unwrap_or(Err(SnpFault::TcbExtension));
    let fmc = match (product, version(FMC)) {
        (Product::Turin, Some(fmc)) => Some(fmc?),
        (Product::Milan | Product::Genoa, None) => None,
        _ => return Err(SnpFault::TcbExtension),
    };
    Ok(SnpTcb {
        fmc,
        bootloader: required(BOOTLOADER)?,
        tee: required(TEE)?,
        snp: required(SNP)?,
        microcode: required(MICROCODE)?,
    })
}

/// 64 bytes, on Turin 8; reports fill up with zeros. Not wrapped in DER.
fn hardware_id(certificate: &Certificate, product: Product, kind: KeyKind) -> Result<Option<[u8; 64]>, SnpFault> {
    let length = match product {
        Product::Milan | Product::Genoa => 64,
        Product::Turin => 8,
    };
    match (kind, certificate.extension(HARDWARE_ID)) {
        (KeyKind::Provider, None) => Ok(None),
        (KeyKind::Chip, Some(value)) if value.len() == length => {
            let mut id = [0; 64];
            id.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
            Ok(Some(id))
        }
        _ => Err(SnpFault::HardwareIdExtension),
    }
}
