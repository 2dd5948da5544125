//! The SGX extension of a PCK certificate: who the chip is.

use der::{
    Encode, Tag,
    asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
};

/// 1.2.840.113741.1.13.1
pub(crate) const OID: &[u64] = &[1, 2, 840, 113741, 1, 13, 1];

/// What the extension says.
pub(crate) struct Facts<'a> {
    pub(crate) ppid: &'a [u8; 16],
    pub(crate) cpu_svn: &'a [u8; 16],
    pub(crate) pce_svn: u16,
    pub(crate) pce_id: &'a [u8; 2],
    pub(crate) fmspc: &'a [u8; 6],
    pub(crate) instance: &'a [u8; 16],
}

/// The extension's value.
pub(crate) fn encode(facts: &Facts<'_>) -> Result<Vec<u8>, der::Error> {
    let octets = |bytes| OctetStringRef::new(bytes)?.to_der();
    let mut tcb = Vec::new();
    for (component, svn) in (1..).zip(facts.cpu_svn) {
        tcb.push(member(&format!("2.{component}"), svn.to_der()?)?);
    }
    tcb.push(member("2.17", facts.pce_svn.to_der()?)?);
    tcb.push(member("2.18", octets(facts.cpu_svn)?)?);
    // Dynamic platform, cached keys, SMT: as on the genuine server sample whose lengths we keep.
    let configuration =
        [member("7.1", true.to_der()?)?, member("7.2", true.to_der()?)?, member("7.3", true.to_der()?)?];
    sequence(&[
        member("1", octets(facts.ppid)?)?,
        member("2", sequence(&tcb)?)?,
        member("3", octets(facts.pce_id)?)?,
        member("4", octets(facts.fmspc)?)?,
        // Scalable.
        member("5", AnyRef::new(Tag::Enumerated, &[1])?.to_der()?)?,
        member("6", octets(facts.instance)?)?,
        member("7", sequence(&configuration)?)?,
    ])
}

fn member(suffix: &str, value: Vec<u8>) -> Result<Vec<u8>, der::Error> {
    let oid = ObjectIdentifier::new(&format!("1.2.840.113741.1.13.1.{suffix}"))?;
    sequence(&[oid.to_der()?, value])
}

fn sequence(members: &[Vec<u8>]) -> Result<Vec<u8>, der::Error> {
    AnyRef::new(Tag::Sequence, &members.concat())?.to_der()
}
