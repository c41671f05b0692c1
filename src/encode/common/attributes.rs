//! A record's attributes in two parts: those that have a key of their own in most formats, and the rest.

use crate::encode::view::LogView;

use std::collections::HashMap;
use std::fmt;

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;
use serde_core::{Serialize, Serializer};
use smallvec::SmallVec;

/// The number of attributes above which the same keys are found with a map, not by comparing a key with those before
/// it.
const COMPARED_ATTRIBUTES: usize = 32;

/// The attributes that have a key of their own in the schema.
#[derive(Clone, Copy)]
pub(in crate::encode) enum Known {
    Path,
    OldPath,
    FileName,
    Function,
    OldFunction,
    Namespace,
    Line,
    OldLine,
    ThreadId,
    ThreadName,
    StackTrace,
    ExceptionType,
    ExceptionMessage,
}

impl Known {
    pub(in crate::encode) const COUNT: usize = Self::ExceptionMessage as usize + 1;

    /// Most keys are told apart by their first byte.
    #[inline]
    pub(in crate::encode) fn of(key: &Key) -> Option<Self> {
        let key = key.as_str();
        match key.as_bytes().first()? {
            b'c' => Self::of_code(key.strip_prefix("code.")?),
            b't' => Self::of_thread(key.strip_prefix("thread.")?),
            b'e' => Self::of_exception(key.strip_prefix("exception.")?),
            _ => None,
        }
    }

    fn of_code(name: &str) -> Option<Self> {
        Some(match name {
            "file.path" => Self::Path,
            "filepath" => Self::OldPath,
            "filename" => Self::FileName,
            "function.name" => Self::Function,
            "function" => Self::OldFunction,
            "namespace" => Self::Namespace,
            "line.number" => Self::Line,
            "lineno" => Self::OldLine,
            _ => return None,
        })
    }

    fn of_thread(name: &str) -> Option<Self> {
        match name {
            "id" => Some(Self::ThreadId),
            "name" => Some(Self::ThreadName),
            _ => None,
        }
    }

    fn of_exception(name: &str) -> Option<Self> {
        match name {
            "stacktrace" => Some(Self::StackTrace),
            "type" => Some(Self::ExceptionType),
            "message" => Some(Self::ExceptionMessage),
            _ => None,
        }
    }
}

/// Some of the attributes that have a key of their own.
#[derive(Clone, Copy, Default)]
struct KnownSet(u16);

impl KnownSet {
    #[inline]
    fn of(names: &[Known]) -> Self {
        Self(names.iter().fold(0, |set, name| set | 1 << *name as u16))
    }

    #[inline]
    fn contains(self, name: Known) -> bool {
        self.has_any_of(Self::of(&[name]))
    }

    #[inline]
    fn has_any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    fn insert(&mut self, name: Known) {
        self.0 |= Self::of(&[name]).0;
    }
}

/// A set of keys, told apart by their length, first and last byte: it may take a key for one that it has.
#[derive(Clone, Copy, Default)]
struct KeySet(u64);

impl KeySet {
    /// Adds a key. Returns whether it may have been there.
    #[inline]
    fn insert(&mut self, key: &str) -> bool {
        let (first, last) = (key.bytes().next().unwrap_or_default(), key.bytes().next_back().unwrap_or_default());
        let hash = key.len() ^ (usize::from(first) << 1) ^ (usize::from(last) << 3);
        let before = self.0;
        self.0 |= 1 << (hash % 64);
        self.0 == before
    }
}

/// An attribute: its key and its value.
type Pair<'a> = (&'a Key, &'a AnyValue);

/// One of a record's attributes, and what is known of it.
#[derive(Clone, Copy)]
struct Attribute<'a> {
    pair: Pair<'a>,
    known: Option<Known>,
    /// Whether none of the same key follows.
    is_last: bool,
}

/// A record's attributes, to be taken by name first and then all the rest.
#[derive(Default)]
pub(in crate::encode) struct Attributes<'a> {
    /// In order; the first ones without an allocation.
    list: SmallVec<[Attribute<'a>; COMPARED_ATTRIBUTES]>,
    keys: KeySet,
    named: [Option<&'a AnyValue>; Known::COUNT],
    /// Those that there are in `named`.
    present: KnownSet,
    used: KnownSet,
}

impl<'a> Attributes<'a> {
    #[inline]
    pub(in crate::encode) fn of(record: &'a (impl LogView + ?Sized)) -> Self {
        let mut attributes = Self::default();
        attributes.read(record);
        attributes
    }

    /// Reads the attributes of a record. It is for who has none yet, and cannot spare to move them.
    #[inline]
    pub(in crate::encode) fn read(&mut self, record: &'a (impl LogView + ?Sized)) {
        record.visit_attributes(&mut |key, value| self.push(key, value));
        if self.list.spilled() {
            self.find_last_of_many();
        }
    }

    #[inline]
    fn push(&mut self, key: &'a Key, value: &'a AnyValue) {
        let known = Known::of(key);
        if let Some(name) = known {
            self.named[name as usize] = Some(value);
            self.present.insert(name);
        }
        if self.keys.insert(key.as_str()) && !self.list.spilled() {
            self.compare(key);
        }
        self.list.push(Attribute { pair: (key, value), known, is_last: true });
    }

    /// Those of the same key are not the last.
    #[cold]
    fn compare(&mut self, key: &Key) {
        self.list.iter_mut().filter(|earlier| earlier.pair.0 == key).for_each(|earlier| earlier.is_last = false);
    }

    #[cold]
    fn find_last_of_many(&mut self) {
        let mut last = HashMap::with_capacity(self.list.len());
        for at in 0..self.list.len() {
            if let Some(earlier) = last.insert(self.list[at].pair.0.as_str(), at) {
                self.list[earlier].is_last = false;
            }
        }
    }

    #[inline]
    fn iter(&self) -> impl Iterator<Item = Pair<'a>> {
        self.list.iter().map(|attribute| attribute.pair)
    }

    /// The value of the last attribute of this name.
    pub(in crate::encode) fn last(&self, name: &str) -> Option<&'a AnyValue> {
        self.iter().filter(|(key, _)| key.as_str() == name).last().map(|(_, value)| value)
    }

    /// The first of `names` that has a usable value. It is used up, and so is any other that only repeats it.
    #[inline]
    pub(in crate::encode) fn take<T>(
        &mut self,
        names: &[Known],
        read: impl Fn(&'a AnyValue) -> Option<T>,
    ) -> Option<T> {
        if !self.present.has_any_of(KnownSet::of(names)) {
            return None;
        }
        let (value, taken) = names.iter().find_map(|name| {
            let value = self.named[*name as usize]?;
            Some((value, read(value)?))
        })?;
        for name in names {
            if self.named[*name as usize] == Some(value) {
                self.used.insert(*name);
            }
        }
        Some(taken)
    }

    #[inline]
    pub(in crate::encode) fn text(&mut self, names: &[Known]) -> Option<&'a str> {
        self.take(names, |value| match value {
            AnyValue::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    #[inline]
    pub(in crate::encode) fn int(&mut self, names: &[Known]) -> Option<i64> {
        self.take(names, |value| match value {
            AnyValue::Int(number) => Some(*number),
            _ => None,
        })
    }

    #[inline]
    pub(in crate::encode) fn path(&mut self) -> Option<&'a str> {
        let path = self.text(&[Known::Path, Known::OldPath])?;
        // The file's name is the end of its path.
        self.used.insert(Known::FileName);
        Some(path)
    }

    #[inline]
    pub(in crate::encode) fn stack_trace(&mut self) -> Option<StackTrace<'a>> {
        if let Some(text) = self.text(&[Known::StackTrace]) {
            return Some(StackTrace(text, None));
        }
        match (self.text(&[Known::ExceptionType]), self.text(&[Known::ExceptionMessage])) {
            (Some(kind), message) => Some(StackTrace(kind, message)),
            (None, message) => Some(StackTrace(message?, None)),
        }
    }

    /// The attributes that were not taken; the last one of each name.
    #[inline]
    pub(in crate::encode) fn rest(&self) -> impl Iterator<Item = Pair<'a>> {
        let is_used = |attribute: &Attribute<'_>| attribute.known.is_some_and(|name| self.used.contains(name));
        let rest = self.list.iter().filter(move |attribute| attribute.is_last && !is_used(attribute));
        rest.map(|attribute| attribute.pair)
    }

    /// Every attribute; the last one of each name.
    pub(in crate::encode) fn last_of_each(&self) -> impl Iterator<Item = Pair<'a>> {
        self.list.iter().filter(|attribute| attribute.is_last).map(|attribute| attribute.pair)
    }

    #[inline]
    pub(in crate::encode) fn in_rest(&self, key: &Key) -> bool {
        self.rest().any(|(other, _)| other == key)
    }
}

/// A stack trace, or an exception's type and message, joined as Python does.
#[derive(Clone, Copy, Default)]
pub(in crate::encode) struct StackTrace<'a>(&'a str, Option<&'a str>);

impl fmt::Display for StackTrace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(text, None) => f.write_str(text),
            Self(kind, Some(message)) => write!(f, "{kind}: {message}"),
        }
    }
}

impl Serialize for StackTrace<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
    use opentelemetry_sdk::logs::SdkLoggerProvider;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_last_attribute_of_each_key_counts_whatever_keys_look_alike(
            // Keys that differ in the middle alone, in nothing but their length, and some that formats know.
            keys in prop::collection::vec("a[a-c]{0,2}z|code\\.lineno|code\\.line|thread\\.i[dx]|", 0..80),
        ) {
            let mut record = SdkLoggerProvider::builder().build().logger("").create_log_record();
            for (at, key) in keys.iter().enumerate() {
                record.add_attribute(key.clone(), i64::try_from(at).unwrap());
            }
            let expected: Vec<_> = keys.iter().enumerate().filter(|(at, key)| !keys[at + 1..].contains(key)).collect();

            let mut attributes = Attributes::of(&record);
            let numbers = |pairs: Vec<Pair<'_>>| {
                let number = |value: &AnyValue| match value {
                    AnyValue::Int(number) => usize::try_from(*number).unwrap(),
                    other => panic!("{other:?}"),
                };
                pairs.iter().map(|(key, value)| (number(value), key.as_str().to_owned())).collect::<Vec<_>>()
            };
            let all = expected.iter().map(|(at, key)| (*at, (*key).clone()));
            prop_assert_eq!(numbers(attributes.last_of_each().collect()), all.clone().collect::<Vec<_>>());

            let line = attributes.int(&[Known::OldLine]);
            let last = expected.iter().find(|(_, key)| *key == "code.lineno").map(|(at, _)| *at);
            prop_assert_eq!(line, last.map(|at| i64::try_from(at).unwrap()));
            let rest = all.filter(|(_, key)| key != "code.lineno");
            prop_assert_eq!(numbers(attributes.rest().collect()), rest.collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_of_the_schema_are_known_and_others_are_not() {
        let known = [
            "code.file.path",
            "code.filepath",
            "code.filename",
            "code.function.name",
            "code.function",
            "code.namespace",
            "code.line.number",
            "code.lineno",
            "thread.id",
            "thread.name",
            "exception.stacktrace",
            "exception.type",
            "exception.message",
        ];
        for (number, key) in known.iter().enumerate() {
            assert_eq!(Known::of(&Key::from_static_str(key)).map(|name| name as usize), Some(number));
        }
        for key in
            ["", "c", "code.", "code", "code.x", "thread.", "thread.names", "exception.", "exception.typ", "order.id"]
        {
            assert!(Known::of(&Key::from_static_str(key)).is_none());
        }
    }
}
