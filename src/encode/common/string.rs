//! JSON strings, and digits in hexadecimal. Few bytes are escaped, so many are looked at together, and what stands
//! between two that are is copied at once.

/// How many bytes are looked at together.
const CHUNK: usize = 16;

/// The character behind the backslash of each byte: a letter, `u` if its number in hexadecimal follows, or 0 if it is
/// not escaped.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut control = 0;
    while control < b' ' as usize {
        escapes[control] = b'u';
        control += 1;
    }
    escapes[0x08] = b'b';
    escapes[b'\t' as usize] = b't';
    escapes[b'\n' as usize] = b'n';
    escapes[0x0c] = b'f';
    escapes[b'\r' as usize] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// The two digits of each byte in hexadecimal.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Writes a string in quotes, as `serde_json` does.
pub(in crate::encode) fn write_text(out: &mut Vec<u8>, text: &str) {
    write_between(out, b"\"", text, b"\"");
}

/// Writes a string between what stands before it and behind it, its quotes among that.
#[inline]
pub(in crate::encode) fn write_between<const BEFORE: usize, const BEHIND: usize>(
    out: &mut Vec<u8>,
    before: &[u8; BEFORE],
    text: &str,
    behind: &[u8; BEHIND],
) {
    let bytes = text.as_bytes();
    let (clean, rest) = bytes.split_at(clean_len(bytes));
    out.extend_from_slice(before);
    out.extend_from_slice(clean);
    if !rest.is_empty() {
        write_escaped(out, rest);
    }
    out.extend_from_slice(behind);
}

/// Writes bytes of which one of the first chunk is escaped.
#[cold]
fn write_escaped(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (chunk, behind) = bytes.split_at(bytes.len().min(CHUNK));
        for byte in chunk {
            write_byte(out, *byte);
        }
        let (clean, rest) = behind.split_at(clean_len(behind));
        out.extend_from_slice(clean);
        bytes = rest;
    }
}

fn write_byte(out: &mut Vec<u8>, byte: u8) {
    match ESCAPES[usize::from(byte)] {
        0 => out.push(byte),
        b'u' => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&HEX[usize::from(byte)]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

/// Writes bytes in hexadecimal.
#[inline]
pub(in crate::encode) fn write_hex<const LEN: usize>(out: &mut Vec<u8>, bytes: [u8; LEN]) {
    let mut digits = [[0; 2]; LEN];
    for (pair, byte) in digits.iter_mut().zip(bytes) {
        *pair = HEX[usize::from(byte)];
    }
    out.extend_from_slice(digits.as_flattened());
}

/// How many bytes can be copied: all of them, or the chunks before the first in which one is escaped.
fn clean_len(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    if let Some(dirty) = chunks.iter().position(any_escaped) {
        return dirty * CHUNK;
    }
    let in_chunks = bytes.len() - rest.len();
    // Chunks may overlap: the last bytes are looked at together with some that were seen already.
    let is_dirty = match bytes.last_chunk::<CHUNK>() {
        Some(last) => any_escaped(last),
        None => any_of_ends::<8>(bytes).or_else(|| any_of_ends::<4>(bytes)).unwrap_or_else(|| any(bytes)),
    };
    if is_dirty { in_chunks } else { bytes.len() }
}

/// Whether any byte is escaped of at most twice as many as are looked at together; `None` if there are fewer than that.
#[inline]
fn any_of_ends<const LEN: usize>(bytes: &[u8]) -> Option<bool> {
    Some(any_escaped::<LEN>(bytes.first_chunk()?) | any_escaped::<LEN>(bytes.last_chunk()?))
}

#[inline]
fn any_escaped<const LEN: usize>(bytes: &[u8; LEN]) -> bool {
    any(bytes)
}

/// Without a branch, so that the compiler looks at all of them at once.
#[inline]
fn any(bytes: &[u8]) -> bool {
    let is_escaped = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
    bytes.iter().fold(0, |any, byte| any | is_escaped(*byte)) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_text(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_at_every_place_of_a_string_is_written_as_serde_json_does() {
        for len in 0..=40 {
            for at in 0..len {
                for character in (0..=0xff).map(char::from) {
                    let text: String = (0..len).map(|place| if place == at { character } else { 'x' }).collect();
                    assert_eq!(written(&text), serde_json::to_string(&text).unwrap(), "{character:?} at {at} of {len}");
                }
            }
        }
        assert_eq!(written(""), r#""""#);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_string_of_any_escapes_is_written_as_serde_json_does(text in "[ -~\n\t\"\\\\\u{0}\u{1f}\u{7f}äẞ🦀]{0,100}") {
            prop_assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
        }
    }
}
