//! Reports of the service to the story: one line each on its standard output, written before anything else happens.
//!
//! A line in the pipe stays there when the writer is killed, so the story knows what was emitted.

use std::fmt;
use std::io::Write;

/// A line that the service prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The providers are built: the service can log.
    Opened { millis: u64 },
    /// A `tracing` macro returned, and the span around it ended.
    Emitted { tenant: String, seq: u64 },
    /// Records or spans that the process before had in its journal only.
    Replayed { records: u64 },
    /// The records and spans that wait to be delivered, by the exporters' count.
    Pending { records: u64 },
}

impl Report {
    /// Writes the line with a single call, so that a kill leaves it whole or leaves it out.
    pub(crate) fn send(&self) {
        // Without a reader the service is about to be stopped anyway.
        let _ = std::io::stdout().lock().write_all(format!("{self}\n").as_bytes());
    }

    /// Reads a line; `None` if it is not one of ours.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(match words[..] {
            ["opened", millis] => Self::Opened { millis: millis.parse().ok()? },
            ["emitted", tenant, seq] => Self::Emitted { tenant: tenant.into(), seq: seq.parse().ok()? },
            ["replayed", records] => Self::Replayed { records: records.parse().ok()? },
            ["pending", records] => Self::Pending { records: records.parse().ok()? },
            _ => return None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { millis } => write!(f, "opened {millis}"),
            Self::Emitted { tenant, seq } => write!(f, "emitted {tenant} {seq}"),
            Self::Replayed { records } => write!(f, "replayed {records}"),
            Self::Pending { records } => write!(f, "pending {records}"),
        }
    }
}
