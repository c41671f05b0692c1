//! Exporters of all three signals in one process on one spool directory, and the threads and the memory that they have together.

use std::path::Path;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_spool::SpoolHandle;

use super::sharing::{memory, threads};
use super::{NEVER, signals};
use crate::child::{commands, say, setting};
use crate::service::{Service, flush};

/// Something that exports when it is used, and ends when it is dropped.
struct Exporter {
    handle: SpoolHandle,
    export: Box<dyn Fn(usize)>,
}

fn logs(endpoint: &str, spool: &Path) -> Exporter {
    let service = Service::simple(signals::logs(endpoint, spool));
    Exporter { handle: service.handle.clone(), export: Box::new(move |count| service.log_all("m", 1..=count)) }
}

fn spans(endpoint: &str, spool: &Path) -> Exporter {
    let exporter = signals::spans(endpoint, spool).build().expect("an exporter of spans");
    let handle = exporter.handle();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter).build();
    let tracer = provider.tracer("service");
    let export = move |count| {
        for _ in 0..count {
            tracer.span_builder("a span").start_with_context(&tracer, &Context::new()).end();
        }
    };
    Exporter { handle, export: Box::new(export) }
}

fn metrics(endpoint: &str, spool: &Path) -> Exporter {
    let exporter = signals::metrics(endpoint, spool).build().expect("an exporter of metrics");
    let handle = exporter.handle();
    let reader = PeriodicReader::builder(exporter).with_interval(NEVER).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let counter = meters.meter("service").u64_counter("orders").build();
    let export = move |count| {
        for customer in 0..count {
            counter.add(1, &[KeyValue::new("customer", i64::try_from(customer).expect("a small number"))]);
        }
        meters.force_flush().expect("points reach the disk");
    };
    Exporter { handle, export: Box::new(export) }
}

pub(crate) fn main() {
    let (endpoint, spool) = (setting("ENDPOINT"), setting("DIR"));
    let mut exporters: Vec<(String, Exporter)> = Vec::new();
    say("ready");
    for command in commands() {
        match command.split(' ').collect::<Vec<_>>()[..] {
            ["build", signal] => {
                let build = match signal {
                    "logs" => logs,
                    "traces" => spans,
                    _ => metrics,
                };
                exporters.push((signal.to_owned(), build(&endpoint, spool.as_ref())));
                say("built");
            }
            ["use", count] => {
                for (_, exporter) in &exporters {
                    (exporter.export)(count.parse().expect("a number"));
                    flush(&exporter.handle);
                }
                say("used");
            }
            ["end", signal] => {
                exporters.retain(|(of, _)| of != signal);
                say("ended");
            }
            ["threads"] => say(&format!("threads {}", threads())),
            ["memory"] => say(&format!("memory {}", memory())),
            _ => panic!("what is {command:?}?"),
        }
    }
}
