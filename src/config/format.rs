//! The format in which an exporter sends: which encoder it is, by code, by name, or by where the endpoint comes from.

#[cfg(feature = "metrics")]
use std::time::Duration;

use crate::config::environment::is_of_otlp;
#[cfg(any(feature = "trace", feature = "metrics", feature = "relay"))]
use crate::config::environment::is_variable;
use crate::config::table::Settings;
#[cfg(feature = "metrics")]
use crate::config::values::TemporalityPreference;
use crate::config::values::{DEFAULT_SOURCE, Protocol, Signal, Sourced};
#[cfg(feature = "metrics")]
use crate::encode::MetricEncoder;
#[cfg(feature = "trace")]
use crate::encode::SpanEncoder;
use crate::encode::formats::{FORMATS, Format};
use crate::encode::framing::{Framing, ResponseProtocol};
use crate::encode::{Encoder, JsonEncoder, Template};
use crate::error::ExporterBuildError;
use crate::transport::http::Spoken;

/// The settings of a signal's format, which are given in code.
pub(crate) trait FormatSettings {
    /// The signal that is sent.
    const SIGNAL: Signal;

    /// How many requests of a partition may be in flight, unless that is given.
    const MAX_IN_FLIGHT: usize;

    /// Whether order is kept whatever it costs, unless that is given.
    const STRICT_ORDER: bool;

    /// The encoder that is chosen.
    type Encoder;

    /// Whether OTLP is sent, as far as `code` says, to an endpoint of its own. `outside` may name a format.
    fn is_otlp(&self, code: &Settings, outside: &Settings) -> bool;

    /// The encoder and its framing.
    ///
    /// # Errors
    ///
    /// If what is given does not go together, or this build cannot send it.
    fn choose(self, code: &Settings, outside: &Settings) -> Result<(Self::Encoder, Framing), ExporterBuildError>;
}

/// The format of log records.
#[derive(Default)]
pub(crate) struct LogFormat {
    pub(crate) encoder: Option<Box<dyn Encoder>>,
}

impl FormatSettings for LogFormat {
    const SIGNAL: Signal = Signal::Logs;
    const MAX_IN_FLIGHT: usize = 1;
    const STRICT_ORDER: bool = false;
    type Encoder = Box<dyn Encoder>;

    fn is_otlp(&self, code: &Settings, outside: &Settings) -> bool {
        match (&code.protocol, &self.encoder) {
            (Some(_), _) => true,
            (None, Some(encoder)) => encoder.framing().response_protocol() == ResponseProtocol::Otlp,
            (None, None) => outside.format.is_none() && implied(code, outside).is_some(),
        }
    }

    fn choose(self, code: &Settings, outside: &Settings) -> Result<(Box<dyn Encoder>, Framing), ExporterBuildError> {
        // A protocol that is given is the later call of the two.
        let encoder = match self.encoder.filter(|_| code.protocol.is_none()) {
            Some(encoder) => encoder,
            None => by_name(code, outside)?,
        };
        let framing = encoder.framing();
        Ok((encoder, framing))
    }
}

/// The format of spans: OTLP.
#[cfg(feature = "trace")]
pub(crate) struct SpanFormat;

#[cfg(feature = "trace")]
impl FormatSettings for SpanFormat {
    const SIGNAL: Signal = Signal::Traces;
    // Nobody is owed an order of spans.
    const MAX_IN_FLIGHT: usize = 8;
    const STRICT_ORDER: bool = false;
    type Encoder = SpanEncoder;

    fn is_otlp(&self, _code: &Settings, _outside: &Settings) -> bool {
        true
    }

    fn choose(self, code: &Settings, outside: &Settings) -> Result<(SpanEncoder, Framing), ExporterBuildError> {
        let encoder = SpanEncoder::new(protocol(code, outside, Self::SIGNAL)?);
        let framing = encoder.framing();
        Ok((encoder, framing))
    }
}

/// The format of metrics: OTLP.
#[cfg(feature = "metrics")]
pub(crate) struct MetricFormat;

/// The encoder of metrics, and which of them there are.
#[cfg(feature = "metrics")]
pub(crate) struct ChosenMetrics {
    pub(crate) encoder: MetricEncoder,
    pub(crate) temporality: TemporalityPreference,
    /// The interval of which the newest points that wait are kept, if others are left out.
    pub(crate) thinning: Option<Duration>,
}

#[cfg(feature = "metrics")]
impl FormatSettings for MetricFormat {
    const SIGNAL: Signal = Signal::Metrics;
    const MAX_IN_FLIGHT: usize = 1;
    // A receiver refuses a point that is older than its stream's newest.
    const STRICT_ORDER: bool = true;
    type Encoder = ChosenMetrics;

    fn is_otlp(&self, _code: &Settings, _outside: &Settings) -> bool {
        true
    }

    fn choose(self, code: &Settings, outside: &Settings) -> Result<(ChosenMetrics, Framing), ExporterBuildError> {
        let encoder = MetricEncoder::new(protocol(code, outside, Self::SIGNAL)?);
        let framing = encoder.framing();
        let preferred = code.temporality_preference.as_ref().or(outside.temporality_preference.as_ref());
        let temporality = preferred.map_or(TemporalityPreference::Cumulative, |preferred| preferred.value);
        let thinning = code.thinning.as_ref().or(outside.thinning.as_ref());
        if let Some(thinning) = thinning {
            check_thinning(thinning, temporality)?;
        }
        let thinning = thinning.map(|thinning| thinning.value);
        Ok((ChosenMetrics { encoder, temporality, thinning }, framing))
    }
}

/// Newer points stand for older ones only if they are cumulative.
#[cfg(feature = "metrics")]
fn check_thinning(thinning: &Sourced<Duration>, temporality: TemporalityPreference) -> Result<(), ExporterBuildError> {
    if thinning.value.is_zero() {
        return Err(thinning.invalid("zero; allowed are longer ones, such as 5m"));
    }
    if temporality != TemporalityPreference::Cumulative {
        return Err(
            thinning.invalid("a point of delta temporality stands for no other; it takes cumulative temporality")
        );
    }
    Ok(())
}

/// The encoding of OTLP for a signal that has no other format. Default: protobuf.
#[cfg(any(feature = "trace", feature = "metrics", feature = "relay"))]
pub(crate) fn protocol(code: &Settings, outside: &Settings, signal: Signal) -> Result<Protocol, ExporterBuildError> {
    // The variable is that of the log exporter beside it.
    if let Some(format) = outside.format.as_ref().filter(|format| !is_variable(&format.source)) {
        return Err(format.invalid(format!("{} are sent as OTLP; only log records have other formats", signal.name())));
    }
    match code.protocol.as_ref().or(outside.protocol.as_ref()) {
        Some(protocol) => protocol.value.ok_or_else(|| no_grpc(protocol, signal)),
        None => Ok(Protocol::HttpBinary),
    }
}

/// The error for gRPC.
fn no_grpc(protocol: &Sourced<Option<Protocol>>, signal: Signal) -> ExporterBuildError {
    let signal = signal.name().to_uppercase();
    protocol.invalid(format!(
        "grpc; this exporter speaks http/protobuf and http/json: set OTEL_EXPORTER_OTLP_{signal}_PROTOCOL=http/protobuf"
    ))
}

/// The encoder that was asked for by name, else OTLP where that is implied.
fn by_name(code: &Settings, outside: &Settings) -> Result<Box<dyn Encoder>, ExporterBuildError> {
    if let Some(protocol) = &code.protocol {
        return otlp(protocol);
    }
    if let Some(format) = &outside.format {
        return named(format, outside.template.as_ref());
    }
    if let Some(template) = &outside.template {
        return Err(template_alone(template));
    }
    match (&outside.protocol, implied(code, outside)) {
        (Some(protocol), _) => otlp(protocol),
        (None, None) => Ok(Box::new(JsonEncoder::default())),
        (None, Some(_)) if cfg!(feature = "otlp") => otlp(&Sourced::new(Some(Protocol::HttpBinary), DEFAULT_SOURCE)),
        (None, Some(implied)) => Err(implied.invalid(format!(
            "{}, which takes the feature `otlp` of opentelemetry-spool: add it in Cargo.toml; to send something else, give \
             `with_encoder` or OTEL_EXPORTER_SPOOL_FORMAT, such as json",
            implied.value
        ))),
    }
}

/// What has OTLP sent where neither a protocol nor a format is given: its setting, and why.
fn implied(code: &Settings, outside: &Settings) -> Option<Sourced<&'static str>> {
    let of_endpoint = code.endpoint.as_ref().or(outside.endpoint.as_ref()).and_then(|endpoint| {
        let is_path = || Spoken::of(&endpoint.value).is_some_and(|spoken| spoken.signal().is_some());
        let why = if is_of_otlp(&endpoint.source) {
            "it is for OTLP"
        } else if is_path() {
            "its path is that of OTLP"
        } else {
            return None;
        };
        Some(Sourced::new(why, &*endpoint.source))
    });
    of_endpoint.or_else(|| code.with_http.then(|| Sourced::new("it sends OTLP", "with_http")))
}

fn named(
    format: &Sourced<&'static Format>,
    template: Option<&Sourced<Template>>,
) -> Result<Box<dyn Encoder>, ExporterBuildError> {
    match template {
        Some(template) if !format.value.takes_template() => Err(template_alone(template)),
        template => Ok(format.value.encoder(template.map(|template| template.value.clone()))),
    }
}

/// The error for a template that no format takes.
fn template_alone(template: &Sourced<Template>) -> ExporterBuildError {
    let names: Vec<_> = FORMATS.iter().filter(|format| format.takes_template()).map(|format| format.name).collect();
    template.invalid(format!("a template goes with one of the formats {}", names.join(", ")))
}

fn otlp(protocol: &Sourced<Option<Protocol>>) -> Result<Box<dyn Encoder>, ExporterBuildError> {
    match protocol.value {
        None => Err(no_grpc(protocol, Signal::Logs)),
        #[cfg(feature = "otlp")]
        Some(protocol) => Ok(Box::new(crate::encode::OtlpEncoder::new(protocol))),
        #[cfg(not(feature = "otlp"))]
        Some(_) => Err(protocol.invalid("OTLP takes the feature `otlp` of opentelemetry-spool")),
    }
}
