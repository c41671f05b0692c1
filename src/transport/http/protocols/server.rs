//! The responses that a server gives by itself, before the endpoint behind it has seen the request.

use crate::transport::http::response::Response;

/// The first lines of a 400 in plain text that servers give for a request's head, or for TLS: in lower case, without the status
/// before them and the dot behind.
const LINES: [&str; 8] = [
    "bad request",
    "bad request: malformed host header",
    "bad request: missing required host header",
    "client sent an http request to an https server",
    "invalid http request received",
    "port 9000 is for clickhouse-client program",
    "this is not an http port",
    r#"{"error":"bad request","message":"client error","statuscode":400}"#,
];

/// Whether the body is a page for a browser. XML is none.
pub(super) fn is_page(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    // A protobuf message can begin with a line feed and a `<` as well.
    let is_markup = |next: &u8| next.is_ascii_alphabetic() || *next == b'!';
    let Some((b'<', rest)) = body.split_first() else { return false };
    match rest.strip_prefix(b"?xml") {
        Some(xml) => {
            let start = xml[..xml.len().min(512)].to_ascii_lowercase();
            start.windows(5).any(|window| window == b"<html")
        }
        None => rest.first().is_some_and(is_markup),
    }
}

/// The title of a page.
pub(super) fn title(page: &str) -> Option<&str> {
    // ASCII keeps its length in lower case.
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(page[start..end].trim())
}

/// Words for a refusal that says nothing about the records: a page, and a 400 without a body or with a line by which servers
/// are known.
pub(super) fn own_response(response: &Response) -> Option<String> {
    if !matches!(response.status, 400 | 415 | 422) {
        return None;
    }
    let body = String::from_utf8_lossy(&response.body);
    let body = body.trim();
    if is_page(body.as_bytes()) {
        // The name of the status and no more: an application's page can show what was logged.
        let own = |title: &&str| {
            let name = title.strip_prefix(&response.status.to_string());
            name.is_some_and(|name| name.chars().all(|char| char.is_ascii_alphabetic() || " :-".contains(char)))
        };
        let title = title(body).filter(own).map(|title| format!(": {title}")).unwrap_or_default();
        return Some(format!("a page, and no response of the endpoint itself{title}"));
    }
    if response.status != 400 {
        return None;
    }
    if body.is_empty() {
        return Some("it does not say why".to_owned());
    }
    let line = body.lines().next().unwrap_or_default().trim();
    let without_status = line.strip_prefix("400").unwrap_or(line).trim_start_matches([':', ' ']);
    let known = without_status.trim_end_matches('.').to_ascii_lowercase();
    LINES.contains(&&*known).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(status: u16, body: &str) -> Option<String> {
        own_response(&Response::new(status, body))
    }

    #[test]
    fn a_page_is_told_from_xml_and_from_protobuf() {
        for page in [
            "<html>",
            "\r\n<!DOCTYPE html>",
            "<HTML><body>",
            "<h1>Bad Message 400</h1>",
            "<?xml version=\"1.0\"?>\n<html>",
        ] {
            assert!(is_page(page.as_bytes()), "{page}");
        }
        let protobuf = "\n<\u{8}\u{1}\u{12}8";
        for other in
            ["", "<", "< 3", "{}", "<?xml version=\"1.0\"?>\n<Error><Code>InvalidArgument</Code></Error>", protobuf]
        {
            assert!(!is_page(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_server_by_itself_says_nothing_about_the_records() {
        let nginx = |title| {
            format!("<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>")
        };
        let page = "a page, and no response of the endpoint itself";
        for (body, expected) in [
            // nginx: a token of 9 KB, no certificate, no TLS.
            (
                nginx("400 Request Header Or Cookie Too Large"),
                format!("{page}: 400 Request Header Or Cookie Too Large"),
            ),
            (
                nginx("400 No required SSL certificate was sent"),
                format!("{page}: 400 No required SSL certificate was sent"),
            ),
            (
                nginx("400 The plain HTTP request was sent to HTTPS port"),
                format!("{page}: 400 The plain HTTP request was sent to HTTPS port"),
            ),
            // Tornado and HAProxy.
            (
                "<html><title>400: Bad Request</title><body>400: Bad Request</body></html>".to_owned(),
                format!("{page}: 400: Bad Request"),
            ),
            (
                "<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n</body></html>"
                    .to_owned(),
                page.to_owned(),
            ),
            // Jetty.
            ("<h1>Bad Message 400</h1><pre>reason: Illegal character SPACE=' '</pre>".to_owned(), page.to_owned()),
            // An application's page, whose title shows what was logged.
            ("<!doctype html><html><title>400 hunter2: 'password'</title>".to_owned(), page.to_owned()),
            (String::new(), "it does not say why".to_owned()),
            (" \r\n".to_owned(), "it does not say why".to_owned()),
        ] {
            assert_eq!(own(400, &body), Some(expected), "{body}");
        }
        for body in [
            // Go, uvicorn, aiohttp, Tomcat, waitress, Fastify, ClickHouse's port of its own protocol.
            "Client sent an HTTP request to an HTTPS server.\n",
            "400 Bad Request",
            "400 Bad Request: missing required Host header",
            "Invalid HTTP request received.",
            "400: Bad Request",
            "Bad Request\r\nThis combination of host and port requires TLS.\r\n",
            "Bad Request\r\n\r\nHeader line too long\r\n\r\n(generated by waitress)",
            r#"{"error":"Bad Request","message":"Client Error","statusCode":400}"#,
            "Port 9000 is for clickhouse-client program\r\nYou must use port 8123 for HTTP.\r\n",
        ] {
            assert_eq!(own(400, body).as_deref(), body.trim().lines().next(), "{body}");
            assert_eq!(own(422, body), None, "{body}");
        }
    }

    #[test]
    fn an_endpoint_that_says_anything_of_its_own_is_no_server_by_itself() {
        for body in [
            "bad record",
            "entry for stream '{app=\"a\"}' has timestamp too old: 2019-10-11T14:30:38Z",
            r#"{"error":"Bad Request","message":"body/0/level must be string","statusCode":400}"#,
            "<?xml version=\"1.0\"?>\n<Error><Code>InvalidArgument</Code></Error>",
        ] {
            assert_eq!(own(400, body), None, "{body}");
        }
        assert_eq!(own(422, ""), None);
        assert_eq!(own(415, "").as_deref(), None);
        assert!(own(415, "<!doctype html>").is_some(), "as Splunk's for deflate");
        assert_eq!(own(404, "<html>"), None, "its status says enough");
    }
}
