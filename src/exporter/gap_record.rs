//! Gap records: a loss is reported in the stream, by a record in the encoder's own format. Records that could not be
//! encoded are an exception: they are counted, and an event reports the first one. A loss of spans or metrics is reported by the log exporter
//! of the same process on the same directory.
//!
//! | attribute | |
//! |---|---|
//! | `spool.gap.reason` | `evicted`, `not_written`, `buffer_full`, `expired` or `corrupt`; of a relay's clients `bad_frame`, `cut` or `too_large` |
//! | `spool.gap.records` | the number of lost records |
//! | `spool.gap.signal` | `logs`, `traces` or `metrics`: the records were of this signal |
//! | `spool.gap.first_timestamp`, `spool.gap.last_timestamp` | of the lost records, where known: seconds since the epoch |

use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};

use crate::config::values::Signal;
use crate::encode::blocks::Block;
use crate::exporter::log_exporter::{SharedEncoder, encode, framing};
use crate::observe::loss::LossReason;
use crate::spool::{Gap, GapEncoder};

/// Turns gaps into encoded records.
pub(crate) fn gap_encoder(encoder: SharedEncoder) -> Arc<GapEncoder> {
    Arc::new(move |gap| {
        let encoder = encoder.read().unwrap_or_else(PoisonError::into_inner);
        let framing = framing(&**encoder);
        let (record, mut bytes) = (record(gap), Vec::new());
        // An encoder may reject such a record; the loss is counted all the same.
        let on_wire = encode(&**encoder, &record, &scope(), &mut bytes).ok()?;
        let mut block = Block::default();
        block.push(on_wire, framing.separator());
        Some((block, framing))
    })
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build()
}

fn record(gap: &Gap) -> SdkLogRecord {
    // Only a logger can make a record. This one is never given any to emit.
    static LOGGER: OnceLock<SdkLogger> = OnceLock::new();
    let logger = LOGGER.get_or_init(|| {
        let provider = SdkLoggerProvider::builder().with_resource(Resource::builder_empty().build()).build();
        provider.logger_with_scope(scope())
    });
    let why = match gap.reason {
        LossReason::Evicted => "the spool was full and they were the oldest",
        LossReason::NotWritten => "they could not be written to the spool",
        LossReason::BufferFull => "the buffer had no room for them",
        LossReason::EncodeFailed => "they could not be encoded",
        LossReason::Expired => "they waited for too long",
        LossReason::Corrupt => "they could not be read again",
        LossReason::BadFrame => "what a client sent was none of its protocol",
        LossReason::Cut => "their client broke off while it sent them",
        LossReason::TooLarge => "they were larger than a limit of the relay",
    };
    let signal = gap.signal.unwrap_or(Signal::Logs);
    let (one, several) = match signal {
        Signal::Logs => ("record", "records"),
        Signal::Traces => ("span", "spans"),
        Signal::Metrics => ("metric", "metrics"),
    };
    let records = if gap.records == 1 { one } else { several };
    let mut record = logger.create_log_record();
    record.set_event_name("opentelemetry_spool.gap");
    record.set_target(env!("CARGO_PKG_NAME"));
    record.set_timestamp(SystemTime::now());
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_body(format!("lost {} {records} ({}): {why}", gap.records, gap.reason.as_str()).into());
    record.add_attribute("spool.gap.reason", gap.reason.as_str());
    record.add_attribute("spool.gap.records", i64::try_from(gap.records).unwrap_or(i64::MAX));
    record.add_attribute("spool.gap.signal", signal.name());
    for (key, time) in [("spool.gap.first_timestamp", gap.first), ("spool.gap.last_timestamp", gap.last)] {
        if let Some(since) = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) {
            record.add_attribute(key, since.as_secs_f64());
        }
    }
    record
}
