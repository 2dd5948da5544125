//! How an answer is verified, and until when it holds.

use glacier_attest::{Anchors, Collateral, Rim, RimKind, check_ocsp};
use glacier_wire::UnixTime;
use serde::Deserialize;
use x509_cert::{crl::CertificateList, der::Decode as _, name::Name};

use crate::{
    error::Fault,
    intel::{IntelCollateralRequest, PckCa, Tee},
    nvidia::RimId,
    ocsp::OcspRequest,
};

/// Decides whether an answer is genuine, current and about what was asked. It does no IO. Any
/// `Fn(&R, &[u8], UnixTime) -> Result<Validity, Fault>` is one.
///
/// Every answer passes through it before it is cached, and again each time before it leaves the client.
pub trait Verify<R>: Send + Sync + 'static {
    /// Verifies `answer` at the time `at`. Outside its validity an answer is refused.
    fn verify(&self, request: &R, answer: &[u8], at: UnixTime) -> Result<Validity, Fault>;
}

impl<R, F> Verify<R> for F
where
    F: Fn(&R, &[u8], UnixTime) -> Result<Validity, Fault> + Send + Sync + 'static,
{
    fn verify(&self, request: &R, answer: &[u8], at: UnixTime) -> Result<Validity, Fault> {
        self(request, answer, at)
    }
}

/// When an answer holds, and which edition it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub from: UnixTime,
    /// Last second.
    pub until: UnixTime,
    /// Numbers that only ever grow with the editions of one answer, in an order fixed for its kind;
    /// empty if there is only one edition.
    pub edition: Vec<u64>,
}

impl Validity {
    /// Whether any number of this edition is lower than that of `other`.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.edition.iter().zip(&other.edition).any(|(this, other)| this < other)
    }

    /// Whether an answer that was fetched at `fetched` is past half of its validity at `at`. One that
    /// was already past it when it came has half of the rest: or each call would fetch it again.
    pub(crate) fn is_stale(&self, fetched: UnixTime, at: UnixTime) -> bool {
        let half_from = |start: u64| start.midpoint(self.until.0.max(start));
        let half = half_from(self.from.0);
        // A time of fetching that lies ahead was not written by an honest clock.
        let fetched = if fetched > at { 0 } else { fetched.0 };
        at.0 > if fetched < half { half } else { half_from(fetched) }
    }
}

/// Verifies Intel collateral with [`Collateral::check`]: chains to a trusted root, revocation,
/// signatures, validity; then that it speaks of the TEE, processor model and PCK CA that were asked for.
///
/// Its edition: evaluation numbers of TCB info and QE identity, `thisUpdate` of the root's and of the
/// PCK CA's revocation list.
#[derive(Debug, Clone)]
pub struct IntelVerifier {
    anchors: Anchors,
}

impl IntelVerifier {
    /// Trusts these roots.
    pub fn new(anchors: Anchors) -> Self {
        Self { anchors }
    }
}

impl Verify<IntelCollateralRequest> for IntelVerifier {
    fn verify(&self, request: &IntelCollateralRequest, answer: &[u8], at: UnixTime) -> Result<Validity, Fault> {
        let checked = Collateral::parse(answer)?.check(&self.anchors, at).into_result()?;
        let (from, until) = checked.validity();
        // The signatures hold: what is read again here is what they cover.
        Ok(Validity { from, until, edition: edition(request, answer)? })
    }
}

/// Verifies what NVIDIA's services answer: manifests with [`Rim::appraise`], OCSP answers with
/// [`check_ocsp`]. An OCSP answer's edition is when it was made; a manifest has none but its signer's dates.
#[derive(Debug, Clone)]
pub struct NvidiaVerifier {
    anchors: Anchors,
}

impl NvidiaVerifier {
    /// Trusts these roots.
    pub fn new(anchors: Anchors) -> Self {
        Self { anchors }
    }
}

impl Verify<RimId> for NvidiaVerifier {
    fn verify(&self, request: &RimId, answer: &[u8], at: UnixTime) -> Result<Validity, Fault> {
        let rim = Rim::appraise(answer, &self.anchors, at).into_result()?;
        // An id ends in the version: as it is for drivers, without dots for the others.
        let (prefix, version) = match rim.kind() {
            RimKind::Driver => ("NV_GPU_", rim.version().to_owned()),
            RimKind::Switch => ("NV_SWITCH_", rim.version().replace('.', "")),
            _ => ("NV_GPU_VBIOS_", rim.version().replace('.', "")),
        };
        let id = request.as_str();
        let driver = id.contains("_DRIVER_") == (rim.kind() == RimKind::Driver);
        let last = id.rsplit('_').next().unwrap_or_default();
        if !id.starts_with(prefix) || !driver || !last.eq_ignore_ascii_case(&version) {
            return Err(Fault::Other("firmware"));
        }
        let (from, until) = rim.validity();
        Ok(Validity { from, until, edition: vec![from.0] })
    }
}

impl Verify<OcspRequest> for NvidiaVerifier {
    fn verify(&self, request: &OcspRequest, answer: &[u8], at: UnixTime) -> Result<Validity, Fault> {
        let (from, until) = check_ocsp(answer, &request.certificate, &request.issuer, at).map_err(Fault::refused)?;
        Ok(Validity { from, until, edition: vec![from.0] })
    }
}

/// Checks that verified collateral answers the request, and reads its edition.
fn edition(request: &IntelCollateralRequest, answer: &[u8]) -> Result<Vec<u64>, Fault> {
    let parts: Parts = serde_json::from_slice(answer).map_err(|_| Fault::Malformed)?;
    let tcb_info: TcbInfo = serde_json::from_str(&parts.tcb_info).map_err(|_| Fault::Malformed)?;
    let qe_identity: QeIdentity = serde_json::from_str(&parts.qe_identity).map_err(|_| Fault::Malformed)?;
    let root_crl = crl(&parts.root_ca_crl)?;
    let pck_crl = crl(&parts.pck_crl)?;
    let (tcb_id, qe_id) = match request.tee {
        Tee::Sgx => ("SGX", "QE"),
        Tee::Tdx => ("TDX", "TD_QE"),
    };
    if tcb_info.id != tcb_id || qe_identity.id != qe_id {
        return Err(Fault::Other("TEE"));
    }
    let mut fmspc = [0; 6];
    hex::decode_to_slice(&tcb_info.fmspc, &mut fmspc).map_err(|_| Fault::Malformed)?;
    if fmspc != request.fmspc {
        return Err(Fault::Other("processor model"));
    }
    let ca = match request.ca {
        PckCa::Processor => "Processor",
        PckCa::Platform => "Platform",
    };
    if !names(&pck_crl.tbs_cert_list.issuer, ca)? {
        return Err(Fault::Other("PCK CA"));
    }
    Ok(vec![
        tcb_info.tcb_evaluation_data_number,
        qe_identity.tcb_evaluation_data_number,
        root_crl.tbs_cert_list.this_update.to_unix_duration().as_secs(),
        pck_crl.tbs_cert_list.this_update.to_unix_duration().as_secs(),
    ])
}

/// Revocation lists are kept in hexadecimal; they are DER once that is undone.
fn crl(text: &str) -> Result<CertificateList, Fault> {
    let der = hex::decode(text).map_err(|_| Fault::Malformed)?;
    CertificateList::from_der(&der).map_err(|_| Fault::Malformed)
}

fn names(name: &Name, word: &str) -> Result<bool, Fault> {
    let common_name = name.common_name().map_err(|_| Fault::Malformed)?;
    Ok(common_name.is_some_and(|name| name.value().split(' ').any(|part| part == word)))
}

#[derive(Deserialize)]
struct Parts {
    tcb_info: String,
    qe_identity: String,
    root_ca_crl: String,
    pck_crl: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    id: String,
    fmspc: String,
    tcb_evaluation_data_number: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentity {
    id: String,
    tcb_evaluation_data_number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validity(edition: &[u64]) -> Validity {
        Validity { from: UnixTime(1000), until: UnixTime(2000), edition: edition.to_vec() }
    }

    #[test]
    fn one_lower_number_makes_an_edition_older() {
        assert!(validity(&[17, 20]).is_before(&validity(&[18, 20])));
        assert!(validity(&[19, 19]).is_before(&validity(&[18, 20])));
        assert!(!validity(&[18, 20]).is_before(&validity(&[18, 20])));
        assert!(!validity(&[19, 20]).is_before(&validity(&[18, 20])));
        assert!(!validity(&[]).is_before(&validity(&[])));
    }

    #[test]
    fn an_answer_is_stale_after_half_of_its_validity() {
        let stale = |fetched, at| validity(&[]).is_stale(UnixTime(fetched), UnixTime(at));
        assert!(!stale(1100, 1500));
        assert!(stale(1100, 1501));
    }

    #[test]
    fn one_that_came_late_is_stale_after_half_of_the_rest() {
        let stale = |fetched, at| validity(&[]).is_stale(UnixTime(fetched), UnixTime(at));
        assert!(!stale(1600, 1800));
        assert!(stale(1600, 1801));
        assert!(stale(1990, 2000));
    }

    #[test]
    fn a_time_of_fetching_that_lies_ahead_does_not_put_refreshing_off() {
        assert!(validity(&[]).is_stale(UnixTime(1900), UnixTime(1600)));
    }
}
