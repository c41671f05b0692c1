//! The same service, compiled against `opentelemetry_otlp` and against this crate.

/// The parts of the service besides the exporter.
macro_rules! service {
    () => {
        use std::collections::HashMap;
        use std::time::{Duration, UNIX_EPOCH};

        use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
        use opentelemetry::{InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId};
        use opentelemetry_sdk::Resource;
        use opentelemetry_sdk::logs::SdkLoggerProvider;

        include!("swap/service.rs");
    };
}

pub mod before {
    use opentelemetry_otlp::{Compression, LogExporter, Protocol, WithExportConfig, WithHttpConfig};
    service!();
}

pub mod after {
    use opentelemetry_spool::{Compression, LogExporter, Protocol};
    service!();
}
