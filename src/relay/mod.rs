//! The relay: what other processes of the host send goes through the same spool as the records of an exporter.
//!
//! ```text
//!  listener   what is read                protocols/       intake, outlet              as with an exporter
//!  tcp, unix  streams  ─ decoder ──┐      a message's      a record's bytes,
//!  udp, ...   datagrams ─ decoder ─┼───>  bytes to     ──> buffer ─ committer ──────>  spool ─> delivery ─> transport
//!  http, otlp http/ ─ requests ────┘      records          │
//!                        ^── answer ── service ── repeats ─┘ committed
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `builder`, `format`, `start` | the settings, what they suggest, and what is made of them |
//! | `listener`, `inherited`, `server` | sockets; the tasks that accept and serve |
//! | `streams`, `datagrams`, `decoder` | frames, and the thread that reads them as records |
//! | `http/`, `requests` | the HTTP server, and what a listener does with its requests |
//! | `service`, `repeats`, `remembered` | stored before it is answered, and once |
//! | `protocol`, `protocols/`, `pickle/`, `json/`, `record` | from the bytes of a message to records |
//! | `intake`, `partition`, `outlet` | from a record to the buffer of its signal |
//! | `buffer`, `committer` | group commit |
//! | `counts`, `watched`, `status/` | what is seen from outside |

mod buffer;
mod builder;
mod committer;
mod counts;
mod datagrams;
mod decoder;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod inherited;
mod intake;
mod json;
mod listener;
mod outlet;
mod partition;
mod pickle;
mod protocol;
mod protocols;
mod record;
mod remembered;
mod repeats;
mod requests;
mod server;
mod service;
mod start;
mod status;
mod streams;
mod watched;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::Context;

use crate::error::FlushError;
use crate::exporter::SpoolHandle;
use crate::process::check_process;
use intake::Outlets;
use server::Server;

pub use builder::{RelayBuilder, RelaySettings};
pub use counts::{DropReason, ListenerStats, RelayStats};
pub use listener::Listener;
pub use partition::{ParsePartitionByError, PartitionBy};

/// A relay: it takes what other processes of the host send, makes it durable, and delivers it as an exporter does.
///
/// | a client that | is told | its records are safe |
/// |---|---|---|
/// | sends requests (`HTTPHandler`, http-logging, OTLP, ...) | 200 | when it is told so: they are synced |
/// | sends frames or datagrams (`SocketHandler`, `DatagramHandler`, logserv) | nothing, ever | after the commit, 100 ms later at most |
///
/// Clients of OTLP send a request again that was not answered with success, also to the next relay after a kill: each is stored once. The others
/// never do, so that what they were not told is safe can be lost with the relay. The chapter [relay](crate::docs::relay) says of each client
/// how it is configured and what it can lose.
///
/// Dropping a relay without a shutdown breaks all connections off; what it answered with success is in the spool.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_spool::{Listener, Relay};
/// use std::time::Duration;
///
/// let relay = Relay::builder()
///     .with_spool_dir(dir.path())
///     .with_endpoint("http://127.0.0.1:9") // a collector
///     .with_listener(Listener::Otlp("127.0.0.1:0".parse()?))
///     .build()?;
/// println!("OTEL_EXPORTER_OTLP_ENDPOINT=http://{}", relay.addresses()[0]);
/// relay.shutdown(Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Relay {
    listeners: Vec<Listener>,
    status_address: Option<SocketAddr>,
    outlets: Arc<Outlets>,
    counts: Arc<counts::Counts>,
    server: Server,
    shut_down: AtomicBool,
}

impl Relay {
    fn new(
        listeners: Vec<Listener>,
        status_address: Option<SocketAddr>,
        outlets: Arc<Outlets>,
        counts: Arc<counts::Counts>,
        server: Server,
    ) -> Self {
        Self { listeners, status_address, outlets, counts, server, shut_down: AtomicBool::new(false) }
    }

    /// The listeners, each with the port that it has.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The addresses of those listeners that have one, in their order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(Listener::address).collect()
    }

    /// The address of the status page.
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.status_address
    }

    /// The counts so far.
    pub fn stats(&self) -> RelayStats {
        self.counts.snapshot()
    }

    /// A handle of the delivery of log records.
    pub fn logs(&self) -> SpoolHandle {
        self.outlets.logs.handle()
    }

    /// A handle of the delivery of spans, if they are relayed.
    pub fn traces(&self) -> Option<SpoolHandle> {
        self.outlets.traces.as_ref().map(outlet::Outlet::handle)
    }

    /// A handle of the delivery of metrics, if they are relayed.
    pub fn metrics(&self) -> Option<SpoolHandle> {
        self.outlets.metrics.as_ref().map(outlet::Outlet::handle)
    }

    /// Accepts nothing more, reads what has come, commits it, delivers what it can and closes the spool, within `timeout`. The rest
    /// stays in the spool for the next start; that is a success.
    ///
    /// # Errors
    ///
    /// [`FlushError::Timeout`] if something in memory could not be written in time, and [`FlushError::ShutDown`] if it was called before, or in a
    /// process that was forked.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), FlushError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if check_process().is_err() || self.shut_down.swap(true, Ordering::AcqRel) {
            return Err(FlushError::ShutDown);
        }
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut in_time = self.server.stop(timeout.mul_f64(0.4));
        for outlet in self.outlets.all() {
            in_time &= outlet.stop(left().mul_f64(0.7));
        }
        for outlet in self.outlets.all() {
            in_time &= outlet.pipeline.stop(left());
        }
        let pending = self.outlets.all().map(|outlet| outlet.handle().stats().pending_records).sum();
        if in_time { Ok(()) } else { Err(FlushError::Timeout { timeout, pending }) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if !*self.shut_down.get_mut() && check_process().is_ok() {
            self.server.abort();
            for outlet in self.outlets.all() {
                outlet.stop(crate::exporter::intake::DROP_PATIENCE);
                outlet.pipeline.abort(crate::exporter::intake::DROP_PATIENCE);
            }
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
