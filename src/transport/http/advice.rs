//! [`Advice`]: what to do about a failure on the way to an endpoint, by the settings that are meant. It names no value of them.

use std::time::Duration;

use crate::config::values::Sourced;
use crate::transport::contract::SendError;
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::way::{PROXY_VARIABLES, Way};
use crate::transport::settings::TransportSettings;
use crate::transport::verdict::Judgement;

/// Where credentials can be given.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS, `headers` in a file, or `with_headers`";

/// What to do about a certificate that nothing known vouches for.
pub(super) const GIVE_AUTHORITY: &str = "give the certificate of its authority: OTEL_EXPORTER_OTLP_CERTIFICATE, `tls: ca_file` in a file, or \
                              `with_root_certificate_pem`";

/// What to do about a certificate with other names.
const NAME_IT: &str =
    "name the host in the endpoint as its certificate does, or give the server a certificate for this name";

/// What to do about a certificate that is too old.
const RENEW_IT: &str = "renew the server's certificate; if it is valid, this machine's clock is wrong";

/// Words of TLS by which its failures are known, none of which is part of a host's name, with what to do about each.
const OF_TLS: [(&str, &str); 10] = [
    ("UnknownIssuer", GIVE_AUTHORITY),
    ("BadSignature", GIVE_AUTHORITY),
    ("not valid for name", NAME_IT),
    ("NotValidForName", NAME_IT),
    ("certificate expired", RENEW_IT),
    ("CertificateExpired", RENEW_IT),
    ("certificate not valid yet", "set this machine's clock, or wait until the certificate is valid"),
    (
        "NoApplicationProtocol",
        "it speaks no HTTP/1.1 there (ALPN): give the port that takes OTLP over HTTP, and not gRPC's",
    ),
    (
        // It stands there with either letter.
        "ertificateRequired",
        "give a client's certificate: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY, `tls` in a \
         file, or `with_client_identity_pem`",
    ),
    ("InvalidContentType", "write http:// in the endpoint, or give the port that takes TLS"),
];

/// What a proxy is known by that lets nothing through to an endpoint with TLS.
const OF_TUNNELS: [&str; 2] = ["tunnel error: unsuccessful", "tunnel error: proxy authorization required"];

/// The headers that every request has by itself.
const OWN_HEADERS: [&str; 3] = ["content-type", "content-encoding", "idempotency-key"];

/// What servers say that expect TLS, and speak HTTP without it as well.
const OF_TLS_PORTS: [&str; 3] = ["HTTPS server", "HTTPS port", "requires TLS"];

pub(super) struct Advice {
    pub(super) timeout: Sourced<Duration>,
    pub(super) connect_timeout: Sourced<Duration>,
}

impl Advice {
    pub(super) fn new(settings: &TransportSettings) -> Self {
        Self { timeout: settings.timeout.clone(), connect_timeout: settings.connect_timeout.clone() }
    }

    /// About a request without a response.
    pub(super) fn of_failure(&self, error: &SendError, way: &Way) -> String {
        let (why, endpoint) = (error.why(), way.source());
        let is_of_tls = way.is_tls() && matches!(error, SendError::Unreachable(_) | SendError::Interrupted(_));
        if let Some((_, remedy)) = OF_TLS.iter().find(|(words, _)| is_of_tls && why.contains(words)) {
            return (*remedy).to_owned();
        }
        match error {
            SendError::NotSent(_) => "correct the header hook, or what it asks for".to_owned(),
            SendError::Unreachable(_) if OF_TUNNELS.iter().any(|words| why.contains(words)) => {
                let source = way.first().1;
                format!("the proxy of {source} refuses: let it allow this host and port, or correct its credentials")
            }
            SendError::Unreachable(_) => match way.proxy() {
                Some((_, PROXY_VARIABLES)) => format!(
                    "start the proxy of {PROXY_VARIABLES}, correct that, or name the endpoint's host in NO_PROXY"
                ),
                Some((_, source)) => format!("start the proxy of {source}, or correct that or leave it out"),
                None => format!(
                    "start what listens there, or correct the host and port in {endpoint}; is a firewall between?"
                ),
            },
            SendError::TimedOut(_) => format!(
                "it takes connections and does not answer: look at the server, and at what is between; the time is set by {}",
                self.timeout.source
            ),
            SendError::Interrupted(_) if way.may_speak_grpc(why) => {
                let of_tls = if way.is_tls() { "" } else { "; if it takes TLS, write https://" };
                format!("if the port takes gRPC, give that of OTLP over HTTP in {endpoint}, mostly 4318{of_tls}")
            }
            SendError::Interrupted(_) => format!(
                "look at the server's log, and whether {endpoint} has the right scheme: https:// where the port takes TLS"
            ),
        }
    }
}

/// About a name that does not resolve.
pub(super) fn of_name(way: &Way) -> String {
    format!("correct the host in {}, or have it resolve on this machine", way.first().1)
}

/// The names of the headers with which a request was sent, without those that every request has: credentials can be in them.
pub(super) fn names(headers: &HeaderMap, way: &Way) -> Vec<String> {
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str().to_owned()).collect();
    if way.has_credentials() {
        names.push("authorization".to_owned());
    }
    names.retain(|name| !OWN_HEADERS.contains(&name.as_str()));
    names.sort_unstable();
    names.dedup();
    names
}

/// About a response that is no success. `headers` are the [`names`] of those that were sent.
pub(super) fn of_response(response: &Judgement, content_type: &str, headers: &[String], way: &Way) -> Option<String> {
    let endpoint = way.source();
    Some(match response.status {
        400 if OF_TLS_PORTS.iter().any(|words| response.reason.contains(words)) => {
            format!("the port takes TLS: write https:// in {endpoint}")
        }
        401 | 403 => {
            let sent = if headers.is_empty() {
                "no header with credentials was sent".to_owned()
            } else {
                format!("sent were the headers {}", headers.join(", "))
            };
            format!("give credentials that are valid and may write: {HEADERS}; {sent}")
        }
        407 => "give the proxy's credentials in its URL: http://user:password@host:port".to_owned(),
        404 | 405 | 410 => format!("correct the path in {endpoint}"),
        301..=399 => format!("redirects are not followed: give the URL that it leads to in {endpoint}"),
        413 | 414 => "let the server take larger requests, or set OTEL_EXPORTER_SPOOL_MAX_BATCH_BYTES".to_owned(),
        400 | 415 | 422 => format!(
            "records are sent as {content_type}: if the endpoint takes another format, set OTEL_EXPORTER_OTLP_PROTOCOL or \
             OTEL_EXPORTER_SPOOL_FORMAT, or in a file `encoding` or `format`; OTEL_EXPORTER_SPOOL_RESPONSE_TEXT=true shows \
             all that it says"
        ),
        429 | 503 => "it is asked too much, or not ready: try again later".to_owned(),
        500..=599 => "look at the server's log, and at what is behind it".to_owned(),
        200..=299 => format!("look whether {endpoint} is the right one, and what it says of the record"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    fn of_failure(url: &str, error: &SendError) -> String {
        let mut settings = TransportSettings::new(Sourced::new(url.to_owned(), "with_endpoint"));
        // Past whatever proxy the environment of the tests names.
        settings.http.client = Some(reqwest::Client::new());
        let way = Way::new(&Url::parse(url).unwrap(), &settings).ok().unwrap();
        Advice::new(&settings).of_failure(error, &way)
    }

    #[test]
    fn words_of_tls_count_where_there_is_tls_and_not_in_names() {
        let unreachable = |words: &str| SendError::Unreachable(words.to_owned());
        let (tls, plain) = ("https://expired.example.com/in", "http://expired.example.com/in");
        let start = "start what listens there";
        for (url, error, advice) in [
            (tls, unreachable("no connection to expired.example.com:443: tcp connect error: refused"), start),
            (plain, unreachable("no connection to expired.example.com:80: tcp connect error: refused"), start),
            (tls, unreachable("invalid peer certificate: certificate expired: verification time 1 (UNIX)"), RENEW_IT),
            (tls, unreachable("certificate not valid for name \"a\"; only for \"expired.example.com\""), NAME_IT),
            (
                tls,
                SendError::NotSent("the header hook failed: the certificate expired".to_owned()),
                "correct the header hook",
            ),
        ] {
            let found = of_failure(url, &error);
            assert!(found.starts_with(advice), "{error:?}: {found}");
        }
    }

    #[test]
    fn a_server_that_speaks_no_http_has_another_port_advised_or_tls() {
        let of = |url: &str, why: &str| of_failure(url, &SendError::Interrupted(why.to_owned()));
        let grpc = "if the port takes gRPC, give that of OTLP over HTTP in with_endpoint, mostly 4318";
        let plain = format!("{grpc}; if it takes TLS, write https://");
        assert_eq!(of("http://host/in", "invalid HTTP version parsed"), plain);
        assert_eq!(of("http://host:4317/in", "connection reset"), plain);
        assert_eq!(of("https://host:4317/in", "connection reset"), grpc);
        assert!(of("http://host/in", "connection reset").starts_with("look at the server's log"));
    }

    #[test]
    fn only_a_proxy_that_answers_refuses() {
        let of = |words: &str| of_failure("https://host/in", &SendError::Unreachable(format!("tunnel error: {words}")));
        assert!(of("unsuccessful").contains("refuses"));
        assert!(of("proxy authorization required").contains("refuses"));
        assert!(!of("failed to create underlying connection: tcp connect error").contains("refuses"));
    }
}
