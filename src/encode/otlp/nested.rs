//! OTLP whose records share their resource and scope: what the exporters store. A request is grouped by both when it is put
//! together.

#[cfg(feature = "metrics")]
use opentelemetry::InstrumentationScope;
#[cfg(any(feature = "trace", feature = "metrics"))]
use opentelemetry_sdk::Resource;
#[cfg(feature = "trace")]
use opentelemetry_sdk::trace::SpanData;
#[cfg(feature = "metrics")]
use {opentelemetry_sdk::metrics::data::Metric, std::ops::Range};

#[cfg(any(feature = "trace", feature = "metrics"))]
use super::pieces;
use crate::config::values::Protocol;
#[cfg(feature = "relay")]
use crate::config::values::Signal;
#[cfg(any(feature = "trace", feature = "metrics"))]
use crate::encode::blocks::EnvelopeEnds;
use crate::encode::framing::{Framing, Nesting, ResponseProtocol};

/// The names that the messages of a signal have in JSON.
pub(super) struct Names {
    /// The start of a body: the list of resources.
    open: &'static str,
    pub(super) scopes: &'static str,
    pub(super) records: &'static str,
}

pub(super) const LOGS: Names = Names { open: "{\"resourceLogs\":[", scopes: "scopeLogs", records: "logRecords" };
#[cfg(any(feature = "trace", feature = "relay"))]
const SPANS: Names = Names { open: "{\"resourceSpans\":[", scopes: "scopeSpans", records: "spans" };
#[cfg(any(feature = "metrics", feature = "relay"))]
const METRICS: Names = Names { open: "{\"resourceMetrics\":[", scopes: "scopeMetrics", records: "metrics" };

impl Names {
    /// The framing of bodies without envelopes.
    pub(super) fn flat(&self, protocol: Protocol) -> Framing {
        match protocol {
            // Messages that follow one another are one message with all their repeated fields.
            Protocol::HttpBinary => Framing::new("application/x-protobuf", "", "", ""),
            Protocol::HttpJson => Framing::new("application/json", self.open, ",", "]}"),
        }
        .with_response_protocol(ResponseProtocol::Otlp)
    }

    pub(super) fn nested(&self, protocol: Protocol) -> Framing {
        self.flat(protocol).nested(match protocol {
            Protocol::HttpBinary => Nesting::Protobuf,
            Protocol::HttpJson => Nesting::Json,
        })
    }
}

/// The framing of a signal's records, which share their resource and scope.
#[cfg(feature = "relay")]
pub(crate) fn otlp_framing(signal: Signal, protocol: Protocol) -> Framing {
    match signal {
        Signal::Logs => LOGS.nested(protocol),
        Signal::Traces => SPANS.nested(protocol),
        Signal::Metrics => METRICS.nested(protocol),
    }
}

/// Encodes spans as OTLP.
#[cfg(feature = "trace")]
#[derive(Clone, Debug)]
pub(crate) struct SpanEncoder {
    protocol: Protocol,
    /// The outer envelope.
    outer: Vec<u8>,
}

#[cfg(feature = "trace")]
impl SpanEncoder {
    pub(crate) fn new(protocol: Protocol) -> Self {
        let mut encoder = Self { protocol, outer: Vec::new() };
        encoder.set_resource(&Resource::builder_empty().build());
        encoder
    }

    pub(crate) fn framing(&self) -> Framing {
        SPANS.nested(self.protocol)
    }

    pub(crate) fn set_resource(&mut self, resource: &Resource) {
        self.outer.clear();
        pieces::write_head(self.protocol, SPANS.scopes, &mut self.outer, |out| {
            pieces::write_outer(self.protocol, resource, out);
        });
    }

    /// Appends a span, behind its envelope.
    pub(crate) fn write(&self, span: &SpanData, out: &mut Vec<u8>) -> EnvelopeEnds {
        let (protocol, scope) = (self.protocol, &span.instrumentation_scope);
        out.extend_from_slice(&self.outer);
        let outer = out.len();
        pieces::write_head(protocol, SPANS.records, out, |out| {
            pieces::write_inner(protocol, scope.name(), scope, out);
        });
        let inner = out.len();
        pieces::write_element(protocol, out, |out| pieces::write_span(protocol, span, out));
        EnvelopeEnds { outer, inner }
    }
}

/// Encodes metrics as OTLP.
#[cfg(feature = "metrics")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricEncoder {
    protocol: Protocol,
}

#[cfg(feature = "metrics")]
impl MetricEncoder {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { protocol }
    }

    pub(crate) fn framing(self) -> Framing {
        METRICS.nested(self.protocol)
    }

    /// The parts of a metric that are a record each.
    pub(crate) fn parts(metric: &Metric) -> impl Iterator<Item = Range<usize>> + use<> {
        pieces::metric_parts(metric)
    }

    /// Appends a part of a metric, behind its envelope.
    pub(crate) fn write(
        self,
        resource: &Resource,
        scope: &InstrumentationScope,
        metric: &Metric,
        part: Range<usize>,
        out: &mut Vec<u8>,
    ) -> EnvelopeEnds {
        let protocol = self.protocol;
        pieces::write_head(protocol, METRICS.scopes, out, |out| {
            pieces::write_outer(protocol, resource, out);
        });
        let outer = out.len();
        pieces::write_head(protocol, METRICS.records, out, |out| {
            pieces::write_inner(protocol, scope.name(), scope, out);
        });
        let inner = out.len();
        pieces::write_element(protocol, out, |out| pieces::write_metric(protocol, metric, part, out));
        EnvelopeEnds { outer, inner }
    }
}
