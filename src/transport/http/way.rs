//! [`Way`]: the way to the endpoint, and how words about it name it: without credentials and without the values of a query.

use std::error::Error;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::config::values::{Signal, Sourced};
use crate::encode::framing::{PROTOBUF, ResponseProtocol};
use crate::error::ExporterBuildError;
use crate::transport::http::clients::proxy_url;
use crate::transport::http::endpoint::{self, GRPC_PORT};
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::redact::Secrets;
use crate::transport::settings::TransportSettings;

/// The variable whose endpoint has got the path of the signal.
const OF_ALL_SIGNALS: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The variables that name a proxy, of which the client takes one.
pub(super) const PROXY_VARIABLES: &str = "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY";

/// What the client says of a server whose first bytes are no HTTP/1: TLS, HTTP/2, or one that speaks before it is asked.
const NOT_HTTP: [&str; 3] = ["invalid HTTP version", "invalid HTTP status-code", "unexpected message"];

/// The way to the endpoint.
pub(super) struct Way {
    endpoint: Url,
    /// The setting that names the endpoint.
    source: String,
    /// The proxy that the client goes through, as far as that is known: a client of the user's own does not say.
    proxy: Option<Url>,
    /// The setting that names the proxy.
    proxy_source: String,
    /// The credentials of a proxy that the environment names.
    proxy_authorization: Option<String>,
}

impl Way {
    /// The way of the client that these settings make: through the proxy that is set, else the one that the environment names.
    ///
    /// # Errors
    ///
    /// If the proxy is none.
    pub(super) fn new(endpoint: &Url, settings: &TransportSettings) -> Result<Self, ExporterBuildError> {
        let Sourced { source, .. } = &settings.endpoint;
        let proxy_source = settings.http.proxy.as_ref().map_or(PROXY_VARIABLES, |proxy| &proxy.source).to_owned();
        let mut way = Self {
            endpoint: endpoint.clone(),
            source: source.clone(),
            proxy: None,
            proxy_source,
            proxy_authorization: None,
        };
        if settings.http.client.is_some() {
            return Ok(way);
        }
        way.proxy = proxy_url(settings)?;
        let uri = endpoint.as_str().parse().ok();
        if way.proxy.is_none()
            && let Some(proxy) = uri.and_then(|uri| Matcher::from_system().intercept(&uri))
        {
            way.proxy = Url::parse(&proxy.uri().to_string()).ok();
            way.proxy_authorization = proxy.basic_auth().and_then(|value| Some(value.to_str().ok()?.to_owned()));
        }
        Ok(way)
    }

    /// The URL of the host that a connection is made to, and the setting that names it.
    pub(super) fn first(&self) -> (&Url, &str) {
        self.proxy().unwrap_or((&self.endpoint, &self.source))
    }

    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// The proxy, if there is one, and the setting that names it.
    pub(super) fn proxy(&self) -> Option<(&Url, &str)> {
        self.proxy.as_ref().map(|proxy| (proxy, &*self.proxy_source))
    }

    /// The setting that names the endpoint.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether the endpoint's URL has a user or a password, which make a header.
    pub(super) fn has_credentials(&self) -> bool {
        !self.endpoint.username().is_empty() || self.endpoint.password().is_some()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.endpoint.scheme() == "https"
    }

    /// `https://host/path`, and `through proxy http://host:port` where there is one.
    pub(super) fn shown(&self) -> String {
        let endpoint = endpoint::shown(&self.endpoint);
        match &self.proxy {
            Some(proxy) => format!("{endpoint} through proxy {}", endpoint::shown(proxy).trim_end_matches('/')),
            None => endpoint,
        }
    }

    /// What is secret of the URLs, which every request has.
    pub(super) fn secrets(&self) -> Secrets {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &self.proxy_authorization {
            let _ = headers.insert("proxy-authorization", authorization);
        }
        Secrets::of_urls([&self.endpoint].into_iter().chain(&self.proxy)).and_of(&headers)
    }

    /// Words for a request that found no connection.
    pub(super) fn no_connection(&self, error: &reqwest::Error) -> String {
        let cause = cause(error);
        // A name is looked up, and a connection is made, of the proxy; what comes then is the endpoint's through it.
        let is_first = ["dns error", "tcp connect error"].iter().any(|error| cause.contains(error));
        let to = self.proxy.as_ref().filter(|_| is_first).unwrap_or(&self.endpoint);
        let hint =
            if cause.contains("InvalidContentType") { "; it does not speak TLS, which https:// asks for" } else { "" };
        format!("no connection to {}: {cause}{hint}", host_and_port(to))
    }

    /// Words for a request whose time was up.
    pub(super) fn no_response(&self, within: Duration) -> String {
        format!("no response from {} within {within:?}", host_and_port(&self.endpoint))
    }

    /// Words for a request whose connection broke.
    pub(super) fn broken(&self, why: &str) -> String {
        let hint = self.other_protocol(why);
        format!("the connection to {} broke: {why}{hint}", host_and_port(&self.endpoint))
    }

    /// Words for what the server speaks in place of HTTP/1, where that is likely.
    fn other_protocol(&self, why: &str) -> &'static str {
        if !self.may_speak_grpc(why) {
            ""
        } else if self.is_tls() || self.has_grpc_port() {
            "; does it speak gRPC? OTLP over HTTP is mostly at port 4318"
        } else {
            "; it speaks no HTTP/1: does the port take gRPC, or TLS? OTLP over HTTP is mostly at port 4318"
        }
    }

    /// Whether a connection that broke like this is probably to a server of gRPC.
    pub(super) fn may_speak_grpc(&self, why: &str) -> bool {
        self.has_grpc_port() || is_no_http(why)
    }

    fn has_grpc_port(&self) -> bool {
        self.endpoint.port() == Some(GRPC_PORT)
    }

    /// Words for what is probably wrong with the endpoint's path, where a server does not know it.
    pub(super) fn wrong_path(&self, protocol: ResponseProtocol, content_type: &str) -> Option<String> {
        let source = &*self.source;
        let Some((signal, above)) = Signal::at_end_of(self.endpoint.path()) else {
            return self.no_path_of_otlp(protocol, content_type);
        };
        let (own, variable) = (format!("/{}", signal.path()), signal.endpoint_variable());
        let is_appended = source == OF_ALL_SIGNALS;
        let Some((other, _)) = Signal::at_end_of(above) else {
            return (is_appended && !above.is_empty()).then(|| {
                format!("{own} was appended to the path of {source}: correct that, or set {variable}, which is used as it is")
            });
        };
        let other = format!("/{}", other.path());
        Some(if is_appended {
            format!(
                "its path is {other} and {own}: {source} gets {own} appended, so leave {other} out, or set {variable}, which is used as it is"
            )
        } else {
            format!("its path is {other} and {own}: {source} is used as it is, so leave one of them out")
        })
    }

    /// The same where the path is none of OTLP: most that is spoken to without it takes nothing else.
    fn no_path_of_otlp(&self, protocol: ResponseProtocol, content_type: &str) -> Option<String> {
        match protocol {
            ResponseProtocol::Otlp => Some(format!(
                "OTLP is mostly taken at /v1/logs, /v1/traces or /v1/metrics, and {} is used as it is",
                self.source
            )),
            ResponseProtocol::Status if content_type != PROTOBUF => Some(format!(
                "records are sent as {content_type} and not as OTLP, which is mostly taken at /v1/logs (/v1/traces or \
                 /v1/metrics for other signals)"
            )),
            // An encoder of the user's own may make OTLP, and who has chosen another protocol has not meant it.
            _ => None,
        }
    }
}

/// Whether the client says of what came back that it is no HTTP/1.
fn is_no_http(why: &str) -> bool {
    NOT_HTTP.iter().any(|words| why.contains(words))
}

/// `host:port`, as a connection is made to.
pub(super) fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The causes of an error of the client in one line, without what the client says of each: that a request failed.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let words: Vec<_> = causes.map(ToString::to_string).filter(|words| !words.starts_with("client error (")).collect();
    if words.is_empty() { "the request failed".to_owned() } else { words.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(url: &str, source: &str, proxy: Option<&str>) -> Way {
        let mut settings = TransportSettings::new(Sourced::new(url.to_owned(), source));
        // Past whatever the environment of the tests names.
        settings.http.proxy = Some(Sourced::new(proxy.unwrap_or("http://none").to_owned(), "with_proxy"));
        let mut way = Way::new(&Url::parse(url).unwrap(), &settings).ok().unwrap();
        way.proxy = way.proxy.filter(|_| proxy.is_some());
        way
    }

    #[test]
    fn a_way_is_shown_without_credentials_and_values() {
        let proxy = Some("https://pr0xy:s3cret@proxy:3128/");
        for (url, proxy, shown) in [
            ("http://me:s3cret@collector:4318/v1/logs", None, "http://collector:4318/v1/logs"),
            ("https://logs.example.com:443/in?key=s3cret", None, "https://logs.example.com/in?..."),
            ("https://me@[::1]:8088/?s3cret", None, "https://[::1]:8088/?..."),
            ("https://logs.example.com/in", proxy, "https://logs.example.com/in through proxy https://proxy:3128"),
        ] {
            assert_eq!(way(url, "with_endpoint", proxy).shown(), shown);
        }
        let secrets = way("http://us3r@host/in?key=k3y-of-ours", "with_endpoint", proxy).secrets();
        assert_eq!(secrets.redact("us3r k3y-of-ours pr0xy s3cret", 100), "*** *** *** ***");
    }

    #[test]
    fn no_response_names_the_host_and_the_time() {
        let way = way("https://logs.example.com/in", "with_endpoint", None);
        assert_eq!(way.no_response(Duration::from_secs(10)), "no response from logs.example.com:443 within 10s");
    }

    #[test]
    fn what_a_server_of_grpc_is_known_by_has_the_port_of_http_named() {
        let (reset, http2) = ("connection reset", "invalid HTTP version parsed");
        let broken = |url: &str, why: &str| way(url, "with_endpoint", None).broken(why);
        let asks = "; does it speak gRPC? OTLP over HTTP is mostly at port 4318";
        assert_eq!(broken("http://h:4318/in", reset), "the connection to h:4318 broke: connection reset");
        assert_eq!(broken("http://h:4317/in", reset), format!("the connection to h:4317 broke: {reset}{asks}"));
        assert_eq!(broken("http://h:4317/in", http2), format!("the connection to h:4317 broke: {http2}{asks}"));
        assert_eq!(broken("https://h/in", http2), format!("the connection to h:443 broke: {http2}{asks}"));
        for why in [http2, "received unexpected message from connection", "invalid HTTP status-code parsed"] {
            let broken = broken("http://h/in", why);
            assert!(broken.contains("no HTTP/1: does the port take gRPC, or TLS?"), "{broken}");
        }
    }

    #[test]
    fn a_path_that_is_there_twice_is_put_down_to_the_variable_that_appends_it() {
        let of_otlp = ResponseProtocol::Otlp;
        let wrong =
            |path: &str, source: &str| way(&format!("http://host{path}"), source, None).wrong_path(of_otlp, PROTOBUF);
        assert_eq!(
            wrong("/v1/logs/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT").as_deref(),
            Some(
                "its path is /v1/logs and /v1/traces: OTEL_EXPORTER_OTLP_ENDPOINT gets /v1/traces appended, so leave /v1/logs \
                 out, or set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, which is used as it is"
            )
        );
        for source in ["with_endpoint", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] {
            let expected =
                format!("its path is /v1/logs and /v1/logs: {source} is used as it is, so leave one of them out");
            assert_eq!(wrong("/otel/v1/logs/v1/logs", source), Some(expected));
        }
        assert_eq!(wrong("/otel/v1/metrics", "with_endpoint"), None);
        assert_eq!(wrong("/v1/logs", OF_ALL_SIGNALS), None);
        assert_eq!(
            wrong("/v1/log/v1/logs", OF_ALL_SIGNALS).as_deref(),
            Some(
                "/v1/logs was appended to the path of OTEL_EXPORTER_OTLP_ENDPOINT: correct that, or set \
                 OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, which is used as it is"
            )
        );
    }

    #[test]
    fn what_is_not_otlp_is_said_where_nobody_has_chosen_another_protocol() {
        let wrong = |path: &str, protocol, content_type: &str| {
            way(&format!("http://host:4318{path}"), "with_endpoint", None).wrong_path(protocol, content_type)
        };
        let said = "records are sent as application/json and not as OTLP, which is mostly taken at /v1/logs (/v1/traces or \
                    /v1/metrics for other signals)";
        let status = ResponseProtocol::Status;
        for path in ["", "/logs", "/v1/log"] {
            assert_eq!(wrong(path, status, "application/json").as_deref(), Some(said), "{path}");
        }
        assert_eq!(wrong("/v1/logs", status, "application/json"), None);
        assert_eq!(wrong("/in", status, PROTOBUF), None, "an encoder of OTLP of the user's own");
        for chosen in [ResponseProtocol::Bulk, ResponseProtocol::ClickHouse, ResponseProtocol::SplunkHec] {
            assert_eq!(wrong("/in", chosen, "application/json"), None);
        }
    }
}
