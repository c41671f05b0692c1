//! What Python sends as a call because a pickle has no opcode for it: bytes, sets, dates, decimals, paths and others.
//!
//! Protocol 1 writes the names that modules had in Python 2, so each has two.

use std::fmt::Write as _;

use super::node::{Id, Node, Object, Pickle};
use super::text;

/// What a call stands for.
pub(super) enum Known {
    Text(String),
    Float(f64),
    Bytes(Vec<u8>),
    /// A list of the members of two.
    List(Option<Id>, Option<Id>),
    /// A map of the pairs in a list or dictionary, and of those in a dictionary.
    Map(Option<Id>, Option<Id>),
    /// The same as another value.
    Same(Id),
    /// An object of a class that was made without its constructor.
    Plain(Id),
}

/// What a call stands for, if it is of a type that has a form of its own.
pub(super) fn known(pickle: &Pickle<'_>, object: &Object) -> Option<Known> {
    let (module, name) = pickle.class(object.class)?;
    let args = pickle.items(Some(object.args));
    let first = args.first().copied();
    let known = match (module, name) {
        (b"_codecs", b"encode") | (b"__builtin__" | b"builtins", b"bytes" | b"bytearray") => {
            Known::Bytes(bytes_of_call(pickle, args)?)
        }
        (b"__builtin__" | b"builtins", b"set" | b"frozenset") | (b"collections", b"deque") => {
            Known::List(first, object.items)
        }
        (b"collections", b"OrderedDict" | b"Counter" | b"defaultdict") => Known::Map(first, object.pairs),
        (b"copy_reg" | b"copyreg", b"_reconstructor") => match args {
            [class, base, value] => match pickle.class(*base) {
                Some((b"__builtin__" | b"builtins", b"object")) if is_uuid(pickle, *class) => {
                    Known::Text(uuid(pickle, object.state?)?)
                }
                Some((b"__builtin__" | b"builtins", b"object")) => Known::Plain(*class),
                _ => Known::Same(*value),
            },
            _ => return None,
        },
        (b"uuid", b"UUID") => Known::Text(uuid(pickle, object.state?)?),
        (b"datetime", b"datetime") => Known::Text(date_time(pickle, args)?),
        (b"datetime", b"date") => Known::Text(date(&packed(pickle, first?, 4)?)?),
        (b"datetime", b"time") => Known::Text(time(pickle, args)?),
        (b"datetime", b"timedelta") => Known::Float(seconds(pickle, args)?),
        (b"decimal", b"Decimal") => Known::Text(text_of(pickle, first?)?),
        (b"pathlib" | b"pathlib._local", b"PosixPath" | b"PurePosixPath") => Known::Text(path(pickle, args)?),
        (b"pathlib" | b"pathlib._local", b"WindowsPath" | b"PureWindowsPath") => {
            Known::Text(path(pickle, args)?.replace('\\', "/"))
        }
        _ => return None,
    };
    Some(known)
}

/// A text, of either Python.
fn text_of(pickle: &Pickle<'_>, id: Id) -> Option<String> {
    match pickle.node(id) {
        Node::Text(bytes) => Some(text::utf8(bytes).into_owned()),
        Node::Str(bytes) => Some(text::python_2(bytes).into_owned()),
        _ => None,
    }
}

fn int(pickle: &Pickle<'_>, id: Id) -> Option<i64> {
    match pickle.node(id) {
        Node::Int(number) => Some(*number),
        _ => None,
    }
}

/// A number of more than 64 bits, given in two's complement from its lowest byte on, in decimal.
pub(super) fn decimal(bytes: &[u8]) -> String {
    const BILLION: u64 = 1_000_000_000;
    let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    let mut words: Vec<u32> = bytes.chunks(4).map(word).collect();
    if is_negative {
        // The sign of a last chunk that is not full goes on to its end.
        if let (Some(last), len @ 1..) = (words.last_mut(), bytes.len() % 4) {
            *last |= u32::MAX << (8 * len);
        }
        let mut carry = true;
        for word in &mut words {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    let mut parts = Vec::new();
    while let Some(last) = words.last() {
        if *last == 0 {
            words.pop();
            continue;
        }
        let mut rest = 0;
        for word in words.iter_mut().rev() {
            let value = rest << 32 | u64::from(*word);
            #[allow(clippy::cast_possible_truncation, reason = "the rest is below the divisor")]
            (*word = (value / BILLION) as u32);
            rest = value % BILLION;
        }
        parts.push(rest);
    }
    let mut digits = String::from(if is_negative { "-" } else { "" });
    let _ = write!(digits, "{}", parts.pop().unwrap_or_default());
    for part in parts.iter().rev() {
        let _ = write!(digits, "{part:09}");
    }
    digits
}

/// Bytes, as each protocol has them.
fn bytes(pickle: &Pickle<'_>, id: Id) -> Option<Vec<u8>> {
    match pickle.node(id) {
        Node::Bytes(bytes) => Some(bytes.to_vec()),
        Node::Str(bytes) => Some(bytes.to_vec()),
        Node::Text(text) => text::latin_1_bytes(text),
        Node::Object(object) => match pickle.class(object.class)? {
            (b"_codecs", b"encode") => encoded(pickle, pickle.items(Some(object.args))),
            _ => None,
        },
        _ => None,
    }
}

/// The bytes of `_codecs.encode(text, "latin1")`.
fn encoded(pickle: &Pickle<'_>, args: &[Id]) -> Option<Vec<u8>> {
    match pickle.node(*args.first()?) {
        Node::Text(text) => text::latin_1_bytes(text),
        _ => None,
    }
}

/// The bytes of `_codecs.encode(text, "latin1")`, `bytes()`, `bytearray(bytes)` and `bytearray(text, "latin-1")`.
fn bytes_of_call(pickle: &Pickle<'_>, args: &[Id]) -> Option<Vec<u8>> {
    args.first().map_or(Some(Vec::new()), |first| bytes(pickle, *first))
}

/// Bytes of a length that is known. They are not copied if there are more: a list can name them many times.
fn packed(pickle: &Pickle<'_>, id: Id, len: usize) -> Option<Vec<u8>> {
    let text = match pickle.node(id) {
        Node::Object(object) => *pickle.items(Some(object.args)).first()?,
        _ => id,
    };
    let is_short = match pickle.node(text) {
        Node::Text(bytes) | Node::Str(bytes) => bytes.len() <= 2 * len,
        Node::Bytes(bytes) => bytes.len() == len,
        _ => false,
    };
    if !is_short {
        return None;
    }
    bytes(pickle, id).filter(|bytes| bytes.len() == len)
}

fn is_uuid(pickle: &Pickle<'_>, class: Id) -> bool {
    pickle.class(class) == Some((b"uuid", b"UUID"))
}

/// A UUID by its state: its 128 bits as a number.
fn uuid(pickle: &Pickle<'_>, state: Id) -> Option<String> {
    let is_int = |key: &Id| matches!(pickle.node(*key), Node::Text(name) | Node::Str(name) if **name == *b"int");
    let (_, number) = pickle.pairs(Some(state)).iter().take(8).find(|(key, _)| is_int(key))?;
    let number = match pickle.node(*number) {
        Node::Int(number) => u128::try_from(*number).ok()?,
        Node::Digits(digits) => digits.parse().ok()?,
        Node::Long(bytes) => {
            let (number, rest) = bytes.split_at(bytes.len().min(16));
            // The seventeenth byte only says that the number is not negative.
            if !matches!(rest, [] | [0]) {
                return None;
            }
            let mut all = [0; 16];
            all[..number.len()].copy_from_slice(number);
            u128::from_le_bytes(all)
        }
        _ => return None,
    };
    let digits = format!("{number:032x}");
    Some([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

/// A date by its four bytes.
fn date(bytes: &[u8]) -> Option<String> {
    // The highest bit of the month says the same as that of an hour.
    let (year, month) = (u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]), bytes.get(2)? & 0x7F);
    let day = *bytes.get(3)?;
    let is_date = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_date.then(|| format!("{year:04}-{month:02}-{day:02}"))
}

/// A time by its six bytes, as Python's `isoformat` writes it.
fn time_of_day(bytes: &[u8]) -> Option<String> {
    let [hour, minute, second, micros @ ..] = bytes else {
        return None;
    };
    let [high, middle, low] = micros else {
        return None;
    };
    let micros = u32::from_be_bytes([0, *high, *middle, *low]);
    if *hour > 23 || *minute > 59 || *second > 59 || micros > 999_999 {
        return None;
    }
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    Some(format!("{hour:02}:{minute:02}:{second:02}{fraction}"))
}

/// A date and a time by ten bytes, and its time zone.
fn date_time(pickle: &Pickle<'_>, args: &[Id]) -> Option<String> {
    let bytes = packed(pickle, *args.first()?, 10)?;
    let zone = args.get(1).and_then(|zone| zone_of(pickle, *zone)).unwrap_or_default();
    Some(format!("{}T{}{zone}", date(&bytes)?, time_of_day(&bytes[4..])?))
}

/// A time of six bytes, and its time zone.
fn time(pickle: &Pickle<'_>, args: &[Id]) -> Option<String> {
    let mut bytes = packed(pickle, *args.first()?, 6)?;
    // The highest bit says which of two equal times is meant when a clock is set back.
    bytes[0] &= 0x7F;
    let zone = args.get(1).and_then(|zone| zone_of(pickle, *zone)).unwrap_or_default();
    Some(time_of_day(&bytes)? + &zone)
}

/// A time zone as it stands behind a time: its offset, or else its name in brackets.
fn zone_of(pickle: &Pickle<'_>, zone: Id) -> Option<String> {
    let Node::Object(object) = pickle.node(zone) else {
        return None;
    };
    let args = pickle.items(Some(object.args));
    if let Some((b"datetime", b"timezone")) = pickle.class(object.class)
        && let Node::Object(delta) = pickle.node(*args.first()?)
    {
        let seconds = seconds(pickle, pickle.items(Some(delta.args)))?;
        return offset(seconds);
    }
    let name = args.iter().find_map(|arg| text_of(pickle, *arg));
    let class = || pickle.class(object.class).map(|(_, name)| text::utf8(name).into_owned());
    name.or_else(class).map(|name| format!("[{name}]"))
}

/// An offset from UTC: `+02:00`, with seconds if it has any.
fn offset(seconds: f64) -> Option<String> {
    const DAY: f64 = 86_400.0;
    if seconds.abs() >= DAY {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is less than a day")]
    let (sign, seconds) = (if seconds < 0.0 { '-' } else { '+' }, seconds.abs() as u32);
    let mut offset = format!("{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 != 0 {
        let _ = write!(offset, ":{:02}", seconds % 60);
    }
    Some(offset)
}

/// A duration by its days, seconds and microseconds.
#[allow(clippy::cast_precision_loss, reason = "Python has no more digits either")]
fn seconds(pickle: &Pickle<'_>, args: &[Id]) -> Option<f64> {
    let [days, seconds, micros] = args else {
        return None;
    };
    let [days, seconds, micros] = [int(pickle, *days)?, int(pickle, *seconds)?, int(pickle, *micros)?].map(i128::from);
    Some(((days * 86_400 + seconds) * 1_000_000 + micros) as f64 / 1e6)
}

/// A path by its parts, of which the first may be a root.
fn path(pickle: &Pickle<'_>, parts: &[Id]) -> Option<String> {
    let mut path = String::new();
    for part in parts {
        if !path.is_empty() && !path.ends_with(['/', '\\']) {
            path.push('/');
        }
        path.push_str(&text_of(pickle, *part)?);
    }
    if path.is_empty() {
        path.push('.');
    }
    Some(path)
}
