mod bridges;
mod caller_thread;
mod checkpoint;
mod feedback;
mod runtimes;
mod sharing;
mod shutdown;
mod spool_processor;
#[cfg(all(feature = "gzip-http", feature = "otlp"))]
mod swap;
