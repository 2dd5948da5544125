//! Reference manifests.

use crate::attest::NOW;
use glacier_attest::{Anchors, Rim, Verdict};
use std::{fs, path::Path};

/// Reading is exact, and what no root vouches for is not believed.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(rim) = Rim::parse(bytes) else { return };
    assert_eq!(rim.as_bytes(), bytes);
    let appraisal = rim.check(&Anchors::vendor(), NOW);
    assert_eq!(appraisal.value().is_some(), appraisal.verdict() == Verdict::Accepted);
    if let Some(checked) = appraisal.value() {
        assert_eq!((checked.kind(), checked.version()), (rim.kind(), rim.version()));
        assert!(checked.golden().is_sorted_by(|(one, _), (next, _)| one < next));
    }
}

/// Real manifests where the vectors are there; else the shape of one.
pub(crate) fn manifests() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/nvidia/rims");
    let real = fs::read_dir(root).into_iter().flatten().flatten().filter_map(|file| fs::read(file.path()).ok());
    let mut seeds = vec![shape().into_bytes()];
    seeds.extend(real.filter(|xml| Rim::parse(xml).is_ok()));
    seeds
}

fn shape() -> String {
    let (swid, hashes) =
        ("http://standards.iso.org/iso/19770/-2/2015/schema.xsd", "http://www.w3.org/2001/04/xmlenc#sha384");
    let tcg = "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/";
    let (dsig, more) = ("http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/04/xmldsig-more#");
    let c14n = "http://www.w3.org/2006/12/xml-c14n11";
    let (hash, digest, signature) = ("00".repeat(48), "A".repeat(64), "A".repeat(128));
    let chain = "<X509Certificate>AAAA</X509Certificate>".repeat(4);
    format!(
        r#"<SoftwareIdentity xmlns="{swid}" xmlns:h="{hashes}" tagId="t">
<Meta xmlns:t="{tcg}" colloquialVersion="550.90.07" edition="GPU" product="GH100" PayloadType="direct" t:FirmwareManufacturerId="5703"/>
<Payload><Resource type="Measurement" index="7" active="True" alternatives="1" h:Hash0="{hash}" size="48"/></Payload>
<Signature xmlns="{dsig}"><SignedInfo><CanonicalizationMethod Algorithm="{c14n}"/><SignatureMethod Algorithm="{more}ecdsa-sha384"/>
<Reference URI=""><Transforms><Transform Algorithm="{dsig}enveloped-signature"/><Transform Algorithm="{c14n}"/></Transforms>
<DigestMethod Algorithm="{more}sha384"/><DigestValue>{digest}</DigestValue></Reference></SignedInfo>
<SignatureValue>{signature}</SignatureValue><KeyInfo><X509Data>{chain}</X509Data></KeyInfo></Signature></SoftwareIdentity>"#
    )
}
