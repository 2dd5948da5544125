//! Protocol Buffers wire format, as much of it as ONNX uses, over bytes that nobody vouches for.

use super::error::ModelError;

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Field<'a> {
    pub(super) message: &'static str,
    pub(super) number: u32,
    value: Wire<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The fields of one message, in order. Ends after the first error.
pub(super) struct Fields<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// `message` is the message's name in the schema, for errors.
    pub(super) fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { message, rest: bytes }
    }

    /// The next field, and the bytes it stands in with its key.
    pub(super) fn spanned(&mut self) -> Option<Result<(Field<'a>, &'a [u8]), ModelError>> {
        let before = self.rest;
        let field = self.next()?;
        let len = before.len().saturating_sub(self.rest.len());
        Some(field.map(|field| (field, before.get(..len).unwrap_or_default())))
    }

    fn field(&mut self) -> Result<Field<'a>, ModelError> {
        let key = varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number != 0);
        let number = number.ok_or(ModelError::Field { message: self.message, number: 0 })?;
        let value = match key & 7 {
            0 => Wire::Varint(varint(&mut self.rest)?),
            1 => Wire::Fixed64(fixed(&mut self.rest)?),
            2 => {
                let len = usize::try_from(varint(&mut self.rest)?).map_err(|_| ModelError::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(ModelError::Truncated)?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(fixed(&mut self.rest)?),
            // Groups are the one construct that nests without a length; ONNX has none.
            _ => return Err(ModelError::Field { message: self.message, number }),
        };
        Ok(Field { message: self.message, number, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    pub(super) fn int(&self) -> Result<i64, ModelError> {
        match self.value {
            // Protocol Buffers sends a negative int64 as its two's complement.
            Wire::Varint(value) => Ok(value.cast_signed()),
            _ => Err(self.bad()),
        }
    }

    pub(super) fn float(&self) -> Result<f32, ModelError> {
        match self.value {
            Wire::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.bad()),
        }
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], ModelError> {
        match self.value {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(self.bad()),
        }
    }

    /// Text of at most `max` bytes.
    pub(super) fn text(&self, max: usize) -> Result<&'a str, ModelError> {
        let bytes = self.bytes()?;
        if bytes.len() > max {
            return Err(ModelError::TooLarge { what: self.message, max: max as u64 });
        }
        str::from_utf8(bytes).map_err(|_| self.bad())
    }

    /// Appends repeated integers, packed or not, up to `max` in all.
    pub(super) fn ints(&self, into: &mut Vec<i64>, max: usize) -> Result<(), ModelError> {
        self.repeated(into, max, |rest| varint(rest).map(u64::cast_signed), |field| field.int())
    }

    /// Appends repeated floats, packed or not, up to `max` in all.
    pub(super) fn floats(&self, into: &mut Vec<f32>, max: usize) -> Result<(), ModelError> {
        self.repeated(into, max, |rest| fixed(rest).map(f32::from_le_bytes), |field| field.float())
    }

    /// Appends repeated doubles, packed or not, up to `max` in all.
    pub(super) fn doubles(&self, into: &mut Vec<f64>, max: usize) -> Result<(), ModelError> {
        let one = |field: &Self| match field.value {
            Wire::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(field.bad()),
        };
        self.repeated(into, max, |rest| fixed(rest).map(f64::from_le_bytes), one)
    }

    fn repeated<T>(
        &self,
        into: &mut Vec<T>,
        max: usize,
        packed: impl Fn(&mut &'a [u8]) -> Result<T, ModelError>,
        single: impl Fn(&Self) -> Result<T, ModelError>,
    ) -> Result<(), ModelError> {
        let full = ModelError::TooLarge { what: self.message, max: max as u64 };
        if let Wire::Bytes(mut rest) = self.value {
            while !rest.is_empty() {
                if into.len() >= max {
                    return Err(full);
                }
                into.push(packed(&mut rest)?);
            }
            return Ok(());
        }
        if into.len() >= max {
            return Err(full);
        }
        into.push(single(self)?);
        Ok(())
    }

    /// The error for a field that is not what the schema says.
    pub(super) fn bad(&self) -> ModelError {
        ModelError::Field { message: self.message, number: self.number }
    }

    /// Puts a value where there may be only one: of two, readers would believe different ones.
    pub(super) fn once<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), ModelError> {
        if slot.replace(value).is_some() {
            return Err(ModelError::Repeated { message: self.message, number: self.number });
        }
        Ok(())
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, ModelError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(ModelError::Truncated)?;
        *rest = tail;
        // The tenth byte has room for one bit.
        if shift == 63 && *byte > 1 {
            return Err(ModelError::Varint);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(ModelError::Varint)
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ModelError> {
    let (bytes, tail) = rest.split_first_chunk().ok_or(ModelError::Truncated)?;
    *rest = tail;
    Ok(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Field<'_>, ModelError> {
        Fields::new("Test", bytes).next().unwrap_or(Err(ModelError::NoGraph))
    }

    #[test]
    fn negative_integer() {
        let bytes = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(first(&bytes).and_then(|field| field.int()), Ok(-1));
    }

    #[test]
    fn overlong_varint() {
        let bytes = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(first(&bytes), Err(ModelError::Varint));
        let bytes = [0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(first(&bytes), Err(ModelError::Varint));
    }

    #[test]
    fn varint_that_ends_early() {
        assert_eq!(first(&[0x08, 0x80]), Err(ModelError::Truncated));
    }

    #[test]
    fn length_past_the_end() {
        assert_eq!(first(&[0x0a, 0x02, 0x00]), Err(ModelError::Truncated));
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(first(&huge), Err(ModelError::Truncated));
    }

    #[test]
    fn group_and_field_zero() {
        assert_eq!(first(&[0x0b]), Err(ModelError::Field { message: "Test", number: 1 }));
        assert_eq!(first(&[0x00, 0x00]), Err(ModelError::Field { message: "Test", number: 0 }));
    }

    #[test]
    fn packed_and_single_integers_mix() {
        let mut ints = Vec::new();
        for field in Fields::new("Test", &[0x0a, 0x02, 0x01, 0x02, 0x08, 0x03]) {
            assert_eq!(field.and_then(|field| field.ints(&mut ints, 3)), Ok(()));
        }
        assert_eq!(ints, [1, 2, 3]);
        let more = first(&[0x08, 0x04]).and_then(|field| field.ints(&mut ints, 3));
        assert_eq!(more, Err(ModelError::TooLarge { what: "Test", max: 3 }));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_in_fields_or_an_error(bytes: Vec<u8>) {
            let fields = Fields::new("Test", &bytes);
            proptest::prop_assert!(fields.count() <= bytes.len());
        }
    }
}
