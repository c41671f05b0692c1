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

/// A text.
#[inline]
fn plain(bytes: &[u8], left: &mut usize) -> Result<AnyValue, TooLarge> {
    spend(left, bytes.len())?;
    Ok(text::utf8(bytes).into_owned().into())
}

impl<'p, 'a> Values<'p, 'a> {
    pub(crate) fn of(pickle: &'p Pickle<'a>) -> Self {
        let (standard, extra) = (Budget::new(limits::OUTPUT + pickle.len()), Budget::new(limits::OUTPUT));
        Self { pickle, standard, extra }
    }

    /// The text of a key; `None` if there is no room for it.
    pub(crate) fn key(&mut self, id: Id) -> Option<Cow<'p, str>> {
        let pickle = self.pickle;
        if let Some(bytes) = pickle.text(id).filter(|bytes| bytes.len() < 64)
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            // Most are short, and cost nothing.
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
        let value = budget.try_to(|left| match pickle.node(id) {
            // Most are texts.
            Node::Text(bytes) => plain(bytes, left),
            _ => Conversion { pickle, left, in_key: false }.value(id),
        });
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
                Shape::Value(value) if open.is_empty() => return Ok(value),
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
                Node::Text(bytes) => return plain(bytes, self.left).map(Shape::Value),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::pickle::read;

    /// The values of a dictionary whose value under `key` these opcodes make.
    fn value(opcodes: &[u8]) -> Option<AnyValue> {
        let input = [b"}X\x03\0\0\0key", opcodes, b"s."].concat();
        let pickle = read(&input).expect("a dictionary");
        let [(_, id)] = pickle.entries() else { panic!("one pair") };
        Values::of(&pickle).value(*id, false)
    }

    fn json(opcodes: &[u8]) -> String {
        value(opcodes).map_or_else(|| "None".to_owned(), |value| json_text(&value))
    }

    /// The opcodes of a text.
    fn text(text: &str) -> Vec<u8> {
        [b"X", &u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn opcodes_that_python_s_handlers_do_not_use_have_values_as_well() {
        let cases: [(&[u8], &str); 30] = [
            (b"N", "None"),
            (b"\x88", "true"),
            (b"I01\n", "true"),
            (b"I7\n", "7"),
            (b"L-7L\n", "-7"),
            (b"L7\n", "7"),
            (b"F1e3\n", "1000.0"),
            (b"\x8a\x00", "0"),
            (b"\x8a\x01\xff", "-1"),
            (b"\x8a\x02\xff\x00", "255"),
            (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00", r#""18446744073709551615""#),
            (b"\x8b\x09\0\0\0\0\0\0\0\0\0\0\0\xff", r#""-18446744073709551616""#),
            (b"P12\n", r#""[persistent id]""#),
            (b"K\x01Q", r#""[persistent id]""#),
            (b"\x82\x01", r#""[extension]""#),
            (b"\x84\x01\0\0\0", r#""[extension]""#),
            (b"\x97\x98", r#""[buffer]""#),
            (b"(K\x01K\x02l", "[1,2]"),
            (b"(K\x01K\x02d", r#"{"1":2}"#),
            (b"\x8f(K\x01\x90", "[1]"),
            (b"(K\x01\x91", "[1]"),
            (b"K\x01K\x02\x86", "[1,2]"),
            (b"K\x01(K\x02K\x031\x85", "[1]"),
            (b"K\x012\x86", "[1,1]"),
            (b"(cm\nC\no", r#"{"__class__":"m.C"}"#),
            (b"(im\nC\n", r#"{"__class__":"m.C"}"#),
            (b"X\x01\0\0\0mX\x01\0\0\0C\x93)\x81", r#"{"__class__":"m.C"}"#),
            (b"KKK\x07\x93", r#""?.?""#),
            (b"K\x01)R", r#"{"__class__":1}"#),
            (b"K\x01}b", "1"),
        ];
        for (opcodes, expected) in cases {
            assert_eq!(json(opcodes), expected, "{}", opcodes.escape_ascii());
        }
    }

    #[test]
    fn an_object_shows_all_that_it_was_made_of() {
        let object = b"cm\nC\n(K\x01tR(K\x02K\x03e(K\x04K\x05u}(K\x06K\x07ub";
        let Some(AnyValue::Map(parts)) = value(object) else { panic!("an object") };
        let part = |name: &str| json_text(&parts[name]);
        assert_eq!(["args", "items", "pairs", "state"].map(part), ["[1]", "[2,3]", r#"{"4":5}"#, r#"{"6":7}"#]);
        assert_eq!((part("__class__"), parts.len()), (r#""m.C""#.to_owned(), 5));
        assert_eq!(value(b"cm\nC\n)}(K\x01K\x02u\x92"), value(b"cm\nC\n)R(K\x01K\x02u"));
    }

    #[test]
    fn a_time_zone_without_an_offset_is_named() {
        let moment = b"cdatetime\ndatetime\n(C\x0a\x07\xea\x0b\x1b\x01\x02\x03\0\0\0".as_slice();
        let zone = |zone: &[u8]| json(&[moment, zone, b"tR"].concat());
        assert_eq!(zone(b"cpytz\n_UTC\n)R"), r#""2026-11-27T01:02:03[_UTC]""#);
        assert_eq!(zone(b"cpytz\n_p\n(X\x03\0\0\0CETtR"), r#""2026-11-27T01:02:03[CET]""#);
        assert_eq!(zone(b"N"), r#""2026-11-27T01:02:03""#);
        let timezone = b"cdatetime\ntimezone\n(cdatetime\ntimedelta\n(K\x00M\x91\x0cK\x00tRtR";
        assert_eq!(zone(timezone), r#""2026-11-27T01:02:03+00:53:37""#, "an offset with seconds");
        // No date of that many days, no time of so few bytes: the call itself is shown.
        for bad in [&b"cdatetime\ndate\n(C\x04\x07\xea\x0d\x01tR"[..], b"cdatetime\ntime\n(C\x01\x01tR"] {
            assert!(json(bad).contains(r#""__class__":"datetime."#), "{}", json(bad));
        }
    }

    #[test]
    fn keys_that_are_no_texts_are_their_json_but_do_not_nest() {
        let key = |key: &[u8]| json(&[b"}", key, b"Ns"].concat());
        assert_eq!(key(b"C\x01\xff"), r#"{"/w==":null}"#.replace("null", &json_text(&null())));
        let value_of = |key: &[u8]| match value(&[b"}", key, b"K\x01s"].concat()) {
            Some(AnyValue::Map(members)) => members.keys().next().expect("a key").to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(value_of(b"K\x01K\x02\x86"), "[1,2]");
        assert_eq!(value_of(b"cm\nC\n"), "m.C");
        let nested = b"cm\nC\n)R}cm\nC\n)RK\x02sb";
        assert!(value_of(nested).contains(r#"{"[nested too deeply]":2}"#), "{}", value_of(nested));
    }

    #[test]
    fn what_is_nested_without_end_is_read_and_cut_off_without_recursion() {
        let deep = [vec![b']'; 90_000], vec![b'a'; 89_999]].concat();
        let text = json(&deep);
        assert!(text.starts_with(&format!("{}\"[nested too deeply]\"", "[".repeat(limits::DEPTH))), "{text}");
        assert_eq!(json(b"]q\x00h\x00a"), r#"["[recursive]"]"#);
        // An object that is to be the same as itself.
        let ring = b"ccopy_reg\n_reconstructor\n](cm\nC\nc__builtin__\nlist\neq\x00Rq\x01h\x00h\x01a0";
        assert_eq!(json(ring), r#""[recursive]""#);
    }

    #[test]
    fn values_within_one_budget_are_kept_and_the_one_that_exceeds_it_is_not() {
        let long = text(&"x".repeat(1000));
        // A thousand bytes, named again and again.
        let bomb = [b"](", &long[..], b"q\x00", &b"h\x00".repeat(2000), b"e"].concat();
        // Ten lists of ten lists of ten lists ...
        let laughs = [&b"]"[..], &b"q\x000](h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00e".repeat(20)].concat();
        let dates = [b"](cdatetime\ndate\n(", &long[..], b"tRq\x00", &b"h\x00".repeat(50_000), b"e"].concat();
        for large in [bomb, laughs, dates] {
            let input = [b"}(", &text("a")[..], &text("small"), &text("b"), &large, &text("c"), &text("small"), b"u."];
            let input = input.concat();
            let pickle = read(&input).expect("a dictionary");
            let mut values = Values::of(&pickle);
            let found: Vec<_> = pickle.entries().iter().map(|(_, id)| values.value(*id, false)).collect();
            let expected = ["small", "[too large]", "small"].map(|text| Some(AnyValue::from(text)));
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn trying_in_vain_ends_as_well() {
        let item = text(&"x".repeat(1000));
        let bomb = [b"](", &item[..], b"q\x00", &b"h\x00".repeat(2000), b"eq\x01"].concat();
        let input = [b"}(", &text("a")[..], &bomb, &[&text("b")[..], b"h\x01"].concat().repeat(10), b"u."].concat();
        let pickle = read(&input).expect("a dictionary");
        let mut values = Values::of(&pickle);
        for (_, id) in pickle.entries() {
            assert_eq!(values.value(*id, false), Some("[too large]".into()));
        }
        assert!(values.extra.work < 5000, "what is left of the work is less than a try needs");
        assert_eq!(values.value(pickle.entries()[0].1, true), Some("[too large]".into()));
    }

    #[test]
    fn what_python_itself_sets_is_kept_beside_what_is_too_large() {
        let message = "m".repeat(limits::OUTPUT + 1);
        let input = [b"}(", &text("a")[..], &text(&message), b"u."].concat();
        let pickle = read(&input).expect("a dictionary");
        let (_, id) = pickle.entries()[0];
        assert_eq!(Values::of(&pickle).value(id, false), Some("[too large]".into()));
        assert_eq!(Values::of(&pickle).value(id, true), Some(message.into()));
    }

    #[test]
    fn a_number_of_any_length_has_its_digits() {
        for number in [0, 1, -1, 255, -256, i128::from(i64::MAX) + 1, i128::from(i64::MIN) - 1, i128::MAX, i128::MIN] {
            assert_eq!(types::decimal(&number.to_le_bytes()), number.to_string());
            // Signs go on for ever.
            let sign = if number < 0 { 0xFF } else { 0 };
            for more in 1..9 {
                let bytes = [&number.to_le_bytes()[..], &vec![sign; more]].concat();
                assert_eq!(types::decimal(&bytes), number.to_string());
            }
        }
        assert_eq!(types::decimal(&[&[0; 12][..], &[1]].concat()), "79228162514264337593543950336");
        let longest = [&b"\x8b\xaa\x06\0\0"[..], &[0x55; 0x6AA]].concat();
        assert!(matches!(value(&longest), Some(AnyValue::String(digits)) if digits.as_str().len() > 4000));
        let longer = [&b"\x8b\xab\x06\0\0"[..], &[0x55; 0x6AB]].concat();
        assert_eq!(json(&longer), r#""[too large]""#);
        let digits = [b"L", &[b'7'; 4097][..], b"L\n"].concat();
        assert_eq!(json(&digits), r#""[too large]""#);
    }
}
