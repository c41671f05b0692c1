//! The response protocols, one file for each.

mod bulk;
mod clickhouse;
mod otlp;
mod splunk;
mod text;

use crate::encode::framing::ResponseProtocol;
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::Verdict;

/// The most of a response that is read: a `_bulk` response has an item for every record.
#[expect(dead_code, reason = "the setting has taken its place")]
pub(crate) fn max_bytes(protocol: ResponseProtocol) -> usize {
    match protocol {
        ResponseProtocol::Bulk => bulk::MAX_BYTES,
        _ => 64 << 10,
    }
}

/// Reads the response to a batch of `records` records.
pub(crate) fn read(protocol: ResponseProtocol, response: &Response, records: u64) -> Reading {
    if let Some(why) = tls_to_blame(response) {
        return Reading::new(Verdict::Hold, response, why);
    }
    let succeeded = (200..300).contains(&response.status);
    if succeeded && protocol != ResponseProtocol::Status && response.body.trim_ascii_start().starts_with(b"<") {
        return Reading::new(
            Verdict::Hold,
            response,
            "a page, and no response of the protocol; is it the endpoint that responds?",
        );
    }
    match protocol {
        ResponseProtocol::Otlp if succeeded => otlp::read(response, records),
        ResponseProtocol::Bulk if succeeded => bulk::read(response, records),
        ResponseProtocol::SplunkHec => splunk::read(response),
        ResponseProtocol::ClickHouse => clickhouse::read(response),
        ResponseProtocol::Status | ResponseProtocol::Otlp | ResponseProtocol::Bulk => Reading::of_status(response),
    }
}

/// Whether a 400 is about the connection: nginx responds so if a client's certificate or TLS is missing, Go's servers if TLS is.
fn tls_to_blame(response: &Response) -> Option<&'static str> {
    const PLAIN: &str = "Client sent an HTTP request to an HTTPS server.";
    const TITLES: [&str; 3] = [
        "400 No required SSL certificate was sent",
        "400 The SSL certificate error",
        "400 The plain HTTP request was sent to HTTPS port",
    ];
    if response.status != 400 {
        return None;
    }
    let page = String::from_utf8_lossy(&response.body);
    if page.trim() == PLAIN {
        return Some(PLAIN);
    }
    let title = page.split_once("<title>")?.1.split("</title>").next();
    TITLES.into_iter().find(|known| title == Some(known))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Reading, Response, ResponseProtocol, Verdict};

    fn response(status: u16, body: impl AsRef<[u8]>) -> Response {
        Response { status, retry_after: None, body: body.as_ref().to_vec(), whole: true }
    }

    pub(super) fn read(protocol: ResponseProtocol, status: u16, body: impl AsRef<[u8]>) -> (Verdict, String) {
        let Reading { verdict, reason } = super::read(protocol, &response(status, body), 3);
        (verdict, reason)
    }

    #[test]
    fn a_400_that_nginx_gives_for_the_sake_of_tls_is_not_the_batchs() {
        let page = |status, title: &str| {
            let body = format!("<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center>...");
            read(ResponseProtocol::Status, status, body)
        };
        let why = "400 No required SSL certificate was sent";
        assert_eq!(page(400, why), (Verdict::Hold, format!("the server responded with 400: {why}")));
        assert_eq!(page(400, "400 The SSL certificate error").0, Verdict::Hold);
        assert_eq!(page(400, "400 The plain HTTP request was sent to HTTPS port").0, Verdict::Hold);
        assert_eq!(page(400, "400 Bad Request").0, Verdict::Rejected);
        assert_eq!(page(422, why).0, Verdict::Rejected);
        assert_eq!(read(ResponseProtocol::Otlp, 400, why).0, Verdict::Rejected, "it is no page of nginx");
        let go = "Client sent an HTTP request to an HTTPS server.\n";
        assert_eq!(read(ResponseProtocol::Otlp, 400, go).0, Verdict::Hold);
    }

    #[test]
    fn a_page_is_no_response_of_any_protocol() {
        for protocol in
            [ResponseProtocol::Otlp, ResponseProtocol::Bulk, ResponseProtocol::SplunkHec, ResponseProtocol::ClickHouse]
        {
            assert_eq!(read(protocol, 200, "\n<!doctype html><html>sign in").0, Verdict::Hold, "{protocol:?}");
        }
        assert_eq!(read(ResponseProtocol::Status, 200, "<html>thanks").0, Verdict::Delivered);
    }
}
