//! A record's attributes in two parts: those that have a key of their own in most formats, and the rest.

use crate::encode::view::LogView;

use std::collections::HashMap;
use std::fmt;

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;
use serde_core::{Serialize, Serializer};
use smallvec::SmallVec;

/// The number of attributes above which duplicates are found with a map, not by comparing each with the rest.
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

    #[inline]
    pub(in crate::encode) fn of(key: &Key) -> Option<Self> {
        Some(match key.as_str() {
            "code.file.path" => Self::Path,
            "code.filepath" => Self::OldPath,
            "code.filename" => Self::FileName,
            "code.function.name" => Self::Function,
            "code.function" => Self::OldFunction,
            "code.namespace" => Self::Namespace,
            "code.line.number" => Self::Line,
            "code.lineno" => Self::OldLine,
            "thread.id" => Self::ThreadId,
            "thread.name" => Self::ThreadName,
            "exception.stacktrace" => Self::StackTrace,
            "exception.type" => Self::ExceptionType,
            "exception.message" => Self::ExceptionMessage,
            _ => return None,
        })
    }
}

/// An attribute: its key and its value.
type Pair<'a> = (&'a Key, &'a AnyValue);

/// A record's attributes, to be taken by name first and then all the rest.
pub(in crate::encode) struct Attributes<'a> {
    /// In order; the first ones without an allocation.
    list: SmallVec<[Pair<'a>; COMPARED_ATTRIBUTES]>,
    named: [Option<&'a AnyValue>; Known::COUNT],
    used: [bool; Known::COUNT],
    /// Which of the first attributes have a key of their own.
    known: [Option<Known>; COMPARED_ATTRIBUTES],
    /// Where each name occurs last, for a record with many attributes.
    last: Option<HashMap<&'a str, usize>>,
}

impl<'a> Attributes<'a> {
    #[inline]
    pub(in crate::encode) fn of(record: &'a dyn LogView) -> Self {
        let mut attributes = Self {
            list: SmallVec::new(),
            named: [None; Known::COUNT],
            used: [false; Known::COUNT],
            known: [None; COMPARED_ATTRIBUTES],
            last: None,
        };
        record.visit_attributes(&mut |key, value| attributes.push(key, value));
        if attributes.list.spilled() {
            attributes.last = Some(attributes.iter().enumerate().map(|(at, (key, _))| (key.as_str(), at)).collect());
        }
        attributes
    }

    #[inline]
    fn push(&mut self, key: &'a Key, value: &'a AnyValue) {
        let known = Known::of(key);
        if let Some(name) = known {
            self.named[name as usize] = Some(value);
        }
        if let Some(place) = self.known.get_mut(self.list.len()) {
            *place = known;
        }
        self.list.push((key, value));
    }

    #[inline]
    fn iter(&self) -> impl Iterator<Item = Pair<'a>> {
        self.list.iter().copied()
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
        let (value, taken) = names.iter().find_map(|name| {
            let value = self.named[*name as usize]?;
            Some((value, read(value)?))
        })?;
        for name in names {
            self.used[*name as usize] |= self.named[*name as usize] == Some(value);
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
        self.used[Known::FileName as usize] = true;
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
        let attributes = self.iter().enumerate();
        let is_used = |at: usize, key: &Key| match self.known.get(at) {
            Some(known) => known.is_some_and(|name| self.used[name as usize]),
            None => self.is_used(key),
        };
        let is_rest = move |(at, (key, _)): &(usize, Pair<'a>)| !is_used(*at, key) && self.is_last(*at, key);
        attributes.filter(is_rest).map(|(_, attribute)| attribute)
    }

    /// Every attribute; the last one of each name.
    pub(in crate::encode) fn last_of_each(&self) -> impl Iterator<Item = Pair<'a>> {
        let attributes = self.iter().enumerate();
        attributes.filter(|(at, (key, _))| self.is_last(*at, key)).map(|(_, attribute)| attribute)
    }

    #[inline]
    pub(in crate::encode) fn in_rest(&self, key: &Key) -> bool {
        !self.is_used(key) && self.iter().any(|(other, _)| other == key)
    }

    #[inline]
    pub(in crate::encode) fn is_used(&self, key: &Key) -> bool {
        Known::of(key).is_some_and(|name| self.used[name as usize])
    }

    #[inline]
    pub(in crate::encode) fn is_last(&self, at: usize, key: &Key) -> bool {
        match &self.last {
            Some(last) => last.get(key.as_str()) == Some(&at),
            None => !self.iter().skip(at + 1).any(|(other, _)| other == key),
        }
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
