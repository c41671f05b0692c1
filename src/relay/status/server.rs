//! [`StatusPages`]: the pages of a running relay, between the HTTP server and [`respond`].

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::values::FullPolicy;
use crate::relay::counts::Counts;
use crate::relay::http::handler::{Answering, Handler, Incoming, Refused};
use crate::relay::http::response::Response;
use crate::relay::intake::Outlets;
use crate::relay::outlet::Outlet;
use crate::relay::status::snapshot::{Intake, ListenerStatus, PartitionStatus, Refusal, SignalStatus, Snapshot};
use crate::relay::status::{Options, respond};

/// The least time between two moments of the history.
const MOMENT: Duration = Duration::from_secs(1);

/// The most partitions that are listed.
const MAX_KEYS: usize = 100;

/// The pages of a running relay.
pub(crate) struct StatusPages {
    outlets: Arc<Outlets>,
    counts: Arc<Counts>,
    options: Options,
    begun: Instant,
    /// The latest one.
    snapshot: Mutex<Snapshot>,
}

impl StatusPages {
    pub(crate) fn new(outlets: Arc<Outlets>, counts: Arc<Counts>, options: Options) -> Self {
        let first = Snapshot { endpoint: outlets.logs.endpoint(), ..Snapshot::default() };
        Self { outlets, counts, options, begun: Instant::now(), snapshot: Mutex::new(first) }
    }

    /// The state now; the history gets a moment more once a second.
    pub(crate) fn look(&self) -> MutexGuard<'_, Snapshot> {
        let signals: Vec<_> = self.outlets.all().map(|outlet| self.signal(outlet)).collect();
        let listeners = self.counts.listeners().iter().map(|(listener, counts)| ListenerStatus {
            name: listener.to_string(),
            connections: counts.connections.get(),
            open_connections: counts.open_connections.get(),
            intakes: (counts.tallies().into_iter())
                .map(|((protocol, signal), tally)| Intake {
                    protocol,
                    signal,
                    records: tally.records,
                    bytes: tally.bytes,
                    dropped: tally.dropped,
                })
                .collect(),
        });
        let listeners = listeners.collect();
        let refusal = self.refusal(&signals);
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let last = snapshot.uptime;
        snapshot.uptime = self.begun.elapsed();
        snapshot.max_bytes = self.outlets.logs.spool_limits().map(|limits| limits.max_bytes).or(snapshot.max_bytes);
        (snapshot.refusal, snapshot.signals, snapshot.listeners) = (refusal, signals, listeners);
        if snapshot.uptime.as_secs() != last.as_secs() || snapshot.uptime.saturating_sub(last) >= MOMENT {
            snapshot.record();
        }
        snapshot
    }

    fn signal(&self, outlet: &Outlet) -> SignalStatus {
        let (delivery, last_error_age) = outlet.delivery();
        let most = if self.options.show_keys { MAX_KEYS } else { 0 };
        let (partitions, keys) = outlet.partitions(most);
        let keys = keys.into_iter();
        SignalStatus {
            signal: outlet.signal,
            stats: outlet.handle().stats(),
            delivery,
            last_error_age,
            partitions,
            keys: keys
                .map(|(key, pending_records)| PartitionStatus { key: key.to_string(), pending_records })
                .collect(),
        }
    }

    fn refusal(&self, signals: &[SignalStatus]) -> Option<Refusal> {
        if let Some(reason) = self.outlets.all().find_map(Outlet::failure) {
            return Some(Refusal::CommitsFail(reason));
        }
        let limits = self.outlets.logs.spool_limits()?;
        let is_full = |status: &SignalStatus| status.stats.disk_bytes.is_some_and(|bytes| bytes >= limits.max_bytes);
        (limits.when_full == FullPolicy::RejectNew && signals.iter().any(is_full)).then_some(Refusal::SpoolFull)
    }
}

/// Looks once a second until the relay is stopped, so that the history is there before anybody opens a page.
pub(crate) async fn every_moment(look: impl Fn(), mut stop: watch::Receiver<bool>) {
    let mut moments = interval(MOMENT);
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = moments.tick() => look(),
        }
    }
}

impl Handler for StatusPages {
    fn handle<'a>(&'a self, incoming: Incoming, _peer: &'a str) -> Answering<'a> {
        Box::pin(async move {
            let request = incoming.request();
            let path = String::from_utf8_lossy(request.path);
            // Sizes of files are read.
            let page = tokio::task::block_in_place(|| respond(request.method, &path, &self.look(), self.options));
            Response {
                content_type: Some(page.content_type),
                body: page.body,
                headers: page.headers.into_iter().map(|(name, value)| (name, Cow::Borrowed(value))).collect(),
                ..Response::new(page.status)
            }
        })
    }

    fn refused(&self, _refused: &Refused<'_>) {}
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn moments_come_by_themselves_until_the_relay_is_stopped() {
        let (stop, stopped) = watch::channel(false);
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            stop.send_replace(looks.get() == 3);
        };
        every_moment(look, stopped).await;
        assert_eq!(looks.get(), 3);
    }
}
