//! [`Fields`]: a message that is being written, in protobuf or in JSON.
//!
//! A message of OTLP is described once, as calls of this trait, and each format implements it. So the two formats never differ in
//! what they say, and nothing is built before it is written.

/// A field of a message, as its schema declares it.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// The field's number in protobuf.
    pub(super) number: u32,
    /// The field's key in JSON.
    pub(super) key: JsonKey,
    /// Whether a value that is zero or empty is written: it is in a `oneof` and in an `optional` field.
    is_explicit: bool,
    /// Whether its messages mostly have 128 bytes and more, so that their length takes two.
    pub(super) is_long: bool,
}

/// A key as it stands behind another member, and the quote of a text: `,"key":"`.
#[derive(Clone, Copy)]
pub(super) struct JsonKey {
    text: [u8; Self::MAX_LEN],
    len: usize,
}

impl JsonKey {
    const MAX_LEN: usize = 32;

    /// A key in which nothing is to be escaped.
    const fn of(name: &str) -> Self {
        let (open, close) = (b",\"", b"\":\"");
        let mut key = Self { text: [0; Self::MAX_LEN], len: open.len() + name.len() + close.len() };
        let (first, rest) = key.text.split_at_mut(open.len());
        first.copy_from_slice(open);
        let (middle, rest) = rest.split_at_mut(name.len());
        middle.copy_from_slice(name.as_bytes());
        rest.split_at_mut(close.len()).0.copy_from_slice(close);
        key
    }

    /// Appends the key: without the comma if it is the object's first, and without the quote if no text follows.
    #[inline]
    pub(super) fn write(&self, is_first: bool, is_of_text: bool, out: &mut Vec<u8>) {
        // All of it, and then the excess is cut off: a copy whose length is known is cheaper.
        let before = out.len();
        if is_first {
            out.extend_from_slice(&self.text[1..]);
        } else {
            out.extend_from_slice(&self.text);
        }
        out.truncate(before + self.len - usize::from(is_first) - usize::from(!is_of_text));
    }
}

impl Field {
    /// A field that is left out where it is zero or empty.
    pub(super) const fn new(number: u32, name: &'static str) -> Self {
        Self { number, key: JsonKey::of(name), is_explicit: false, is_long: false }
    }

    /// The same where zero and nothing differ.
    pub(super) const fn explicit(self) -> Self {
        Self { is_explicit: true, ..self }
    }

    /// The same with messages that are mostly long.
    pub(super) const fn long(self) -> Self {
        Self { is_long: true, ..self }
    }

    /// Whether the field is left out with a value of which this says whether it is zero or empty.
    #[inline]
    pub(super) const fn leaves_out(self, is_default: bool) -> bool {
        is_default && !self.is_explicit
    }
}

/// A message that is being written. Each method appends one field, unless [`Field::leaves_out`] says that it is left out.
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "metrics alone have fields of some types"))]
pub(super) trait Fields {
    /// How deeply lists and maps of one value are nested.
    const MAX_DEPTH: usize;

    /// A `string`.
    fn text(&mut self, field: Field, text: &str);
    /// `bytes` that are no id.
    fn bytes(&mut self, field: Field, bytes: &[u8]);
    /// The `bytes` of an id.
    fn id<const LEN: usize>(&mut self, field: Field, id: [u8; LEN]);
    /// A `bool`.
    fn bool(&mut self, field: Field, value: bool);
    /// A `uint32`, or an enumeration.
    fn uint32(&mut self, field: Field, value: u32);
    /// A `sint32`.
    fn sint32(&mut self, field: Field, value: i32);
    /// An `int64`.
    fn int64(&mut self, field: Field, value: i64);
    /// A `fixed32`.
    fn fixed32(&mut self, field: Field, value: u32);
    /// A `fixed64`.
    fn fixed64(&mut self, field: Field, value: u64);
    /// An `sfixed64`.
    fn sfixed64(&mut self, field: Field, value: i64);
    /// A `double`.
    fn double(&mut self, field: Field, value: f64);
    /// A message; an empty one is written as well.
    fn message(&mut self, field: Field, fields: impl FnOnce(&mut Self));

    /// A `repeated uint64`: `values` calls its argument with each.
    fn uint64s(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(u64)));
    /// A `repeated fixed64`.
    fn fixed64s(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(u64)));
    /// A `repeated double`.
    fn doubles(&mut self, field: Field, values: impl FnOnce(&mut dyn FnMut(f64)));

    /// A message as it stands among those of a repeated field: in protobuf with the field's number and its length, in JSON an object.
    fn element(&mut self, field: Field, fields: impl FnOnce(&mut Self));
    /// Whatever is before the first element of a repeated field, or before a further one.
    fn before_element(&mut self, field: Field, is_first: bool);
    /// A message of a repeated field, of which it is the first or a further one.
    fn next_element(&mut self, field: Field, is_first: bool, fields: impl FnOnce(&mut Self));
    /// Whatever is behind the last element.
    fn end_list(&mut self);

    /// Fields that are written already.
    fn raw(&mut self, fields: &[u8]);

    /// A `repeated` field of messages, which are written as they come: `elements` pushes them.
    #[inline]
    fn list(&mut self, field: Field, elements: impl FnOnce(&mut List<'_, Self>))
    where
        Self: Sized,
    {
        let mut list = List { out: self, field, is_empty: true };
        elements(&mut list);
        if list.is_empty && field.leaves_out(true) {
            return;
        }
        if list.is_empty {
            list.out.before_element(field, true);
        }
        list.out.end_list();
    }
}

/// A repeated field of messages that is being written.
pub(super) struct List<'a, F> {
    out: &'a mut F,
    field: Field,
    is_empty: bool,
}

impl<F: Fields> List<'_, F> {
    #[inline]
    pub(super) fn push(&mut self, fields: impl FnOnce(&mut F)) {
        self.out.next_element(self.field, std::mem::take(&mut self.is_empty), fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_comma_unless_it_is_first_and_its_quote_before_a_text() {
        let key = JsonKey::of("droppedAttributesCount");
        let written = [(true, true), (true, false), (false, true), (false, false)].map(|(is_first, is_of_text)| {
            let mut out = b"{".to_vec();
            key.write(is_first, is_of_text, &mut out);
            String::from_utf8(out).unwrap()
        });
        let [first_text, first, text, other] = &written;
        assert_eq!(first_text, "{\"droppedAttributesCount\":\"");
        assert_eq!(first, "{\"droppedAttributesCount\":");
        assert_eq!(text, "{,\"droppedAttributesCount\":\"");
        assert_eq!(other, "{,\"droppedAttributesCount\":");
    }
}
