//! AMD's endorsements on their own, for whoever fetches and keeps them.

use super::{
    chain::{self, CheckedVek},
    tcb::SnpTcb,
    vek::Chip,
};
use crate::{anchors::Anchors, endorsements::Endorsements, reason::Reason, window::Part, x509::Crl};
use glacier_wire::UnixTime;

/// What the certificate of a key that signs reports is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VekFacts {
    /// `Milan`, `Genoa` or `Turin`.
    pub product: &'static str,
    /// The chip, as reports state it; `None` for a provider's key.
    pub chip_id: Option<[u8; 64]>,
    /// The firmware it was made for.
    pub tcb: SnpTcb,
    /// First and last second at which it and its authority are current.
    pub validity: (UnixTime, UnixTime),
}

/// Whether `vek` (DER) is AMD's certificate of a key that signs reports, current at the time `at`.
pub fn check_vek(vek: &[u8], anchors: &Anchors, at: UnixTime) -> Result<VekFacts, Reason> {
    let checked = CheckedVek::check(vek, &Endorsements::default(), anchors)?;
    let vek = checked.vek?;
    vek.authority.window.check(Part::AmdAuthority, at)?;
    vek.certificate.window.check(Part::Vek, at)?;
    let chip = Chip::read(&vek.certificate, vek.product, vek.kind).map_err(Reason::Snp)?;
    let window = vek.authority.window.and(vek.certificate.window);
    Ok(VekFacts { product: vek.product.word(), chip_id: chip.id, tcb: chip.tcb, validity: (window.from, window.until) })
}

/// Whether `list` (DER) is a revocation list of AMD's root for `product`, current at the time `at`;
/// answers with its first and last second.
pub fn check_amd_crl(
    list: &[u8],
    product: &str,
    anchors: &Anchors,
    at: UnixTime,
) -> Result<(UnixTime, UnixTime), Reason> {
    let root = chain::built_in_root(product, anchors)?;
    let list = Crl::read(list, &root.certificate).map_err(|error| Reason::Certificate { part: Part::AmdCrl, error })?;
    list.window.check(Part::AmdCrl, at)?;
    Ok((list.window.from, list.window.until))
}
