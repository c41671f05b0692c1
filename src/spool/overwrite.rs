//! [`Overwrite`]: bytes that are put one behind the other into memory that was used before.

use std::fmt;
use std::ops::Range;

/// Bytes over those of an earlier use. A `Vec` that is cleared forgets that its memory has been written, and fills it with zeros
/// before anything can be decoded into it; that takes as long as half of the decoding.
#[derive(Default)]
pub(super) struct Overwrite {
    /// The bytes, and behind them what was there before.
    memory: Vec<u8>,
    len: usize,
}

impl Overwrite {
    /// No bytes yet, over those of `memory`.
    pub(super) fn new(memory: Vec<u8>) -> Self {
        Self { memory, len: 0 }
    }

    /// Has memory for so many bytes in all.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.memory.reserve(bytes.saturating_sub(self.memory.len()));
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(place) = self.memory.get_mut(self.len..end) {
            place.copy_from_slice(bytes);
            self.len = end;
        } else {
            self.append(|memory| memory.extend_from_slice(bytes));
        }
    }

    /// So many more bytes, to be written: it is not said what they are.
    pub(super) fn claim(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.len;
        self.len += bytes;
        if self.memory.len() < self.len {
            self.memory.resize(self.len, 0);
        }
        &mut self.memory[start..self.len]
    }

    /// Has bytes appended, by who takes a `Vec`: what was behind them is forgotten.
    pub(super) fn append<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.memory.truncate(self.len);
        let result = append(&mut self.memory);
        self.len = self.memory.len();
        result
    }

    /// Removes bytes.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.memory.copy_within(range.end..self.len, range.start);
        self.len -= range.len();
    }

    /// Nothing but the bytes.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.memory.truncate(self.len);
        self.memory
    }

    /// The bytes and all behind them, to be written over again.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.memory
    }
}

impl fmt::Debug for Overwrite {
    /// Without what lies behind the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Overwrite").field(&self.bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_that_were_put_there_whatever_was_there_before() {
        for before in [&b""[..], b"12", b"123456789", &[b'-'; 100]] {
            let mut bytes = Overwrite::new(before.to_vec());
            bytes.extend_from_slice(b"abc");
            bytes.claim(4).copy_from_slice(b"defg");
            bytes.append(|memory| memory.extend_from_slice(b"hi"));
            assert_eq!(bytes.bytes(), b"abcdefghi", "over {before:?}");
            bytes.remove(1..3);
            bytes.truncate(5);
            bytes.truncate(9);
            bytes.remove(2..2);
            bytes.remove(5..5);
            assert_eq!((bytes.len(), bytes.bytes()), (5, &b"adefg"[..]), "over {before:?}");
            bytes.extend_from_slice(b"!");
            assert_eq!(bytes.into_bytes(), b"adefg!", "over {before:?}");
        }
    }

    #[test]
    fn memory_that_was_written_is_not_filled_again() {
        let mut bytes = Overwrite::new(b"before".to_vec());
        assert_eq!(bytes.claim(3), b"bef");
        bytes.extend_from_slice(b"123");
        assert_eq!(bytes.into_memory(), b"bef123");
    }
}
