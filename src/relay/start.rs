//! From the settings to a running relay.

use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;

use crate::config::format::FormatSettings;
use crate::config::resolve::CodeSettings;
use crate::config::values::{Durability, Protocol, Signal, Sourced};
use crate::delivery::Pipeline;
use crate::encode::framing::{Nesting, ResponseProtocol};
use crate::encode::otlp_framing;
use crate::error::{ExporterBuildError, error_chain};
use crate::exporter::builder::ExporterBuilder;
use crate::exporter::gap_record::gap_encoder;
use crate::exporter::log_exporter::framing;
use crate::observe::event::SpoolEvent;
use crate::process::unique_number;
use crate::relay::buffer::BufferLimits;
use crate::relay::counts::Counts;
use crate::relay::format::{LogsOut, MetricsOut, SpansOut, endpoint_of, is_of_otlp};
use crate::relay::http::guard::via;
use crate::relay::inherited;
use crate::relay::intake::Outlets;
use crate::relay::listener::{Bound, Listener};
use crate::relay::outlet::{Form, Outlet, OutletConfig};
use crate::relay::own::check_own;
use crate::relay::remembered;
use crate::relay::repeats::{REMEMBERED, Repeats};
use crate::relay::running::Relay;
use crate::relay::server::{self, Server};
use crate::relay::service::Service;
use crate::relay::settings::{RelayBuilder, RelaySettings};
use crate::relay::status::{self, server::StatusPages};
use crate::relay::watched::Watched;
use crate::spool::{RecentLoad, recent_loads};

/// The most connections at a time: far more than a process has descriptors.
const MAX_CONNECTIONS: usize = 1 << 20;

/// The least memory for what waits.
const MIN_BUFFER_BYTES: usize = 1 << 20;

/// # Errors
///
/// See [`RelayBuilder::build`].
pub(crate) fn start(mut builder: RelayBuilder) -> Result<Relay, ExporterBuildError> {
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    check(&builder.signal)?;
    let bound = bind(&builder.signal)?;
    let bound_status = builder.signal.status.map(|address| {
        let error = |source| ExporterBuildError::Listen { listener: format!("status {address}"), source };
        Listener::Http(address).bind().map_err(error)
    });
    let status = bound_status.transpose()?;
    let id = format!("{:016x}", unique_number());
    if let Some(endpoint) = &builder.code.settings.endpoint {
        check_own(endpoint, listeners_of(&bound))?;
    }
    builder.code.http.via = Some(via(&id));
    let outlets = Arc::new(outlets(&mut builder)?);
    for outlet in outlets.all() {
        check_own(&Sourced::new(outlet.endpoint(), "the endpoint"), listeners_of(&bound))?;
    }
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

fn invalid(setting: &str, reason: impl Into<String>) -> ExporterBuildError {
    Sourced::new((), setting).invalid(reason)
}

/// Checks what the relay alone has.
fn check(settings: &RelaySettings) -> Result<(), ExporterBuildError> {
    if settings.listeners.is_empty() && !settings.inherited {
        let hint = "give at least one socket to listen on, such as `Listener::Otlp(Listener::DEFAULT_OTLP)`";
        return Err(ExporterBuildError::Missing { setting: "with_listener", hint });
    }
    if settings.limits.max_buffer_bytes < MIN_BUFFER_BYTES {
        let reason = format!("{}; allowed are 1 MiB and more", settings.limits.max_buffer_bytes);
        return Err(invalid("with_max_buffer_bytes", reason));
    }
    if !(1..=MAX_CONNECTIONS).contains(&settings.limits.max_connections) {
        let reason = format!("{}; allowed are 1 to {MAX_CONNECTIONS}", settings.limits.max_connections);
        return Err(invalid("with_max_connections", reason));
    }
    let paths = settings.listeners.iter().filter_map(Listener::path);
    if let Some(path) =
        paths.clone().enumerate().find_map(|(at, path)| paths.clone().skip(at + 1).find(|other| *other == path))
    {
        return Err(invalid(
            "with_listener",
            format!("two listeners have the path {}; allowed is one", path.display()),
        ));
    }
    for listener in &settings.listeners {
        check_open(settings, listener, "with_listener")?;
    }
    if let Some(address) = settings.status.filter(|address| !settings.listen_anywhere && !address.ip().is_loopback()) {
        let reason = format!(
            "{address} can be reached from other hosts; allowed are loopback addresses, such as 127.0.0.1:9023"
        );
        return Err(invalid("with_status", reason));
    }
    if settings.tokens.iter().any(String::is_empty) {
        return Err(invalid("with_token", "it is empty"));
    }
    Ok(())
}

/// Checks that a listener is open to those alone who are meant.
fn check_open(settings: &RelaySettings, listener: &Listener, setting: &str) -> Result<(), ExporterBuildError> {
    if !settings.listen_anywhere && !listener.is_local() {
        let reason = format!(
            "{listener} can be reached from other hosts, which read and write without encryption; allowed are loopback \
             addresses, such as 127.0.0.1, and with `with_listen_anywhere`, or `--listen-anywhere`, others"
        );
        return Err(invalid(setting, reason));
    }
    let wants_credentials = !settings.tokens.is_empty() || !settings.users.is_empty();
    if wants_credentials && matches!(listener, Listener::Tcp(_) | Listener::Udp(_)) {
        let reason =
            format!("frames have no credentials, so that {listener} would be open to all; allowed is a Unix socket");
        return Err(invalid(setting, reason));
    }
    Ok(())
}

fn listeners_of(bound: &[Bound]) -> impl Iterator<Item = &Listener> + Clone {
    bound.iter().map(|bound| &bound.listener)
}

fn bind(settings: &RelaySettings) -> Result<Vec<Bound>, ExporterBuildError> {
    let mut bound = if settings.inherited { inherited::listeners()? } else { Vec::new() };
    // Whoever has opened them: what they are bound to is what counts.
    for listener in listeners_of(&bound) {
        check_open(settings, listener, "with_inherited_listeners")?;
    }
    for listener in &settings.listeners {
        // A service manager may have it open already.
        if bound.iter().any(|inherited| inherited.listener == *listener) {
            continue;
        }
        bound.push(listener.bind().map_err(listener.error())?);
    }
    if bound.is_empty() {
        return Err(invalid(
            "with_inherited_listeners",
            "no socket was handed over, and none is listened on; give one by `with_listener`",
        ));
    }
    Ok(bound)
}

/// An answer says that records survive a power cut, so they are to be synced before it.
fn check_durability(builder: &RelayBuilder, signal: Signal) -> Result<(), ExporterBuildError> {
    match builder.code.durability(signal, &|name| std::env::var_os(name))? {
        Some(given) if given.value != Durability::Sync => {
            let reason = "a relay answers when records are on disk; allowed is `sync`, or `Durability::Sync`";
            Err(given.invalid(reason))
        }
        _ => Ok(()),
    }
}

/// Opens the spool of each signal that is relayed.
pub(crate) fn outlets(builder: &mut RelayBuilder) -> Result<Outlets, ExporterBuildError> {
    let logs = std::mem::take(&mut builder.signal.logs);
    of_signal(&mut builder.code, Signal::Logs);
    let repeats = Arc::new(Repeats::default());
    let logs = logs_outlet(builder, logs, &repeats)?;
    let (mut traces, mut metrics) = (None, None);
    if logs.is_otlp() {
        of_signal(&mut builder.code, Signal::Traces);
        traces = Some(otlp_outlet(builder, SpansOut, &repeats)?);
        of_signal(&mut builder.code, Signal::Metrics);
        metrics = Some(otlp_outlet(builder, MetricsOut, &repeats)?);
    }
    Ok(Outlets { logs, traces, metrics, repeats })
}

/// Has an endpoint of OTLP be that of a signal.
fn of_signal(code: &mut CodeSettings, signal: Signal) {
    if let Some(endpoint) = code.settings.endpoint.as_mut().filter(|endpoint| is_of_otlp(&endpoint.value)) {
        endpoint.value = endpoint_of(&endpoint.value, signal);
    }
}

fn logs_outlet(builder: &RelayBuilder, logs: LogsOut, repeats: &Arc<Repeats>) -> Result<Outlet, ExporterBuildError> {
    check_durability(builder, Signal::Logs)?;
    let (recent, watched) = (recent(builder, Signal::Logs), Arc::new(Watched::default()));
    let with_gaps = |mut encoder: Box<dyn crate::encode::Encoder>| {
        encoder.set_resource(&resource());
        let encoder = Arc::new(RwLock::new(encoder));
        let gap_encoder = gap_encoder(encoder.clone());
        (encoder, Some(gap_encoder))
    };
    let (encoder, pipeline) = watching(builder.with_signal(logs), &watched).start(|logs| logs, with_gaps)?;
    let framing = framing(&**encoder.read().unwrap_or_else(std::sync::PoisonError::into_inner));
    let protocol = match (framing.response_protocol(), framing.nesting()) {
        (ResponseProtocol::Otlp, Nesting::Protobuf) => Some(Protocol::HttpBinary),
        (ResponseProtocol::Otlp, Nesting::Json) => Some(Protocol::HttpJson),
        _ => None,
    };
    remember(repeats, recent, &pipeline);
    Outlet::start(
        config(builder, Signal::Logs, Form::Logs(encoder, protocol), framing),
        pipeline,
        watched,
        repeats.clone(),
    )
}

fn otlp_outlet<F: FormatSettings<Encoder = Protocol>>(
    builder: &RelayBuilder,
    format: F,
    repeats: &Arc<Repeats>,
) -> Result<Outlet, ExporterBuildError> {
    check_durability(builder, F::SIGNAL)?;
    let (recent, watched) = (recent(builder, F::SIGNAL), Arc::new(Watched::default()));
    let (protocol, pipeline) =
        watching(builder.with_signal(format), &watched).start(|format| format, |protocol| (protocol, None))?;
    let framing = otlp_framing(F::SIGNAL, protocol);
    remember(repeats, recent, &pipeline);
    Outlet::start(config(builder, F::SIGNAL, Form::Otlp(protocol), framing), pipeline, watched, repeats.clone())
}

/// Has the delivery's events noted.
fn watching<T>(builder: ExporterBuilder<T>, watched: &Arc<Watched>) -> ExporterBuilder<T> {
    let watched = watched.clone();
    builder.also_on_event(move |event| watched.note(event))
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
        max_record_bytes: settings.limits.max_record_bytes,
        limits: BufferLimits {
            // The other half is for what is being read.
            max_bytes: settings.limits.max_buffer_bytes / 2,
            commit_delay: settings.limits.commit_delay,
        },
    }
}

/// What a relay before this one stored of late. It is read before the spool is opened, which may delete what is delivered.
fn recent(builder: &RelayBuilder, signal: Signal) -> Result<Vec<RecentLoad>, String> {
    let dir = builder.code.spool_dir(signal, &|name| std::env::var_os(name)).map_err(|error| error_chain(&error))?;
    let Some((dir, since)) = dir.zip(SystemTime::now().checked_sub(REMEMBERED)) else { return Ok(Vec::new()) };
    let mut recent = recent_loads(&dir, signal, since).map_err(|error| error_chain(&error))?;
    recent.extend(remembered::read(&dir, signal, since));
    recent.sort_by_key(|load| (load.id, load.appended_at));
    recent.dedup_by_key(|load| load.id);
    recent.sort_by_key(|load| load.appended_at);
    // Where it cannot be written, the next relay knows what is not delivered by then.
    let _ = remembered::write(&dir, signal, &recent);
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

/// What the relay would listen on, and where it would send: nothing is bound, opened or sent.
///
/// # Errors
///
/// See [`RelayBuilder::build`]: those that settings give.
#[cfg(feature = "cli")]
pub(crate) fn check_only(mut builder: RelayBuilder) -> Result<Vec<String>, ExporterBuildError> {
    use crate::config::resolve::ResolvedConfig;

    check(&builder.signal)?;
    if let Some(endpoint) = &builder.code.settings.endpoint {
        check_own(endpoint, builder.signal.listeners.iter())?;
    }
    let lookup = |name: &str| std::env::var_os(name);
    let mut lines: Vec<_> = builder.signal.listeners.iter().map(|listener| format!("listens on {listener}")).collect();
    lines.extend(builder.signal.status.map(|address| format!("shows its status at http://{address}/")));
    let logs = std::mem::take(&mut builder.signal.logs);
    let code = |signal| {
        let mut code = builder.code.clone();
        of_signal(&mut code, signal);
        code
    };
    let sends = |spool: &crate::spool::SpoolConfig, framing: &crate::encode::framing::Framing| {
        let endpoint = spool.endpoint.as_ref();
        let endpoint =
            endpoint.map_or("an invalid URL", |endpoint| endpoint.split(['?', '#']).next().unwrap_or_default());
        format!("sends {} to {endpoint} as {}", spool.signal, framing.content_type())
    };
    check_durability(&builder, Signal::Logs)?;
    let logs = ResolvedConfig::resolve(code(Signal::Logs), logs, &lookup)?;
    let framing_of_logs = framing(&*logs.encoder);
    drop(crate::transport::open(logs.transport)?);
    lines.push(format!("keeps records in {}", logs.spool.dir.display()));
    lines.push(sends(&logs.spool, &framing_of_logs));
    if framing_of_logs.response_protocol() == ResponseProtocol::Otlp {
        check_durability(&builder, Signal::Traces)?;
        check_durability(&builder, Signal::Metrics)?;
        let traces = ResolvedConfig::resolve(code(Signal::Traces), SpansOut, &lookup)?;
        lines.push(sends(&traces.spool, &otlp_framing(Signal::Traces, traces.encoder)));
        let metrics = ResolvedConfig::resolve(code(Signal::Metrics), MetricsOut, &lookup)?;
        lines.push(sends(&metrics.spool, &otlp_framing(Signal::Metrics, metrics.encoder)));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_not_open_to_more_than_is_said_whoever_has_opened_it() {
        let far = Listener::Otlp("0.0.0.0:4318".parse().unwrap());
        let (frames, http) = (Listener::Tcp(Listener::DEFAULT_TCP), Listener::Http(Listener::DEFAULT_HTTP));
        let unix = Listener::Unix("/run/log.sock".into());
        let closed = RelaySettings::default();
        let anywhere = RelaySettings { listen_anywhere: true, ..RelaySettings::default() };
        let secret = RelaySettings { tokens: vec!["secret".to_owned()], ..RelaySettings::default() };
        for (settings, listener, expected) in [
            (&closed, &far, false),
            (&closed, &frames, true),
            (&closed, &unix, true),
            (&anywhere, &far, true),
            (&secret, &frames, false),
            (&secret, &http, true),
            (&secret, &unix, true),
        ] {
            assert_eq!(check_open(settings, listener, "LISTEN_FDS").is_ok(), expected, "{listener}");
        }
    }
}
