//! A vendor of our own, so that evidence can be wrong in one way and right in every other.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod der;

pub use der::*;
use glacier_attest::{Anchors, Appraisal, Collateral, Genuine, appraise};
use glacier_wire::UnixTime;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// 2026-01-15T00:00:00Z.
pub const NOW: u64 = 1_768_435_200;

/// What the quote looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Version 3: an enclave.
    V3,
    /// Version 4 with an enclave.
    V4Enclave,
    /// Version 4 with a domain.
    V4,
    /// Version 5 with an enclave.
    V5Enclave,
    /// Version 5 with a domain of TDX 1.0.
    V5,
    /// Version 5 with a domain of TDX 1.5.
    V5Later,
}

impl Shape {
    pub const DOMAINS: [Self; 3] = [Self::V4, Self::V5, Self::V5Later];

    /// Version, TEE type, body type.
    fn numbers(self) -> (u8, u8, u16) {
        match self {
            Self::V3 => (3, 0, 0),
            Self::V4Enclave => (4, 0, 0),
            Self::V4 => (4, 0x81, 0),
            Self::V5Enclave => (5, 0, 1),
            Self::V5 => (5, 0x81, 2),
            Self::V5Later => (5, 0x81, 3),
        }
    }
}

/// Everything that makes one quote genuine, each part open to change.
pub struct World {
    pub root: Cert,
    pub pck_ca: Cert,
    pub tcb_signer: Cert,
    pub pck: Cert,
    pub chip: Option<ChipExtension>,
    pub root_crl: List,
    pub pck_crl: List,
    pub tcb_info: Value,
    pub tcb_info_signer: u8,
    pub qe_identity: Value,
    pub qe_identity_signer: u8,
    pub qe_report: [u8; 384],
    pub qe_report_signer: u8,
    /// Last 32 bytes of the quoting enclave's report data.
    pub qe_report_tail: [u8; 32],
    /// Key that the quote carries, key that the quoting enclave vouches for, key that signs.
    pub attestation: (u8, u8, u8),
    pub shape: Shape,
    pub report: [u8; 384],
    /// Of TDX 1.5; its beginning is that of 1.0.
    pub td_report: [u8; 648],
    /// In place of what the shape says.
    pub tee_type: Option<u8>,
    pub body_type: Option<u16>,
    pub body_length: Option<u32>,
    /// Of the certification data that holds the quoting enclave's report.
    pub outer_type: u16,
    /// Certificates in the quote after the leaf; the world's own if absent.
    pub chain_above: Option<Vec<Vec<u8>>>,
    pub now: u64,
}

const FROM: &str = "260101000000Z";
const UNTIL: &str = "260131000000Z";

impl World {
    pub fn new() -> Self {
        let cert = |subject, issuer, serial, key, signer| Cert {
            subject,
            issuer,
            serial,
            from: "250101000000Z",
            until: "350101000000Z",
            authority: Some(false),
            path: None,
            usage: SIGN,
            key,
            signer,
            issuer_key: signer,
            inner: ecdsa_with_sha256(),
            extra: vec![],
        };
        let authority = |path, cert| Cert { authority: Some(true), path: Some(path), usage: ISSUE, ..cert };
        let list = |issuer, signer| List {
            issuer,
            from: FROM,
            until: Some(UNTIL),
            serials: vec![],
            signer,
            issuer_key: signer,
            extra: vec![],
        };
        let mut qe_report = [0; 384];
        qe_report[48] = 0x11;
        qe_report[128..160].fill(0x51);
        qe_report[256] = 1;
        qe_report[258] = 8;
        let mut report = [0; 384];
        report[48] = 5;
        report[64..96].fill(0xaa);
        report[128..160].fill(0xbb);
        report[320..325].copy_from_slice(b"hello");
        Self {
            root: authority(1, cert("Test Root", "Test Root", 1, ROOT, ROOT)),
            pck_ca: authority(0, cert("Test PCK Platform CA", "Test Root", 2, PCK_CA, ROOT)),
            tcb_signer: cert("Test TCB Signing", "Test Root", 3, TCB_SIGNER, ROOT),
            pck: cert("Test PCK Certificate", "Test PCK Platform CA", 4, PCK, PCK_CA),
            chip: Some(ChipExtension {
                ppid: vec![7; 16],
                components: (1..=15).chain([255]).collect(),
                pce_svn: 13,
                pce_id: vec![0, 0],
                fmspc: vec![0, 0x60, 0x6a, 0, 0, 0],
                extra: vec![],
            }),
            root_crl: list("Test Root", ROOT),
            pck_crl: list("Test PCK Platform CA", PCK_CA),
            tcb_info: json!({
                "id": "SGX", "version": 3,
                "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-01-31T00:00:00Z",
                "fmspc": "00606A000000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 20,
                "tcbLevels": [level(1, 13, "UpToDate", &[]), level(0, 10, "OutOfDate", &["INTEL-SA-00002"])]
            }),
            tcb_info_signer: TCB_SIGNER,
            qe_identity: json!({
                "id": "QE", "version": 2,
                "issueDate": "2026-01-01T00:00:00Z", "nextUpdate": "2026-01-31T00:00:00Z",
                "tcbEvaluationDataNumber": 20,
                "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
                "attributes": "11000000000000000000000000000000",
                "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
                "mrsigner": "51".repeat(32), "isvprodid": 1,
                "tcbLevels": [
                    {"tcb": {"isvsvn": 8}, "tcbDate": "2025-06-01T00:00:00Z", "tcbStatus": "UpToDate"},
                    {"tcb": {"isvsvn": 6}, "tcbDate": "2024-06-01T00:00:00Z", "tcbStatus": "OutOfDate",
                     "advisoryIDs": ["INTEL-SA-00001", "INTEL-SA-00002"]},
                    {"tcb": {"isvsvn": 5}, "tcbDate": "2023-06-01T00:00:00Z", "tcbStatus": "Revoked"}
                ]
            }),
            qe_identity_signer: TCB_SIGNER,
            qe_report,
            qe_report_signer: PCK,
            qe_report_tail: [0; 32],
            attestation: (ATTESTATION, ATTESTATION, ATTESTATION),
            shape: Shape::V3,
            report,
            td_report: [0; 648],
            tee_type: None,
            body_type: None,
            body_length: None,
            outer_type: 6,
            chain_above: None,
            now: NOW,
        }
    }

    /// A domain: module version 1 at level 5, then and now.
    pub fn tdx(shape: Shape) -> Self {
        let mut world = Self { shape, ..Self::new() };
        world.td_report[..3].copy_from_slice(&[5, 1, 7]);
        world.td_report[584..587].copy_from_slice(&[5, 1, 7]);
        world.td_report[16..64].fill(0x5e);
        world.td_report[123] = 0x10;
        world.td_report[128] = 0xe7;
        for (at, register) in (1..).zip(world.td_report[136..520].chunks_mut(48)) {
            register.fill(at);
        }
        world.td_report[520..525].copy_from_slice(b"hello");
        world.tcb_info["id"] = "TDX".into();
        world.tcb_info["tcbLevels"] = json!([
            td_level(level(1, 13, "UpToDate", &[]), &[0, 0, 7]),
            td_level(level(0, 10, "OutOfDate", &["INTEL-SA-00002"]), &[0, 0, 5]),
        ]);
        let module =
            json!({"mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "FF".repeat(8)});
        world.tcb_info["tdxModule"] = module.clone();
        let mut later = module;
        later["id"] = "TDX_01".into();
        later["tcbLevels"] = json!([
            {"tcb": {"isvsvn": 5}, "tcbDate": "2025-03-01T00:00:00Z", "tcbStatus": "UpToDate"},
            {"tcb": {"isvsvn": 4}, "tcbDate": "2024-03-01T00:00:00Z", "tcbStatus": "OutOfDate",
             "advisoryIDs": ["INTEL-SA-00004"]},
            {"tcb": {"isvsvn": 3}, "tcbDate": "2023-03-01T00:00:00Z", "tcbStatus": "Revoked"}
        ]);
        world.tcb_info["tdxModuleIdentities"] = json!([later]);
        world.qe_identity["id"] = "TD_QE".into();
        world.qe_identity["isvprodid"] = 2.into();
        world.qe_report[256] = 2;
        world
    }

    pub fn anchors(&self) -> Anchors {
        Anchors::vendor().with_root_der(&self.root.der())
    }

    pub fn quote(&self) -> Vec<u8> {
        let (carried, vouched, signer) = self.attestation;
        let authentication = [0x0a; 32];
        let (version, tee, body_type) = self.shape.numbers();
        let mut body = vec![version, 0, 2, 0, self.tee_type.unwrap_or(tee), 0, 0, 0, 8, 0, 13, 0];
        body.extend(hex::decode("939a7233f79c4ca9940a0db3957f0607").unwrap());
        body.extend([0; 20]);
        let report = match self.shape {
            Shape::V3 | Shape::V4Enclave | Shape::V5Enclave => &self.report[..],
            Shape::V4 | Shape::V5 => &self.td_report[..584],
            Shape::V5Later => &self.td_report,
        };
        if version == 5 {
            body.extend(self.body_type.unwrap_or(body_type).to_le_bytes());
            body.extend(self.body_length.unwrap_or(report.len() as u32).to_le_bytes());
        }
        body.extend(report);
        let mut qe_report = self.qe_report;
        let digest = Sha256::new().chain_update(coordinates(vouched)).chain_update(authentication).finalize();
        qe_report[320..352].copy_from_slice(&digest);
        qe_report[352..].copy_from_slice(&self.qe_report_tail);
        let above = self.chain_above.clone().unwrap_or_else(|| vec![self.pck_ca.der(), self.root.der()]);
        let chain = pem(&[vec![self.pck_der()], above].concat());
        let mut inner = qe_report.to_vec();
        inner.extend(raw(&qe_report, self.qe_report_signer));
        inner.extend(32u16.to_le_bytes());
        inner.extend(authentication);
        inner.extend(5u16.to_le_bytes());
        inner.extend((chain.len() as u32).to_le_bytes());
        inner.extend(chain);
        let mut data = [raw(&body, signer), coordinates(carried)].concat();
        if version != 3 {
            data.extend(self.outer_type.to_le_bytes());
            data.extend((inner.len() as u32).to_le_bytes());
        }
        data.extend(inner);
        [&body[..], &(data.len() as u32).to_le_bytes(), &data].concat()
    }

    fn pck_der(&self) -> Vec<u8> {
        let mut extra: Vec<_> = self.chip.iter().map(|chip| extension(&SGX, false, &chip.der())).collect();
        extra.extend(self.pck.extra.iter().cloned());
        let Cert { subject, issuer, serial, from, until, authority, path, usage, key, signer, issuer_key, .. } =
            self.pck;
        let inner = self.pck.inner.clone();
        Cert { subject, issuer, serial, from, until, authority, path, usage, key, signer, issuer_key, inner, extra }
            .der()
    }

    pub fn collateral_json(&self) -> Vec<u8> {
        let (tcb_info, qe_identity) = (self.tcb_info.to_string(), self.qe_identity.to_string());
        let signers = text(pem(&[self.tcb_signer.der(), self.root.der()]));
        json!({
            "pck_crl_issuer_chain": text(pem(&[self.pck_ca.der(), self.root.der()])),
            "root_ca_crl": hex::encode(self.root_crl.der()),
            "pck_crl": hex::encode(self.pck_crl.der()),
            "tcb_info_issuer_chain": signers,
            "tcb_info_signature": hex::encode(raw(tcb_info.as_bytes(), self.tcb_info_signer)),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": signers,
            "qe_identity_signature": hex::encode(raw(qe_identity.as_bytes(), self.qe_identity_signer)),
            "qe_identity": qe_identity,
        })
        .to_string()
        .into_bytes()
    }

    pub fn appraise(&self) -> Appraisal<Genuine> {
        let collateral = Collateral::parse(&self.collateral_json()).unwrap();
        appraise(&self.quote(), &collateral.into(), &self.anchors(), UnixTime(self.now))
    }
}

/// A level whose components are all `svn` (at most what the chip has).
pub fn level(svn: u8, pce_svn: u16, status: &str, advisories: &[&str]) -> Value {
    let components = vec![json!({ "svn": svn }); 16];
    json!({
        "tcb": {"sgxtcbcomponents": components, "pcesvn": pce_svn},
        "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories
    })
}

/// The same level for TDX, with the first TDX components named.
pub fn td_level(mut level: Value, tdx: &[u8]) -> Value {
    let svn = |at: usize| json!({ "svn": tdx.get(at).copied().unwrap_or_default() });
    level["tcb"]["tdxtcbcomponents"] = (0..16).map(svn).collect();
    level
}
