//! [`Values`]: what a node is as an attribute's value.
//!
//! | in Python | value |
//! |---|---|
//! | text, `str` of Python 2 | text |
//! | bytes | bytes |
//! | an integer within 64 bits; a larger one | a number; its digits as text |
//! | list, tuple, set, `frozenset`, `deque` | list |
//! | dictionary, `OrderedDict`, `defaultdict`, `Counter` | map; a key that is no text is its JSON |
//! | `datetime`, `date`, `time` | text in ISO 8601 |
//! | `timedelta` | seconds |
//! | `Decimal`, `UUID`, a path | text |
//! | an object of a class whose base is a value | that value |
//! | a class or function | `module.name` |
//! | any other object | `{"__class__": "module.name", "args": [..], "state": {..}, "items": [..], "pairs": {..}}`, empty parts left out |
//! | none | none |

use std::borrow::Cow;
use std::collections::HashMap;
use std::vec;

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;

use super::node::{Id, Node, Object, Pickle};
use super::types::{self, Known};
use super::{limits, placeholder, text};
use crate::encode::{json_text, null};

/// The values of a pickle, as long as they stay within the budgets.
pub(crate) struct Values<'p, 'a> {
    pickle: &'p Pickle<'a>,
    /// For what Python itself sets.
    standard: Budget,
    /// For the rest.
    extra: Budget,
}

/// The bytes that may still be written.
#[derive(Clone, Copy)]
struct Budget {
    left: usize,
    /// The same with what was written in vain.
    work: usize,
}

/// The budget is exceeded.
struct TooLarge;

impl Budget {
    fn new(bytes: usize) -> Self {
        Self { left: bytes, work: bytes.saturating_mul(4) }
    }

    /// Does something within the budget. What fails is not spent, but cannot be tried for ever.
    fn try_to<T>(&mut self, act: impl FnOnce(&mut usize) -> Result<T, TooLarge>) -> Result<T, TooLarge> {
        let allowed = self.left.min(self.work);
        let mut left = allowed;
        let result = act(&mut left);
        self.work -= allowed - left;
        if result.is_ok() {
            self.left -= allowed - left;
        }
        result
    }
}

/// Spends some of a budget.
#[inline]
fn spend(left: &mut usize, bytes: usize) -> Result<(), TooLarge> {
    *left = left.checked_sub(bytes).ok_or(TooLarge)?;
    Ok(())
}

impl<'p, 'a> Values<'p, 'a> {
    pub(crate) fn of(pickle: &'p Pickle<'a>) -> Self {
        let (standard, extra) = (Budget::new(limits::OUTPUT + pickle.len()), Budget::new(limits::OUTPUT));
        Self { pickle, standard, extra }
    }

    /// The text of a key; `None` if there is no room for it.
    pub(crate) fn key(&mut self, id: Id) -> Option<Cow<'p, str>> {
        let pickle = self.pickle;
        if let Node::Text(bytes) | Node::Str(bytes) = pickle.node(id)
            && bytes.len() < 64
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            // Most are Python's own, and cost nothing.
            return Some(text.into());
        }
        self.extra.try_to(|left| Conversion { pickle, left, in_key: false }.key(id)).ok()
    }

    /// A value; `None` is Python's. One for which there is no room is a text that says so.
    pub(crate) fn value(&mut self, id: Id, is_standard: bool) -> Option<AnyValue> {
        let pickle = self.pickle;
        if let Node::None = pickle.node(id) {
            return None;
        }
        let budget = if is_standard { &mut self.standard } else { &mut self.extra };
        let value = budget.try_to(|left| Conversion { pickle, left, in_key: false }.value(id));
        Some(value.unwrap_or_else(|TooLarge| placeholder::TOO_LARGE.into()))
    }
}

/// The conversion of one value.
struct Conversion<'c, 'p, 'a> {
    pickle: &'p Pickle<'a>,
    /// What is left of the budget.
    left: &'c mut usize,
    /// Whether it is part of a key. Keys of maps in there are not shown, so that keys do not nest.
    in_key: bool,
}

/// A value, or the parts of one.
enum Shape {
    Value(AnyValue),
    List(Vec<Id>),
    Map(Vec<(Key, Id)>),
}

/// A list or map that is being made.
struct Open {
    id: Id,
    made: Made,
}

enum Made {
    List { rest: vec::IntoIter<Id>, items: Vec<AnyValue> },
    Map { rest: vec::IntoIter<(Key, Id)>, key: Option<Key>, members: HashMap<Key, AnyValue> },
}

impl Open {
    fn add(&mut self, value: AnyValue) {
        match &mut self.made {
            Made::List { items, .. } => items.push(value),
            Made::Map { key, members, .. } => {
                if let Some(key) = key.take() {
                    members.insert(key, value);
                }
            }
        }
    }

    /// The next member to be made.
    fn next(&mut self) -> Option<Id> {
        match &mut self.made {
            Made::List { rest, .. } => rest.next(),
            Made::Map { rest, key, .. } => {
                let (next, id) = rest.next()?;
                *key = Some(next);
                Some(id)
            }
        }
    }

    fn close(self) -> AnyValue {
        match self.made {
            Made::List { items, .. } => AnyValue::ListAny(Box::new(items)),
            Made::Map { members, .. } => AnyValue::Map(Box::new(members)),
        }
    }
}

impl<'p> Conversion<'_, 'p, '_> {
    /// Makes a value, of a list or map one member after the other. It does not recurse.
    fn value(&mut self, id: Id) -> Result<AnyValue, TooLarge> {
        let (mut open, mut next) = (Vec::<Open>::new(), id);
        loop {
            let is_recursive = open.iter().any(|open| open.id == next);
            let mut value = match if is_recursive { text(placeholder::RECURSIVE) } else { self.shape(next)? } {
                Shape::Value(value) => Some(value),
                _ if open.len() == limits::DEPTH => Some(placeholder::TOO_DEEP.into()),
                Shape::List(ids) => {
                    let items = Vec::with_capacity(ids.len());
                    open.push(Open { id: next, made: Made::List { rest: ids.into_iter(), items } });
                    None
                }
                Shape::Map(pairs) => {
                    let members = HashMap::with_capacity(pairs.len());
                    open.push(Open { id: next, made: Made::Map { rest: pairs.into_iter(), key: None, members } });
                    None
                }
            };
            // To the next member of the innermost that has one; those that are complete are members themselves.
            next = loop {
                let Some(mut innermost) = open.pop() else {
                    return Ok(value.unwrap_or_else(null));
                };
                if let Some(value) = value.take() {
                    innermost.add(value);
                }
                if let Some(id) = innermost.next() {
                    open.push(innermost);
                    break id;
                }
                value = Some(innermost.close());
            };
        }
    }

    fn shape(&mut self, id: Id) -> Result<Shape, TooLarge> {
        let mut id = id;
        // A chain of values that are the same as another could be a ring.
        for _ in 0..limits::DEPTH {
            let value = match self.pickle.node(id) {
                Node::None => null(),
                Node::Bool(is) => AnyValue::Boolean(*is),
                Node::Int(number) => AnyValue::Int(*number),
                Node::Float(number) => AnyValue::Double(*number),
                Node::Text(bytes) => {
                    spend(self.left, bytes.len())?;
                    return Ok(text(text::utf8(bytes)));
                }
                Node::Str(bytes) => {
                    spend(self.left, bytes.len())?;
                    return Ok(text(text::python_2(bytes)));
                }
                Node::Digits(digits) => {
                    spend(self.left, digits.len())?;
                    return Ok(text(*digits));
                }
                Node::Long(bytes) => {
                    // Its digits are made in so many steps.
                    spend(self.left, bytes.len() * 4)?;
                    return Ok(text(types::decimal(bytes)));
                }
                Node::Bytes(bytes) => {
                    spend(self.left, bytes.len() * 4 / 3)?;
                    AnyValue::Bytes(Box::new(bytes.to_vec()))
                }
                Node::Class(..) | Node::ClassOf(..) => return Ok(text(self.class(id)?)),
                Node::Tuple(items) | Node::List(items) | Node::Set(items) => return self.list(items, &[]),
                Node::Dict(pairs) => return self.map(pairs, &[]),
                Node::Object(object) => match self.call(object)? {
                    Some(Known::Same(other)) => {
                        id = other;
                        continue;
                    }
                    known => return self.object(known, object),
                },
            };
            spend(self.left, 8)?;
            return Ok(Shape::Value(value));
        }
        Ok(text(placeholder::RECURSIVE))
    }

    /// What a call stands for.
    fn call(&mut self, object: &Object) -> Result<Option<Known>, TooLarge> {
        let pickle = self.pickle;
        let args = pickle.items(Some(object.args));
        spend(self.left, args.len() + 8)?;
        // Texts are copied before they are counted.
        let texts = args.iter().map(|id| match pickle.node(*id) {
            Node::Text(bytes) | Node::Str(bytes) => bytes.len(),
            _ => 0,
        });
        if texts.sum::<usize>() > *self.left {
            return Err(TooLarge);
        }
        Ok(types::known(pickle, object))
    }

    fn object(&mut self, known: Option<Known>, object: &Object) -> Result<Shape, TooLarge> {
        let pickle = self.pickle;
        let plain = match known {
            Some(Known::Text(made)) => {
                spend(self.left, made.len())?;
                return Ok(text(made));
            }
            Some(Known::Float(number)) => {
                spend(self.left, 8)?;
                return Ok(Shape::Value(number.into()));
            }
            Some(Known::Bytes(bytes)) => {
                spend(self.left, bytes.len() * 4 / 3)?;
                return Ok(Shape::Value(AnyValue::Bytes(Box::new(bytes))));
            }
            Some(Known::List(first, second)) => return self.list(pickle.items(first), pickle.items(second)),
            Some(Known::Map(first, second)) => return self.map_of(first, second),
            Some(Known::Plain(class)) => Some(class),
            Some(Known::Same(_)) | None => None,
        };
        let args = Some(object.args).filter(|args| plain.is_none() && !pickle.items(Some(*args)).is_empty());
        let state = object.state.filter(|state| !matches!(pickle.node(*state), Node::None) && !self.is_empty(*state));
        let pairs = object.pairs.filter(|pairs| !self.is_empty(*pairs));
        let parts = [
            ("__class__", Some(plain.unwrap_or(object.class))),
            ("args", args),
            ("state", state),
            ("items", object.items),
            ("pairs", pairs),
        ];
        spend(self.left, 16)?;
        let parts = parts.into_iter().filter_map(|(name, id)| Some((Key::from_static_str(name), id?)));
        Ok(Shape::Map(parts.collect()))
    }

    /// Whether a node is a dictionary without a pair.
    fn is_empty(&self, id: Id) -> bool {
        matches!(self.pickle.node(id), Node::Dict(pairs) if pairs.is_empty())
    }

    fn list(&mut self, first: &[Id], second: &[Id]) -> Result<Shape, TooLarge> {
        spend(self.left, 2 * (first.len() + second.len()) + 8)?;
        Ok(Shape::List([first, second].concat()))
    }

    fn map(&mut self, first: &[(Id, Id)], second: &[(Id, Id)]) -> Result<Shape, TooLarge> {
        spend(self.left, 4 * (first.len() + second.len()) + 8)?;
        let mut pairs = Vec::with_capacity(first.len() + second.len());
        for (key, value) in first.iter().chain(second) {
            pairs.push((Key::from(self.key(*key)?.into_owned()), *value));
        }
        Ok(Shape::Map(pairs))
    }

    /// A map of pairs that are a dictionary, or, in Python 2, a list of lists.
    fn map_of(&mut self, first: Option<Id>, second: Option<Id>) -> Result<Shape, TooLarge> {
        let pickle = self.pickle;
        let listed = pickle.items(first);
        spend(self.left, 4 * listed.len())?;
        let pair = |id: &Id| match pickle.items(Some(*id)) {
            [key, value] => Some((*key, *value)),
            _ => None,
        };
        let listed: Vec<_> = listed.iter().filter_map(pair).collect();
        let first = if listed.is_empty() { pickle.pairs(first) } else { &listed };
        self.map(first, pickle.pairs(second))
    }

    fn class(&mut self, id: Id) -> Result<String, TooLarge> {
        let (module, name) = self.pickle.class(id).unwrap_or((b"?", b"?"));
        spend(self.left, module.len() + name.len() + 1)?;
        Ok(format!("{}.{}", text::utf8(module), text::utf8(name)))
    }

    /// The text of a key: as it is, or its JSON.
    fn key(&mut self, id: Id) -> Result<Cow<'p, str>, TooLarge> {
        let text: Cow<'p, str> = match self.pickle.node(id) {
            Node::Text(bytes) => {
                spend(self.left, bytes.len())?;
                return Ok(text::utf8(bytes));
            }
            Node::Str(bytes) => {
                spend(self.left, bytes.len())?;
                return Ok(text::python_2(bytes));
            }
            Node::None => "null".into(),
            Node::Bool(true) => "true".into(),
            Node::Bool(false) => "false".into(),
            Node::Int(number) => number.to_string().into(),
            _ if self.in_key => placeholder::TOO_DEEP.into(),
            _ => match (Conversion { pickle: self.pickle, left: &mut *self.left, in_key: true }).value(id)? {
                AnyValue::String(text) => String::from(text).into(),
                // A text in JSON, whose quotes are not part of it.
                bytes @ AnyValue::Bytes(_) => json_text(&bytes).trim_matches('"').to_owned().into(),
                value => json_text(&value).into(),
            },
        };
        spend(self.left, text.len())?;
        Ok(text)
    }
}

fn text(text: impl Into<String>) -> Shape {
    Shape::Value(text.into().into())
}
