//! The instruments of a processor with a queue, under the names of OpenTelemetry's semantic conventions where they have one.
//!
//! They are read when metrics are collected, for as long as the processor is there: after its shutdown too, since records may
//! still come.

use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use crate::observe::metrics::{Names, component, signed};
use crate::observe::stats::ProcessorCounts;
use crate::process::check_process;

/// The queue of a processor, as far as it is measured.
pub(crate) trait ObservedQueue: Send + Sync {
    fn counts(&self) -> &ProcessorCounts;
    /// The records in it: those that are not on disk yet.
    fn records(&self) -> u64;
    fn bytes(&self) -> u64;
    fn max_bytes(&self) -> u64;
    /// How many records of the mean size it can hold; `None` before the first one.
    fn max_records(&self) -> Option<u64>;
}

/// Makes the instruments of a processor.
pub(crate) fn install(meter: &Meter, names: &Names, queue: Weak<dyn ObservedQueue>) {
    let attributes = component("opentelemetry_spool::SpoolProcessor").into_iter().collect();
    let source = Source { queue, attributes };
    source.observe_records(meter, names);
    source.observe_buffer(meter);
}

/// The source of everything that is measured.
#[derive(Clone)]
struct Source {
    queue: Weak<dyn ObservedQueue>,
    attributes: Arc<[KeyValue]>,
}

impl Source {
    /// Reads nothing in a forked process, whose locks may be held for ever.
    fn read<T>(&self, read: impl FnOnce(&dyn ObservedQueue) -> T) -> Option<T> {
        check_process().ok()?;
        Some(read(&*self.queue.upgrade()?))
    }

    /// A callback that observes one value.
    fn one<T>(
        &self,
        read: impl Fn(&dyn ObservedQueue) -> Option<T> + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
        let source = self.clone();
        move |instrument| {
            if let Some(value) = source.read(&read).flatten() {
                instrument.observe(value, &source.attributes);
            }
        }
    }

    fn observe_records(&self, meter: &Meter, names: &Names) {
        let Names { item, unit, .. } = names;
        let source = self.clone();
        meter
            .u64_observable_counter(format!("otel.sdk.processor.{item}.processed"))
            .with_unit(*unit)
            .with_description(
                "The number of records for which the processing has finished, either successful or failed.",
            )
            .with_callback(move |instrument| {
                let counts = source.read(|queue| {
                    let ProcessorCounts { processed, queue_full, already_shutdown } = queue.counts();
                    [(None, processed), (Some("queue_full"), queue_full), (Some("already_shutdown"), already_shutdown)]
                        .map(|(error, count)| (error, count.get()))
                });
                for (error, count) in counts.into_iter().flatten() {
                    let error = error.map(|error| KeyValue::new("error.type", error));
                    let attributes: Vec<_> = source.attributes.iter().cloned().chain(error).collect();
                    instrument.observe(count, &attributes);
                }
            })
            .build();
        meter
            .i64_observable_up_down_counter(format!("otel.sdk.processor.{item}.queue.size"))
            .with_unit(*unit)
            .with_description("The number of records in the queue of the processor.")
            .with_callback(self.one(|queue| Some(signed(queue.records()))))
            .build();
        meter
            .i64_observable_up_down_counter(format!("otel.sdk.processor.{item}.queue.capacity"))
            .with_unit(*unit)
            .with_description("The number of records of the mean size that the queue of the processor can hold.")
            .with_callback(self.one(|queue| queue.max_records().map(signed)))
            .build();
    }

    fn observe_buffer(&self, meter: &Meter) {
        meter
            .i64_observable_up_down_counter("opentelemetry_spool.buffer.usage")
            .with_unit("By")
            .with_description("Size of the records in the processor's buffer.")
            .with_callback(self.one(|queue| Some(signed(queue.bytes()))))
            .build();
        meter
            .i64_observable_up_down_counter("opentelemetry_spool.buffer.limit")
            .with_unit("By")
            .with_description("Largest size of the records in the processor's buffer.")
            .with_callback(self.one(|queue| Some(signed(queue.max_bytes()))))
            .build();
    }
}
