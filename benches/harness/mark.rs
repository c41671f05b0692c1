//! The mark by which a message is recognised in any format: plain text that no encoding changes.

const MARK: &[u8; 4] = b"\x7eno\x7e";
const NUMBER: usize = 10;
const TIME: usize = 16;

/// The least bytes of a message.
pub(crate) const LEAST_BYTES: usize = 48;

const PADDING: &str = "the quick brown fox jumps over the lazy dog and is not seen again before the next morning ";

/// Makes messages of one length.
pub(crate) struct Messages {
    padding: String,
}

impl Messages {
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        let padding = bytes.max(LEAST_BYTES) - (MARK.len() + NUMBER + 1 + TIME + 1);
        Self { padding: PADDING.chars().cycle().take(padding).collect() }
    }

    /// A message with its number and when it was emitted, in microseconds since the epoch.
    pub(crate) fn message(&self, number: u64, micros: u64) -> String {
        format!("~no~{number:010}@{micros:016} {}", self.padding)
    }
}

/// Finds the number and the time of every message in a request's body, in their order.
pub(crate) struct Finder(memchr::memmem::Finder<'static>);

impl Finder {
    pub(crate) fn new() -> Self {
        Self(memchr::memmem::Finder::new(MARK))
    }

    pub(crate) fn find<'a>(&'a self, body: &'a [u8]) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.0.find_iter(body).filter_map(|at| {
            let (number, rest) = body[at + MARK.len()..].split_at_checked(NUMBER)?;
            Some((decimal(number)?, decimal(rest.get(1..=TIME)?)?))
        })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}
