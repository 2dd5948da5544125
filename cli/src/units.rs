//! Sizes, durations, counts and times as people write them.

use std::{fmt, str::FromStr, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Why text is no quantity. The text beside it comes from clap, which names the argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    #[error("write a size such as 65536, 512MiB or 2GB")]
    Size,
    #[error("write a duration such as 90s, 15m, 1h30m or 7d")]
    Span,
    #[error("write a count such as 5000, 20M or 1.5G")]
    Count,
    #[error("write a time such as 2026-01-15T00:00:00Z (RFC 3339)")]
    Time,
}

/// Bytes: `65536`, `512MiB` (binary), `2GB` (decimal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text).ok_or(UnitError::Size)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(UnitError::Size),
        };
        scale(number, factor).map(Self).ok_or(UnitError::Size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(factor, _)| self.0 >= *factor) {
            Some((factor, unit)) if self.0.is_multiple_of(*factor) => write!(f, "{} {unit}", self.0 / factor),
            Some((factor, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / *factor as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// A span of time: `90s`, `15m`, `1h30m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut rest = text;
        let mut seconds = 0u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(UnitError::Span)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let factor = match unit {
                "s" => 1,
                "m" | "min" => 60,
                "h" => 3_600,
                "d" => 86_400,
                _ => return Err(UnitError::Span),
            };
            let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or(UnitError::Span)?;
            seconds = seconds.checked_add(part).ok_or(UnitError::Span)?;
            rest = tail;
        }
        if seconds == 0 { Err(UnitError::Span) } else { Ok(Self(Duration::from_secs(seconds))) }
    }
}

/// A number of things: `5000`, `20M`, `1.5G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text).ok_or(UnitError::Count)?;
        let factor = match unit {
            "" => 1,
            "k" | "K" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            _ => return Err(UnitError::Count),
        };
        scale(number, factor).map(Self).ok_or(UnitError::Count)
    }
}

/// A moment, given as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) glacier_wire::UnixTime);

impl FromStr for Moment {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| UnitError::Time)?;
        u64::try_from(moment.unix_timestamp())
            .map(|seconds| Self(glacier_wire::UnixTime(seconds)))
            .map_err(|_| UnitError::Time)
    }
}

/// RFC 3339 in UTC; the bare number of seconds when it lies beyond the year 9999.
pub(crate) fn rfc3339(moment: glacier_wire::UnixTime) -> String {
    i64::try_from(moment.0)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| moment.0.to_string())
}

/// Digits in groups of three, for people.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then(|| (number, unit.trim_start()))
}

/// `number` is digits with at most one point. Parts of a whole byte or thing are cut off; plain
/// numbers have none.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let parts = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    if fraction > 0 && factor == 1 {
        return None;
    }
    let total =
        u128::from(whole.parse::<u64>().ok()?) * u128::from(factor) + u128::from(fraction) * u128::from(factor) / parts;
    u64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("512MiB".parse(), Ok(Size(512 << 20)));
        assert_eq!("2 GB".parse(), Ok(Size(2_000_000_000)));
        assert_eq!("77".parse(), Ok(Size(77)));
        assert_eq!("1.5GiB".parse(), Ok(Size(3 << 29)));
        for wrong in ["", "MiB", "1 parsec", "-1", "99999999999TiB", "1.5.5MB"] {
            assert_eq!(wrong.parse::<Size>(), Err(UnitError::Size), "{wrong}");
        }
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
    }

    #[test]
    fn spans() {
        assert_eq!("1h30m".parse(), Ok(Span(Duration::from_secs(5400))));
        for wrong in ["", "5", "0s", "h", "3 weeks", "99999999999999999999d"] {
            assert_eq!(wrong.parse::<Span>(), Err(UnitError::Span), "{wrong}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!("1.5G".parse(), Ok(Count(1_500_000_000)));
        assert_eq!("20M".parse(), Ok(Count(20_000_000)));
        for wrong in ["", "M", "1.5", "2q"] {
            assert_eq!(wrong.parse::<Count>(), Err(UnitError::Count), "{wrong}");
        }
        assert_eq!(grouped(1234567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }

    #[test]
    fn moments() {
        assert_eq!("2026-01-15T00:00:00Z".parse(), Ok(Moment(glacier_wire::UnixTime(1_768_435_200))));
        assert_eq!(rfc3339(glacier_wire::UnixTime(1_768_435_200)), "2026-01-15T00:00:00Z");
        assert_eq!("yesterday".parse::<Moment>(), Err(UnitError::Time));
        assert_eq!("1900-01-01T00:00:00Z".parse::<Moment>(), Err(UnitError::Time));
    }
}
