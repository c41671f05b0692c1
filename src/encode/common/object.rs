//! A JSON object, written member by member. Its functions are inlined into the encoders: without that, encoding takes a
//! quarter longer.

use serde_core::Serialize;

use super::number::write_decimal;
use super::string::{write_between, write_hex, write_text};
use crate::error::BoxError;

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
    pub(in crate::encode) fn any_key(&mut self, key: &str) {
        self.separate();
        write_between(self.out, b"\"", key, b"\":");
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
    pub(in crate::encode) fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        write_text(self.out, text);
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
        self.key(key);
        self.out.push(b'"');
        write_hex(self.out, bytes);
        self.out.push(b'"');
    }

    /// Writes `value / 10^6` exactly.
    #[inline]
    pub(in crate::encode) fn millionths(&mut self, key: &'static str, value: i128) {
        self.key(key);
        write_decimal::<6>(self.out, value);
    }
}
