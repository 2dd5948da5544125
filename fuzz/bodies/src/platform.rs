//! Frames between an enclave and its chip, and what a SEV-SNP host puts beside a report.

use crate::wire::canonical;
use glacier_platform::simulated::{ANSWER_MAX, CALL_MAX, ChipAnswer, ChipCall, SealingKey, read_frame, write_frame};
use glacier_platform::{CertTable, Certificate, SealingPurpose};
use glacier_wire::{EnclaveId, Measurement, cbor};

pub(crate) fn chip_call(bytes: &[u8]) {
    if let Some(call) = canonical::<ChipCall>(bytes, CALL_MAX) {
        assert_eq!(through_a_port(&call, CALL_MAX), Some(call));
    }
}

pub(crate) fn chip_answer(bytes: &[u8]) {
    if let Some(answer) = canonical::<ChipAnswer>(bytes, ANSWER_MAX) {
        assert_eq!(through_a_port(&answer, ANSWER_MAX), Some(answer));
    }
}

fn through_a_port<T>(value: &T, max: usize) -> Option<T>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    let mut port = Vec::new();
    write_frame(&mut port, value).ok()?;
    read_frame(port.as_slice(), max).ok()
}

pub(crate) fn chip_call_seeds() -> Vec<Vec<u8>> {
    [
        ChipCall::NotStarted { why: "no zygote".into() },
        ChipCall::Quote { report_data: [1; 64] },
        ChipCall::Collateral,
        ChipCall::SealingKey { purpose: SealingPurpose::State },
    ]
    .map(|call| cbor::encode(&call))
    .into()
}

pub(crate) fn chip_answer_seeds() -> Vec<Vec<u8>> {
    [
        ChipAnswer::Facts { measurement: Measurement([1; 32]), enclave_id: EnclaveId([2; 32]) },
        ChipAnswer::Quote { quote: vec![3; 200] },
        ChipAnswer::Collateral { json: b"{}".to_vec() },
        ChipAnswer::SealingKey { key: SealingKey::new([4; 32]) },
        ChipAnswer::Refused,
    ]
    .map(|answer| cbor::encode(&answer))
    .into()
}

/// GUIDs as the table has them.
const KINDS: [(Certificate, u128); 4] = [
    (Certificate::Vcek, 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd),
    (Certificate::Vlek, 0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1),
    (Certificate::Ask, 0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782),
    (Certificate::Ark, 0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae),
];

pub(crate) fn cert_table(bytes: &[u8]) {
    if let Ok(table) = CertTable::parse(bytes) {
        let found: Vec<_> = KINDS.iter().filter_map(|(kind, guid)| Some((*guid, table.get(*kind)?))).collect();
        assert!(found.iter().all(|(_, certificate)| certificate.len() <= CertTable::MAX_CERTIFICATE));
        let again = CertTable::parse(&write(&found)).expect("what was written can be read");
        assert!(KINDS.iter().all(|(kind, _)| again.get(*kind) == table.get(*kind)));
    }
}

/// A table of these certificates.
fn write(certificates: &[(u128, &[u8])]) -> Vec<u8> {
    let mut head = Vec::new();
    let mut body = Vec::new();
    for (guid, certificate) in certificates {
        let offset = 24 * (certificates.len() + 1) + body.len();
        head.extend(guid.to_be_bytes());
        head.extend(u32::try_from(offset).expect("a short table").to_le_bytes());
        head.extend(u32::try_from(certificate.len()).expect("a short certificate").to_le_bytes());
        body.extend_from_slice(certificate);
    }
    head.extend([0; 24]);
    head.extend(body);
    head
}

pub(crate) fn cert_table_seeds() -> Vec<Vec<u8>> {
    let [vcek, _, ask, ark] = KINDS.map(|(_, guid)| guid);
    vec![write(&[]), write(&[(vcek, b"vcek")]), write(&[(ark, b"ark"), (7, b"else"), (ask, b"ask"), (vcek, b"vcek")])]
}
