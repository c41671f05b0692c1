//! OTLP in JSON: protobuf's mapping with OTLP's exceptions. Names are in camel case, 64-bit integers are texts, ids hexadecimal, bytes Base64,
//! and what is absent is left out.
//!
//! The one of `opentelemetry-proto` writes null for what is absent and for numbers that JSON has not, for which some receivers refuse
//! the whole request.

use std::io::Write;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde_core::Serialize;

use super::fields::{Field, Fields};
use crate::encode::common::any_value::Double;
use crate::encode::common::depth;
use crate::encode::common::number::write_integer;
use crate::encode::common::object::Object;
use crate::encode::common::string::{write_between, write_hex};

/// The members of an object, appended to bytes.
///
/// Nothing that it writes can fail: the bytes are in memory, and each value has a JSON.
pub(super) struct Json<'a>(Object<'a>);

impl<'a> Json<'a> {
    /// The members of an object whose braces are written by others.
    pub(super) fn members(out: &'a mut Vec<u8>) -> Self {
        Self(Object { out, is_empty: true })
    }

    #[inline]
    fn key(&mut self, field: Field) {
        field.key.write(std::mem::take(&mut self.0.is_empty), false, self.0.out);
    }

    /// The same with the quote of a text.
    #[inline]
    fn key_of_text(&mut self, field: Field) {
        field.key.write(std::mem::take(&mut self.0.is_empty), true, self.0.out);
    }

    /// The members of an object that has begun, and its end.
    #[inline]
    fn rest_of_object(&mut self, members: impl FnOnce(&mut Self)) {
        self.0.is_empty = true;
        members(self);
        self.0.out.push(b'}');
        // Whatever it stands in has a member now.
        self.0.is_empty = false;
    }

    /// A 64-bit integer: a JSON number is a double to many readers, which holds 53 bits.
    #[inline]
    fn quoted(&mut self, value: impl Serialize) {
        self.0.out.push(b'"');
        let _ = self.0.value(value);
        self.0.out.push(b'"');
    }

    fn array<T>(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(T)), write: fn(&mut Self, T)) {
        let mut is_empty = true;
        values(&mut |value| {
            self.before_element(field, std::mem::take(&mut is_empty));
            write(self, value);
        });
        if !is_empty {
            self.end_list();
        }
    }
}

impl Fields for Json<'_> {
    const MAX_DEPTH: usize = depth::OTLP_JSON;

    #[inline]
    fn text(&mut self, field: Field, text: &str) {
        if !field.leaves_out(text.is_empty()) {
            self.key_of_text(field);
            write_between(self.0.out, b"", text, b"\"");
        }
    }

    #[inline]
    fn bytes(&mut self, field: Field, bytes: &[u8]) {
        if !field.leaves_out(bytes.is_empty()) {
            self.key(field);
            let _ = write!(self.0.out, "\"{}\"", Base64Display::new(bytes, &STANDARD));
        }
    }

    #[inline]
    fn id<const LEN: usize>(&mut self, field: Field, id: [u8; LEN]) {
        self.key_of_text(field);
        write_hex(self.0.out, id);
        self.0.out.push(b'"');
    }

    #[inline]
    fn bool(&mut self, field: Field, value: bool) {
        if !field.leaves_out(!value) {
            self.key(field);
            let _ = self.0.value(value);
        }
    }

    #[inline]
    fn uint32(&mut self, field: Field, value: u32) {
        if !field.leaves_out(value == 0) {
            self.key(field);
            let _ = self.0.value(value);
        }
    }

    #[inline]
    fn sint32(&mut self, field: Field, value: i32) {
        if !field.leaves_out(value == 0) {
            self.key(field);
            let _ = self.0.value(value);
        }
    }

    #[inline]
    fn int64(&mut self, field: Field, value: i64) {
        if !field.leaves_out(value == 0) {
            self.key_of_text(field);
            write_integer(self.0.out, value);
            self.0.out.push(b'"');
        }
    }

    #[inline]
    fn fixed32(&mut self, field: Field, value: u32) {
        self.uint32(field, value);
    }

    #[inline]
    fn fixed64(&mut self, field: Field, value: u64) {
        if !field.leaves_out(value == 0) {
            self.key_of_text(field);
            write_integer(self.0.out, value);
            self.0.out.push(b'"');
        }
    }

    #[inline]
    fn sfixed64(&mut self, field: Field, value: i64) {
        self.int64(field, value);
    }

    #[inline]
    fn double(&mut self, field: Field, value: f64) {
        if !field.leaves_out(value.to_bits() == 0) {
            self.key(field);
            let _ = self.0.value(Double(value));
        }
    }

    #[inline]
    fn message(&mut self, field: Field, fields: impl FnOnce(&mut Self)) {
        self.key(field);
        self.element(field, fields);
    }

    fn uint64s(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(u64))) {
        self.array(field, values, Self::quoted);
    }

    fn fixed64s(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(u64))) {
        self.array(field, values, Self::quoted);
    }

    fn doubles(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(f64))) {
        self.array(field, values, |json, value| drop(json.0.value(Double(value))));
    }

    #[inline]
    fn element(&mut self, _field: Field, fields: impl FnOnce(&mut Self)) {
        self.0.out.push(b'{');
        self.rest_of_object(fields);
    }

    #[inline]
    fn before_element(&mut self, field: Field, is_first: bool) {
        if is_first {
            self.key(field);
            self.0.out.push(b'[');
        } else {
            self.0.out.push(b',');
        }
    }

    #[inline]
    fn next_element(&mut self, field: Field, is_first: bool, fields: impl FnOnce(&mut Self)) {
        if is_first {
            self.before_element(field, true);
            self.0.out.push(b'{');
        } else {
            self.0.out.extend_from_slice(b",{");
        }
        self.rest_of_object(fields);
    }

    #[inline]
    fn end_list(&mut self) {
        self.0.out.push(b']');
    }

    #[inline]
    fn raw(&mut self, fields: &[u8]) {
        if !fields.is_empty() {
            self.0.separate();
            self.0.out.extend_from_slice(fields);
        }
    }
}
