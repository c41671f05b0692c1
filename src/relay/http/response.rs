//! [`Response`]: status, a few headers and a body, as the bytes of one write.
//!
//! A client may wait for a response with a lock held, and read it with one call: it leaves in one piece.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::refusal::Refusal;

/// The time after which a client is told to try again, in seconds. Clients try a few times only: less, and all of these are over
/// within a second; more, and some give up at once.
const RETRY_AFTER_SECONDS: u32 = 3;

/// What a client is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status, such as 200.
    pub(crate) status: u16,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Cow<'static, [u8]>,
    /// Adds `Retry-After`: the client may send the request again, nothing of it is stored.
    pub(crate) retry: bool,
    /// Further headers: names and values.
    pub(crate) headers: Vec<(&'static str, Cow<'static, str>)>,
}

/// The connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Close,
    /// It stays open for so long without a request.
    KeepAlive(Duration),
}

impl Response {
    /// A response without a body.
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The server's own response to a request that it refuses.
    pub(super) fn refused(refusal: Refusal) -> Self {
        let mut response = Self::new(refusal.status());
        (response.content_type, response.body) = (Some("text/plain"), refusal.text().as_bytes().into());
        if refusal == Refusal::Unauthorized {
            response.headers.push(("WWW-Authenticate", "Basic realm=\"otel-spool\"".into()));
        }
        response
    }

    /// Its bytes. A response to `HEAD` has no body, but its length.
    pub(super) fn bytes(&self, is_head: bool, after: After, now: SystemTime) -> Vec<u8> {
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or_default());
        let has_body = self.status != 204 && self.status != 304;
        if has_body {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        if let Some(content_type) = self.content_type {
            let _ = write!(head, "Content-Type: {content_type}\r\n");
        }
        if self.retry {
            let _ = write!(head, "Retry-After: {RETRY_AFTER_SECONDS}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = match after {
            After::Close => write!(head, "Connection: close\r\n"),
            After::KeepAlive(idle) => {
                write!(head, "Connection: keep-alive\r\nKeep-Alive: timeout={}\r\n", idle.as_secs())
            }
        };
        let _ = write!(head, "Date: {}\r\n\r\n", httpdate::fmt_http_date(now));
        let mut bytes = head.into_bytes();
        if has_body && !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &Response, is_head: bool, after: After) -> String {
        String::from_utf8(response.bytes(is_head, after, SystemTime::UNIX_EPOCH)).unwrap()
    }

    #[test]
    fn a_response_says_how_long_it_is_and_what_becomes_of_the_connection() {
        let keep = After::KeepAlive(Duration::from_secs(60));
        let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        let alive = "Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n";
        let ok = Response::new(200);
        assert_eq!(text(&ok, false, keep), format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{alive}{date}"));
        let mut json =
            Response { content_type: Some("application/json"), body: b"{}"[..].into(), ..Response::new(200) };
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\nConnection: close\r\n";
        assert_eq!(text(&json, false, After::Close), format!("{head}{date}{{}}"));
        assert_eq!(text(&json, true, After::Close), format!("{head}{date}"));
        json.status = 204;
        let expected = format!("HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\n{alive}{date}");
        assert_eq!(text(&json, false, keep), expected, "a 204 has neither body nor length");
        let busy = Response { retry: true, headers: vec![("X-A", "b".into())], ..Response::new(503) };
        let expected = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 3\r\nX-A: b\r\n";
        assert_eq!(text(&busy, false, After::Close), format!("{expected}Connection: close\r\n{date}"));
    }

    #[test]
    fn who_lacks_credentials_is_told_how_to_show_them() {
        let refused = Response::refused(Refusal::Unauthorized);
        assert!(text(&refused, false, After::Close).contains("WWW-Authenticate: Basic realm=\"otel-spool\"\r\n"));
    }
}
