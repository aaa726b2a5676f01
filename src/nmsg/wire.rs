//! The part of protobuf that NMSG uses: varints, 32- and 64-bit fields, length-delimited bytes; proto2, nothing packed.
//!
//! Reading takes packed repeated numbers as well, since any protobuf reader must.

/// A varint has at most this many bytes: 64 bits in groups of 7.
const VARINT_MAX: usize = 10;

/// Why bytes are not a protobuf message, or not the one that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A varint of more than ten bytes.
    Varint,
    /// A field number of zero, or beyond 2^29 - 1.
    FieldNumber,
    /// A group (3, 4), a wire type that does not exist (6, 7), or another one than the field is declared with.
    WireType,
    /// The bytes end inside a field.
    Cut,
    /// This required field is not there.
    Missing(u32),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Varint => f.write_str("a varint is longer than ten bytes"),
            Malformed::FieldNumber => f.write_str("a field number is out of range"),
            Malformed::WireType => f.write_str("a field has the wrong wire type"),
            Malformed::Cut => f.write_str("it ends inside a field"),
            Malformed::Missing(number) => write!(f, "required field {number} is missing"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The value of a field as its wire type says it; what it means is the reader's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'b> {
    /// Wire type 0: integers, enums, booleans.
    Varint(u64),
    /// Wire type 1: fixed64, sfixed64, double.
    Fixed64(u64),
    /// Wire type 2: bytes, strings, messages, packed repeated numbers.
    Bytes(&'b [u8]),
    /// Wire type 5: fixed32, sfixed32, float.
    Fixed32(u32),
}

impl<'b> Value<'b> {
    /// The bytes of a length-delimited field.
    pub fn bytes(self) -> Result<&'b [u8], Malformed> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::WireType),
        }
    }

    /// A uint64 or a bool.
    pub fn u64(self) -> Result<u64, Malformed> {
        match self {
            Value::Varint(value) => Ok(value),
            _ => Err(Malformed::WireType),
        }
    }

    /// An int64: two's complement in a varint.
    pub fn i64(self) -> Result<i64, Malformed> {
        self.u64().map(u64::cast_signed)
    }

    /// A uint32 or an enum. A longer varint keeps its low 32 bits, as every protobuf reader does.
    pub fn u32(self) -> Result<u32, Malformed> {
        self.u64().map(low_32)
    }

    /// A fixed32.
    pub fn fixed32(self) -> Result<u32, Malformed> {
        match self {
            Value::Fixed32(value) => Ok(value),
            _ => Err(Malformed::WireType),
        }
    }

    /// A double.
    pub fn f64(self) -> Result<f64, Malformed> {
        match self {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed::WireType),
        }
    }

    /// Appends one element of a repeated varint field, or all of a packed one.
    pub fn extend_varints<T>(self, list: &mut Vec<T>, convert: impl Fn(u64) -> T) -> Result<(), Malformed> {
        match self {
            Value::Varint(value) => list.push(convert(value)),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    list.push(convert(take_varint(&mut packed)?));
                }
            }
            Value::Fixed64(_) | Value::Fixed32(_) => return Err(Malformed::WireType),
        }
        Ok(())
    }

    /// Appends one element of a repeated fixed32 or sfixed32 field, or all of a packed one.
    pub fn extend_fixed32<T>(self, list: &mut Vec<T>, convert: impl Fn(u32) -> T) -> Result<(), Malformed> {
        match self {
            Value::Fixed32(value) => list.push(convert(value)),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    list.push(convert(u32::from_le_bytes(take_array(&mut packed)?)));
                }
            }
            Value::Varint(_) | Value::Fixed64(_) => return Err(Malformed::WireType),
        }
        Ok(())
    }
}

/// The low half of a varint.
pub(crate) fn low_32(value: u64) -> u32 {
    (value & u64::from(u32::MAX)) as u32
}

/// The fields of a message in the order they stand, with their numbers. After an error it ends.
#[derive(Clone, Debug)]
pub struct Fields<'b> {
    rest: &'b [u8],
}

impl<'b> Fields<'b> {
    /// The fields of `message`.
    pub fn new(message: &'b [u8]) -> Fields<'b> {
        Fields { rest: message }
    }

    /// The bytes that follow the fields given so far.
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    fn read(&mut self) -> Result<(u32, Value<'b>), Malformed> {
        let tag = take_varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed::FieldNumber)?;
        if number == 0 || number >= 1 << 29 {
            return Err(Malformed::FieldNumber);
        }
        let value = match tag & 7 {
            0 => Value::Varint(take_varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(take_array(&mut self.rest)?)),
            2 => {
                let len = usize::try_from(take_varint(&mut self.rest)?).map_err(|_| Malformed::Cut)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Cut)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(take_array(&mut self.rest)?)),
            _ => return Err(Malformed::WireType),
        };
        Ok((number, value))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u32, Value<'b>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Takes a varint off the front of `bytes`. Bits beyond the 64th are dropped, as every protobuf reader does.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for index in 0..VARINT_MAX {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed::Cut)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed::Varint)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (array, rest) = bytes.split_first_chunk().ok_or(Malformed::Cut)?;
    *bytes = rest;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(message: &[u8]) -> Result<(u32, Value<'_>), Malformed> {
        Fields::new(message).next().unwrap()
    }

    #[test]
    fn every_wire_type_is_read() {
        let message = [0x08, 0xac, 0x02, 0x12, 2, b'a', b'b', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0];
        let fields: Result<Vec<_>, _> = Fields::new(&message).collect();
        let expected =
            vec![(1, Value::Varint(300)), (2, Value::Bytes(b"ab")), (3, Value::Fixed32(1)), (4, Value::Fixed64(2))];
        assert_eq!(fields, Ok(expected));
    }

    #[test]
    fn malformed_fields_are_refused_by_name() {
        assert_eq!(first(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]), Err(Malformed::Varint));
        assert_eq!(first(&[0x00, 1]), Err(Malformed::FieldNumber));
        for wire_type in [3, 4, 6, 7] {
            assert_eq!(first(&[0x08 | wire_type, 1]), Err(Malformed::WireType));
        }
        for cut in [&[0x08][..], &[0x88], &[0x12, 3, 1], &[0x0d, 1, 2, 3], &[0x09, 1], &[0x12, 255, 255, 255, 255, 127]]
        {
            assert_eq!(first(cut), Err(Malformed::Cut), "{cut:?}");
        }
    }

    #[test]
    fn an_error_ends_the_fields() {
        let mut fields = Fields::new(&[0x0b, 0x08, 1]);
        assert!(fields.next().unwrap().is_err());
        assert_eq!(fields.next(), None);
    }

    #[test]
    fn a_varint_of_ten_bytes_is_a_negative_number() {
        let (_, value) = first(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]).unwrap();
        assert_eq!(value.i64(), Ok(-1));
    }

    #[test]
    fn packed_and_unpacked_lists_are_the_same() {
        let mut list = Vec::new();
        Value::Varint(5).extend_varints(&mut list, low_32).unwrap();
        Value::Bytes(&[6, 0x80, 1]).extend_varints(&mut list, low_32).unwrap();
        assert_eq!(list, [5, 6, 128]);
        let mut fixed = Vec::new();
        Value::Bytes(&[1, 0, 0, 0, 255, 255, 255, 255]).extend_fixed32(&mut fixed, u32::cast_signed).unwrap();
        assert_eq!(fixed, [1, -1]);
        assert_eq!(Value::Bytes(&[1, 2, 3]).extend_fixed32(&mut fixed, u32::cast_signed), Err(Malformed::Cut));
    }
}
