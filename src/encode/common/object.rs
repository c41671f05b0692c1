//! A JSON object, written member by member. Its functions are inlined into the encoders: without that, encoding takes a
//! quarter longer.

use serde_core::Serialize;

use crate::error::BoxError;

/// Writes a string. Most have nothing to escape, which is seen many bytes at a time.
#[inline]
pub(in crate::encode) fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), BoxError> {
    // Without a branch, so that the compiler looks at many at a time.
    let is_escaped = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
    if text.bytes().fold(0, |any, byte| any | is_escaped(byte)) != 0 {
        serde_json::to_writer(out, text)?;
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
    Ok(())
}

/// A JSON object, written member by member: times need decimals that no type of serde holds exactly.
pub(in crate::encode) struct Object<'a> {
    pub(in crate::encode) out: &'a mut Vec<u8>,
    pub(in crate::encode) is_empty: bool,
}

impl Object<'_> {
    #[inline]
    pub(in crate::encode) fn write(
        out: &mut Vec<u8>,
        members: impl FnOnce(&mut Object<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        out.push(b'{');
        members(&mut Object { out, is_empty: true })?;
        out.push(b'}');
        Ok(())
    }

    #[inline]
    pub(in crate::encode) fn separate(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
    }

    /// A key of the schema, in which nothing is to be escaped.
    #[inline]
    pub(in crate::encode) fn key(&mut self, key: &'static str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    #[inline]
    pub(in crate::encode) fn any_key(&mut self, key: &str) -> Result<(), BoxError> {
        self.separate();
        write_text(self.out, key)?;
        self.out.push(b':');
        Ok(())
    }

    #[inline]
    pub(in crate::encode) fn value(&mut self, value: impl Serialize) -> Result<(), BoxError> {
        serde_json::to_writer(&mut *self.out, &value)?;
        Ok(())
    }

    #[inline]
    pub(in crate::encode) fn member(&mut self, key: &'static str, value: impl Serialize) -> Result<(), BoxError> {
        self.key(key);
        self.value(value)
    }

    #[inline]
    pub(in crate::encode) fn text(&mut self, key: &'static str, text: Option<&str>) -> Result<(), BoxError> {
        self.key(key);
        match text {
            Some(text) => write_text(self.out, text),
            None => self.value(()),
        }
    }

    /// A member whose value is JSON already.
    #[inline]
    pub(in crate::encode) fn raw(&mut self, key: &'static str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }

    #[inline]
    pub(in crate::encode) fn object(
        &mut self,
        key: &'static str,
        members: impl FnOnce(&mut Object<'_>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.key(key);
        Object::write(self.out, members)
    }

    #[inline]
    pub(in crate::encode) fn hex<const LEN: usize>(&mut self, key: &'static str, bytes: [u8; LEN]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.key(key);
        self.out.push(b'"');
        let digits = bytes.map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        self.out.extend_from_slice(digits.as_flattened());
        self.out.push(b'"');
    }

    /// Writes `value / 10^digits` exactly, or null.
    #[inline]
    pub(in crate::encode) fn decimal(
        &mut self,
        key: &'static str,
        value: Option<i128>,
        digits: u32,
    ) -> Result<(), BoxError> {
        let Some(value) = value else {
            return self.member(key, ());
        };
        self.key(key);
        if value < 0 {
            self.out.push(b'-');
        }
        let (value, mut scale) = (value.unsigned_abs(), 10_u64.pow(digits));
        // 128 bits are slow, and only needed for years beyond 500,000.
        let mut rest = if let Ok(value) = u64::try_from(value) {
            self.value(value / scale)?;
            value % scale
        } else {
            self.value(value / u128::from(scale))?;
            u64::try_from(value % u128::from(scale)).unwrap_or_default()
        };
        let mut decimals = [b'.'; 8];
        let mut len = 1;
        // At least one digit is written, and no zero at the end.
        loop {
            scale /= 10;
            decimals[len] = b'0' + u8::try_from(rest / scale).unwrap_or_default();
            len += 1;
            rest %= scale;
            if rest == 0 {
                self.out.extend_from_slice(&decimals[..len]);
                return Ok(());
            }
        }
    }
}
