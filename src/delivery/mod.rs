//! [`Pipeline`]: a spool and the delivery from it, without an encoder.
//!
//! A pipeline takes blocks of encoded records and decides what is sent when. It knows no status code and no header: the
//! transport judges, delivery acts on the verdict. An exporter is a pipeline and an encoder; `otel-spool drain` is a pipeline
//! alone.

pub(crate) mod attempt;
mod blame;
mod concurrency;
mod experiments;
mod failure;
mod gzip;
mod health;
#[cfg(test)]
mod herd;
#[cfg(test)]
mod model;
pub(crate) mod outlook;
mod retry;
mod schedule;
mod source;
pub(crate) mod start;
mod task;
mod tries;
pub(crate) mod worker;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use crate::config::values::Pace;
#[cfg(feature = "config-file")]
use crate::config::values::Signal;
use crate::delivery::attempt::Sender;
use crate::delivery::schedule::Schedule;
use crate::delivery::start::{Start, format_of};
use crate::delivery::worker::{Control, Worker};
use crate::error::ExporterBuildError;
use crate::observe::event::{Events, OnEvent};
use crate::observe::items::CountItems;
#[cfg(feature = "self-metrics")]
use crate::observe::metrics::{self, Endpoint, Observed, SelfMetrics};
use crate::observe::stats::{Counters, SpoolStats};
use crate::process::check_process;
use crate::spool::{GapEncoder, Spool, SpoolConfig, SpoolHooks, Wake};
#[cfg(feature = "self-metrics")]
use crate::transport::contract::Peer;
use crate::transport::settings::TransportSettings;

/// Everything that a pipeline is made of.
pub(crate) struct PipelineConfig {
    pub(crate) spool: SpoolConfig,
    pub(crate) transport: TransportSettings,
    pub(crate) pace: Pace,
    /// Counts what responses count, where that is not the records.
    pub(crate) count_items: Option<CountItems>,
    /// Encodes the records that report losses, where the stream takes such records.
    pub(crate) gap_encoder: Option<Arc<GapEncoder>>,
    pub(crate) on_event: Option<Box<OnEvent>>,
    #[cfg(feature = "self-metrics")]
    pub(crate) self_metrics: Option<SelfMetrics>,
}

/// A spool and the delivery from it.
pub(crate) struct Pipeline {
    worker: Worker,
    left: Arc<OnceLock<Contents>>,
    control: Arc<Control>,
    counters: Arc<Counters>,
    events: Arc<Events>,
    #[cfg(feature = "config-file")]
    pub(crate) signal: Signal,
    #[cfg(feature = "self-metrics")]
    self_metrics: Option<SelfMetrics>,
}

impl Pipeline {
    /// Opens the spool and the transport and starts to deliver. The calling thread opens them: what waits for the disk delays
    /// no other pipeline.
    ///
    /// # Errors
    ///
    /// If a setting of the transport is not allowed, or the spool or a thread cannot be had.
    pub(crate) fn start(config: PipelineConfig) -> Result<Self, ExporterBuildError> {
        let (counters, control) = (Arc::new(Counters::default()), Arc::new(Control::default()));
        let left = Arc::<OnceLock<_>>::default();
        let signal = config.spool.signal.name();
        let events = match config.on_event {
            Some(on_event) => Events::start(signal, on_event).map_err(ExporterBuildError::Thread)?,
            None => Events::new(signal),
        };
        let events = Arc::new(events);
        let woken = control.clone();
        let wake: Arc<Wake> = Arc::new(move || woken.wake());
        let hooks =
            SpoolHooks { gap_encoder: config.gap_encoder, wake, events: events.clone(), counters: counters.clone() };
        let start = || {
            let format = config.transport.framing.as_ref().map(format_of).unwrap_or_default();
            let transport = crate::transport::open(config.transport)?;
            let spool = Arc::new(Spool::open(&config.spool, &hooks)?);
            #[cfg(feature = "self-metrics")]
            if let Some(self_metrics) = &config.self_metrics {
                let Peer { address, port, method } = transport.peer();
                let observed: Weak<Spool> = Arc::downgrade(&spool);
                metrics::install(self_metrics, Endpoint { address, port, method }, observed, &counters);
            }
            let kept = transport.clone();
            let Pace { timeouts, strict_order, .. } = config.pace;
            let counted = counters.clone();
            let sender =
                Sender { transport, counters: counted, timeouts, count_items: config.count_items, strict_order };
            let schedule = Schedule::new(spool.clone(), sender, control.clone(), events.clone(), config.pace);
            let weak = Arc::downgrade(&spool);
            let remote =
                Remote { spool: weak, left: left.clone(), control: control.clone(), counters: counters.clone() };
            let start =
                Start { signal, dir: config.spool.dir.clone(), endpoint: kept.way().unwrap_or_default(), format };
            let run = start.log_while(schedule.run(), move || remote.counts());
            let left = left.clone();
            Worker::start(spool, kept, run, move |spool| {
                left.get_or_init(|| Contents::of(spool));
            })
        };
        // A panic of the engine is none of the host's.
        let panicked = |_| Err(ExporterBuildError::Thread(io::Error::other("a panic while it was starting")));
        let worker = catch_unwind(AssertUnwindSafe(start)).unwrap_or_else(panicked)?;
        Ok(Self {
            worker,
            left,
            control,
            counters,
            events,
            #[cfg(feature = "config-file")]
            signal: config.spool.signal,
            #[cfg(feature = "self-metrics")]
            self_metrics: config.self_metrics,
        })
    }

    /// The exporter's metrics, of which a processor's are a part.
    #[cfg(feature = "self-metrics")]
    pub(crate) fn self_metrics(&self) -> Option<&SelfMetrics> {
        self.self_metrics.as_ref()
    }

    /// The spool, which the delivery owns.
    pub(crate) fn spool(&self) -> &Weak<Spool> {
        &self.worker.spool
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// A remote control, which keeps nothing alive.
    pub(crate) fn remote(&self) -> Remote {
        Remote {
            spool: self.worker.spool.clone(),
            left: self.left.clone(),
            control: self.control.clone(),
            counters: self.counters.clone(),
        }
    }

    /// Delivers for at most nine tenths of `timeout`, stops, and closes the spool. False if it has not ended by then: it
    /// ends by itself.
    pub(crate) fn stop(&self, timeout: Duration) -> bool {
        // The last tenth is for closing the spool.
        self.control.stop(timeout.mul_f64(0.9));
        self.worker.wait(timeout)
    }

    /// Stops at once, and waits for at most `timeout` until the spool is closed.
    pub(crate) fn abort(&self, timeout: Duration) -> bool {
        self.control.stop(Duration::ZERO);
        self.worker.wait(timeout)
    }
}

/// A view of a pipeline that steers it and keeps nothing alive.
#[derive(Clone)]
pub(crate) struct Remote {
    spool: Weak<Spool>,
    /// The contents of the spool when it was closed.
    left: Arc<OnceLock<Contents>>,
    pub(crate) control: Arc<Control>,
    pub(crate) counters: Arc<Counters>,
}

impl Remote {
    /// The spool; `None` once the pipeline has stopped, and in a process that was forked: there its locks may be held for ever.
    pub(crate) fn spool(&self) -> Option<Arc<Spool>> {
        check_process().ok()?;
        self.spool.upgrade()
    }

    /// The counts so far, and how many records wait: without the size on disk, which takes as long as the disk does.
    fn counts(&self) -> SpoolStats {
        let at_end = || self.left.get().map_or(0, |contents| contents.pending_records);
        let pending_records = self.spool().map_or_else(at_end, |spool| spool.depth().pending_records);
        SpoolStats { pending_records, ..self.counters.snapshot() }
    }

    /// The counts so far, and the contents of the spool: now, or when it was closed.
    pub(crate) fn stats(&self) -> SpoolStats {
        let counted = self.counters.snapshot();
        let open = self.spool();
        let contents = match &open {
            Some(spool) => Some(Contents::of(spool)),
            None => self.left.get().copied(),
        };
        let Some(contents) = contents else { return counted };
        let Contents { pending_records, stranded_records, oldest_age, segments, disk_bytes } = contents;
        let recovering = open.is_some_and(|spool| !spool.is_recovered());
        SpoolStats { pending_records, stranded_records, oldest_age, recovering, segments, disk_bytes, ..counted }
    }
}

/// What is in a spool.
#[derive(Clone, Copy, Debug)]
struct Contents {
    pending_records: u64,
    stranded_records: u64,
    oldest_age: Option<Duration>,
    segments: u64,
    disk_bytes: Option<u64>,
}

impl Contents {
    fn of(spool: &Spool) -> Self {
        let depth = spool.depth();
        Self {
            pending_records: depth.pending_records,
            stranded_records: spool.stranded_records(),
            oldest_age: spool.oldest_age(SystemTime::now()),
            segments: depth.segments,
            disk_bytes: spool.disk_bytes(),
        }
    }
}

#[cfg(feature = "self-metrics")]
impl Observed for Spool {
    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    fn pending_records(&self) -> u64 {
        self.depth().pending_records
    }

    fn stranded_records(&self) -> u64 {
        Self::stranded_records(self)
    }

    fn segments(&self) -> u64 {
        self.depth().segments
    }

    fn oldest_age(&self, now: SystemTime) -> Option<Duration> {
        Self::oldest_age(self, now)
    }

    fn disk_bytes(&self) -> Option<u64> {
        Self::limited_bytes(self)
    }

    fn max_bytes(&self) -> u64 {
        Self::max_bytes(self)
    }
}
