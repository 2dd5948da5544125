//! Values of small tensors that shapes are computed from.
//!
//! The built-in engine keeps integers in 32 bits: a value that leaves them is forgotten here, so
//! that no shape is predicted which the engine would not compute.

use super::{Info, product};
use crate::onnx::Data;

/// Forgets values that are too many, or that an engine would hold differently.
pub(super) fn bound(info: &mut Info) {
    let count = match &info.data {
        Data::Unknown => return,
        Data::Ints(values) if values.iter().any(|value| i32::try_from(*value).is_err()) => usize::MAX,
        Data::Ints(values) => values.len(),
        Data::Floats(values) => values.len(),
    };
    let fits = info.dims.as_deref().and_then(product) == Some(count as u64);
    if count > Data::MAX || !fits {
        info.data = Data::Unknown;
    }
}

/// Element-wise operators of one input.
pub(super) fn unary(op: &str, data: &Data) -> Data {
    match (op, data) {
        ("Identity", data) => data.clone(),
        ("Neg", Data::Ints(v)) => ints(v.iter().map(|x| x.checked_neg())),
        ("Abs", Data::Ints(v)) => ints(v.iter().map(|x| x.checked_abs())),
        ("Not", Data::Ints(v)) => ints(v.iter().map(|x| Some(i64::from(*x == 0)))),
        ("Neg", Data::Floats(v)) => Data::Floats(v.iter().map(|x| -x).collect()),
        ("Floor", Data::Floats(v)) => Data::Floats(v.iter().map(|x| x.floor()).collect()),
        ("Ceil", Data::Floats(v)) => Data::Floats(v.iter().map(|x| x.ceil()).collect()),
        ("Sqrt", Data::Floats(v)) => Data::Floats(v.iter().map(|x| x.sqrt()).collect()),
        _ => Data::Unknown,
    }
}

/// `Cast` to an ONNX data type.
pub(super) fn cast(data: &Data, to: i64) -> Data {
    match (data, to) {
        (Data::Ints(v), 6 | 7) => Data::Ints(v.clone()),
        (Data::Ints(v), 9) => Data::Ints(v.iter().map(|x| i64::from(*x != 0)).collect()),
        #[allow(clippy::cast_precision_loss)]
        (Data::Ints(v), 1) => Data::Floats(v.iter().map(|x| *x as f32).collect()),
        (Data::Floats(v), 1) => Data::Floats(v.clone()),
        // Beyond 32 bits engines differ.
        (Data::Floats(v), 6 | 7) => ints(v.iter().map(|x| (x.abs() < 2e9).then_some(*x as i64))),
        _ => Data::Unknown,
    }
}

/// Element-wise operators of two inputs that have been expanded to one shape.
pub(super) fn binary(op: &str, a: &Data, b: &Data) -> Data {
    match (a, b) {
        (Data::Ints(a), Data::Ints(b)) => ints(a.iter().zip(b).map(|(a, b)| int(op, *a, *b))),
        (Data::Floats(a), Data::Floats(b)) => floats(op, a, b),
        _ => Data::Unknown,
    }
}

fn int(op: &str, a: i64, b: i64) -> Option<i64> {
    let narrow = |value: Option<i64>| value.filter(|value| i32::try_from(*value).is_ok());
    match op {
        "Add" | "Sum" => narrow(a.checked_add(b)),
        "Sub" => narrow(a.checked_sub(b)),
        "Mul" => narrow(a.checked_mul(b)),
        "Div" => narrow(a.checked_div(b)),
        // The sign of a remainder depends on an attribute: only where it cannot matter.
        "Mod" if a >= 0 && b > 0 => a.checked_rem(b),
        "Max" => Some(a.max(b)),
        "Min" => Some(a.min(b)),
        "Equal" => Some((a == b).into()),
        "Greater" => Some((a > b).into()),
        "GreaterOrEqual" => Some((a >= b).into()),
        "Less" => Some((a < b).into()),
        "LessOrEqual" => Some((a <= b).into()),
        "And" => Some((a != 0 && b != 0).into()),
        "Or" => Some((a != 0 || b != 0).into()),
        "Xor" => Some(((a != 0) != (b != 0)).into()),
        _ => None,
    }
}

fn floats(op: &str, a: &[f32], b: &[f32]) -> Data {
    let each = |f: fn(f32, f32) -> f32| Data::Floats(a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect());
    match op {
        "Add" | "Sum" => each(|a, b| a + b),
        "Sub" => each(|a, b| a - b),
        "Mul" => each(|a, b| a * b),
        "Div" => each(|a, b| a / b),
        "Max" => each(f32::max),
        "Min" => each(f32::min),
        _ => Data::Unknown,
    }
}

/// All of them, or nothing.
fn ints(values: impl Iterator<Item = Option<i64>>) -> Data {
    values.collect::<Option<Vec<_>>>().map_or(Data::Unknown, Data::Ints)
}

/// Elements of `data` of shape `from`, in the places `at`.
pub(super) fn pick(data: &Data, at: impl Iterator<Item = Option<usize>> + Clone) -> Data {
    match data {
        Data::Ints(v) => ints(at.map(|at| v.get(at?).copied())),
        Data::Floats(v) => {
            at.map(|at| v.get(at?).copied()).collect::<Option<Vec<_>>>().map_or(Data::Unknown, Data::Floats)
        }
        Data::Unknown => Data::Unknown,
    }
}

/// Repeats elements as broadcasting from shape `from` to shape `to` does.
pub(super) fn expand(data: &Data, from: &[u64], to: &[u64]) -> Data {
    if matches!(data, Data::Unknown) || product(to).is_none_or(|count| count > Data::MAX as u64) {
        return Data::Unknown;
    }
    let count = product(to).unwrap_or(0);
    let place = |flat: u64| {
        let (mut rest, mut at, mut stride) = (flat, 0u64, 1u64);
        for back in 1..=to.len() {
            let extent = *to.get(to.len().checked_sub(back)?)?;
            let index = rest.checked_rem(extent)?;
            rest = rest.checked_div(extent)?;
            let Some(own) = from.len().checked_sub(back).and_then(|axis| from.get(axis)) else { continue };
            if *own != 1 {
                at = at.checked_add(index.checked_mul(stride)?)?;
            }
            stride = stride.checked_mul(*own)?;
        }
        usize::try_from(at).ok()
    };
    pick(data, (0..count).map(place))
}
