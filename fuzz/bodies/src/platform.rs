//! Frames between an enclave and its chip.

use crate::wire::canonical;
use glacier_platform::SealingPurpose;
use glacier_platform::simulated::{ANSWER_MAX, CALL_MAX, ChipAnswer, ChipCall, SealingKey, read_frame, write_frame};
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
