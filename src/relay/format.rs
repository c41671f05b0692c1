//! The formats in which a relay sends: what its endpoint suggests, unless another one is named.

use crate::config::format::{FormatSettings, LogFormat, protocol};
use crate::config::table::Settings;
use crate::config::values::{Protocol, Signal};
use crate::encode::formats::Format;
use crate::encode::framing::Framing;
use crate::encode::{Encoder, OtlpEncoder, PickleEncoder, Template, TextEncoder, otlp_framing};
use crate::error::ExporterBuildError;

/// The format of log records.
#[derive(Default)]
pub(crate) struct LogsOut {
    pub(crate) encoder: Option<Box<dyn Encoder>>,
    /// The format by its name, for which there may be a template outside.
    pub(crate) named: Option<&'static Format>,
}

impl FormatSettings for LogsOut {
    const SIGNAL: Signal = Signal::Logs;
    const MAX_IN_FLIGHT: usize = 1;
    const STRICT_ORDER: bool = false;
    type Encoder = Box<dyn Encoder>;

    fn is_otlp(&self, code: &Settings, outside: &Settings) -> bool {
        let by_endpoint = || code.endpoint.as_ref().is_some_and(|endpoint| is_of_otlp(&endpoint.value));
        let is_named = self.encoder.is_some() || self.named.is_some() || outside.format.is_some();
        code.protocol.is_some() || (!is_named && by_endpoint())
    }

    fn choose(self, code: &Settings, outside: &Settings) -> Result<(Box<dyn Encoder>, Framing), ExporterBuildError> {
        let is_named = self.encoder.is_some()
            || self.named.is_some()
            || code.protocol.is_some()
            || outside.protocol.is_some()
            || outside.format.is_some()
            || outside.template.is_some();
        let endpoint = code.endpoint.as_ref().or(outside.endpoint.as_ref());
        let suggested = endpoint.filter(|_| !is_named).and_then(|endpoint| suggested_by(&endpoint.value));
        let template = outside.template.as_ref().map(|template| template.value.clone());
        let named = self.named.map(|format| match (format.name, template) {
            ("text", template) => text(template.unwrap_or_else(Template::message)),
            (_, template) => format.encoder(template),
        });
        LogFormat { encoder: self.encoder.or(named).or(suggested) }.choose(code, outside)
    }
}

/// Text as Python's handlers write it, with traces.
fn text(template: Template) -> Box<dyn Encoder> {
    Box::new(TextEncoder::of(template).with_traces_below(true))
}

/// The format that an endpoint suggests, if it does.
fn suggested_by(endpoint: &str) -> Option<Box<dyn Encoder>> {
    let (scheme, _) = endpoint.split_once(':')?;
    match &*scheme.to_ascii_lowercase() {
        "http" | "https" if is_of_otlp(endpoint) => Some(Box::new(OtlpEncoder::new(Protocol::HttpBinary))),
        "file" => Some(text(Template::message())),
        "tcp" | "unix" | "udp" => Some(Box::new(PickleEncoder::default())),
        _ => None,
    }
}

/// The path of a URL of HTTP, without its query.
fn path_of(endpoint: &str) -> Option<&str> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let is_http = ["http", "https"].iter().any(|http| http.eq_ignore_ascii_case(scheme));
    is_http.then(|| rest.find('/').map_or("", |at| &rest[at..]))
}

/// Whether an endpoint is the base of a collector, or the path of a signal.
pub(crate) fn is_of_otlp(endpoint: &str) -> bool {
    let Some(path) = path_of(endpoint) else { return false };
    let path = path.trim_end_matches('/');
    path.is_empty() || Signal::at_end_of(path).is_some()
}

/// The endpoint of a signal, where `endpoint` is that of OTLP.
pub(crate) fn endpoint_of(endpoint: &str, signal: Signal) -> String {
    let (whole, query) = match endpoint.find(['?', '#']) {
        Some(at) => endpoint.split_at(at),
        None => (endpoint, ""),
    };
    let whole = whole.trim_end_matches('/');
    let base = Signal::at_end_of(whole).map_or(whole, |(_, base)| base);
    format!("{base}/{}{query}", signal.path())
}

macro_rules! otlp_out {
    ($name:ident, $signal:expr, $max_in_flight:literal, $strict_order:literal, $doc:literal) => {
        #[doc = $doc]
        pub(crate) struct $name;

        impl FormatSettings for $name {
            const SIGNAL: Signal = $signal;
            const MAX_IN_FLIGHT: usize = $max_in_flight;
            const STRICT_ORDER: bool = $strict_order;
            type Encoder = Protocol;

            fn is_otlp(&self, _code: &Settings, _outside: &Settings) -> bool {
                true
            }

            fn choose(self, code: &Settings, outside: &Settings) -> Result<(Protocol, Framing), ExporterBuildError> {
                let protocol = protocol(code, outside, Self::SIGNAL)?;
                Ok((protocol, otlp_framing(Self::SIGNAL, protocol)))
            }
        }
    };
}

otlp_out!(SpansOut, Signal::Traces, 8, false, "The format of spans: OTLP.");
otlp_out!(MetricsOut, Signal::Metrics, 1, true, "The format of metrics: OTLP.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_its_path_below_a_collectors_address() {
        for (endpoint, is, traces) in [
            ("http://collector:4318", true, "http://collector:4318/v1/traces"),
            ("http://collector:4318/", true, "http://collector:4318/v1/traces"),
            ("https://collector/v1/logs", true, "https://collector/v1/traces"),
            ("https://collector/otlp/v1/logs?key=a/b", true, "https://collector/otlp/v1/traces?key=a/b"),
            ("http://logs/ingest", false, ""),
            ("http://logs/ingest?to=/v1/logs", false, ""),
            ("file:///var/log/v1/logs", false, ""),
        ] {
            assert_eq!(is_of_otlp(endpoint), is, "{endpoint}");
            if is {
                assert_eq!(endpoint_of(endpoint, Signal::Traces), traces, "{endpoint}");
            }
        }
    }
}
