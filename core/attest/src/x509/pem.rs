//! PEM chains: a fixed number of certificates and nothing else.

use super::CertificateError;
use alloc::vec::Vec;

/// Exactly `N` certificates, in order. Line ends may be LF or CRLF; a single NUL may follow, as
/// quoting libraries append one.
pub(crate) fn certificates<const N: usize>(text: &[u8]) -> Result<[Vec<u8>; N], CertificateError> {
    let mut rest = text.strip_suffix(b"\0").unwrap_or(text);
    let mut chain = [const { Vec::new() }; N];
    for certificate in &mut chain {
        (*certificate, rest) = block(rest).ok_or(CertificateError::Pem)?;
    }
    if skip_line_ends(rest).is_empty() { Ok(chain) } else { Err(CertificateError::Pem) }
}

/// One certificate as text: lines of 64 digits, ended by LF.
pub(crate) fn block_of(der: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = der.chunks(3).flat_map(digits).collect();
    let mut text = [BEGIN, b"\n"].concat();
    for line in digits.chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(END);
    text.push(b'\n');
    text
}

/// Four digits of one to three bytes.
fn digits(group: &[u8]) -> [u8; 4] {
    let byte = |index| group.get(index).copied().unwrap_or(0);
    let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
    let digit = |shift: u32| {
        let sextet = (bits >> shift & 0x3f) as usize;
        ALPHABET.get(sextet).copied().unwrap_or(b'=')
    };
    match group.len() {
        1 => [digit(18), digit(12), b'=', b'='],
        2 => [digit(18), digit(12), digit(6), b'='],
        _ => [digit(18), digit(12), digit(6), digit(0)],
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

fn block(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let text = skip_line_ends(text).strip_prefix(BEGIN)?;
    let (body, end) = text.split_at_checked(text.iter().position(|byte| *byte == b'-')?)?;
    Some((base64(body)?, end.strip_prefix(END)?))
}

fn skip_line_ends(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// Standard alphabet, padded, canonical; line ends anywhere.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut digits: Vec<u8> = Vec::with_capacity(text.len());
    text.split(|byte| *byte == b'\n').for_each(|line| digits.extend(line.strip_suffix(b"\r").unwrap_or(line)));
    let (groups, rest) = digits.as_chunks::<4>();
    let (last, groups) = groups.split_last().filter(|_| rest.is_empty())?;
    let mut out = Vec::with_capacity(digits.len());
    for group in groups {
        let [_, a, b, c] = value(group)?.to_be_bytes();
        out.extend([a, b, c]);
    }
    match *last {
        [x, y, b'=', b'='] => {
            let [_, a, 0, 0] = value(&[x, y, b'A', b'A'])?.to_be_bytes() else { return None };
            out.push(a);
        }
        [x, y, z, b'='] => {
            let [_, a, b, 0] = value(&[x, y, z, b'A'])?.to_be_bytes() else { return None };
            out.extend([a, b]);
        }
        ref group => {
            let [_, a, b, c] = value(group)?.to_be_bytes();
            out.extend([a, b, c]);
        }
    }
    Some(out)
}

/// 24 bits of four digits.
fn value(group: &[u8; 4]) -> Option<u32> {
    let mut bits = 0;
    for digit in group {
        let digit = SEXTETS.get(usize::from(*digit)).copied().filter(|digit| *digit < 64)?;
        bits = bits << 6 | u32::from(digit);
    }
    Some(bits)
}

/// Value of each digit; 255 for what is none.
const SEXTETS: [u8; 256] = {
    let mut table = [255; 256];
    let mut index = 0;
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated at compile time
    while index < ALPHABET.len() {
        table[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    table
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read<const N: usize>(text: &str) -> Option<[Vec<u8>; N]> {
        certificates(text.as_bytes()).ok()
    }

    fn one(body: &str) -> Option<Vec<u8>> {
        let text = alloc::format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        read::<1>(&text).map(|[der]| der)
    }

    #[test]
    fn every_length_of_the_last_group_is_read() {
        assert_eq!(one("AQID").unwrap(), [1, 2, 3]);
        assert_eq!(one("AQIDBA==").unwrap(), [1, 2, 3, 4]);
        assert_eq!(one("AQIDBAU=").unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(one("AQ\nID\r\nBA==").unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn other_encodings_of_the_same_bytes_are_refused() {
        for body in
            ["AQIDBB==", "AQIDBAV=", "AQIDBA", "AQIDBA=", "AQIDBA===", "AQ=DBAUG", "AQ==AQID", "AQ ID", "AQI*", ""]
        {
            assert_eq!(one(body), None, "{body}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for length in 0..200u8 {
            let der: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(251)).collect();
            // Nothing at all is no certificate.
            assert_eq!(certificates::<1>(&block_of(&der)).ok(), (length > 0).then_some([der]), "{length}");
        }
    }

    #[test]
    fn exactly_the_asked_number_is_read() {
        let block = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let two = alloc::format!("{block}{block}");
        assert!(read::<2>(&two).is_some());
        assert!(read::<1>(&two).is_none());
        assert!(read::<3>(&two).is_none());
        assert!(read::<2>(&alloc::format!("{two}\0")).is_some());
        assert!(read::<2>(&alloc::format!("{two}\0\0")).is_none());
        assert!(read::<2>(&alloc::format!("{two}x")).is_none());
        assert!(read::<2>(&alloc::format!("{block}x{block}")).is_none());
    }
}
