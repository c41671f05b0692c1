//! OpenTelemetry's SDK for Rust with its own exporter, in the test's own process.

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_otlp::{LogExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchConfigBuilder, BatchLogProcessor, SdkLoggerProvider};

use super::process::Process;

/// Logs so many records, as `steps.py` says.
pub(super) fn start(port: u16, count: usize) -> Process {
    let name = "rust-sdk";
    Process::thread(name, move |say, told| {
        let exporter = LogExporter::builder()
            .with_http()
            .with_endpoint(format!("http://127.0.0.1:{port}/v1/logs"))
            .with_timeout(Duration::from_secs(60))
            .build()
            .expect("an exporter");
        let batches = BatchConfigBuilder::default().with_scheduled_delay(Duration::from_millis(200)).build();
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
        let resource = Resource::builder().with_service_name("shop").build();
        let provider = SdkLoggerProvider::builder().with_resource(resource).with_log_processor(processor).build();
        let logger = provider.logger("shop.orders");
        say("ready");
        assert_eq!(told.recv().as_deref(), Ok("go"));
        for number in 0..count {
            if number == count * 2 / 3 {
                assert_eq!(told.recv().as_deref(), Ok("back"));
            }
            let mut record = logger.create_log_record();
            record.set_timestamp(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789));
            record.set_severity_number(Severity::Warn);
            record.set_severity_text("WARN");
            record.set_body(AnyValue::from(format!("{name}-{number:06}")));
            record.add_attribute("text", "Zürich \"1\"\nline \u{1f980}");
            record.add_attribute("integer", 42);
            record.add_attribute("double", 0.1);
            record.add_attribute("flag", true);
            logger.emit(record);
            say(&format!("sent {number}"));
            std::thread::sleep(Duration::from_millis(20));
        }
        provider.shutdown().expect("everything is exported");
        say("last {}");
        say("end");
    })
}
