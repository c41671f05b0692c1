//! Messages of OTLP that tests draw at random.

use super::messages::Kind::{Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Of, Sfixed64, Sint32, Text, Uint32};
use super::messages::{Field, Kind, Message};
use super::wire::{Wire, low, put_field, put_varint};

fn key(number: u32, wire_type: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | wire_type, out);
}

/// Writes messages that the table says there are, from numbers that are drawn.
pub(crate) struct Draw(pub(crate) fastrand::Rng);

impl Draw {
    /// A message with some of its fields, in any order, of a `oneof` one at most.
    pub(crate) fn message(&mut self, message: &Message, depth: usize, out: &mut Vec<u8>) {
        let one_of = ["Value", "asInt", "asDouble", "gauge", "summary"];
        let is_of_one = |field: &&Field| {
            let is_data = message.fields.iter().any(|field| field.name == "gauge") && matches!(field.kind, Of(_));
            one_of.iter().any(|end| field.name.ends_with(end)) || (is_data && !field.is_repeated)
        };
        let (one, mut fields): (Vec<&Field>, Vec<&Field>) = message.fields.iter().partition(is_of_one);
        // The generated types do not read these without all of their fields.
        let takes_all = message.fields.iter().any(|field| ["key", "idKeys"].contains(&field.name));
        fields.retain(|_| takes_all || self.0.u8(..4) > 0);
        fields.extend(self.0.choice(one));
        self.0.shuffle(&mut fields);
        for field in fields {
            let times = if field.is_repeated { self.0.usize(usize::from(takes_all)..3) } else { 1 };
            let is_packed = !matches!(field.kind, Text | Hex | Base64 | Of(_)) && self.0.bool();
            if is_packed && field.is_repeated {
                let mut packed = Vec::new();
                for _ in 0..times {
                    self.number(field.kind, &mut packed);
                }
                put_field(field.number, Wire::Bytes(&packed), out);
            } else {
                (0..times).for_each(|_| self.field(field, depth, out));
            }
            if self.0.u8(..8) == 0 {
                self.unknown(out);
            }
        }
    }

    fn field(&mut self, field: &Field, depth: usize, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        match field.kind {
            Text => value.extend_from_slice(self.0.choice(["", "a", "Z\u{fc}rich\n\"\\\u{1}"]).unwrap().as_bytes()),
            Hex if field.name == "traceId" => value.extend((0..16).map(|_| self.0.u8(..))),
            Hex => value.extend((0..8).map(|_| self.0.u8(..))),
            Base64 => value.extend((0..self.0.usize(..5)).map(|_| self.0.u8(..))),
            Of(message) if depth > 0 => self.message(message, depth - 1, &mut value),
            Of(_) => {}
            kind => {
                let wire_type = self.number(kind, &mut value);
                key(field.number, wire_type, out);
                return out.extend_from_slice(&value);
            }
        }
        put_field(field.number, Wire::Bytes(&value), out);
    }

    /// A number; returns the type of it on the wire.
    fn number(&mut self, kind: Kind, out: &mut Vec<u8>) -> u64 {
        let any = self.0.u64(..) >> self.0.u8(..64);
        match kind {
            // Such as serde_json reads exactly.
            Double => out.extend_from_slice(&(f64::from(low(any)) / 8.0 - 99.0).to_le_bytes()),
            Fixed64 | Sfixed64 => out.extend_from_slice(&any.to_le_bytes()),
            Fixed32 => {
                out.extend_from_slice(&low(any).to_le_bytes());
                return 5;
            }
            kind => {
                match kind {
                    Bool => put_varint(any & 1, out),
                    Enum(_) => put_varint(any & 7, out),
                    Uint32 | Sint32 => put_varint(low(any).into(), out),
                    _ => put_varint(any, out),
                }
                return 0;
            }
        }
        1
    }

    /// A field that no message has.
    fn unknown(&mut self, out: &mut Vec<u8>) {
        let wire_type = self.0.choice([0, 1, 2, 5]).unwrap();
        key(1000, wire_type, out);
        out.extend_from_slice(match wire_type {
            0 => b"\xff\x01",
            1 => b"\xff\xff\xff\xff\xff\xff\xff\xff",
            2 => b"\x02\xff\xff",
            _ => b"\xff\xff\xff\xff",
        });
    }
}
