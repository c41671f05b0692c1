//! Attributes of a resource that are left out: command lines and the names of users, say, which some SDKs send unasked.

use std::borrow::Cow;

use crate::encode::transcode::wire::{Fields, Wire, put_field, put_message};

/// `ResourceLogs` and the like.
const RESOURCE: u32 = 1;
/// `Resource`.
const ATTRIBUTES: u32 = 1;
/// `KeyValue`.
const KEY: u32 = 1;

/// The fields of the message of a resource, without its attributes of these names. Everything else stays as it is, also where it cannot be
/// read.
pub(crate) fn drop_attributes<'a>(resource: &'a [u8], names: &[impl AsRef<str>]) -> Cow<'a, [u8]> {
    let is_dropped = |number: u32, value: Wire<'_>| {
        let key = value.bytes().filter(|_| number == ATTRIBUTES).and_then(key);
        key.is_some_and(|key| names.iter().any(|name| name.as_ref().as_bytes() == key))
    };
    let has_some =
        |message: &[u8]| Fields(message).map_while(Result::ok).any(|(number, value)| is_dropped(number, value));
    let messages = || Fields(resource).map_while(Result::ok).filter(|(number, _)| *number == RESOURCE);
    let is_whole = |message| Fields(message).all(|field| field.is_ok());
    let mut in_each = messages().filter_map(|(_, message)| message.bytes());
    if !is_whole(resource) || !in_each.any(|message| has_some(message) && is_whole(message)) {
        return Cow::Borrowed(resource);
    }
    let mut out = Vec::with_capacity(resource.len());
    for (number, value) in Fields(resource).map_while(Result::ok) {
        match value {
            Wire::Bytes(message) if number == RESOURCE && is_whole(message) => put_message(number, &mut out, |out| {
                let kept = Fields(message).map_while(Result::ok).filter(|(number, value)| !is_dropped(*number, *value));
                kept.for_each(|(number, value)| put_field(number, value, out));
            }),
            value => put_field(number, value, &mut out),
        }
    }
    Cow::Owned(out)
}

/// The key of an attribute.
fn key(attribute: &[u8]) -> Option<&[u8]> {
    let keys = Fields(attribute).map_while(Result::ok).filter(|(number, _)| *number == KEY);
    keys.last()?.1.bytes()
}
