//! [`Status`]: what the owner of a queue tells others of it, in a small file beside the segments. It touches nothing else.
//!
//! It serves people: nothing of a spool rests on it, it is never synced, and it may be missing or old. Whether its writer lives is told by the
//! lock alone. It has no partition keys.

#[cfg(any(test, feature = "cli"))]
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(any(test, feature = "cli"))]
use serde_json::Value;
use serde_json::json;

use super::bytes::start_of;
use crate::observe::stats::{LastError, SpoolStats};

/// How much of an error is told.
const MAX_REASON_BYTES: usize = 1 << 10;

/// More than the file has.
#[cfg(feature = "cli")]
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The state of a queue at some moment, by its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The id of the process.
    pub(crate) process: u32,
    pub(crate) written_at: SystemTime,
    /// Where it is sent, without user, password and query.
    pub(crate) endpoint: Option<String>,
    /// How many records wait; `None` before that is known.
    pub(crate) pending_records: Option<u64>,
    /// When the oldest of them was stored.
    pub(crate) oldest: Option<SystemTime>,
    /// The counts of its exporter; `None` of a queue that it has adopted.
    pub(crate) counts: Option<Counts>,
    /// When the endpoint took something last.
    pub(crate) last_success: Option<SystemTime>,
    pub(crate) last_error: Option<LastError>,
}

/// Records of an exporter since it was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) rejected: u64,
    pub(crate) lost: u64,
    pub(crate) failed_requests: u64,
}

impl Counts {
    pub(super) fn of(stats: &SpoolStats) -> Self {
        Self {
            accepted: stats.accepted_records,
            delivered: stats.delivered_records,
            rejected: stats.rejected_records,
            lost: stats.lost_records,
            failed_requests: stats.failed_requests,
        }
    }
}

impl Status {
    /// The last error, if nothing was delivered since.
    #[cfg(feature = "cli")]
    pub(crate) fn failing(&self) -> Option<&LastError> {
        let is_last = |error: &&LastError| self.last_success.is_none_or(|success| success < error.at);
        self.last_error.as_ref().filter(is_last)
    }

    /// The file that holds it.
    pub(super) fn to_file(&self) -> Vec<u8> {
        let counts = self.counts.map(|counts| {
            json!({
                "accepted_records": counts.accepted,
                "delivered_records": counts.delivered,
                "rejected_records": counts.rejected,
                "lost_records": counts.lost,
                "failed_requests": counts.failed_requests,
            })
        });
        let told =
            |error: &LastError| json!({ "at": seconds(error.at), "reason": start_of(&error.reason, MAX_REASON_BYTES) });
        let error = self.last_error.as_ref().map(told);
        let file = json!({
            "process": self.process,
            "written_at": seconds(self.written_at),
            "endpoint": self.endpoint,
            "pending_records": self.pending_records,
            "oldest": self.oldest.map(seconds),
            "counts": counts,
            "last_success": self.last_success.map(seconds),
            "last_error": error,
        });
        format!("{file}\n").into_bytes()
    }

    /// Reads the file of a queue; `None` if there is none, or one that says something else.
    #[cfg(feature = "cli")]
    pub(super) fn read(queue: &std::path::Path) -> Option<Self> {
        let bytes = super::dir::status_in(queue, MAX_FILE_BYTES).ok()?;
        Self::parse(&serde_json::from_slice(&bytes).ok()?)
    }

    #[cfg(any(test, feature = "cli"))]
    fn parse(file: &Value) -> Option<Self> {
        let number = |key: &str| file.get(key)?.as_u64();
        let counts = |counts: &Value| {
            let count = |key: &str| counts.get(key)?.as_u64();
            Some(Counts {
                accepted: count("accepted_records")?,
                delivered: count("delivered_records")?,
                rejected: count("rejected_records")?,
                lost: count("lost_records")?,
                failed_requests: count("failed_requests")?,
            })
        };
        let error = |error: &Value| {
            Some(LastError { at: time(error.get("at"))?, reason: error.get("reason")?.as_str()?.to_owned() })
        };
        Some(Self {
            process: number("process")?.try_into().ok()?,
            written_at: time(file.get("written_at"))?,
            endpoint: file.get("endpoint").and_then(Value::as_str).map(str::to_owned),
            pending_records: number("pending_records"),
            oldest: time(file.get("oldest")),
            counts: file.get("counts").and_then(counts),
            last_success: time(file.get("last_success")),
            last_error: file.get("last_error").and_then(error),
        })
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(any(test, feature = "cli"))]
fn time(seconds: Option<&Value>) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds?.as_f64()?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::without_query;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn parse(file: &[u8]) -> Option<Status> {
        Status::parse(&serde_json::from_slice(file).ok()?)
    }

    #[test]
    fn what_is_not_known_is_read_as_not_known() {
        let unknown = Status {
            process: 1,
            written_at: at(1_700_000_000),
            endpoint: None,
            pending_records: None,
            oldest: None,
            counts: None,
            last_success: None,
            last_error: None,
        };
        assert_eq!(parse(&unknown.to_file()), Some(unknown.clone()));
        let counts = Counts { accepted: 5, delivered: 3, rejected: 1, lost: 1, failed_requests: 2 };
        let known = Status {
            endpoint: Some("http://host/in".to_owned()),
            pending_records: Some(0),
            oldest: Some(at(1_600_000_000)),
            counts: Some(counts),
            last_success: Some(at(1_650_000_000)),
            last_error: Some(LastError { at: at(1_650_000_001), reason: "refused\n".to_owned() }),
            ..unknown
        };
        assert_eq!(parse(&known.to_file()), Some(known));
        for other in [&b""[..], b"{}", b"[]", br#"{"process":1}"#, br#"{"process":-1,"written_at":1}"#] {
            assert_eq!(parse(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_long_error_is_cut_between_two_characters_and_a_query_is_left_out() {
        let reason = format!("a{}", "ü".repeat(MAX_REASON_BYTES));
        assert_eq!(start_of(&reason, MAX_REASON_BYTES), format!("a{}", "ü".repeat(MAX_REASON_BYTES / 2 - 1)));
        assert_eq!(without_query("https://host/in?key=secret"), "https://host/in?...");
        assert_eq!(without_query("https://host/in#secret"), "https://host/in?...");
        assert_eq!(without_query("https://host/in"), "https://host/in");
    }
}
