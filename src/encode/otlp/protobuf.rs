//! Protobuf, written in one pass: the length of a message is filled in behind its fields.
//!
//! Most messages have less than 128 bytes, so one byte is kept free for the length, or two in a field whose messages are
//! mostly longer. A message whose length takes another number of bytes moves. That is cheaper than to visit everything
//! twice.

use super::fields::{Field, Fields};
use crate::encode::common::depth;

/// The fields of a message, appended to bytes.
pub(super) struct Protobuf<'a>(pub(super) &'a mut Vec<u8>);

/// How a value is laid out, as the key of its field says.
#[derive(Clone, Copy)]
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

/// A number of up to 64 bits: seven in each byte, the low ones first.
struct Varint {
    bytes: [u8; 10],
    len: usize,
}

impl Varint {
    #[inline]
    fn of(mut value: u64) -> Self {
        let mut varint = Self { bytes: [0; 10], len: 0 };
        loop {
            let low = value.to_le_bytes()[0] & 0x7f;
            value >>= 7;
            varint.bytes[varint.len] = if value == 0 { low } else { low | 0x80 };
            varint.len += 1;
            if value == 0 {
                return varint;
            }
        }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Protobuf<'_> {
    #[inline]
    fn varint(&mut self, value: u64) {
        match u8::try_from(value) {
            Ok(byte) if byte < 0x80 => self.0.push(byte),
            _ => self.long_varint(value),
        }
    }

    /// Not inlined, so that the short ones are.
    #[inline(never)]
    fn long_varint(&mut self, value: u64) {
        self.0.extend_from_slice(Varint::of(value).as_slice());
    }

    #[inline]
    fn key(&mut self, field: Field, wire_type: WireType) {
        self.varint(u64::from(field.number << 3) | wire_type as u64);
    }

    /// The key of a field and the number behind it: its value, or its length.
    #[inline]
    fn key_and(&mut self, field: Field, wire_type: WireType, number: u64) {
        let key = u64::from(field.number << 3) | wire_type as u64;
        if let (Ok(key @ ..0x80), Ok(number @ ..0x80)) = (u8::try_from(key), u8::try_from(number)) {
            self.0.extend_from_slice(&[key, number]);
        } else {
            self.varint(key);
            self.varint(number);
        }
    }

    #[inline]
    fn fixed<const LEN: usize>(&mut self, field: Field, wire_type: WireType, bytes: [u8; LEN]) {
        self.key(field, wire_type);
        self.0.extend_from_slice(&bytes);
    }

    /// Bytes whose length is known when they are written.
    #[inline]
    fn delimited(&mut self, field: Field, fill: impl FnOnce(&mut Self)) {
        self.key_and(field, WireType::Bytes, 0);
        let before = self.0.len() - 1;
        if field.is_long {
            self.0.push(0);
        }
        let start = self.0.len();
        fill(self);
        let len = self.0.len() - start;
        match (len, &mut self.0[before..start]) {
            (..0x80, [length]) => *length = len.to_le_bytes()[0],
            (0x80..0x4000, [low, high]) => [*low, *high] = [len.to_le_bytes()[0] | 0x80, (len >> 7).to_le_bytes()[0]],
            _ => self.make_room(before, start),
        }
    }

    /// The numbers of a packed field, of which none is no field.
    fn packed(&mut self, field: Field, fill: impl FnOnce(&mut Self)) {
        let (before, mut is_empty) = (self.0.len(), false);
        self.delimited(field, |out| {
            let start = out.0.len();
            fill(out);
            is_empty = out.0.len() == start;
        });
        if is_empty {
            self.0.truncate(before);
        }
    }

    /// Writes a length that takes another number of bytes than there are from `before` to `start`, where the message begins.
    #[cold]
    fn make_room(&mut self, before: usize, start: usize) {
        let end = self.0.len();
        let length = Varint::of((end - start) as u64);
        let moved = before + length.len;
        self.0.resize(end.max(end - start + moved), 0);
        self.0.copy_within(start..end, moved);
        self.0.truncate(end - start + moved);
        self.0[before..moved].copy_from_slice(length.as_slice());
    }
}

impl Fields for Protobuf<'_> {
    const MAX_DEPTH: usize = depth::PROTOBUF;

    #[inline]
    fn text(&mut self, field: Field, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    #[inline]
    fn bytes(&mut self, field: Field, bytes: &[u8]) {
        if !field.leaves_out(bytes.is_empty()) {
            self.key_and(field, WireType::Bytes, bytes.len() as u64);
            self.0.extend_from_slice(bytes);
        }
    }

    #[inline]
    fn id<const LEN: usize>(&mut self, field: Field, id: [u8; LEN]) {
        self.bytes(field, &id);
    }

    #[inline]
    fn bool(&mut self, field: Field, value: bool) {
        self.uint32(field, value.into());
    }

    #[inline]
    fn uint32(&mut self, field: Field, value: u32) {
        if !field.leaves_out(value == 0) {
            self.key_and(field, WireType::Varint, value.into());
        }
    }

    #[inline]
    fn sint32(&mut self, field: Field, value: i32) {
        self.uint32(field, ((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    #[inline]
    fn int64(&mut self, field: Field, value: i64) {
        if !field.leaves_out(value == 0) {
            self.key_and(field, WireType::Varint, value.cast_unsigned());
        }
    }

    #[inline]
    fn fixed32(&mut self, field: Field, value: u32) {
        if !field.leaves_out(value == 0) {
            self.fixed(field, WireType::Fixed32, value.to_le_bytes());
        }
    }

    #[inline]
    fn fixed64(&mut self, field: Field, value: u64) {
        if !field.leaves_out(value == 0) {
            self.fixed(field, WireType::Fixed64, value.to_le_bytes());
        }
    }

    #[inline]
    fn sfixed64(&mut self, field: Field, value: i64) {
        self.fixed64(field, value.cast_unsigned());
    }

    #[inline]
    fn double(&mut self, field: Field, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    #[inline]
    fn message(&mut self, field: Field, fields: impl FnOnce(&mut Self)) {
        self.delimited(field, fields);
    }

    fn uint64s(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(u64))) {
        self.packed(field, |out| values(&mut |value| out.varint(value)));
    }

    fn fixed64s(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(u64))) {
        self.packed(field, |out| values(&mut |value| out.0.extend_from_slice(&value.to_le_bytes())));
    }

    fn doubles(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(f64))) {
        self.packed(field, |out| values(&mut |value| out.0.extend_from_slice(&value.to_le_bytes())));
    }

    #[inline]
    fn element(&mut self, field: Field, fields: impl FnOnce(&mut Self)) {
        self.delimited(field, fields);
    }

    #[inline]
    fn before_element(&mut self, _field: Field, _is_first: bool) {}

    #[inline]
    fn next_element(&mut self, field: Field, _is_first: bool, fields: impl FnOnce(&mut Self)) {
        self.delimited(field, fields);
    }

    #[inline]
    fn end_list(&mut self) {}

    #[inline]
    fn raw(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }
}
