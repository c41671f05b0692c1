//! Protobuf's wire format: the fields of a message, one after the other.

/// A value as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Wire<'a> {
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(crate) fn fixed64(self) -> Option<u64> {
        if let Self::Fixed64(value) = self { Some(value) } else { None }
    }
}

/// The reason for which bytes are no message.
pub(crate) type WireError = &'static str;

pub(super) const TOO_SHORT: WireError = "it ends before its length";

/// The fields of a message: the number and the value of each, and behind the first error nothing.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = take_field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes the number of a field and its value from the start of `bytes`.
#[inline]
fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Wire<'a>), WireError> {
    let key = take_varint(bytes)?;
    let number = u32::try_from(key).unwrap_or_default() >> 3;
    if number == 0 {
        return Err("a field of it has no number that there is");
    }
    let value = match key & 7 {
        0 => Wire::Varint(take_varint(bytes)?),
        1 => Wire::Fixed64(take_fixed64(bytes)?),
        2 => {
            let len = usize::try_from(take_varint(bytes)?).map_err(|_| TOO_SHORT)?;
            let (value, rest) = bytes.split_at_checked(len).ok_or(TOO_SHORT)?;
            *bytes = rest;
            Wire::Bytes(value)
        }
        5 => {
            let (value, rest) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
            *bytes = rest;
            Wire::Fixed32(u32::from_le_bytes(*value))
        }
        _ => return Err("a field of it is of a type that OTLP has not"),
    };
    Ok((number, value))
}

#[inline]
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(TOO_SHORT)?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            break;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number in it has more than 64 bits")
}

#[inline]
pub(super) fn take_fixed64(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let (value, rest) = bytes.split_first_chunk().ok_or(TOO_SHORT)?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*value))
}

/// The low half: what protobuf reads of a number that is too large for its field.
pub(crate) fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

// --- Writing ------------------------------------------------------------------------------------------------------

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a field.
pub(crate) fn put_field(number: u32, value: Wire<'_>, out: &mut Vec<u8>) {
    let wire_type = match value {
        Wire::Varint(_) => 0,
        Wire::Fixed64(_) => 1,
        Wire::Bytes(_) => 2,
        Wire::Fixed32(_) => 5,
    };
    put_varint(u64::from(number) << 3 | wire_type, out);
    put_value(value, out);
}

/// Appends a value without the number of its field, as it stands in a packed one.
pub(crate) fn put_value(value: Wire<'_>, out: &mut Vec<u8>) {
    match value {
        Wire::Varint(value) => put_varint(value, out),
        Wire::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Wire::Bytes(bytes) => {
            put_varint(bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Wire::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
    }
}

/// Appends a field whose bytes `write` appends.
pub(crate) fn put_message<R>(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    put_varint(u64::from(number) << 3 | 2, out);
    let start = out.len();
    // Most lengths take one byte; of a longer one, the bytes behind move.
    out.push(0);
    let result = write(out);
    let len = out.len() - start - 1;
    match u8::try_from(len) {
        Ok(len) if len < 0x80 => out[start] = len,
        _ => {
            let mut bytes = Vec::new();
            put_varint(len as u64, &mut bytes);
            out.splice(start..=start, bytes);
        }
    }
    result
}
