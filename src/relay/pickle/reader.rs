//! [`read`]: the opcodes of protocols 0 to 5, as nodes.

use std::borrow::Cow;
use std::collections::HashMap;

use super::node::{Id, Node, Object, Pickle};
use super::{limits, placeholder, text};

/// Bytes that are no pickled dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no pickled dictionary: {reason} at byte {at}")]
pub(crate) struct BadPickle {
    reason: &'static str,
    at: usize,
}

/// The reason for which reading ends.
type Bad = &'static str;

const ENDS_EARLY: Bad = "it ends too early";
const STACK_EMPTY: Bad = "the stack is empty";
const NO_MARK: Bad = "there is no mark";
const NO_LIST: Bad = "items are for no list";
const NO_DICT: Bad = "pairs are for no dictionary";
const NO_NUMBER: Bad = "there is no number";
const TOO_MANY_NODES: Bad = "too many values";

/// Reads a pickle of a dictionary.
///
/// # Errors
///
/// If it is none, or larger than the [`limits`] allow.
pub(crate) fn read(input: &[u8]) -> Result<Pickle<'_>, BadPickle> {
    let mut reader = Reader {
        input,
        at: 0,
        nodes: Vec::with_capacity(64),
        stack: Vec::with_capacity(64),
        marks: Vec::with_capacity(8),
        memo: Memo { list: Vec::with_capacity(Memo::NEAR), ..Memo::default() },
    };
    match reader.run() {
        Ok(root) => Ok(Pickle::new(reader.nodes, root, input.len())),
        Err(reason) => Err(BadPickle { reason, at: reader.at }),
    }
}

/// The machine: what it reads, and where it is.
struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// How high the stack was at each mark that is open.
    marks: Vec<usize>,
    memo: Memo,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<Id, Bad> {
        loop {
            match self.byte()? {
                // Texts, numbers and the memo come first: they are most of a record.
                b'X' => self.text::<4>(|bytes| Node::Text(bytes.into()))?,
                b'q' => {
                    let number = u32::from(self.byte()?);
                    self.put(number)?;
                }
                b'h' => {
                    let number = u32::from(self.byte()?);
                    self.get(number)?;
                }
                b'N' => self.push(Node::None)?,
                b'K' => {
                    let number = self.byte()?;
                    self.push(Node::Int(number.into()))?;
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.bytes()?);
                    self.push(Node::Int(number.into()))?;
                }
                b'J' => {
                    let number = i32::from_le_bytes(self.bytes()?);
                    self.push(Node::Int(number.into()))?;
                }
                b'G' => {
                    let number = f64::from_be_bytes(self.bytes()?);
                    self.push(Node::Float(number))?;
                }
                b'L' => {
                    let line = self.line()?;
                    self.decimal(line.strip_suffix(b"L").unwrap_or(line))?;
                }

                b'(' => self.mark()?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b'u' => {
                    let from = self.pop_mark()?;
                    self.set_items(from)?;
                }
                b's' => {
                    let from = self.stack.len().checked_sub(2).ok_or(STACK_EMPTY)?;
                    self.set_items(from)?;
                }
                b'd' => {
                    let from = self.pop_mark()?;
                    self.push_under(from, Node::Dict(Vec::new()))?;
                    self.set_items(from + 1)?;
                }
                b']' => self.push(Node::List(Vec::new()))?,
                b'e' | 0x90 => {
                    let from = self.pop_mark()?;
                    self.append(from)?;
                }
                b'a' => {
                    let from = self.stack.len().checked_sub(1).ok_or(STACK_EMPTY)?;
                    self.append(from)?;
                }
                b'l' => self.collect(Node::List)?,
                b')' => self.push(Node::Tuple(Vec::new()))?,
                b't' => self.collect(Node::Tuple)?,
                count @ 0x85..=0x87 => {
                    let from = self.stack.len().checked_sub(usize::from(count - 0x84)).ok_or(STACK_EMPTY)?;
                    let items = self.take(from)?;
                    self.push(Node::Tuple(items))?;
                }
                0x8F => self.push(Node::Set(Vec::new()))?,
                0x91 => self.collect(Node::Set)?,
                b'.' => return self.stop(),
                opcode => self.other_value(opcode)?,
            }
        }
    }

    /// Values as other protocols write them, and what is no value.
    fn other_value(&mut self, opcode: u8) -> Result<(), Bad> {
        match opcode {
            b'U' => self.text::<1>(|bytes| Node::Str(bytes.into()))?,
            b'T' => self.text::<4>(|bytes| Node::Str(bytes.into()))?,
            b'S' => {
                let bytes = text::unquote(self.line()?).ok_or("a text has no quotes")?;
                self.push(Node::Str(bytes))?;
            }
            b'V' => {
                let bytes = text::unescape_unicode(self.line()?);
                self.push(Node::Text(bytes))?;
            }
            0x8C => self.text::<1>(|bytes| Node::Text(bytes.into()))?,
            0x8D => self.text::<8>(|bytes| Node::Text(bytes.into()))?,
            b'C' => self.text::<1>(Node::Bytes)?,
            b'B' => self.text::<4>(Node::Bytes)?,
            0x8E | 0x96 => self.text::<8>(Node::Bytes)?,

            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'I' => match self.line()? {
                b"00" => self.push(Node::Bool(false))?,
                b"01" => self.push(Node::Bool(true))?,
                line => self.decimal(line)?,
            },
            0x8A => {
                let len = usize::from(self.byte()?);
                self.long(len)?;
            }
            0x8B => {
                let len = self.len::<4>()?;
                self.long(len)?;
            }
            b'F' => {
                let line = std::str::from_utf8(self.line()?).ok().and_then(|line| line.trim().parse().ok());
                self.push(Node::Float(line.ok_or(NO_NUMBER)?))?;
            }

            b'P' => {
                self.line()?;
                self.placeholder(placeholder::PERSISTENT_ID)?;
            }
            b'Q' => {
                self.pop()?;
                self.placeholder(placeholder::PERSISTENT_ID)?;
            }
            0x82 => {
                self.bytes::<1>()?;
                self.placeholder(placeholder::EXTENSION)?;
            }
            0x83 => {
                self.bytes::<2>()?;
                self.placeholder(placeholder::EXTENSION)?;
            }
            0x84 => {
                self.bytes::<4>()?;
                self.placeholder(placeholder::EXTENSION)?;
            }
            0x97 => self.placeholder(placeholder::BUFFER)?,
            // A buffer becomes one that cannot be written to.
            0x98 => {
                self.top()?;
            }

            0x80 => {
                if self.byte()? > 5 {
                    return Err("the protocol is newer than 5");
                }
            }
            // Only says how much could be read at once.
            0x95 => {
                self.bytes::<8>()?;
            }
            _ => return self.call(opcode),
        }
        Ok(())
    }

    /// Classes and calls, the memo, and what moves values on the stack.
    fn call(&mut self, opcode: u8) -> Result<(), Bad> {
        match opcode {
            b'c' => {
                let class = self.class()?;
                self.push(class)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                self.push(Node::ClassOf(module, name))?;
            }
            b'R' | 0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.push(Node::Object(Object::new(class, args)))?;
            }
            0x92 => {
                let (named, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.push(Node::Object(Object { pairs: Some(named), ..Object::new(class, args) }))?;
            }
            b'o' => {
                let from = self.pop_mark()?;
                let args = self.take(from + 1)?;
                let args = self.add(Node::Tuple(args))?;
                let class = self.pop()?;
                self.push(Node::Object(Object::new(class, args)))?;
            }
            b'i' => {
                let class = self.class()?;
                let class = self.add(class)?;
                let from = self.pop_mark()?;
                let args = self.take(from)?;
                let args = self.add(Node::Tuple(args))?;
                self.push(Node::Object(Object::new(class, args)))?;
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                self.object(object, |object| object.state = Some(state));
            }

            b'r' => {
                let number = u32::from_le_bytes(self.bytes()?);
                self.put(number)?;
            }
            b'p' => {
                let number = self.memo_number()?;
                self.put(number)?;
            }
            0x94 => {
                let number = u32::try_from(self.memo.count).map_err(|_| TOO_MANY_NODES)?;
                self.put(number)?;
            }
            b'j' => {
                let number = u32::from_le_bytes(self.bytes()?);
                self.get(number)?;
            }
            b'g' => {
                let number = self.memo_number()?;
                self.get(number)?;
            }

            b'0' => self.discard()?,
            b'1' => {
                let from = self.pop_mark()?;
                self.stack.truncate(from);
            }
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }
            _ => {
                self.at -= 1;
                return Err("an opcode is unknown");
            }
        }
        Ok(())
    }

    /// The end: everything is in one value, which is a dictionary.
    fn stop(&mut self) -> Result<Id, Bad> {
        if self.at != self.input.len() {
            return Err("something follows its end");
        }
        if !self.marks.is_empty() {
            return Err("a mark is open");
        }
        match self.stack[..] {
            [root] if matches!(self.nodes[root.index()], Node::Dict(_)) => Ok(root),
            [_] => Err("the value is another one"),
            _ => Err("there is not one value"),
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Bad> {
        let byte = *self.input.get(self.at).ok_or(ENDS_EARLY)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn slice(&mut self, len: usize) -> Result<&'a [u8], Bad> {
        let bytes = self.input[self.at..].get(..len).ok_or(ENDS_EARLY)?;
        self.at += len;
        Ok(bytes)
    }

    #[inline]
    fn bytes<const LEN: usize>(&mut self) -> Result<[u8; LEN], Bad> {
        self.slice(LEN)?.try_into().map_err(|_| ENDS_EARLY)
    }

    /// A length of so many bytes.
    #[inline]
    fn len<const LEN: usize>(&mut self) -> Result<usize, Bad> {
        let mut len = [0; 8];
        len[..LEN].copy_from_slice(&self.bytes::<LEN>()?);
        usize::try_from(u64::from_le_bytes(len)).map_err(|_| ENDS_EARLY)
    }

    /// Up to the next newline, which is taken as well.
    fn line(&mut self) -> Result<&'a [u8], Bad> {
        let rest = &self.input[self.at..];
        let rest = &rest[..rest.len().min(limits::LINE)];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("a line does not end")?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    #[inline]
    fn add(&mut self, node: Node<'a>) -> Result<Id, Bad> {
        if self.nodes.len() == limits::NODES {
            return Err(TOO_MANY_NODES);
        }
        let id = Id::next(self.nodes.len()).ok_or(TOO_MANY_NODES)?;
        self.nodes.push(node);
        Ok(id)
    }

    #[inline]
    fn push(&mut self, node: Node<'a>) -> Result<(), Bad> {
        let id = self.add(node)?;
        self.push_id(id)
    }

    #[inline]
    fn push_id(&mut self, id: Id) -> Result<(), Bad> {
        if self.stack.len() == limits::STACK {
            return Err(TOO_MANY_NODES);
        }
        self.stack.push(id);
        Ok(())
    }

    /// Puts a node below those that are above `from`.
    fn push_under(&mut self, from: usize, node: Node<'a>) -> Result<(), Bad> {
        let id = self.add(node)?;
        self.stack.insert(from, id);
        Ok(())
    }

    fn placeholder(&mut self, text: &'static str) -> Result<(), Bad> {
        self.push(Node::Text(Cow::Borrowed(text.as_bytes())))
    }

    /// Where the part of the stack begins that an opcode without a mark may use.
    #[inline]
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Bad> {
        self.stack.last().copied().filter(|_| self.stack.len() > self.floor()).ok_or(STACK_EMPTY)
    }

    fn pop(&mut self) -> Result<Id, Bad> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Takes away the value on top, or the mark if that is on top.
    fn discard(&mut self) -> Result<(), Bad> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    fn mark(&mut self) -> Result<(), Bad> {
        if self.marks.len() == limits::MARKS {
            return Err("too many marks are open");
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Closes the last mark. Returns how high the stack was there.
    #[inline]
    fn pop_mark(&mut self) -> Result<usize, Bad> {
        self.marks.pop().ok_or(NO_MARK)
    }

    /// Takes all that is above `from` from the stack.
    fn take(&mut self, from: usize) -> Result<Vec<Id>, Bad> {
        if from < self.floor() {
            return Err(STACK_EMPTY);
        }
        let items = self.stack.get(from..).ok_or(STACK_EMPTY)?.to_vec();
        self.stack.truncate(from);
        Ok(items)
    }

    /// Makes a node of all that is above the last mark.
    fn collect(&mut self, node: impl FnOnce(Vec<Id>) -> Node<'a>) -> Result<(), Bad> {
        let from = self.pop_mark()?;
        let items = self.take(from)?;
        self.push(node(items))
    }

    /// The value below `from`, to which those above it are added.
    fn target(&self, from: usize) -> Result<Id, Bad> {
        let below = from.checked_sub(1).filter(|below| *below >= self.floor()).ok_or(STACK_EMPTY)?;
        self.stack.get(below).copied().ok_or(STACK_EMPTY)
    }

    /// Adds all that is above `from` to the list, set or object below.
    fn append(&mut self, from: usize) -> Result<(), Bad> {
        let target = self.target(from)?;
        let list = match self.nodes[target.index()] {
            Node::Object(Object { items: Some(list), .. }) => list,
            Node::Object(_) => {
                let list = self.add(Node::List(Vec::new()))?;
                self.object(target, |object| object.items = Some(list));
                list
            }
            _ => target,
        };
        let (Node::List(items) | Node::Set(items)) = &mut self.nodes[list.index()] else {
            return Err(NO_LIST);
        };
        items.extend_from_slice(&self.stack[from..]);
        self.stack.truncate(from);
        Ok(())
    }

    /// Adds all that is above `from` to the dictionary or object below, in pairs.
    fn set_items(&mut self, from: usize) -> Result<(), Bad> {
        let target = self.target(from)?;
        let dict = match self.nodes[target.index()] {
            Node::Object(Object { pairs: Some(dict), .. }) => dict,
            Node::Object(_) => {
                let dict = self.add(Node::Dict(Vec::new()))?;
                self.object(target, |object| object.pairs = Some(dict));
                dict
            }
            _ => target,
        };
        let Node::Dict(pairs) = &mut self.nodes[dict.index()] else {
            return Err(NO_DICT);
        };
        let (added, rest) = self.stack[from..].as_chunks();
        if !rest.is_empty() {
            return Err("a key has no value");
        }
        pairs.extend(added.iter().map(|[key, value]| (*key, *value)));
        self.stack.truncate(from);
        Ok(())
    }

    fn object(&mut self, id: Id, change: impl FnOnce(&mut Object)) {
        if let Node::Object(object) = &mut self.nodes[id.index()] {
            change(object);
        }
    }

    /// A node of what follows a length of so many bytes.
    #[inline]
    fn text<const LEN: usize>(&mut self, node: impl FnOnce(&'a [u8]) -> Node<'a>) -> Result<(), Bad> {
        let len = self.len::<LEN>()?;
        let bytes = self.slice(len)?;
        self.push(node(bytes))
    }

    /// An integer in decimal.
    fn decimal(&mut self, line: &'a [u8]) -> Result<(), Bad> {
        let text = std::str::from_utf8(line).map_err(|_| NO_NUMBER)?.trim();
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NO_NUMBER);
        }
        if digits.len() > limits::DIGITS {
            return self.placeholder(placeholder::TOO_LARGE);
        }
        self.push(text.parse().map_or(Node::Digits(text), Node::Int))
    }

    /// An integer of so many bytes.
    fn long(&mut self, len: usize) -> Result<(), Bad> {
        let bytes = self.slice(len)?;
        // 8 bits are 2.41 digits.
        if len > limits::DIGITS * 5 / 12 {
            return self.placeholder(placeholder::TOO_LARGE);
        }
        let Some(last) = bytes.last().filter(|_| len <= 8) else {
            return self.push(if len == 0 { Node::Int(0) } else { Node::Long(bytes) });
        };
        let mut number = [if last & 0x80 == 0 { 0 } else { 0xFF }; 8];
        number[..len].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(number)))
    }

    /// A class by two lines.
    fn class(&mut self) -> Result<Node<'a>, Bad> {
        let start = self.at;
        let end = u32::try_from(self.line()?.len()).map_err(|_| ENDS_EARLY)?;
        self.line()?;
        Ok(Node::Class(&self.input[start..self.at - 1], end))
    }

    fn memo_number(&mut self) -> Result<u32, Bad> {
        let line = std::str::from_utf8(self.line()?).map_err(|_| NO_NUMBER)?;
        line.trim().parse().map_err(|_| NO_NUMBER)
    }

    #[inline]
    fn put(&mut self, number: u32) -> Result<(), Bad> {
        let top = self.top()?;
        self.memo.put(number, top)
    }

    #[inline]
    fn get(&mut self, number: u32) -> Result<(), Bad> {
        let id = self.memo.get(number).ok_or("the memo has no such value")?;
        self.push_id(id)
    }
}

/// The values that were given a number. Python counts them from 0 on, so they are in a list; numbers that are far beyond the
/// others are in a map, since a few bytes could else ask for a long list.
#[derive(Default)]
struct Memo {
    list: Vec<Option<Id>>,
    beyond: HashMap<u32, Id>,
    /// How many numbers were given.
    count: usize,
}

impl Memo {
    /// How far a number may be beyond the list for the list to be made longer.
    const NEAR: usize = 64;

    #[inline]
    fn put(&mut self, number: u32, id: Id) -> Result<(), Bad> {
        if number as usize == self.list.len() && self.list.len() + self.beyond.len() < limits::MEMO {
            self.list.push(Some(id));
            self.count += 1;
            return Ok(());
        }
        self.put_anywhere(number, id)
    }

    fn put_anywhere(&mut self, number: u32, id: Id) -> Result<(), Bad> {
        let index = number as usize;
        if index >= self.list.len() {
            if self.list.len() + self.beyond.len() >= limits::MEMO {
                return Err("too many values in the memo");
            }
            if index > self.list.len() + Self::NEAR {
                self.count += usize::from(self.beyond.insert(number, id).is_none());
                return Ok(());
            }
            self.list.resize(index + 1, None);
        }
        self.count += usize::from(self.list[index].replace(id).is_none());
        Ok(())
    }

    #[inline]
    fn get(&self, number: u32) -> Option<Id> {
        match self.list.get(number as usize) {
            Some(Some(id)) => Some(*id),
            _ => self.beyond.get(&number).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(input: &[u8]) -> String {
        match read(input) {
            Ok(_) => "a dictionary".to_owned(),
            Err(error) => error.reason.to_owned(),
        }
    }

    #[test]
    fn what_is_no_pickled_dictionary_is_refused_with_a_reason() {
        let cases: [(&[u8], Bad); 34] = [
            (b"}.", "a dictionary"),
            (b"", ENDS_EARLY),
            (b"}", ENDS_EARLY),
            (b"}X", ENDS_EARLY),
            (b"}X\xff\xff\xff\xffabc", ENDS_EARLY),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc", ENDS_EARLY),
            (b"\x8b\xff\xff\xff\xffabc", ENDS_EARLY),
            (b"GET / HTTP/1.1\r\n\r\n", "an opcode is unknown"),
            (b"}.}.", "something follows its end"),
            (b"(}.", "a mark is open"),
            (b"].", "the value is another one"),
            (b"c__builtin__\ndict\n)R.", "the value is another one"),
            (b".", "there is not one value"),
            (b"}}.", "there is not one value"),
            (b"}h\x07.", "the memo has no such value"),
            (b"q\x00", STACK_EMPTY),
            (b"0", STACK_EMPTY),
            (b"2", STACK_EMPTY),
            (b"a", STACK_EMPTY),
            (b"s", STACK_EMPTY),
            (b"Na", STACK_EMPTY),
            (b"\x87", STACK_EMPTY),
            (b"(o", STACK_EMPTY),
            (b"}(a", STACK_EMPTY),
            (b"}(Ns", STACK_EMPTY),
            (b"}(q\x00", STACK_EMPTY),
            (b"u", NO_MARK),
            (b"NNa.", NO_LIST),
            (b"NNNs.", NO_DICT),
            (b"}(Nu.", "a key has no value"),
            (b"L0x7L\n", NO_NUMBER),
            (b"Fone\n", NO_NUMBER),
            (b"Sone\n", "a text has no quotes"),
            (b"\x80\x06}.", "the protocol is newer than 5"),
        ];
        for (input, expected) in cases {
            assert_eq!(reason(input), expected, "{}", input.escape_ascii());
        }
        assert_eq!(read(b"N.").unwrap_err().to_string(), "no pickled dictionary: the value is another one at byte 2");
    }

    #[test]
    fn budgets_end_the_reading() {
        let line = [b"V", &vec![b'x'; limits::LINE][..], b"\n."].concat();
        let puts = |numbers: std::ops::Range<u32>| -> Vec<u8> {
            numbers.flat_map(|number| [&b"r"[..], &number.to_le_bytes()].concat()).collect()
        };
        let cases: [(Vec<u8>, Bad); 6] = [
            (vec![b'('; limits::MARKS + 1], "too many marks are open"),
            (b"N0".repeat(limits::NODES + 1), TOO_MANY_NODES),
            ([&b"N"[..], &vec![b'2'; limits::STACK]].concat(), TOO_MANY_NODES),
            (line, "a line does not end"),
            ([b"}".to_vec(), puts(0..100_001)].concat(), "too many values in the memo"),
            ([b"}".to_vec(), puts(1_000_000..1_100_001)].concat(), "too many values in the memo"),
        ];
        for (input, expected) in cases {
            assert_eq!(reason(&input), expected);
        }
    }

    #[test]
    fn numbers_of_the_memo_may_have_gaps() {
        for numbers in [[0, 1, 2], [7, 3, 5], [u32::MAX, 0, 70], [200, 65, 130]] {
            let mut memo = Memo::default();
            let ids = [0, 1, 2].map(|index| Id::next(index).unwrap());
            for (number, id) in numbers.into_iter().zip(ids) {
                memo.put(number, id).unwrap();
            }
            assert_eq!(numbers.map(|number| memo.get(number)), ids.map(Some), "{numbers:?}");
            assert_eq!((memo.get(4), memo.count), (None, 3));
            assert!(memo.list.len() <= 200);
        }
    }
}
