//! One small change each to a manifest that is right in every other way.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/rim_forge.rs"]
mod rim_forge;

use glacier_attest::{
    Anchors, Appraisal, CertificateError, CheckId, CheckedRim, Fingerprint, Outcome, Part, Reason, Register, Rim,
    RimFault, RimKind, Verdict,
};
use glacier_wire::{PlatformKind, UnixTime};
use rim_forge::*;

fn refused(xml: &str) -> RimFault {
    Rim::parse(xml.as_bytes()).unwrap_err()
}

/// Where and why it failed.
fn failure(appraisal: &Appraisal<CheckedRim>) -> (CheckId, Reason) {
    assert_eq!(appraisal.verdict(), Verdict::Rejected);
    assert!(appraisal.value().is_none());
    let check = appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail).unwrap();
    (check.id, check.reason.clone())
}

const DIGEST: (CheckId, Reason) =
    (CheckId::RimSignature, Reason::Rim { part: Part::DriverRim, fault: RimFault::Digest });

fn chain_fault(error: CertificateError) -> (CheckId, Reason) {
    (CheckId::RimChain, Reason::Certificate { part: Part::RimSigner, error })
}

// What is right.

#[test]
fn the_manifest_that_all_others_are_changed_from_is_accepted() {
    let checked = World::new().check().into_result().unwrap();
    assert_eq!((checked.kind(), checked.version(), checked.product()), (RimKind::Driver, "550.90.07", "GH100"));
    assert_eq!(checked.platform(), PlatformKind::Simulated);
    let of = |byte| Register([byte; 48]);
    // The inactive one is left out, the zero value is kept.
    assert_eq!(checked.golden(), [(7, vec![of(7)]), (35, vec![of(0), of(0x35)])]);
    // 2025-01-01 to 2035-01-01.
    assert_eq!(checked.validity(), (UnixTime(1_735_689_600), UnixTime(2_051_222_400)));
}

#[test]
fn a_vbios_and_a_switch_are_told_by_version_and_edition() {
    let world = World::new().saying("550.90.07", "96.00.9F.00.01");
    assert_eq!(world.check().into_result().unwrap().kind(), RimKind::Vbios);
    let world = world.saying("edition=\"GPU\"", "edition=\"SWITCH\"");
    assert_eq!(world.check().into_result().unwrap().kind(), RimKind::Switch);
}

#[test]
fn another_way_to_write_the_same_document_is_the_same_manifest() {
    let world = World::new();
    let checked = world.check().into_result().unwrap();
    let xml = world.xml();
    let same = [
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}"),
        format!("<!-- first -->\n{xml}\n<!-- last -->\n"),
        xml.replace("></ns0:Resource>", " />"),
        xml.replace("size=\"48\" type=\"Measurement\"", "type = 'Measurement'\n\tsize='4&#56;'"),
        xml.replace("\n", "\r\n"),
        xml.replace("GH100", "GH1<!---->00")
            .replace("name=\"GH1<!---->00", "name=\"GH100")
            .replace("product=\"GH1<!---->00", "product=\"GH100"),
        xml.replace("<ns0:Payload>", "<ns0:Payload><!-- a remark -->"),
        xml.replace("<ns0:Payload>", &format!("<ns0:Payload xmlns:ns0=\"{SWID}\">")),
        xml.replace("<ds:SignedInfo>", "<ds:SignedInfo ><!-- not signed -->"),
    ];
    for xml in same {
        assert_eq!(world.check_of(&xml).into_result().unwrap(), checked, "{xml}");
    }
}

// Chain.

#[test]
fn a_root_that_nobody_trusts() {
    let world = World::new();
    let appraisal = Rim::parse(world.xml().as_bytes()).unwrap().check(&Anchors::vendor(), UnixTime(NOW));
    let root = Fingerprint::of(&world.chain[3].der());
    assert_eq!(failure(&appraisal), (CheckId::RimChain, Reason::UntrustedRoot(root)));
    // Nothing that hangs on the chain is said to hold.
    let others = appraisal.checks()[2..].iter();
    assert!(others.into_iter().all(|check| check.reason == Reason::Needs(CheckId::RimChain)));
}

#[test]
fn a_root_of_the_same_name_and_another_key() {
    let mut world = World::new();
    let anchors = world.anchors();
    world.chain[3].key = STRANGER;
    world.chain[3].signer = STRANGER;
    world.chain[2].signer = STRANGER;
    let appraisal = Rim::parse(world.xml().as_bytes()).unwrap().check(&anchors, UnixTime(NOW));
    assert!(matches!(failure(&appraisal), (CheckId::RimChain, Reason::UntrustedRoot(_))));
}

#[test]
fn a_signer_that_the_issuer_did_not_sign() {
    for at in 0..3 {
        let mut world = World::new();
        world.chain[at].signer = STRANGER;
        assert_eq!(failure(&world.check()), chain_fault(CertificateError::Signature));
    }
}

#[test]
fn a_certificate_that_names_another_issuer() {
    for at in 0..3 {
        let mut world = World::new();
        world.chain[at].issuer = "nobody";
        assert_eq!(failure(&world.check()), chain_fault(CertificateError::Issuer));
    }
}

#[test]
fn an_end_entity_in_an_authoritys_place() {
    for at in 1..3 {
        let mut world = World::new();
        world.chain[at].authority = None;
        assert_eq!(failure(&world.check()), chain_fault(CertificateError::NotAuthority));
    }
}

#[test]
fn an_authority_whose_path_is_too_short() {
    let mut world = World::new();
    world.chain[2].authority = Some(Some(0));
    assert_eq!(failure(&world.check()), chain_fault(CertificateError::NotAuthority));
}

#[test]
fn an_authority_that_may_not_issue() {
    let mut world = World::new();
    world.chain[1].usage = SIGN;
    assert_eq!(failure(&world.check()), chain_fault(CertificateError::KeyUsage));
}

#[test]
fn a_signer_that_is_an_authority() {
    let mut world = World::new();
    world.chain[0].authority = Some(None);
    assert_eq!(failure(&world.check()), chain_fault(CertificateError::NotLeaf));
}

#[test]
fn a_signer_that_may_not_sign() {
    let mut world = World::new();
    world.chain[0].usage = ISSUE;
    assert_eq!(failure(&world.check()), chain_fault(CertificateError::KeyUsage));
}

#[test]
fn a_signer_that_may_also_issue() {
    let mut world = World::new();
    world.chain[0].usage = SIGN | ISSUE;
    assert_eq!(failure(&world.check()), chain_fault(CertificateError::KeyUsage));
}

#[test]
fn a_signer_of_ocsp_answers() {
    let mut world = World::new();
    world.chain[0].responder = true;
    assert_eq!(failure(&world.check()), chain_fault(CertificateError::KeyUsage));
}

#[test]
fn certificates_in_another_order() {
    let mut world = World::new();
    world.chain.swap(0, 1);
    assert_eq!(failure(&world.check()).0, CheckId::RimChain);
}

#[test]
fn each_certificates_dates_count() {
    for (at, part) in [(0, Part::RimSigner), (1, Part::RimSigner), (2, Part::RimSigner), (3, Part::Root)] {
        let mut world = World::new();
        world.chain[at].until = "260114235959Z";
        let until = UnixTime(NOW - 1);
        assert_eq!(failure(&world.check()), (CheckId::RimCurrent, Reason::Expired { part, until }));
        let mut world = World::new();
        world.chain[at].from = "260115000001Z";
        let from = UnixTime(NOW + 1);
        assert_eq!(failure(&world.check()), (CheckId::RimCurrent, Reason::NotYetValid { part, from }));
    }
}

#[test]
fn three_or_five_certificates() {
    let mut world = World::new();
    world.chain.remove(1);
    assert_eq!(refused(&world.xml()), RimFault::Certificates);
    let mut world = World::new();
    world.chain.push(World::new().chain.remove(3));
    assert_eq!(refused(&world.xml()), RimFault::Certificates);
}

#[test]
fn a_certificate_in_loose_base64() {
    let world = World::new();
    assert_eq!(refused(&world.edited("<ds:X509Certificate>", "<ds:X509Certificate> ")), RimFault::Certificates);
    assert_eq!(refused(&world.edited("</ds:X509Certificate>", "=</ds:X509Certificate>")), RimFault::Certificates);
}

// Signature.

#[test]
fn a_signature_by_another_key() {
    let mut world = World::new();
    world.signing_key = STRANGER;
    assert_eq!(failure(&world.check()), (CheckId::RimSignature, Reason::BadSignature(Part::DriverRim)));
}

#[test]
fn a_signature_by_a_key_of_the_chain_that_is_not_the_signers() {
    let mut world = World::new();
    world.signing_key = ISSUER;
    assert_eq!(failure(&world.check()), (CheckId::RimSignature, Reason::BadSignature(Part::DriverRim)));
}

#[test]
fn the_part_named_is_that_of_the_manifest() {
    let mut world = World::new().saying("550.90.07", "96.00.9F.00.01");
    world.signing_key = STRANGER;
    assert_eq!(failure(&world.check()), (CheckId::RimSignature, Reason::BadSignature(Part::VbiosRim)));
}

#[test]
fn a_digest_of_something_else() {
    let mut world = World::new();
    world.digest = Some(vec![0; 48]);
    assert_eq!(failure(&world.check()), DIGEST);
}

#[test]
fn a_digest_of_another_length() {
    let mut world = World::new();
    world.digest = Some(vec![0; 32]);
    assert_eq!(refused(&world.xml()), RimFault::Reference);
}

#[test]
fn a_value_changed_after_it_was_signed() {
    let world = World::new();
    assert_eq!(failure(&world.check_of(&world.edited(&value(7), &value(6)))), DIGEST);
}

#[test]
fn a_measurement_switched_off_after_it_was_signed() {
    let world = World::new();
    assert_eq!(failure(&world.check_of(&world.edited("active=\"True\"", "active=\"False\""))), DIGEST);
}

#[test]
fn a_version_changed_after_it_was_signed() {
    let world = World::new();
    assert_eq!(failure(&world.check_of(&world.edited("550.90.07", "550.90.08"))), DIGEST);
}

#[test]
fn white_space_changed_after_it_was_signed() {
    let world = World::new();
    assert_eq!(failure(&world.check_of(&world.edited("</ns0:Payload>\n", "</ns0:Payload>\n\n"))), DIGEST);
}

#[test]
fn a_digest_changed_after_it_was_signed() {
    let mut world = World::new();
    let xml = world.xml();
    world.digest = Some(vec![0; 48]);
    let between = |xml: &str| xml.split("DigestValue>").nth(1).unwrap().to_owned();
    let swapped = xml.replace(&between(&xml), &between(&world.xml()));
    assert_eq!(failure(&world.check_of(&swapped)), (CheckId::RimSignature, Reason::BadSignature(Part::DriverRim)));
}

#[test]
fn a_namespace_declared_around_the_signature_after_it_was_signed() {
    // In scope at SignedInfo, so part of what is signed.
    let world = World::new();
    let xml = world.edited("<ds:Signature ", "<ds:Signature xmlns:other=\"urn:x\" ");
    assert_eq!(failure(&world.check_of(&xml)), (CheckId::RimSignature, Reason::BadSignature(Part::DriverRim)));
}

#[test]
fn a_signature_of_another_length() {
    let world = World::new();
    assert_eq!(refused(&world.edited("</ds:SignatureValue>", "AAAA</ds:SignatureValue>")), RimFault::Signature);
}

#[test]
fn a_signature_value_with_a_comment_in_it() {
    let world = World::new();
    assert_eq!(refused(&world.edited("<ds:SignatureValue>", "<ds:SignatureValue><!-- -->")), RimFault::Signature);
}

#[test]
fn no_signature() {
    let world = World::new();
    assert_eq!(refused(&format!("{}{}", world.head, world.tail)), RimFault::Signature);
}

#[test]
fn two_signatures() {
    let world = World::new();
    let signature = world.signature();
    assert_eq!(refused(&world.edited(&signature, &format!("{signature}{signature}"))), RimFault::Signature);
}

#[test]
fn a_signature_that_is_no_child_of_the_root() {
    let world = World::new();
    let xml = format!("{}{}", world.head, world.tail)
        .replace("</ns0:Payload>", &format!("{}</ns0:Payload>", world.signature()));
    assert_eq!(refused(&xml), RimFault::Signature);
}

#[test]
fn a_signature_as_the_root() {
    assert_eq!(refused(&World::new().signature()), RimFault::Signature);
}

#[test]
fn a_second_payload_in_the_signature() {
    // What wraps an unsigned part into the element that the digest leaves out.
    let world = World::new();
    let payload = format!("<ns0:Payload>{}</ns0:Payload>", resource("7", "True", &[&value(9)]));
    for place in ["</ds:Signature>", "</ds:KeyInfo>", "</ds:X509Data>", "</ds:SignedInfo>"] {
        let xml = world.edited(place, &format!("{payload}{place}"));
        assert!(matches!(refused(&xml), RimFault::Signature | RimFault::Certificates | RimFault::Reference), "{place}");
    }
}

#[test]
fn an_object_in_the_signature() {
    let world = World::new();
    let signed = format!("<ds:Object Id=\"signed\">{}{}</ds:Object></ds:Signature>", world.head, world.tail);
    assert_eq!(refused(&world.edited("</ds:Signature>", &signed)), RimFault::Signature);
}

#[test]
fn a_key_beside_the_certificates() {
    let world = World::new();
    assert_eq!(
        refused(&world.edited("<ds:KeyInfo>", "<ds:KeyInfo><ds:KeyName>mine</ds:KeyName>")),
        RimFault::Signature
    );
}

#[test]
fn text_in_the_signature() {
    let world = World::new();
    assert_eq!(refused(&world.edited("<ds:KeyInfo>", "x<ds:KeyInfo>")), RimFault::Signature);
}

#[test]
fn the_signature_in_a_namespace_of_the_same_prefix() {
    let world = World::new();
    let xml = world.edited(&format!("xmlns:ds=\"{DSIG}\""), "xmlns:ds=\"urn:x\"");
    assert_eq!(refused(&xml), RimFault::Signature);
}

// What the signature says it is over.

#[test]
fn a_reference_to_an_element() {
    assert_eq!(refused(&World::new().signing("URI=\"\"", "URI=\"#forged\"").xml()), RimFault::Reference);
}

#[test]
fn a_reference_to_the_document_with_comments() {
    assert_eq!(refused(&World::new().signing("URI=\"\"", "URI=\"#xpointer(/)\"").xml()), RimFault::Reference);
}

#[test]
fn a_reference_without_uri() {
    assert_eq!(refused(&World::new().signing(" URI=\"\"", "").xml()), RimFault::Reference);
}

#[test]
fn a_reference_with_a_type() {
    assert_eq!(refused(&World::new().signing(" URI=\"\"", " Type=\"x\" URI=\"\"").xml()), RimFault::Reference);
}

#[test]
fn two_references() {
    let mut world = World::new();
    let reference = world.info[world.info.find("<ds:Reference").unwrap()..].to_owned();
    world.info.push_str(&reference);
    assert_eq!(refused(&world.xml()), RimFault::Reference);
}

#[test]
fn no_reference() {
    let mut world = World::new();
    world.info.truncate(world.info.find("<ds:Reference").unwrap());
    assert_eq!(refused(&world.xml()), RimFault::Reference);
}

#[test]
fn one_transform_or_none() {
    let c14n = "<ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform>";
    let enveloped = "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>";
    assert_eq!(refused(&World::new().signing(c14n, "").xml()), RimFault::Method);
    assert_eq!(refused(&World::new().signing(enveloped, "").xml()), RimFault::Method);
    assert_eq!(refused(&World::new().signing(enveloped, "").signing(c14n, "").xml()), RimFault::Method);
    let (in_order, swapped) = (format!("{enveloped}{c14n}"), format!("{c14n}{enveloped}"));
    assert_eq!(refused(&World::new().signing(&in_order, &swapped).xml()), RimFault::Method);
}

#[test]
fn a_third_transform() {
    let xpath =
        "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"></ds:Transform></ds:Transforms>";
    assert_eq!(refused(&World::new().signing("</ds:Transforms>", xpath).xml()), RimFault::Reference);
}

#[test]
fn a_transform_with_parameters() {
    let world =
        World::new().signing("xml-c14n11\"></ds:Transform>", "xml-c14n11\"><ds:XPath></ds:XPath></ds:Transform>");
    assert_eq!(refused(&world.xml()), RimFault::Method);
}

#[test]
fn another_algorithm() {
    for (old, new) in [
        (
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11",
            "CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11#WithComments",
        ),
        ("xmldsig-more#ecdsa-sha384", "xmldsig-more#ecdsa-sha256"),
        ("xmldsig-more#ecdsa-sha384", "xmldsig-more#hmac-sha384"),
        ("xmldsig-more#sha384", "xmlenc#sha256"),
    ] {
        assert_eq!(refused(&World::new().signing(old, new).xml()), RimFault::Method, "{new}");
    }
}

// XML.

#[test]
fn a_document_that_is_too_large() {
    let xml = World::new().xml() + &" ".repeat(Rim::MAX_BYTES);
    assert_eq!(refused(&xml), RimFault::Limits);
}

#[test]
fn a_document_that_is_too_deep() {
    let xml = World::new().edited("<ns0:Payload>", &format!("<ns0:Payload>{}", "<x>".repeat(1000)));
    assert_eq!(refused(&xml), RimFault::Limits);
}

#[test]
fn a_tag_with_too_many_attributes() {
    let many: String = (0..100).map(|n| format!(" a{n}=\"\"")).collect();
    assert_eq!(refused(&World::new().edited(" tagId", &format!("{many} tagId"))), RimFault::Limits);
}

#[test]
fn other_encodings() {
    let xml = World::new().xml();
    assert_eq!(Rim::parse(&[xml.as_bytes(), b"\xff"].concat()), Err(RimFault::Encoding));
    assert_eq!(refused(&format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{xml}")), RimFault::Encoding);
    assert_eq!(refused(&format!("\u{feff}{xml}")), RimFault::Xml);
    let wide: Vec<u8> = xml.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(Rim::parse(&wide).is_err());
}

#[test]
fn a_document_type() {
    let xml = World::new().xml();
    let bomb = "<!DOCTYPE x [<!ENTITY a \"b\"><!ATTLIST SoftwareIdentity tagId CDATA \"x\">]>";
    assert_eq!(refused(&format!("{bomb}{xml}")), RimFault::Markup);
}

#[test]
fn a_processing_instruction() {
    let world = World::new();
    assert_eq!(refused(&format!("<?xml-stylesheet href=\"x\"?>{}", world.xml())), RimFault::Markup);
    assert_eq!(refused(&world.edited("<ns0:Payload>", "<?x y?><ns0:Payload>")), RimFault::Markup);
    assert_eq!(refused(&format!(" <?xml version=\"1.0\"?>{}", world.xml())), RimFault::Markup);
}

#[test]
fn a_wrong_xml_declaration() {
    let xml = World::new().xml();
    for declaration in
        ["version=\"1.1\"", "", "encoding=\"UTF-8\"", "encoding=\"UTF-8\" version=\"1.0\"", "version=\"1.0\" x=\"y\""]
    {
        assert_eq!(refused(&format!("<?xml {declaration}?>{xml}")), RimFault::Xml, "{declaration}");
    }
}

#[test]
fn a_cdata_section() {
    assert_eq!(refused(&World::new().edited("<ns0:Payload>", "<ns0:Payload><![CDATA[ ]]>")), RimFault::Markup);
}

#[test]
fn an_entity() {
    let world = World::new();
    assert_eq!(refused(&world.edited("550.90.07", "&version;")), RimFault::Entity);
    assert_eq!(refused(&world.edited("<ns0:Payload>", "<ns0:Payload>&nbsp;")), RimFault::Entity);
}

#[test]
fn a_reference_to_no_character() {
    let world = World::new();
    for reference in
        ["&#0;", "&#x;", "&#;", "&#+49;", "&#xd800;", "&#x110000;", "&#xffff;", "&#8;", "&#99999999999;", "&", "&#1"]
    {
        assert_eq!(refused(&world.edited("r1", reference)), RimFault::Xml, "{reference}");
    }
}

#[test]
fn a_character_that_xml_does_not_have() {
    let world = World::new();
    for c in ["\0", "\u{1}", "\u{fffe}", "\u{b}"] {
        assert_eq!(refused(&world.edited("r1", c)), RimFault::Xml);
        assert_eq!(refused(&world.edited("<ns0:Payload>", &format!("<!-- {c} --><ns0:Payload>"))), RimFault::Xml);
        assert_eq!(refused(&world.edited("<ns0:Payload>", &format!("<ns0:Payload>{c}"))), RimFault::Xml);
    }
}

#[test]
fn an_attribute_twice() {
    let world = World::new();
    assert_eq!(refused(&world.edited(" index=\"7\"", " index=\"7\" index=\"7\"")), RimFault::Attribute);
    let two = format!(" SHA384:Hash0=\"{}\" xmlns:SHA384=\"{HASHES}\" ns2:Hash0", value(9));
    assert_eq!(refused(&world.edited(" ns2:Hash0", &two)), RimFault::Attribute);
    assert_eq!(refused(&world.edited(" tagId", " xmlns:ns0=\"urn:x\" tagId")), RimFault::Attribute);
}

#[test]
fn a_prefix_without_namespace() {
    let world = World::new();
    assert_eq!(refused(&world.edited(" ns2:Hash0", " ns3:Hash0")), RimFault::Namespace);
    assert_eq!(refused(&world.edited("<ns0:Payload>", "<ns0:Payload><ns3:x/>")), RimFault::Namespace);
    assert_eq!(refused(&world.edited("<ns0:Payload>", "<ns0:Payload><ns0:x/><ns1:x/>")), RimFault::Namespace);
}

#[test]
fn a_namespace_that_is_not_read() {
    let world = World::new();
    for declared in [
        "xmlns:x=\"\"",
        "xmlns:x=\"relative\"",
        "xmlns:x=\"urn:a&amp;b\"",
        "xmlns:x=\"urn:a b\"",
        "xmlns:xml=\"http://www.w3.org/XML/1998/namespace\"",
        "xmlns:x=\"http://www.w3.org/XML/1998/namespace\"",
        "xmlns:xmlns=\"urn:x\"",
        "xmlns:x=\"http://www.w3.org/2000/xmlns/\"",
        "xml:base=\"http://example.org\"",
    ] {
        assert_eq!(
            refused(&world.edited("<ns0:Payload>", &format!("<ns0:Payload {declared}>"))),
            RimFault::Namespace,
            "{declared}"
        );
    }
}

#[test]
fn two_roots_or_something_after_the_root() {
    let xml = World::new().xml();
    for rest in ["<x/>", "x", "&amp;", "\0", "</SoftwareIdentity>"] {
        assert_eq!(refused(&format!("{xml}{rest}")), RimFault::Xml, "{rest}");
    }
    assert_eq!(refused(&format!("{xml}{xml}")), RimFault::Xml);
    assert_eq!(refused(&format!("x{xml}")), RimFault::Xml);
    assert_eq!(refused(""), RimFault::Xml);
}

#[test]
fn tags_that_do_not_pair() {
    let world = World::new();
    assert_eq!(refused(&world.edited("</ns0:Payload>", "</Payload>")), RimFault::Xml);
    // The signature is then inside the payload.
    assert_eq!(refused(&world.edited("</ns0:Payload>", "")), RimFault::Signature);
    assert_eq!(refused(&world.edited("</SoftwareIdentity>", "")), RimFault::Xml);
    assert_eq!(refused(&world.edited("</ns0:Payload>", "</ns0:Payload x=\"\">")), RimFault::Xml);
}

#[test]
fn loose_syntax() {
    let world = World::new();
    for (old, new) in [
        ("size=\"48\" type", "size=\"48\"type"),
        ("size=\"48\"", "size=48"),
        ("size=\"48\"", "size=\"4<8\""),
        ("size=\"48\"", "size"),
        ("<ns0:Payload>", "<ns0:Payload/ >"),
        ("<ns0:Payload>", "< ns0:Payload>"),
        ("<ns0:Payload>", "<ns0:Payload>]]>"),
        ("<ns0:Payload>", "<ns0:Payload><!-- -- -->"),
        ("<ns0:Payload>", "<ns0:Payload><!-- --->"),
        ("<ns0:Payload>", "<ns0:Payload><1/>"),
        ("<ns0:Payload>", "<ns0:Payload><a:b:c/>"),
        ("<ns0:Payload>", "<ns0:Payload><\u{e9}/>"),
    ] {
        assert_eq!(refused(&world.edited(old, new)), RimFault::Xml, "{new}");
    }
}

// What the manifest says, signed.

#[test]
fn another_root() {
    let mut world = World::new().saying("<SoftwareIdentity", "<Software");
    world.tail = "\n</Software>".into();
    assert_eq!(refused(&world.xml()), RimFault::Identity);
}

#[test]
fn the_swid_namespace_of_another_year() {
    let mut world = World::new();
    world.head = world.head.replace("19770/-2/2015", "19770/-2/2009");
    world.scope = world.scope.replace("19770/-2/2015", "19770/-2/2009");
    assert_eq!(refused(&world.xml()), RimFault::Identity);
}

#[test]
fn a_tag_that_does_not_stand_alone() {
    for attribute in ["corpus", "patch", "supplemental"] {
        let world = World::new().saying(&format!("{attribute}=\"false\""), &format!("{attribute}=\"true\""));
        assert_eq!(refused(&world.xml()), RimFault::Identity);
    }
    assert_eq!(refused(&World::new().saying(" tagId=\"forged\"", "").xml()), RimFault::Identity);
}

#[test]
fn another_manufacturer() {
    assert_eq!(refused(&World::new().saying("5703", "5704").xml()), RimFault::Identity);
    let loose = World::new().saying("ns1:FirmwareManufacturerId", "FirmwareManufacturerId");
    assert_eq!(refused(&loose.xml()), RimFault::Identity);
}

#[test]
fn a_description_that_lacks_something() {
    for (old, new) in [
        ("edition=\"GPU\"", "edition=\"CPU\""),
        (" edition=\"GPU\"", ""),
        (" product=\"GH100\"", ""),
        ("product=\"GH100\"", "product=\"\""),
        (" colloquialVersion=\"550.90.07\"", ""),
        ("PayloadType=\"direct\"", "PayloadType=\"indirect\""),
    ] {
        assert_eq!(refused(&World::new().saying(old, new).xml()), RimFault::Identity, "{new}");
    }
}

#[test]
fn a_version_of_another_form() {
    for version in [
        "",
        "550",
        "550.",
        "550.90.07 ",
        "550.9x.07",
        "1.2.3.4.5",
        "96.00.9F.00",
        "96.00.9F.00.0",
        "96.00.9F.00.01.02",
        "12345.1",
        "+1.2",
    ] {
        assert_eq!(refused(&World::new().saying("550.90.07", version).xml()), RimFault::Version, "{version}");
    }
    assert_eq!(refused(&World::new().saying("\"GPU\"", "\"SWITCH\"").xml()), RimFault::Version);
}

#[test]
fn two_descriptions_or_two_payloads_or_none() {
    let world = World::new();
    let meta = &world.head[world.head.find("<ns0:Meta").unwrap()..world.head.find("<ns0:Payload").unwrap()];
    let payload = &world.head[world.head.find("<ns0:Payload").unwrap()..];
    for part in [meta, payload] {
        assert_eq!(refused(&World::new().saying(part, &format!("{part}{part}")).xml()), RimFault::Identity);
        assert_eq!(refused(&World::new().saying(part, "").xml()), RimFault::Identity);
    }
}

#[test]
fn an_element_or_text_that_does_not_belong() {
    for new in ["<ns0:Evidence></ns0:Evidence>", "<x xmlns=\"urn:x\"></x>", "<Resource></Resource>", "text"] {
        let world = World::new().saying("<ns0:Payload>", &format!("{new}<ns0:Payload>"));
        assert_eq!(refused(&world.xml()), RimFault::Identity, "{new}");
    }
    assert_eq!(refused(&World::new().saying("<ns0:Payload>", "<ns0:Payload>text").xml()), RimFault::Identity);
}

#[test]
fn a_measurement_of_another_shape() {
    let short = &value(7)[2..];
    for (old, new) in [
        ("size=\"48\"", "size=\"32\""),
        (" size=\"48\"", ""),
        ("type=\"Measurement\"", "type=\"Other\""),
        ("active=\"True\"", "active=\"true\""),
        ("active=\"True\"", "active=\"\""),
        (" active=\"True\"", ""),
        ("index=\"7\"", "index=\"256\""),
        ("index=\"7\"", "index=\"-1\""),
        ("index=\"7\"", "index=\"+7\""),
        ("index=\"7\"", "index=\"07\""),
        ("index=\"7\"", "index=\"\""),
        (" index=\"7\"", ""),
        (" type=\"Measurement\"", " type=\"Measurement\" weight=\"1\""),
        (&*value(7), short),
        (&*value(7), &*format!("0x{short}")),
        (&*value(7), &*format!("{short} 7")),
        (&*value(7), ""),
        ("<ns0:Resource", "<ns0:Other"),
    ] {
        let mut world = World::new().saying(old, new);
        world.head = world.head.replacen("<ns0:Other", "<ns0:Directory", 1);
        if new == "<ns0:Other" {
            world.head = world.head.replacen("</ns0:Resource>", "</ns0:Directory>", 1);
        }
        assert_eq!(refused(&world.xml()), RimFault::Measurement, "{new}");
    }
}

#[test]
fn alternatives_that_do_not_add_up() {
    let one = format!(
        "alternatives=\"1\" index=\"7\" name=\"Measurement_7\" size=\"48\" type=\"Measurement\" ns2:Hash0=\"{}\"",
        value(7)
    );
    for (old, new) in [
        ("alternatives=\"1\"", "alternatives=\"2\""),
        ("alternatives=\"1\"", "alternatives=\"0\""),
        ("alternatives=\"1\"", "alternatives=\"01\""),
        (" ns2:Hash0", " ns2:Hash1"),
        (" ns2:Hash0", " ns2:hash0"),
        ("alternatives=\"2\"", "alternatives=\"1\""),
        (&*one, &*one.replace(" ns2:Hash0", " ns2:Digest=\"\" ns2:Hash0")),
    ] {
        assert_eq!(refused(&World::new().saying(old, new).xml()), RimFault::Measurement, "{new}");
    }
}

#[test]
fn the_prefix_of_hashes_bound_to_another_namespace() {
    let declared = "<ns0:Resource xmlns:ns2=\"urn:x\" active";
    assert_eq!(refused(&World::new().saying("<ns0:Resource active", declared).xml()), RimFault::Measurement);
}

#[test]
fn hashes_without_namespace() {
    assert_eq!(refused(&World::new().saying(" ns2:Hash0", " Hash0").xml()), RimFault::Measurement);
}

#[test]
fn an_inactive_measurement_is_held_to_the_same_shape() {
    assert_eq!(refused(&World::new().saying(&value(8), "00").xml()), RimFault::Measurement);
}

#[test]
fn an_index_twice() {
    assert_eq!(refused(&World::new().saying("index=\"8\"", "index=\"7\"").xml()), RimFault::Index);
    assert_eq!(refused(&World::new().saying("index=\"35\"", "index=\"7\"").xml()), RimFault::Index);
}

#[test]
fn nothing_that_is_compared() {
    let mut world = World::new();
    world.head = world.head.replace("active=\"True\"", "active=\"False\"");
    assert_eq!(refused(&world.xml()), RimFault::Measurement);
}

#[test]
fn something_inside_a_measurement() {
    let world = World::new().saying("></ns0:Resource>", "><ns0:Resource></ns0:Resource></ns0:Resource>");
    assert_eq!(refused(&world.xml()), RimFault::Identity);
}

#[test]
fn a_comment_hides_no_part_of_what_is_signed() {
    // In text the canonical form closes the gap; in a value there are no comments.
    let world = World::new();
    assert_eq!(refused(&world.edited("550.90.07", "550<!-- -->.90.07")), RimFault::Xml);
}
