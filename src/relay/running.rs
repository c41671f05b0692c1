//! [`Relay`]: a relay that runs, as the application sees it.

use std::fmt;
use std::net::SocketAddr;
#[cfg(feature = "cli")]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::Context;

use crate::error::FlushError;
use crate::exporter::SpoolHandle;
use crate::exporter::intake::DROP_PATIENCE;
use crate::process::check_process;
use crate::relay::counts::{Counts, RelayStats};
use crate::relay::intake::Outlets;
use crate::relay::listener::Listener;
use crate::relay::outlet::Outlet;
use crate::relay::server::Server;

/// The most that a shutdown takes: a time that can be added to any other.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(1 << 30);

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
    counts: Arc<Counts>,
    server: Server,
    shut_down: AtomicBool,
}

impl Relay {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        status_address: Option<SocketAddr>,
        outlets: Arc<Outlets>,
        counts: Arc<Counts>,
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
        self.outlets.traces.as_ref().map(Outlet::handle)
    }

    /// A handle of the delivery of metrics, if they are relayed.
    pub fn metrics(&self) -> Option<SpoolHandle> {
        self.outlets.metrics.as_ref().map(Outlet::handle)
    }

    /// The directory of the spool, as long as it is open.
    #[cfg(feature = "cli")]
    pub(crate) fn spool_dir(&self) -> Option<PathBuf> {
        self.outlets.logs.pipeline.spool().upgrade().map(|spool| spool.config().dir.clone())
    }

    /// The records of all signals that are lost so far, for any reason.
    #[cfg(feature = "cli")]
    pub(crate) fn lost_records(&self) -> u64 {
        self.outlets.all().map(|outlet| outlet.handle().stats().lost_records).sum()
    }

    /// The records of all signals that wait in the spool, as long as it is open.
    pub(crate) fn pending_records(&self) -> u64 {
        self.outlets.all().map(|outlet| outlet.handle().stats().pending_records).sum()
    }

    /// Accepts nothing more, reads what has come, commits it, delivers what it can and closes the spool, within `timeout`. The rest
    /// stays in the spool for the next start; that is a success.
    ///
    /// # Errors
    ///
    /// [`FlushError::NotWritten`] if the spool did not take what was in memory, [`FlushError::Timeout`] if that could not be written in time, and
    /// [`FlushError::ShutDown`] if it was called before; [`FlushError::Forked`] in a process that was forked.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), FlushError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        check_process().map_err(|_| FlushError::Forked)?;
        if self.shut_down.swap(true, Ordering::AcqRel) {
            return Err(FlushError::ShutDown);
        }
        let not_written = || self.outlets.all().map(|outlet| outlet.handle().stats().not_written_records).sum::<u64>();
        let not_written_before = not_written();
        let patience = timeout.min(LONGEST_SHUTDOWN);
        let begun = Instant::now();
        let left = || patience.saturating_sub(begun.elapsed());
        let mut in_time = self.server.stop(patience.mul_f64(0.4));
        for outlet in self.outlets.all() {
            in_time &= outlet.stop(left().mul_f64(0.7));
        }
        for outlet in self.outlets.all() {
            in_time &= outlet.pipeline.stop(left());
        }
        match not_written() - not_written_before {
            0 if in_time => Ok(()),
            0 => Err(FlushError::Timeout { timeout, pending: self.pending_records() }),
            records => Err(FlushError::NotWritten { records }),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if !*self.shut_down.get_mut() && check_process().is_ok() {
            self.server.abort();
            for outlet in self.outlets.all() {
                outlet.stop(DROP_PATIENCE);
                outlet.pipeline.abort(DROP_PATIENCE);
            }
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
