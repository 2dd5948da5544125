//! The lean form of a PCK certificate: what differs from certificate to certificate, at fixed places.
//!
//! A contract puts what all of them share around it and asks whether the CA signed that: it has nothing
//! to parse, and half the bytes to pay for. The table of the places is in
//! `contracts/src/dcap/PckCertificate.sol`. A certificate of another shape has no lean form.

use crate::bytes::Bytes;
use alloc::vec::Vec;

/// The lean form of a certificate in DER; `None` if it is not of the shape.
pub(super) fn lean(der: &[u8]) -> Option<Vec<u8>> {
    let lean = take_apart(der)?;
    // Whatever is elsewhere than it should be, or different from what all share, shows here.
    (rebuild(&lean)? == der).then_some(lean)
}

/// The certificate in DER; `None` if the bytes are not the lean form of one.
pub(super) fn rebuild(lean: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Bytes(lean);
    let (r, s) = (bytes.take(32)?, bytes.take(32)?);
    let key = bytes.take(64)?;
    let serial = bytes.take(20)?;
    let (issuer_key_id, key_id) = (bytes.take(20)?, bytes.take(20)?);
    let (ppid, components, cpu_svn) = (bytes.take(16)?, bytes.take(16)?, bytes.take(16)?);
    let (pce_svn, pce_id, fmspc) = (bytes.take(2)?, bytes.take(2)?, bytes.take(6)?);
    let dates = bytes.take(28)?;
    let (issuer, points) = (whole(&mut bytes)?, whole(&mut bytes)?);
    let rest = bytes.0;

    let mut tcb = Vec::new();
    for (number, value) in (1..).zip(components) {
        tcb.extend(tcb_member(number, &integer(&[*value])));
    }
    tcb.extend(tcb_member(17, &integer(pce_svn)));
    tcb.extend(tcb_member(18, &tlv(OCTET_STRING, &[cpu_svn])));
    let sgx = tlv(
        SEQUENCE,
        &[
            &sgx_member(1, &tlv(OCTET_STRING, &[ppid])),
            &sgx_member(2, &tlv(SEQUENCE, &[&tcb])),
            &sgx_member(3, &tlv(OCTET_STRING, &[pce_id])),
            &sgx_member(4, &tlv(OCTET_STRING, &[fmspc])),
            rest,
        ],
    );
    let extensions = tlv(
        SEQUENCE,
        &[
            AUTHORITY_KEY_ID,
            issuer_key_id,
            points,
            SUBJECT_KEY_ID,
            key_id,
            LEAF,
            &tlv(SEQUENCE, &[&tlv(OID, &[SGX_EXTENSION]), &tlv(OCTET_STRING, &[&sgx])]),
        ],
    );
    let simulated = issuer.windows(SIMULATED.len()).any(|window| window == SIMULATED);
    let signed = tlv(
        SEQUENCE,
        &[
            VERSION_3,
            &integer(serial),
            ECDSA_WITH_SHA256,
            issuer,
            &tlv(SEQUENCE, &[UTC_TIME, dates]),
            if simulated { SIMULATED_SUBJECT } else { INTEL_SUBJECT },
            P256_KEY,
            key,
            &tlv(EXTENSIONS, &[&extensions]),
        ],
    );
    let signature = tlv(SEQUENCE, &[&integer(r), &integer(s)]);
    Some(tlv(SEQUENCE, &[&signed, ECDSA_WITH_SHA256, &tlv(BIT_STRING, &[&[0], &signature])]))
}

/// What is at the places where it should be.
fn take_apart(der: &[u8]) -> Option<Vec<u8>> {
    let [_, _, _, _, _, _, high, low, ..] = der else { return None };
    let signed_end = usize::from(u16::from_be_bytes([*high, *low])).checked_add(8)?;
    let (signed, rest) = der.split_at_checked(signed_end)?;
    let mut bytes = Bytes(signed);
    bytes.take(13)?;
    let serial = number::<20>(content(&mut bytes)?)?;
    bytes.take(ECDSA_WITH_SHA256.len())?;
    let issuer = whole(&mut bytes)?;
    bytes.take(4)?;
    let dates = bytes.take(28)?;
    whole(&mut bytes)?;
    bytes.take(P256_KEY.len())?;
    let key = bytes.take(64)?;
    bytes.take(8)?;
    bytes.take(AUTHORITY_KEY_ID.len())?;
    let issuer_key_id = bytes.take(20)?;
    let points = whole(&mut bytes)?;
    bytes.take(SUBJECT_KEY_ID.len())?;
    let key_id = bytes.take(20)?;
    bytes.take(LEAF.len())?;
    // Heads of the SGX extension, and of its first member.
    bytes.take(23 + 16)?;
    let ppid = bytes.take(16)?;
    bytes.take(20)?;
    let mut components = Vec::with_capacity(16);
    for _ in 0..16 {
        components.push(*content(&mut bytes)?.last()?);
    }
    let pce_svn = number::<2>(content(&mut bytes)?.get(15..)?)?;
    bytes.take(17)?;
    let cpu_svn = bytes.take(16)?;
    bytes.take(16)?;
    let pce_id = bytes.take(2)?;
    bytes.take(16)?;
    let fmspc = bytes.take(6)?;
    let tail = bytes.0;

    let mut bytes = Bytes(rest);
    bytes.take(ECDSA_WITH_SHA256.len())?;
    // Heads of the BIT STRING and of the SEQUENCE in it.
    bytes.take(5)?;
    let (r, s) = (number::<32>(content(&mut bytes)?)?, number::<32>(content(&mut bytes)?)?);
    let parts: [&[u8]; 16] = [
        &r,
        &s,
        key,
        &serial,
        issuer_key_id,
        key_id,
        ppid,
        &components,
        cpu_svn,
        &pce_svn,
        pce_id,
        fmspc,
        dates,
        issuer,
        points,
        tail,
    ];
    Some(parts.concat())
}

/// An element with a length of one byte.
fn whole<'a>(bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let length = bytes.0.get(1).copied().filter(|length| *length < 0x80)?;
    bytes.take(usize::from(length).checked_add(2)?)
}

fn content<'a>(bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
    whole(bytes)?.get(2..)
}

/// A number of at most `N` bytes, in `N`.
fn number<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let start = digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len());
    let digits = digits.get(start..)?;
    let mut out = [0; N];
    out.get_mut(N.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some(out)
}

/// A number that is not negative, in its shortest form.
fn integer(digits: &[u8]) -> Vec<u8> {
    let start = digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len());
    let digits = digits.get(start..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_none_or(|digit| *digit > 0x7f) { &[0] } else { &[] };
    tlv(INTEGER, &[sign, digits])
}

fn sgx_member(number: u8, value: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(OID, &[SGX_EXTENSION, &[number]]), value])
}

fn tcb_member(number: u8, value: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&tlv(OID, &[SGX_EXTENSION, &[2, number]]), value])
}

/// DER, with a length in its shortest form.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).and_then(|start| length.get(start..));
    let mut out = alloc::vec![tag];
    match significant.unwrap_or(&[0]) {
        [short] if *short < 0x80 => out.push(*short),
        long => {
            // At most the eight bytes of a length.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend(content);
    out
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const EXTENSIONS: u8 = 0xa3;
const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// Head of the first date.
const UTC_TIME: &[u8] = &[0x17, 13];
/// SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point.
const P256_KEY: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3,
    0x42, 0, 4,
];
/// authorityKeyIdentifier, up to its 20 bytes.
const AUTHORITY_KEY_ID: &[u8] = &[0x30, 0x1f, 6, 3, 0x55, 0x1d, 0x23, 4, 0x18, 0x30, 0x16, 0x80, 0x14];
/// subjectKeyIdentifier, up to its 20 bytes.
const SUBJECT_KEY_ID: &[u8] = &[0x30, 0x1d, 6, 3, 0x55, 0x1d, 0x0e, 4, 0x16, 4, 0x14];
/// keyUsage: digitalSignature and nonRepudiation; basicConstraints: no CA. Both critical.
const LEAF: &[u8] = &[
    0x30, 0x0e, 6, 3, 0x55, 0x1d, 0x0f, 1, 1, 0xff, 4, 4, 3, 2, 6, 0xc0, 0x30, 0x0c, 6, 3, 0x55, 0x1d, 0x13, 1, 1,
    0xff, 4, 2, 0x30, 0,
];
/// 1.2.840.113741.1.13.1
const SGX_EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 0x0d, 1];
const SIMULATED: &[u8] = b"SIMULATED";
const INTEL_SUBJECT: &[u8] = b"\x30\x70\
    \x31\x22\x30\x20\x06\x03\x55\x04\x03\x0c\x19Intel SGX PCK Certificate\
    \x31\x1a\x30\x18\x06\x03\x55\x04\x0a\x0c\x11Intel Corporation\
    \x31\x14\x30\x12\x06\x03\x55\x04\x07\x0c\x0bSanta Clara\
    \x31\x0b\x30\x09\x06\x03\x55\x04\x08\x0c\x02CA\
    \x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02US";
const SIMULATED_SUBJECT: &[u8] = b"\x30\x77\
    \x31\x26\x30\x24\x06\x03\x55\x04\x03\x0c\x1dSIMULATED SGX PCK Certificate\
    \x31\x21\x30\x1f\x06\x03\x55\x04\x0a\x0c\x18Glacier SIMULATED vendor\
    \x31\x10\x30\x0e\x06\x03\x55\x04\x07\x0c\x07Nowhere\
    \x31\x0b\x30\x09\x06\x03\x55\x04\x08\x0c\x02XX\
    \x31\x0b\x30\x09\x06\x03\x55\x04\x06\x0c\x02XX";
