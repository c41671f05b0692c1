//! From a plan to a running relay.

use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;

use crate::config::resolve::ResolvedConfig;
use crate::config::values::{Protocol, Signal};
use crate::delivery::Pipeline;
use crate::encode::{Encoder, otlp_framing};
use crate::error::{ExporterBuildError, error_chain};
use crate::exporter::builder::ExporterBuilder;
use crate::exporter::gap_record::gap_encoder;
use crate::exporter::log_exporter::framing;
use crate::observe::event::SpoolEvent;
use crate::relay::buffer::BufferLimits;
use crate::relay::counts::Counts;
use crate::relay::intake::Outlets;
use crate::relay::listener::{Bound, Listener};
use crate::relay::outlet::{Form, Outlet, OutletConfig};
use crate::relay::plan::{Plan, Signals, protocol_of};
use crate::relay::remembered;
use crate::relay::repeats::{REMEMBERED, Repeats};
use crate::relay::running::Relay;
use crate::relay::server::{self, Server};
use crate::relay::service::Service;
use crate::relay::settings::RelayBuilder;
use crate::relay::status::{self, server::StatusPages};
use crate::relay::watched::Watched;
use crate::spool::{RecentLoad, SpoolConfig, recent_loads};

impl Plan {
    /// Binds the sockets, opens the spool and starts what a plan is for.
    ///
    /// # Errors
    ///
    /// See [`RelayBuilder::build`].
    pub(crate) fn start(self) -> Result<Relay, ExporterBuildError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let Plan { builder, id, inherited: mut bound, signals } = self;
        for listener in &builder.signal.listeners {
            bound.push(listener.bind().map_err(listener.error())?);
        }
        let bound_status = builder.signal.status.map(|address| {
            let error = |error| ExporterBuildError::Listen { listener: format!("status {address}"), error };
            Listener::Http(address).bind().map_err(error)
        });
        let status = bound_status.transpose()?;
        // A port may be one that the system has chosen.
        signals.check_own(&listeners_of(&bound))?;
        let outlets = Arc::new(open(&builder, signals)?);
        let settings = builder.signal;
        let counts = Arc::new(Counts::new(listeners_of(&bound).cloned()));
        let listeners = listeners_of(&bound).cloned().collect();
        let status_address = status.as_ref().and_then(|bound| bound.listener.address());
        let service = Arc::new(Service::new(outlets.clone(), counts.clone()));
        let options = status::Options { show_keys: settings.shows_keys };
        let status = status.map(|bound| (bound, StatusPages::new(outlets.clone(), counts.clone(), options)));
        let server = Server::start(server::Config { bound, status, service, settings, id })?;
        Ok(Relay::new(listeners, status_address, outlets, counts, server))
    }
}

fn listeners_of(bound: &[Bound]) -> impl Iterator<Item = &Listener> + Clone {
    bound.iter().map(|bound| &bound.listener)
}

/// The ways out of a relay that listens on nothing.
#[cfg(test)]
pub(crate) fn outlets(builder: &mut RelayBuilder) -> Result<Outlets, ExporterBuildError> {
    let signals = Signals::of(builder)?;
    open(builder, signals)
}

/// Opens the spool of each signal that is relayed.
fn open(builder: &RelayBuilder, signals: Signals) -> Result<Outlets, ExporterBuildError> {
    let repeats = Arc::new(Repeats::default());
    let logs = logs_outlet(builder, signals.logs, &repeats)?;
    let traces = signals.traces.map(|traces| otlp_outlet(builder, traces, &repeats)).transpose()?;
    let metrics = signals.metrics.map(|metrics| otlp_outlet(builder, metrics, &repeats)).transpose()?;
    Ok(Outlets { logs, traces, metrics, repeats })
}

fn logs_outlet(
    builder: &RelayBuilder,
    logs: ResolvedConfig<Box<dyn Encoder>>,
    repeats: &Arc<Repeats>,
) -> Result<Outlet, ExporterBuildError> {
    let (recent, watched) = (recent(&logs.spool), Arc::new(Watched::default()));
    let with_gaps = |mut encoder: Box<dyn Encoder>| {
        encoder.set_resource(&resource());
        let encoder = Arc::new(RwLock::new(encoder));
        let gap_encoder = gap_encoder(encoder.clone());
        (encoder, Some(gap_encoder))
    };
    let (encoder, pipeline) = watching(builder, &watched).start_resolved(logs, with_gaps)?;
    let framing = framing(&**encoder.read().unwrap_or_else(std::sync::PoisonError::into_inner));
    let protocol = protocol_of(&framing);
    remember(repeats, recent, &pipeline);
    Outlet::start(
        config(builder, Signal::Logs, Form::Logs(encoder, protocol), framing),
        pipeline,
        watched,
        repeats.clone(),
    )
}

/// The way out of spans or metrics.
fn otlp_outlet(
    builder: &RelayBuilder,
    resolved: ResolvedConfig<Protocol>,
    repeats: &Arc<Repeats>,
) -> Result<Outlet, ExporterBuildError> {
    let signal = resolved.spool.signal;
    let (recent, watched) = (recent(&resolved.spool), Arc::new(Watched::default()));
    let (protocol, pipeline) = watching(builder, &watched).start_resolved(resolved, |protocol| (protocol, None))?;
    let framing = otlp_framing(signal, protocol);
    remember(repeats, recent, &pipeline);
    Outlet::start(config(builder, signal, Form::Otlp(protocol), framing), pipeline, watched, repeats.clone())
}

/// Has the delivery's events noted.
fn watching(builder: &RelayBuilder, watched: &Arc<Watched>) -> ExporterBuilder<()> {
    let watched = watched.clone();
    builder.with_signal(()).also_on_event(move |event| watched.note(event))
}

fn config(
    builder: &RelayBuilder,
    signal: Signal,
    form: Form,
    framing: crate::encode::framing::Framing,
) -> OutletConfig {
    let settings = &builder.signal;
    OutletConfig {
        signal,
        form,
        framing,
        partition_by: settings.partition_by.clone(),
        dropped_attributes: settings.dropped_attributes.clone(),
        record_filter: settings.record_filter.clone(),
        max_record_bytes: settings.limits.max_record_bytes,
        limits: BufferLimits {
            // The other half is for what is being read.
            max_bytes: settings.limits.max_buffer_bytes / 2,
            commit_delay: settings.limits.commit_delay,
        },
    }
}

/// What a relay before this one stored of late. It is read before the spool is opened, which may delete what is delivered.
fn recent(spool: &SpoolConfig) -> Result<Vec<RecentLoad>, String> {
    let (dir, signal) = (&spool.dir, spool.signal);
    let Some(since) = SystemTime::now().checked_sub(REMEMBERED) else { return Ok(Vec::new()) };
    let mut recent = recent_loads(dir, signal, since).map_err(|error| error_chain(&error))?;
    recent.extend(remembered::read(dir, signal, since));
    recent.sort_by_key(|load| (load.id, load.appended_at));
    recent.dedup_by_key(|load| load.id);
    recent.sort_by_key(|load| load.appended_at);
    // Where it cannot be written, the next relay knows what is not delivered by then.
    let _ = remembered::write(dir, signal, &recent);
    Ok(recent)
}

fn remember(repeats: &Repeats, recent: Result<Vec<RecentLoad>, String>, pipeline: &Pipeline) {
    match recent {
        Ok(recent) => {
            let now = SystemTime::now();
            for load in recent {
                let age = now.duration_since(load.appended_at).unwrap_or_default();
                repeats.stored([load.id], age);
            }
        }
        // The spool says itself what is wrong with it; a request that comes again may be stored again.
        Err(reason) => pipeline.events().report(SpoolEvent::RepeatsUnknown { reason }),
    }
}

/// The resource of records whose protocol has none: what the relay's own variables say.
fn resource() -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let builder = Resource::builder_empty().with_detector(Box::new(EnvResourceDetector::new()));
    match named {
        Some(name) => builder.with_service_name(name).build(),
        None => builder.build(),
    }
}
