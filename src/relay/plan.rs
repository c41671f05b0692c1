//! [`Plan`]: all that is checked before a relay takes records. A start goes on from it, and `--check` ends there.

use crate::config::format::FormatSettings;
use crate::config::resolve::{CodeSettings, ResolvedConfig};
#[cfg(feature = "cli")]
use crate::config::values::Warning;
use crate::config::values::{Durability, Protocol, Signal, Sourced};
use crate::encode::Encoder;
use crate::encode::formats::FORMATS;
use crate::encode::framing::{Framing, Nesting, ResponseProtocol};
use crate::error::ExporterBuildError;
use crate::exporter::log_exporter::framing;
use crate::process::unique_number;
use crate::relay::format::{MetricsOut, SpansOut, endpoint_of, is_of_otlp};
use crate::relay::http::guard::via;
use crate::relay::inherited;
use crate::relay::listener::{Bound, Listener};
use crate::relay::own::check_own;
use crate::relay::settings::{RelayBuilder, RelaySettings};
#[cfg(feature = "cli")]
use crate::transport;

/// The most connections at a time: far more than a process has descriptors.
const MAX_CONNECTIONS: usize = 1 << 20;

/// The least memory for what waits.
const MIN_BUFFER_BYTES: usize = 1 << 20;

/// A relay that is checked: nothing is bound, opened or sent yet.
pub(crate) struct Plan {
    pub(crate) builder: RelayBuilder,
    /// The relay's name, by which it knows what it has sent itself.
    pub(crate) id: String,
    /// The sockets that were handed over.
    pub(crate) inherited: Vec<Bound>,
    pub(crate) signals: Signals,
}

/// The settings of each signal that is relayed, with the values that count.
pub(crate) struct Signals {
    pub(crate) logs: ResolvedConfig<Box<dyn Encoder>>,
    pub(crate) traces: Option<ResolvedConfig<Protocol>>,
    pub(crate) metrics: Option<ResolvedConfig<Protocol>>,
    /// The name of the format of log records.
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the command shows it"))]
    format: &'static str,
}

impl Plan {
    /// Checks all of the settings, and the sockets that were handed over.
    ///
    /// # Errors
    ///
    /// See [`RelayBuilder::build`]: all but those of sockets that cannot be bound, of a spool that cannot be opened and of threads.
    pub(crate) fn of(mut builder: RelayBuilder) -> Result<Self, ExporterBuildError> {
        check(&builder.signal)?;
        let inherited = if builder.signal.inherited { inherited::listeners()? } else { Vec::new() };
        builder.signal.listeners = to_be_bound(&builder.signal, &inherited)?;
        let id = format!("{:016x}", unique_number());
        builder.code.http.via = Some(via(&id));
        let signals = Signals::of(&mut builder)?;
        let plan = Self { builder, id, inherited, signals };
        plan.signals.check_own(&plan.listeners())?;
        Ok(plan)
    }

    /// Every listener: those that were handed over, and those that are to be bound.
    fn listeners(&self) -> impl Iterator<Item = &Listener> + Clone {
        self.inherited.iter().map(|bound| &bound.listener).chain(&self.builder.signal.listeners)
    }
}

/// For a person.
#[cfg(feature = "cli")]
impl Plan {
    /// Checks that there is a transport for each signal, which a start would find out as it opens them. Nothing is sent.
    ///
    /// # Errors
    ///
    /// If a setting does not fit the endpoint.
    pub(crate) fn check_transports(&self) -> Result<(), ExporterBuildError> {
        let Signals { logs, traces, metrics, .. } = &self.signals;
        let others = traces.iter().chain(metrics).map(|of| &of.transport);
        for settings in std::iter::once(&logs.transport).chain(others) {
            drop(transport::open(settings.clone())?);
        }
        Ok(())
    }

    /// What would be listened on, and where it would be sent.
    pub(crate) fn lines(&self) -> Vec<String> {
        let handed_over =
            self.inherited.iter().map(|bound| format!("listens on {}, which was handed over", bound.listener));
        let bound = self.builder.signal.listeners.iter().map(|listener| format!("listens on {listener}"));
        let mut lines: Vec<_> = handed_over.chain(bound).collect();
        lines.extend(self.builder.signal.status.map(|address| format!("shows its status at http://{address}/")));
        lines.push(format!("keeps records in {}", self.signals.logs.spool.dir.display()));
        let Signals { logs, traces, metrics, format } = &self.signals;
        lines.push(sends(logs, format));
        lines.extend(traces.iter().chain(metrics).map(|of| sends(of, otlp_name(of.encoder))));
        lines
    }

    /// What may not be meant so.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let Signals { logs, traces, metrics, format } = &self.signals;
        let mut warnings = Vec::new();
        let others = [(Signal::Traces, traces), (Signal::Metrics, metrics)];
        let missing: Vec<_> =
            others.into_iter().filter(|(_, of)| of.is_none()).map(|(signal, _)| signal.name()).collect();
        if !missing.is_empty() && self.listeners().any(|listener| matches!(listener, Listener::Otlp(_))) {
            let why = if protocol_of(&framing(&*logs.encoder)).is_some() {
                "the configuration has no exporter `spool` for them".to_owned()
            } else {
                format!(
                    "log records are sent as {format}, and those take OTLP, which goes to the base of a collector, such as \
                     http://collector:4318, or to a path that ends in /v1/logs"
                )
            };
            warnings.push(format!("{} are not taken: {why}", missing.join(" and ")));
        }
        let others = traces.iter().chain(metrics).flat_map(|of| &of.warnings);
        for warning in logs.warnings.iter().chain(others).map(Warning::to_string) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }
}

/// What is sent of a signal, where to, and how. The endpoint is without what may be secret.
#[cfg(feature = "cli")]
fn sends<E>(of: &ResolvedConfig<E>, format: &str) -> String {
    let endpoint = of.spool.endpoint.as_ref();
    let endpoint = endpoint.map_or("an invalid URL", |endpoint| endpoint.split(['?', '#']).next().unwrap_or_default());
    let content_type = of.transport.framing.as_ref().map_or("", Framing::content_type);
    format!("sends {} to {endpoint} as {format} ({content_type})", of.spool.signal)
}

impl Signals {
    /// Resolves the settings of each signal that is relayed.
    ///
    /// # Errors
    ///
    /// If a setting is missing or not allowed.
    pub(crate) fn of(builder: &mut RelayBuilder) -> Result<Self, ExporterBuildError> {
        let logs = std::mem::take(&mut builder.signal.logs);
        let named = match logs.named {
            Some(format) => Some(format.name),
            None => builder.code.format(Signal::Logs, &variable)?.map(|format| format.value.name),
        };
        let encoder = logs.encoder.as_deref();
        let may_be_otlp = named.is_none() && encoder.is_none_or(|encoder| protocol_of(&framing(encoder)).is_some());
        let logs = resolved(builder, logs, may_be_otlp)?;
        let framing = framing(&*logs.encoder);
        let protocol = protocol_of(&framing);
        let suggested =
            || FORMATS.iter().find(|format| format.encoder(None).framing().content_type() == framing.content_type());
        let format = protocol.map(otlp_name).or(named).or_else(|| Some(suggested()?.name)).unwrap_or("records");
        let mut signals = Self { logs, traces: None, metrics: None, format };
        if protocol.is_some() {
            let (traces, metrics) = (builder.code.has(Signal::Traces), builder.code.has(Signal::Metrics));
            signals.traces = traces.then(|| resolved(builder, SpansOut, true)).transpose()?;
            signals.metrics = metrics.then(|| resolved(builder, MetricsOut, true)).transpose()?;
        }
        signals.check_one_spool(&builder.code)?;
        Ok(signals)
    }

    /// A relay has one spool: a file with several providers could name more.
    fn check_one_spool(&self, code: &CodeSettings) -> Result<(), ExporterBuildError> {
        let logs = &self.logs.spool.dir;
        let mut others = self.traces.iter().chain(&self.metrics).map(|of| &of.spool);
        let Some(other) = others.find(|of| of.dir != *logs) else { return Ok(()) };
        let given = code.spool_dir(other.signal, &variable)?.map(|given| given.source).unwrap_or_default();
        let reason = format!(
            "{} would be kept in {}, and logs in {}; a relay has one directory for all signals",
            other.signal,
            other.dir.display(),
            logs.display()
        );
        Err(invalid(&given, reason))
    }

    /// Checks that none of the endpoints is the relay itself.
    ///
    /// # Errors
    ///
    /// If one of these listeners is one.
    pub(crate) fn check_own<'a>(
        &self,
        listeners: &(impl Iterator<Item = &'a Listener> + Clone),
    ) -> Result<(), ExporterBuildError> {
        let others = self.traces.iter().chain(&self.metrics).map(|of| (of.spool.signal, &of.transport.endpoint));
        for (signal, endpoint) in std::iter::once((Signal::Logs, &self.logs.transport.endpoint)).chain(others) {
            check_own(signal, endpoint, listeners.clone())?;
        }
        Ok(())
    }
}

/// The value of an environment variable.
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// The settings of a signal. An endpoint may be the base of a collector only where OTLP is sent.
fn resolved<F: FormatSettings>(
    builder: &RelayBuilder,
    format: F,
    may_be_otlp: bool,
) -> Result<ResolvedConfig<F::Encoder>, ExporterBuildError> {
    check_durability(builder, F::SIGNAL)?;
    let mut code = builder.code.clone();
    let is_base = |endpoint: &&mut Sourced<String>| may_be_otlp && is_of_otlp(&endpoint.value);
    if let Some(endpoint) = code.settings.endpoint.as_mut().filter(is_base) {
        endpoint.value = endpoint_of(&endpoint.value, F::SIGNAL);
    }
    let unknown = code.unknown_variables(F::SIGNAL);
    let mut resolved = ResolvedConfig::resolve(code, format, &variable)?;
    resolved.warnings.extend(unknown);
    Ok(resolved)
}

/// The encoding of OTLP that has this framing, if it is one.
pub(crate) fn protocol_of(framing: &Framing) -> Option<Protocol> {
    match (framing.response_protocol(), framing.nesting()) {
        (ResponseProtocol::Otlp, Nesting::Protobuf) => Some(Protocol::HttpBinary),
        (ResponseProtocol::Otlp, Nesting::Json) => Some(Protocol::HttpJson),
        _ => None,
    }
}

/// The name of an encoding of OTLP, as `--format` has it.
fn otlp_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::HttpBinary => "otlp",
        Protocol::HttpJson => "otlp-json",
    }
}

/// An answer says that records survive a power cut, so they are to be synced before it.
fn check_durability(builder: &RelayBuilder, signal: Signal) -> Result<(), ExporterBuildError> {
    match builder.code.durability(signal, &variable)? {
        Some(given) if given.value != Durability::Sync => {
            let reason = "a relay answers when records are on disk; allowed is `sync`, or `Durability::Sync`";
            Err(given.invalid(reason))
        }
        _ => Ok(()),
    }
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
    for listener in &settings.listeners {
        check_open(settings, listener, "with_listener")?;
    }
    if let Some(address) = settings.status.filter(|address| !settings.listen_anywhere && !address.ip().is_loopback()) {
        let reason = format!(
            "{address} can be reached from other hosts; allowed are loopback addresses, such as 127.0.0.1:9023, and with \
             `with_listen_anywhere` others"
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
             addresses, such as 127.0.0.1, and with `with_listen_anywhere` others"
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

/// The listeners that are not handed over, each at a place of its own.
fn to_be_bound(settings: &RelaySettings, inherited: &[Bound]) -> Result<Vec<Listener>, ExporterBuildError> {
    let inherited: Vec<_> = inherited.iter().map(|bound| &bound.listener).collect();
    // Whoever has opened them: what they are bound to is what counts.
    for listener in &inherited {
        check_open(settings, listener, "with_inherited_listeners")?;
    }
    let mut rest = Vec::new();
    for listener in settings.listeners.iter().filter(|listener| !inherited.contains(listener)) {
        if let Some(other) = inherited.iter().copied().chain(&rest).find(|other| other.collides(listener)) {
            return Err(invalid("with_listener", format!("{listener} is where {other} is; allowed is one listener")));
        }
        rest.push(listener.clone());
    }
    if let Some(address) = settings.status {
        let page = Listener::Http(address);
        if let Some(other) = inherited.iter().copied().chain(&rest).find(|other| other.collides(&page)) {
            return Err(invalid("with_status", format!("{address} is where {other} is; allowed is another address")));
        }
    }
    if inherited.is_empty() && rest.is_empty() {
        return Err(invalid(
            "with_inherited_listeners",
            "no socket was handed over, and none is listened on; give one by `with_listener`",
        ));
    }
    Ok(rest)
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
