//! The instruments of an exporter, under the names of OpenTelemetry's semantic conventions where they have one: see the
//! chapter `metrics`.
//!
//! Counters are read when metrics are collected; only durations are recorded as they come. A meter keeps its instruments
//! for as long as it lives, so the instruments hold weak references only.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use opentelemetry::metrics::{AsyncInstrument, Histogram, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue, global};

use crate::observe::loss::LossReason;
use crate::observe::stats::{Counters, Observer, Outcome};
use crate::process::check_process;

/// The names of a signal's components and metrics.
pub(crate) struct Names {
    /// The exporter's type in Rust.
    exporter: &'static str,
    /// The signal in the values of `otel.component.type`.
    component: &'static str,
    /// The counted item, as in the names of the conventions' metrics.
    pub(crate) item: &'static str,
    pub(crate) unit: &'static str,
}

pub(crate) static OF_LOGS: Names =
    Names { exporter: "opentelemetry_spool::LogExporter", component: "log", item: "log", unit: "{log_record}" };

pub(crate) static OF_SPANS: Names =
    Names { exporter: "opentelemetry_spool::SpanExporter", component: "span", item: "span", unit: "{span}" };

pub(crate) static OF_METRICS: Names = Names {
    exporter: "opentelemetry_spool::MetricExporter",
    component: "metric",
    item: "metric_data_point",
    unit: "{data_point}",
};

impl Names {
    /// The value of `otel.component.type`: the conventions' own where OTLP is sent, else the type's name in Rust.
    fn component_type(&self, otlp: Option<Otlp>) -> String {
        match otlp {
            Some(Otlp::Protobuf) => format!("otlp_http_{}_exporter", self.component),
            Some(Otlp::Json) => format!("otlp_http_json_{}_exporter", self.component),
            None => self.exporter.to_owned(),
        }
    }
}

/// The serialization of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Otlp {
    Protobuf,
    Json,
}

/// Where an exporter and its processor report, and how they are called.
pub(crate) struct SelfMetrics {
    pub(crate) meter: Meter,
    pub(crate) names: &'static Names,
    /// The serialization, if OTLP is sent.
    pub(crate) otlp: Option<Otlp>,
}

/// Bucket bounds in seconds, as the conventions advise for HTTP.
const REQUEST_SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// A single bucket, as the conventions advise for SDK components.
const ONE_BUCKET: [f64; 0] = [];

/// The attribute with the reason of a loss.
const LOSS_REASON: &str = "opentelemetry_spool.loss.reason";

/// The meter of a provider, with this crate's scope.
pub(crate) fn meter_of(provider: &dyn MeterProvider) -> Meter {
    provider.meter_with_scope(scope())
}

/// The meter of the global provider as it is now.
pub(crate) fn global_meter() -> Meter {
    global::meter_with_scope(scope())
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// The spool of an exporter, as far as it is measured.
pub(crate) trait Observed: Send + Sync {
    /// Nothing is measured any more.
    fn is_closed(&self) -> bool;
    fn pending_records(&self) -> u64;
    fn stranded_records(&self) -> u64;
    fn segments(&self) -> u64;
    fn oldest_age(&self, now: SystemTime) -> Option<Duration>;
    /// Bytes on disk, if that can be known, and how many are allowed.
    fn disk_bytes(&self) -> Option<u64>;
    fn max_bytes(&self) -> u64;
}

/// The endpoint of an exporter: host, port and HTTP method.
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) port: Option<u16>,
    pub(crate) method: &'static str,
}

/// Makes the instruments of an exporter.
pub(crate) fn install(of: &SelfMetrics, endpoint: Endpoint, spool: Weak<dyn Observed>, counters: &Arc<Counters>) {
    let SelfMetrics { meter, names, otlp } = of;
    counters.items.are_counted.store(true, Ordering::Relaxed);
    let Endpoint { address, port, method } = endpoint;
    let server = [
        Some(KeyValue::new("server.address", address)),
        port.map(|port| KeyValue::new("server.port", i64::from(port))),
    ];
    let attributes = component(&names.component_type(*otlp)).into_iter().chain(server.into_iter().flatten()).collect();
    let source = Source { spool, counters: Arc::downgrade(counters), attributes };
    source.observe_conventional(meter, names);
    source.observe_requests(meter);
    source.observe_spool(meter);
    let durations = Durations {
        requests: histogram(
            meter,
            "http.client.request.duration",
            "Duration of HTTP client requests.",
            REQUEST_SECONDS.to_vec(),
        ),
        batches: histogram(
            meter,
            "otel.sdk.exporter.operation.duration",
            "The duration of exporting a batch of telemetry records.",
            ONE_BUCKET.to_vec(),
        ),
        attributes: source.attributes,
        method,
    };
    // It is set once: an exporter is built once.
    let _ = counters.observer.set(Box::new(durations));
}

fn histogram(meter: &Meter, name: &'static str, description: &'static str, bounds: Vec<f64>) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_description(description).with_boundaries(bounds).build()
}

/// The attributes of a component. The instances of each type are numbered, so that the name is the same after a restart.
pub(crate) fn component(component_type: &str) -> [KeyValue; 2] {
    static INSTANCES: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    let next = instances.entry(component_type.to_owned()).or_default();
    let instance = std::mem::replace(next, *next + 1);
    drop(instances);
    [
        KeyValue::new("otel.component.type", component_type.to_owned()),
        KeyValue::new("otel.component.name", format!("{component_type}/{instance}")),
    ]
}

/// The source of everything that is read when metrics are collected.
#[derive(Clone)]
struct Source {
    spool: Weak<dyn Observed>,
    counters: Weak<Counters>,
    attributes: Arc<[KeyValue]>,
}

/// Counts by reason.
type Reasons = Vec<(&'static str, u64)>;

impl Source {
    /// Reads nothing after the exporter is shut down, nor in a forked process, whose locks may be held for ever.
    fn read<T>(&self, read: impl FnOnce(&dyn Observed, &Counters) -> T) -> Option<T> {
        check_process().ok()?;
        let spool = self.spool.upgrade().filter(|spool| !spool.is_closed())?;
        Some(read(&*spool, &*self.counters.upgrade()?))
    }

    /// A callback that observes one value.
    fn one<T>(
        &self,
        read: impl Fn(&dyn Observed, &Counters) -> Option<T> + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
        let source = self.clone();
        move |instrument| {
            if let Some(value) = source.read(&read).flatten() {
                instrument.observe(value, &source.attributes);
            }
        }
    }

    /// A callback that observes one value per reason, with the reason in the attribute `key`.
    fn by_reason(
        &self,
        key: &'static str,
        read: impl Fn(&dyn Observed, &Counters) -> Reasons + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static {
        let source = self.clone();
        move |instrument| {
            for (reason, count) in source.read(&read).into_iter().flatten() {
                instrument.observe(count, &source.attributes_and(KeyValue::new(key, reason)));
            }
        }
    }

    fn attributes_and(&self, more: KeyValue) -> Vec<KeyValue> {
        self.attributes.iter().cloned().chain([more]).collect()
    }

    fn observe_conventional(&self, meter: &Meter, names: &Names) {
        let (delivered, failed) = (
            self.one(|_, counters| Some(counters.delivered_items())),
            self.by_reason("error.type", |_, counters| {
                // A record that found no room in a processor was not passed to the exporter.
                let exported = LossReason::ALL.into_iter().filter(|reason| reason.is_of_exported());
                let lost = exported.map(|reason| (reason.as_str(), counters.losses.items(reason)));
                lost.chain([("rejected", counters.rejected_items())]).collect()
            }),
        );
        meter
            .u64_observable_counter(format!("otel.sdk.exporter.{}.exported", names.item))
            .with_unit(names.unit)
            .with_description("The number of records for which the export has finished, either successful or failed.")
            .with_callback(move |instrument| {
                delivered(instrument);
                failed(instrument);
            })
            .build();
        meter
            .i64_observable_up_down_counter(format!("otel.sdk.exporter.{}.inflight", names.item))
            .with_unit(names.unit)
            .with_description("The number of records which were passed to the exporter, but that have not been exported yet (neither successful, nor failed).")
            .with_callback(self.one(|spool, counters| {
                Some(signed(counters.losses.per_record.of(spool.pending_records())))
            }))
            .build();
    }

    fn observe_requests(&self, meter: &Meter) {
        meter
            .i64_observable_up_down_counter("http.client.active_requests")
            .with_unit("{request}")
            .with_description("Number of active HTTP requests.")
            .with_callback(self.one(|_, counters| Some(signed(counters.in_flight_requests.get()))))
            .build();
    }

    fn observe_spool(&self, meter: &Meter) {
        meter
            .u64_observable_counter("opentelemetry_spool.accepted")
            .with_unit("{record}")
            .with_description("Records that were written to the spool.")
            .with_callback(self.one(|_, counters| Some(counters.accepted_records.get())))
            .build();
        meter
            .u64_observable_counter("opentelemetry_spool.lost")
            .with_unit("{record}")
            .with_description("Records that are lost, by reason.")
            .with_callback(self.by_reason(LOSS_REASON, |_, counters| {
                LossReason::ALL.map(|reason| (reason.as_str(), counters.losses.get(reason))).to_vec()
            }))
            .build();
        meter
            .u64_observable_counter("opentelemetry_spool.lost.size")
            .with_unit("By")
            .with_description("Size of the records that are lost, as far as it is known, by reason.")
            .with_callback(self.by_reason(LOSS_REASON, |_, counters| {
                LossReason::ALL.map(|reason| (reason.as_str(), counters.losses.bytes(reason))).to_vec()
            }))
            .build();
        meter
            .u64_observable_counter("opentelemetry_spool.thinned")
            .with_unit("{record}")
            .with_description("Records that were not sent because newer ones stand for them.")
            .with_callback(self.one(|_, counters| Some(counters.thinned_records.get())))
            .build();
        meter
            .u64_observable_counter("opentelemetry_spool.filtered")
            .with_unit("{record}")
            .with_description("Records that were not stored because a filter of the application dropped them.")
            .with_callback(self.one(|_, counters| Some(counters.filtered_records.get())))
            .build();
        meter
            .i64_observable_up_down_counter("opentelemetry_spool.pending")
            .with_unit("{record}")
            .with_description("Records in the spool that wait to be delivered.")
            .with_callback(self.one(|spool, _| Some(signed(spool.pending_records()))))
            .build();
        meter
            .i64_observable_up_down_counter("opentelemetry_spool.stranded")
            .with_unit("{record}")
            .with_description(
                "Records in the spool that were spooled for another endpoint and are not sent to this one.",
            )
            .with_callback(self.one(|spool, _| Some(signed(spool.stranded_records()))))
            .build();
        meter
            .f64_observable_gauge("opentelemetry_spool.pending.age")
            .with_unit("s")
            .with_description("Time that the oldest waiting record has been in the spool; 0 if none waits.")
            .with_callback(
                self.one(|spool, _| Some(spool.oldest_age(SystemTime::now()).unwrap_or_default().as_secs_f64())),
            )
            .build();
        meter
            .i64_observable_up_down_counter("opentelemetry_spool.disk.usage")
            .with_unit("By")
            .with_description(
                "Size of the spool directory on disk, without what exporters of other signals have there.",
            )
            .with_callback(self.one(|spool, _| spool.disk_bytes().map(signed)))
            .build();
        meter
            .i64_observable_up_down_counter("opentelemetry_spool.disk.limit")
            .with_unit("By")
            .with_description("Largest size of the spool directory on disk.")
            .with_callback(self.one(|spool, _| Some(signed(spool.max_bytes()))))
            .build();
        meter
            .i64_observable_up_down_counter("opentelemetry_spool.segment.count")
            .with_unit("{segment}")
            .with_description("Segments of the spool.")
            .with_callback(self.one(|spool, _| Some(signed(spool.segments()))))
            .build();
        meter
            .u64_observable_counter("opentelemetry_spool.retries")
            .with_unit("{request}")
            .with_description("Requests that were not the first attempt of their batch.")
            .with_callback(self.one(|_, counters| Some(counters.retries.get())))
            .build();
    }
}

pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The histograms of durations.
struct Durations {
    requests: Histogram<f64>,
    batches: Histogram<f64>,
    attributes: Arc<[KeyValue]>,
    method: &'static str,
}

impl Observer for Durations {
    fn request(&self, took: Duration, outcome: Outcome) {
        let method = (!self.method.is_empty()).then(|| KeyValue::new("http.request.method", self.method));
        self.requests.record(took.as_secs_f64(), &self.attributes_of(outcome, method));
    }

    fn batch(&self, took: Duration, outcome: Outcome) {
        self.batches.record(took.as_secs_f64(), &self.attributes_of(outcome, None));
    }
}

impl Durations {
    fn attributes_of(&self, outcome: Outcome, more: Option<KeyValue>) -> Vec<KeyValue> {
        let status = match outcome {
            Outcome::Delivered(status) | Outcome::Responded(status) if status > 0 => Some(status),
            _ => None,
        };
        let status = status.map(|status| KeyValue::new("http.response.status_code", i64::from(status)));
        let error = error_type(outcome).map(|error| KeyValue::new("error.type", error));
        self.attributes.iter().cloned().chain(status).chain(error).chain(more).collect()
    }
}

/// The value of `error.type`: few values, as the conventions ask for.
fn error_type(outcome: Outcome) -> Option<Cow<'static, str>> {
    match outcome {
        Outcome::Delivered(_) => None,
        // A success that rejects records all the same.
        Outcome::Responded(200..=299) => Some("rejected".into()),
        Outcome::Responded(status) => Some(status.to_string().into()),
        Outcome::Unreachable => Some("unreachable".into()),
        Outcome::Interrupted => Some("interrupted".into()),
    }
}
