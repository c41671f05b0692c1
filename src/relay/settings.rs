//! [`RelaySettings`]: what a relay alone is set to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::exporter::builder::ExporterBuilder;
use crate::exporter::log_exporter::RecordFilter;
use crate::relay::format::LogsOut;
use crate::relay::listener::Listener;
use crate::relay::partition::PartitionBy;

/// Configures a [`Relay`](crate::Relay). It has every setting of an exporter, with the same method, variable and default, and those of the
/// relay: what it listens on and what it takes.
///
/// The endpoint can be the base of a collector, such as `http://collector:4318`, to which each signal's path is added, or one of
/// these paths. Records are then sent as OTLP in protobuf. Another endpoint of HTTP gets the JSON of
/// [`JsonEncoder`](crate::JsonEncoder), `file:` gets text, and `tcp:`, `unix:` and `udp:` get the frames of Python's
/// handlers, unless [`with_encoder`](Self::with_encoder), `with_protocol` or the variable `OTEL_EXPORTER_SPOOL_FORMAT` says otherwise. Spans and metrics are relayed where log records
/// are sent as OTLP.
pub type RelayBuilder = ExporterBuilder<RelaySettings>;

/// The settings that only a relay has: see [`RelayBuilder`].
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct RelaySettings {
    pub(crate) logs: LogsOut,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) inherited: bool,
    pub(crate) status: Option<SocketAddr>,
    pub(crate) shows_keys: bool,
    pub(crate) partition_by: PartitionBy,
    pub(crate) listen_anywhere: bool,
    pub(crate) hosts: Vec<String>,
    pub(crate) tokens: Vec<String>,
    pub(crate) users: Vec<(String, String)>,
    pub(crate) tags_senders: bool,
    pub(crate) dropped_attributes: Vec<String>,
    pub(crate) record_filter: Option<Arc<RecordFilter>>,
    pub(crate) limits: Limits,
}

/// The limits of a relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_record_bytes: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_otlp_bytes: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_buffer_bytes: usize,
    pub(crate) commit_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_record_bytes: 4 << 20,
            max_request_bytes: 16 << 20,
            max_otlp_bytes: 64 << 20,
            max_connections: 1024,
            max_buffer_bytes: 64 << 20,
            commit_delay: Duration::from_millis(100),
        }
    }
}
