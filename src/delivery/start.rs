//! The start of a pipeline as one line of the diagnostics: where it delivers from, where to, in which format, and how much waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use opentelemetry::otel_info;
use tokio::time::timeout;

use crate::encode::framing::{Framing, ResponseProtocol};
use crate::observe::stats::SpoolStats;

/// The time after which a start is logged. An application mostly sets its subscriber when its exporters are built, since that has
/// a bridge to them: it would not see a line of `build`.
const LOG_AFTER: Duration = Duration::from_secs(1);

/// What there is to say of a start.
pub(super) struct Start {
    pub(super) signal: &'static str,
    pub(super) dir: PathBuf,
    /// The endpoint as it may be shown.
    pub(super) endpoint: String,
    pub(super) format: String,
}

impl Start {
    /// Runs a delivery and logs its start, after a while or when it ends before.
    pub(super) async fn log_while(self, delivery: impl Future<Output = ()>, stats: impl FnOnce() -> SpoolStats) {
        let mut delivery = pin!(delivery);
        let has_ended = timeout(LOG_AFTER, &mut delivery).await.is_ok();
        // The subscriber is the application's: a panic there ends no delivery.
        let _ = catch_unwind(AssertUnwindSafe(|| self.log(backlog(&stats()))));
        if !has_ended {
            delivery.await;
        }
    }

    fn log(self, backlog: u64) {
        let dir = std::path::absolute(&self.dir).unwrap_or(self.dir).display().to_string();
        otel_info!(
            name: "Spool.Started",
            signal = self.signal,
            directory = dir.as_str(),
            endpoint = self.endpoint.as_str(),
            format = self.format.as_str(),
            backlog = backlog,
            message = "The exporter delivers from its spool. The backlog is the records that earlier processes have left there."
        );
    }
}

/// The records that earlier processes have left: what waits and what has gone, but for what this one has accepted.
fn backlog(stats: &SpoolStats) -> u64 {
    let gone = [stats.delivered_records, stats.rejected_records, stats.thinned_records];
    let lost = [stats.evicted_records, stats.expired_records, stats.corrupt_records];
    let all: u64 = gone.into_iter().chain(lost).chain([stats.pending_records]).sum();
    all.saturating_sub(stats.accepted_records)
}

/// The format of new records, for a person: the content type, and the protocol of the responses where there is one.
pub(crate) fn format_of(framing: &Framing) -> String {
    match framing.response_protocol() {
        ResponseProtocol::Status => framing.content_type().to_owned(),
        protocol => format!("{}, {}", protocol.name(), framing.content_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_what_earlier_processes_have_left_whatever_has_become_of_it() {
        let stats = SpoolStats {
            accepted_records: 10,
            pending_records: 8,
            delivered_records: 5,
            rejected_records: 1,
            evicted_records: 2,
            expired_records: 1,
            corrupt_records: 1,
            thinned_records: 1,
            buffer_full_records: 100,
            ..SpoolStats::default()
        };
        assert_eq!(backlog(&stats), 9);
        assert_eq!(backlog(&SpoolStats { accepted_records: 1, ..SpoolStats::default() }), 0);
    }

    #[test]
    fn a_format_is_named_by_its_protocol_and_its_content_type() {
        assert_eq!(format_of(&Framing::json_array()), "application/json");
        let rows = Framing::ndjson().with_response_protocol(ResponseProtocol::ClickHouse);
        assert_eq!(format_of(&rows), "clickhouse, application/x-ndjson");
    }
}
