mod bridges;
mod caller_thread;
mod checkpoint;
mod feedback;
mod journal;
#[cfg(all(feature = "gzip-http", feature = "trace", feature = "metrics"))]
mod probe;
mod record_filter;
mod runtimes;
mod sharing;
mod shutdown;
#[cfg(all(feature = "gzip-http", feature = "trace", feature = "metrics"))]
pub(crate) mod signals;
mod spool_processor;
#[cfg(all(feature = "gzip-http", feature = "otlp"))]
mod swap;
#[cfg(all(feature = "gzip-http", feature = "trace", feature = "metrics"))]
mod thinning;
