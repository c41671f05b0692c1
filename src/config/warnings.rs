//! Settings that are allowed and probably not meant so, as far as they can be told by themselves. It touches nothing.

use crate::config::values::{Signal, Sourced, Warning};
use crate::encode::framing::{Framing, PROTOBUF, ResponseProtocol};
use crate::transport::http::{GRPC_PORT, Spoken};

/// Notices what an endpoint is probably not meant for.
pub(crate) fn of_endpoint(endpoint: &Sourced<String>, signal: Signal, framing: &Framing) -> Vec<Warning> {
    let Some(spoken) = Spoken::of(&endpoint.value) else { return Vec::new() };
    let by_port = match (spoken.is_tls, spoken.port) {
        (false, Some(443)) => {
            Some("it is http:// with port 443, where servers expect TLS; did you mean https://?".to_owned())
        }
        (true, Some(80)) => {
            Some("it is https:// with port 80, where servers expect no TLS; did you mean http://?".to_owned())
        }
        (_, Some(GRPC_PORT)) => Some(
            "it has port 4317, where collectors expect gRPC, and this exporter speaks HTTP; did you mean port 4318?"
                .to_owned(),
        ),
        _ => None,
    };
    let by_path = spoken.signal().and_then(|of_path| of_otlp(&spoken, of_path, signal, framing));
    by_port.into_iter().chain(by_path).map(|reason| endpoint.warning(reason)).collect()
}

/// Notices at a path of OTLP what is sent there and is none, or of another signal.
fn of_otlp(spoken: &Spoken, of_path: Signal, signal: Signal, framing: &Framing) -> Option<String> {
    let path = format!("/{}", of_path.path());
    let content_type = framing.content_type();
    let is_otlp = framing.response_protocol() == ResponseProtocol::Otlp || content_type == PROTOBUF;
    if spoken.path.ends_with(&path.repeat(2)) {
        return Some(format!(
            "its path ends in {path} twice; leave one of them out: to OTEL_EXPORTER_OTLP_ENDPOINT it is appended"
        ));
    }
    if of_path != signal {
        return Some(format!(
            "its path {path} is that of {of_path}, and {signal} are sent there; did you mean /{}?",
            signal.path()
        ));
    }
    (!is_otlp).then(|| {
        format!(
            "its path {path} is that of OTLP, and records are sent there as {content_type} of another format; leave out the \
             encoder or the format, and OTLP is sent"
        )
    })
}

/// Notices a header that the exporter sets itself.
pub(crate) fn of_header(name: &str, source: &str) -> Option<Warning> {
    name.eq_ignore_ascii_case("host").then(|| {
        let reason = "the header `host` replaces the endpoint's own host in every request, and a proxy or server may take the \
                      request for another one's; leave it out unless that is meant";
        Warning::new(source, reason)
    })
}
