//! Form bodies that are longer or shorter than their `Content-length` says.
//!
//! A widespread handler for aiohttp sends the length of a text before it is percent-encoded. Up to aiohttp 3.11 the whole body
//! follows all the same; from 3.12 on the client cuts it, which can only be noted.
//!
//! Bytes behind a body are the beginning of the next request otherwise, so what belongs to the body must not be one, and what
//! is one must not be swallowed:
//! - Surplus is only what follows a form body at once and consists of nothing but the characters of a form. A request line has a
//!   space within its first line, so a complete one is never taken. The beginning of a method (`P`, `GET`) is left alone.
//! - A connection on which surplus was taken is closed after the answer, and nothing more is read from it. Should a proxy have
//!   sent another request on it, that one is lost; no part of it is read as a request.
//! - Where surplus is left alone or arrives too late, it has no space and no line feed, so it cannot be a request. It stands
//!   before the method of the next one, and makes an unknown method of it, which is refused: no method is the end of another.

use super::body::BodyFraming;
use super::head::{Head, METHODS};

/// Whether the client has cut the body to a length that is too small.
pub(super) fn is_cut(head: &Head) -> bool {
    let sends_wrong_length = head.headers.iter().any(|(name, _)| name == "Content-length");
    sends_wrong_length && is_form(head) && head.values("user-agent").any(cuts)
}

/// Whether the client is one of those that send any, and worth a wait. Each form of the others would have it as well: they
/// lose only what has not come together with the body.
pub(super) fn is_likely(head: &Head) -> bool {
    head.values("user-agent").any(|agent| agent.split_ascii_whitespace().any(|product| product.starts_with("aiohttp/")))
}

/// Whether a client with this name is aiohttp 3.12 or later.
fn cuts(agent: &str) -> bool {
    let versions = agent.split_ascii_whitespace().filter_map(|product| product.strip_prefix("aiohttp/"));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    versions.map(|version| version.split('.')).any(|mut parts| match number(parts.next()) {
        Some(3) => number(parts.next()).is_some_and(|minor| minor >= 12),
        major => major > Some(3),
    })
}

/// Whether bytes behind the body may belong to it.
pub(super) fn may_follow(head: &Head, framing: BodyFraming) -> bool {
    matches!(framing, BodyFraming::Length(1..)) && is_form(head) && head.values("content-encoding").next().is_none()
}

fn is_form(head: &Head) -> bool {
    head.request(false).media_type() == "application/x-www-form-urlencoded"
}

/// The length of the surplus at the beginning of what has come: all of it, or 0 if it is something else.
pub(super) fn len(bytes: &[u8]) -> usize {
    let is_of_a_form = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+&=._*-~".contains(byte);
    let begins_method = METHODS.iter().any(|method| method.as_bytes().starts_with(bytes));
    if !begins_method && bytes.iter().all(is_of_a_form) { bytes.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_characters_of_a_form_that_are_no_method_are_surplus() {
        let cases: [(&[u8], bool); 12] = [
            (b"", false),
            (b"G", false),
            (b"POST", false),
            (b"POST /", false),
            (b"GET /log HTTP/1.1\r\n", false),
            (b"a b", false),
            (b"\r\n", false),
            (b"caf%C3%A9&level=x\n", false),
            (b"caf%C3%A9&level=x", true),
            (b"POSTS", true),
            (b"get", true),
            (b"%25+&=._*-~09azAZ", true),
        ];
        for (bytes, is_surplus) in cases {
            assert_eq!(len(bytes), if is_surplus { bytes.len() } else { 0 }, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn aiohttp_cuts_from_3_12_on() {
        let cases = [
            ("Python/3.13 aiohttp/3.12.4", true),
            ("aiohttp/3.12", true),
            ("Python/3.13 aiohttp/3.14.5", true),
            ("aiohttp/4.0.0a1", true),
            ("Python/3.10 aiohttp/3.11.18", false),
            ("aiohttp/3.7.4.post0", false),
            ("aiohttp/", false),
            ("python-requests/2.34.2", false),
        ];
        for (agent, expected) in cases {
            assert_eq!(cuts(agent), expected, "{agent}");
        }
    }
}
