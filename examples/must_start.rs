//! A service that starts whatever its disk does: where the spool cannot be opened, it keeps its logs in memory, with a warning.
//!
//! The memory is a file system that lives there: `/dev/shm`, or the `RuntimeDirectory` of a systemd unit. The logs survive an outage
//! of the endpoint and a crash of the service there, but no reboot. A setting that is wrong is an error all the same.
//!
//! ```text
//! cargo run --example must_start
//! ```

mod print_receiver;

use std::path::Path;

use opentelemetry_spool::{BoxError, Durability, ExporterBuildError, LogExporter, LogExporterBuilder};

/// The exporter of a service with its spool on disk, or else in memory; `warn` is told why.
pub(crate) fn exporter(
    settings: impl Fn() -> LogExporterBuilder,
    on_disk: &Path,
    in_memory: &Path,
    warn: impl FnOnce(String),
) -> Result<LogExporter, ExporterBuildError> {
    settings().with_spool_dir(on_disk).build().or_else(|why| {
        let exporter = settings().with_spool_dir(in_memory).with_durability(Durability::Process);
        // Where this is no better, it was not the disk.
        let exporter = exporter.with_max_spool_bytes(64 << 20).build()?;
        warn(format!("logs are kept in memory, in {}, and do not survive a reboot: {why}", in_memory.display()));
        Ok(exporter)
    })
}

fn main() -> Result<(), BoxError> {
    use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
    use opentelemetry_sdk::logs::SdkLoggerProvider;

    let endpoint = print_receiver::start()?;
    let memory = tempfile::tempdir()?; // a real service would take /dev/shm/checkout
    let settings = || LogExporter::builder().with_endpoint(&endpoint);
    let disk = Path::new("/proc/no/spool/can/be/here");
    let exporter = exporter(settings, disk, memory.path(), |why| eprintln!("warning: {why}"))?;
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    let logger = provider.logger("checkout");
    let mut record = logger.create_log_record();
    record.set_body("started all the same".into());
    logger.emit(record);
    provider.shutdown()?;
    Ok(())
}
