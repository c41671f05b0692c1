//! [`HeadReader`]: the request line and the headers.
//!
//! A target is any text without control characters: Python sends `GET log?..` without a slash, absolute ones, ones with `#`,
//! and old tools send spaces. The request line ends at its last space, so that all of them are read in one way.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::refusal::Refusal;
use crate::relay::protocol::Request;

/// A request with more headers is refused.
pub(crate) const MAX_HEADERS: usize = 128;

/// The methods. None is the end of another: the surplus of a body that stands before one makes an unknown method of it,
/// never another known one. See `surplus`.
pub(super) const METHODS: [&str; 9] = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// The request line and the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: &'static str,
    pub(crate) version: Version,
    /// The path of the target as it was sent, without the query, and without scheme and authority.
    pub(crate) path: Bytes,
    /// Everything behind the first question mark.
    pub(crate) query: Option<Bytes>,
    /// In their order, spelt as they were sent.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// The head as protocols see it.
    pub(crate) fn request(&self, cut: bool) -> Request<'_> {
        Request { method: self.method, path: &self.path, query: self.query.as_deref(), headers: &self.headers, cut }
    }

    /// The values of all headers of this name, which is given in lower case.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The comma-separated elements of all headers of this name, which is given in lower case.
    pub(crate) fn elements<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(name).flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
    }
}

/// The limits of a head in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) line: usize,
    pub(crate) headers: usize,
    /// Both together.
    pub(crate) whole: usize,
}

/// Finds the end of a head and reads it. It looks at each byte once, however many arrive at a time.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    line: Option<Line>,
    /// The beginning of the line that is not complete.
    start: usize,
    /// The end of what has been looked at.
    scanned: usize,
}

#[derive(Debug)]
struct Line {
    method: &'static str,
    version: Version,
    path: Range<usize>,
    query: Option<Range<usize>>,
    /// The end of the request line.
    end: usize,
}

impl HeadReader {
    /// Takes the head from the beginning of `bytes`; nothing if more of it has to come.
    ///
    /// # Errors
    ///
    /// If it is malformed or too long, which is said as soon as it is seen.
    pub(crate) fn read(&mut self, bytes: &mut BytesMut, limits: HeadLimits) -> Result<Option<Head>, Refusal> {
        let line = match &mut self.line {
            Some(line) => line,
            missing => {
                skip_empty_lines(bytes)?;
                match bytes[..] {
                    [] | [b'\r'] => return Ok(None),
                    [b'A'..=b'Z', ..] => {}
                    // The hello of TLS, the length of a frame.
                    _ => return Err(Refusal::Malformed),
                }
                let end = next_line(bytes, &mut self.scanned);
                if end.unwrap_or(bytes.len()) > limits.line.min(limits.whole) {
                    return Err(Refusal::LineTooLong);
                }
                let Some(end) = end else { return Ok(None) };
                self.start = end;
                missing.insert(Line::read(&bytes[..end])?)
            }
        };
        loop {
            let end = next_line(bytes, &mut self.scanned);
            let len = end.unwrap_or(bytes.len());
            if len - line.end > limits.headers || len > limits.whole {
                return Err(Refusal::HeadersTooLarge);
            }
            let Some(end) = end else { return Ok(None) };
            if matches!(&bytes[self.start..end], b"\n" | b"\r\n") {
                let head = line.head(&bytes.split_to(end).freeze())?;
                *self = Self::default();
                return Ok(Some(head));
            }
            self.start = end;
        }
    }
}

/// The end of the line that is not complete, behind its line feed.
fn next_line(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    let found = bytes[*scanned..].iter().position(|byte| *byte == b'\n').map(|at| *scanned + at + 1);
    *scanned = found.unwrap_or(bytes.len());
    found
}

/// Old clients end a body with an empty line that they do not count.
fn skip_empty_lines(bytes: &mut BytesMut) -> Result<(), Refusal> {
    loop {
        match bytes[..] {
            [b'\n', ..] => bytes.advance(1),
            [b'\r', b'\n', ..] => bytes.advance(2),
            [b'\r', _, ..] => return Err(Refusal::Malformed),
            _ => return Ok(()),
        }
    }
}

impl Line {
    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_space = |byte: &u8| *byte == b' ';
        let (Some(first), Some(last)) = (line.iter().position(is_space), line.iter().rposition(is_space)) else {
            return Err(Refusal::Malformed);
        };
        let method = METHODS.into_iter().find(|method| method.as_bytes() == &line[..first]);
        let target = first + 1..last;
        if target.is_empty() || line[target.clone()].iter().any(u8::is_ascii_control) {
            return Err(Refusal::Malformed);
        }
        let version = version(&line[last + 1..])?;
        let path = target.start + authority_end(&line[target.clone()]);
        let question_mark = line[path..last].iter().position(|byte| *byte == b'?').map(|at| path + at);
        let (path, query) = (path..question_mark.unwrap_or(last), question_mark.map(|at| at + 1..last));
        Ok(Self { method: method.ok_or(Refusal::Malformed)?, version, path, query, end: bytes.len() })
    }

    /// The head, of which this is the request line.
    fn head(&self, bytes: &Bytes) -> Result<Head, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let rest = &bytes[self.end..];
        let headers = match httparse::parse_headers(rest, &mut headers) {
            Ok(httparse::Status::Complete((len, headers))) if len == rest.len() => headers,
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadersTooLarge),
            _ => return Err(Refusal::Malformed),
        };
        let text = |header: &httparse::Header<'_>| {
            (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
        };
        let path = if self.path.is_empty() { Bytes::from_static(b"/") } else { bytes.slice(self.path.clone()) };
        Ok(Head {
            method: self.method,
            version: self.version,
            path,
            query: self.query.clone().map(|query| bytes.slice(query)),
            headers: headers.iter().map(text).collect(),
        })
    }
}

fn version(bytes: &[u8]) -> Result<Version, Refusal> {
    match bytes {
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Refusal::Version),
        _ => Err(Refusal::Malformed),
    }
}

/// The length of scheme and authority, with which an absolute target begins.
fn authority_end(target: &[u8]) -> usize {
    let begins =
        |scheme: &str| target.len() >= scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme.as_bytes());
    let Some(scheme) = ["http://", "https://"].into_iter().find(|scheme| begins(scheme)) else { return 0 };
    let authority = target[scheme.len()..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    authority.map_or(target.len(), |len| scheme.len() + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { line: 64, headers: 64, whole: 100 };

    fn read(bytes: &[u8], limits: HeadLimits) -> Result<Option<Head>, Refusal> {
        let mut whole = BytesMut::from(bytes);
        let at_once = HeadReader::default().read(&mut whole, limits);
        let (mut reader, mut buffer, mut by_byte) = (HeadReader::default(), BytesMut::new(), Ok(None));
        for byte in bytes {
            buffer.extend_from_slice(&[*byte]);
            by_byte = reader.read(&mut buffer, limits);
            if !matches!(by_byte, Ok(None)) {
                break;
            }
        }
        assert_eq!(at_once, by_byte, "{}", bytes.escape_ascii());
        at_once
    }

    #[test]
    fn a_target_is_split_into_path_and_query_whatever_its_form() {
        let cases: [(&str, &str, Option<&str>); 13] = [
            ("/v1/logs", "/v1/logs", None),
            ("log?name=a.b&msg=%25s+x", "log", Some("name=a.b&msg=%25s+x")),
            ("/log?a?b", "/log", Some("a?b")),
            ("/log?", "/log", Some("")),
            ("/log#x?k=v", "/log#x", Some("k=v")),
            ("/log?k=v#x", "/log", Some("k=v#x")),
            ("http://host:9022/a/b?c", "/a/b", Some("c")),
            ("HTTPS://host?c", "/", Some("c")),
            ("http://host", "/", None),
            ("//v1/logs", "//v1/logs", None),
            ("/?a=b/v1/logs", "/", Some("a=b/v1/logs")),
            ("*", "*", None),
            ("/log?msg=two words", "/log", Some("msg=two words")),
        ];
        for (target, path, query) in cases {
            let bytes = format!("GET {target} HTTP/1.1\r\n\r\n");
            let head = read(bytes.as_bytes(), LIMITS).unwrap().unwrap();
            assert_eq!((head.method, &*head.path), ("GET", path.as_bytes()), "{target}");
            assert_eq!(head.query.as_deref(), query.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn headers_keep_their_order_and_spelling() {
        let bytes = b"\r\n\nPOST log HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-length:  3 \nx-latin: caf\xe9\r\nEmpty:\r\n\r\nbody";
        let mut buffer = BytesMut::from(&bytes[..]);
        let head = HeadReader::default().read(&mut buffer, LIMITS).unwrap().unwrap();
        let expected = [("Host", "127.0.0.1"), ("Content-length", "3"), ("x-latin", "caf\u{fffd}"), ("Empty", "")];
        assert_eq!(head.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((head.version, &buffer[..]), (Version::Http10, &b"body"[..]));
        assert_eq!(read(&bytes[..bytes.len() - 4], LIMITS), Ok(Some(head)));
    }

    #[test]
    fn a_head_that_is_none_is_refused_as_soon_as_it_is_seen() {
        let cases: [(&[u8], Refusal); 20] = [
            (b"\0\0\x02\x10}q", Refusal::Malformed),
            (b"\x16\x03\x01", Refusal::Malformed),
            (b"get / HTTP/1.1\r\n", Refusal::Malformed),
            (b"GETPOST / HTTP/1.1\r\n", Refusal::Malformed),
            (b"GET /\r\n", Refusal::Malformed),
            (b"GET  HTTP/1.1\r\n", Refusal::Malformed),
            (b"GET HTTP/1.1\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.1 \r\n", Refusal::Malformed),
            (b"GET /\tx HTTP/1.1\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.11\r\n", Refusal::Malformed),
            (b"PRI * HTTP/2.0\r\n", Refusal::Version),
            (b"GET / HTTP/2.0\r\n", Refusal::Version),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.1\r\n: b\r\n\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.1\r\nA\r\n\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Refusal::Malformed),
            (b"\rGET / HTTP/1.1\r\n\r\n", Refusal::Malformed),
            (b"GET / HTTP/1.1\r\n\rA: b\r\n\r\n", Refusal::Malformed),
        ];
        for (bytes, refusal) in cases {
            assert_eq!(read(bytes, LIMITS), Err(refusal), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn each_limit_of_a_head_is_exact() {
        let request = |target: usize, header: usize| {
            format!("GET {} HTTP/1.1\r\nA: {}\r\n\r\n", "t".repeat(target), "h".repeat(header))
        };
        let cases = [
            (49, 1, None),
            (50, 1, Some(Refusal::LineTooLong)),
            (1, 57, None),
            (1, 58, Some(Refusal::HeadersTooLarge)),
            (30, 48, None),
            (30, 49, Some(Refusal::HeadersTooLarge)),
        ];
        for (target, header, refusal) in cases {
            let found = read(request(target, header).as_bytes(), LIMITS);
            assert_eq!(found.err(), refusal, "{target} {header}");
        }
        // Before the line or the headers end.
        assert_eq!(read(&b"GET ".repeat(20), LIMITS), Err(Refusal::LineTooLong));
        assert_eq!(read(request(1, 90).trim_end().as_bytes(), LIMITS), Err(Refusal::HeadersTooLarge));
        let headers = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(count));
        let wide = HeadLimits { line: 1000, headers: 1000, whole: 2000 };
        assert!(read(headers(MAX_HEADERS).as_bytes(), wide).is_ok_and(|head| head.is_some()));
        assert_eq!(read(headers(MAX_HEADERS + 1).as_bytes(), wide), Err(Refusal::HeadersTooLarge));
    }

    #[test]
    fn no_method_is_the_end_of_another() {
        for method in METHODS {
            assert!(METHODS.iter().all(|other| *other == method || !other.ends_with(method)), "{method}");
        }
    }
}
