//! The Intel SGX extension of a PCK certificate: which chip, of which model, at which TCB.

use crate::x509::{Certificate, CertificateError};
use der::{
    Decode, Reader, SliceReader, Tag,
    asn1::{AnyRef, ObjectIdentifier},
};

/// What the chip's certificate says of the chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chip {
    pub(crate) ppid: [u8; 16],
    pub(crate) components: [u8; 16],
    pub(crate) pce_svn: u16,
    pub(crate) pce_id: [u8; 2],
    pub(crate) fmspc: [u8; 6],
}

const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const PPID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.1");
const TCB: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.2");
const PCE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.3");
const FMSPC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.4");
/// Last arc of the PCE SVN in the TCB; 1 to 16 are the components, 18 is the raw CPUSVN.
const PCE_SVN_ARC: u32 = 17;
const MAX_ENTRIES: usize = 32;

impl Chip {
    /// Reads a PCK certificate's extension.
    pub(crate) fn of(certificate: &Certificate) -> Result<Self, CertificateError> {
        certificate.extension(SGX_EXTENSION).ok_or(CertificateError::SgxExtension).and_then(Self::read)
    }

    /// Reads the extension's content. Members that are not known are passed over: the issuer signed
    /// them, and Intel has added some before.
    fn read(extension: &[u8]) -> Result<Self, CertificateError> {
        Self::members(extension).ok_or(CertificateError::SgxExtension)
    }

    fn members(extension: &[u8]) -> Option<Self> {
        let (mut ppid, mut tcb, mut pce_id, mut fmspc) = (None, None, None, None);
        each(AnyRef::from_der(extension).ok()?, |oid, value| match oid {
            PPID => once(&mut ppid, octets(value)?),
            TCB => once(&mut tcb, tcb_members(value)?),
            PCE_ID => once(&mut pce_id, octets(value)?),
            FMSPC => once(&mut fmspc, octets(value)?),
            _ => Some(()),
        })?;
        let (components, pce_svn) = tcb?;
        Some(Self { ppid: ppid?, components, pce_svn, pce_id: pce_id?, fmspc: fmspc? })
    }
}

fn tcb_members(value: AnyRef<'_>) -> Option<([u8; 16], u16)> {
    let mut components = [None; 16];
    let mut pce_svn = None;
    each(value, |oid, value| {
        if oid.parent()? != TCB {
            return None;
        }
        match oid.arcs().last()? {
            PCE_SVN_ARC => once(&mut pce_svn, value.decode_as::<u16>().ok()?),
            arc @ 1..PCE_SVN_ARC => {
                let index = usize::try_from(arc.checked_sub(1)?).ok()?;
                once(components.get_mut(index)?, value.decode_as::<u8>().ok()?)
            }
            _ => Some(()),
        }
    })?;
    let mut svns = [0; 16];
    for (svn, found) in svns.iter_mut().zip(components) {
        *svn = found?;
    }
    Some((svns, pce_svn?))
}

/// A SEQUENCE of SEQUENCE{OID, value}.
fn each<'a>(list: AnyRef<'a>, mut member: impl FnMut(ObjectIdentifier, AnyRef<'a>) -> Option<()>) -> Option<()> {
    if list.header().tag() != Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(list.value()).ok()?;
    for _ in 0..MAX_ENTRIES {
        if reader.is_finished() {
            return Some(());
        }
        let entry = |reader: &mut SliceReader<'a>| -> der::Result<_> {
            Ok((ObjectIdentifier::decode(reader)?, AnyRef::decode(reader)?))
        };
        let (oid, value) = reader.sequence(entry).ok()?;
        member(oid, value)?;
    }
    None
}

fn octets<const N: usize>(value: AnyRef<'_>) -> Option<[u8; N]> {
    if value.header().tag() != Tag::OctetString {
        return None;
    }
    value.value().try_into().ok()
}

/// A member that is there twice has no value.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}
