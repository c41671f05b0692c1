//! [`RelayBuilder`]: the settings that only a relay has.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::InstrumentationScope;

#[cfg(feature = "cli")]
use crate::encode::formats::Format;
use crate::encode::{Encoder, Filtered, LogView};
use crate::error::ExporterBuildError;
use crate::exporter::builder::ExporterBuilder;
#[cfg(feature = "cli")]
use crate::relay::format::LogsOut;
use crate::relay::listener::Listener;
use crate::relay::partition::PartitionBy;
use crate::relay::plan::Plan;
use crate::relay::running::Relay;
use crate::relay::settings::{RelayBuilder, RelaySettings};

impl Relay {
    /// A builder with the defaults of every setting.
    pub fn builder() -> RelayBuilder {
        RelayBuilder::default()
    }
}

impl ExporterBuilder<RelaySettings> {
    /// Listens on a socket. It can be called several times, and has to be at least once.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Listener, Relay};
    ///
    /// let builder = Relay::builder()
    ///     .with_listener(Listener::Otlp(Listener::DEFAULT_OTLP))
    ///     .with_listener(Listener::Unix("/run/otel-spool/log.sock".into()));
    /// ```
    pub fn with_listener(mut self, listener: Listener) -> Self {
        self.signal.listeners.push(listener);
        self
    }

    /// Listens on the sockets that a service manager hands over as well: `LISTEN_FDS`, and in `LISTEN_FDNAMES` the
    /// [name](Listener::name) of what is spoken on each. Default: false.
    ///
    /// Such sockets stay open while the relay is restarted, so that clients wait instead of failing.
    pub fn with_inherited_listeners(mut self, inherited: bool) -> Self {
        self.signal.inherited = inherited;
        self
    }

    /// Shows a status page at this address: `/`, `/metrics` for Prometheus and `/healthz`. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::Relay;
    ///
    /// let builder = Relay::builder().with_status("127.0.0.1:9023".parse()?);
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn with_status(mut self, address: std::net::SocketAddr) -> Self {
        self.signal.status = Some(address);
        self
    }

    /// Shows partition keys on the status page. Default: false.
    pub fn with_status_keys(mut self, shows_keys: bool) -> Self {
        self.signal.shows_keys = shows_keys;
        self
    }

    /// Sets the wire format of log records: see [`RelayBuilder`] for the default.
    ///
    /// The later call of this and `with_protocol` wins. An encoder has to write what a record says of its
    /// [origin](crate::LogView::origin); those of this crate do.
    pub fn with_encoder(mut self, encoder: impl Encoder) -> Self {
        self.signal.logs.encoder = Some(Box::new(encoder));
        self.code.settings.protocol = None;
        self
    }

    /// Sets the part of a record, or of its message, that is its partition key. Default: [`PartitionBy::Nothing`].
    pub fn with_partition_by(mut self, partition_by: PartitionBy) -> Self {
        self.signal.partition_by = partition_by;
        self
    }

    /// Allows listeners that other hosts can reach. Default: false, only loopback addresses and Unix sockets are allowed.
    ///
    /// There is no encryption: whoever can read the network reads the records and the credentials.
    pub fn with_listen_anywhere(mut self, anywhere: bool) -> Self {
        self.signal.listen_anywhere = anywhere;
        self
    }

    /// Takes requests to this name of a host, beside the address that is listened on and `localhost`. Others are refused, since the
    /// page of another site could have sent them. It can be called several times.
    pub fn with_host(mut self, name: impl Into<String>) -> Self {
        self.signal.hosts.push(name.into());
        self
    }

    /// Takes only requests with this token, as `Authorization: Bearer TOKEN`. Default: all are taken. It can be called several times.
    ///
    /// Frames and datagrams have no credentials: such listeners are not allowed beside, except on Unix sockets, whose owner alone can open them.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.signal.tokens.push(token.into());
        self
    }

    /// Takes only requests of this user, by basic authentication, as Python's `HTTPHandler` has it. Default: all are taken. It can be called
    /// several times, and beside [`with_token`](Self::with_token).
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.signal.users.push((name.into(), password.into()));
        self
    }

    /// Adds an attribute `relay` to each record with the listener, the peer and, over Unix sockets, the ids of its user and process.
    /// Default: false. Records of OTLP that are sent as OTLP are passed on as they came.
    pub fn with_senders(mut self, senders: bool) -> Self {
        self.signal.tags_senders = senders;
        self
    }

    /// Leaves out attributes of resources that come as OTLP, such as `process.command_args` and `process.owner`. Default: none.
    pub fn with_dropped_attributes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.signal.dropped_attributes.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the function that sees each log record before it is encoded, and says what may be stored of it. Default: none, all of it is.
    ///
    /// As with [`LogExporterBuilder`](crate::LogExporterBuilder::with_record_filter), what it leaves out reaches neither the disk nor the
    /// endpoint. A record that it drops counts as taken, so no client sends it again. It is called on the relay's threads, and sees log
    /// records of every protocol, and their [`origin`](crate::LogView::origin). Spans and metrics pass without it.
    ///
    /// A record of OTLP that it redacts is written anew as it was seen, and so is one that it does not see as a whole (fields that this
    /// version does not know, more than 100,000 values, values that are nested too deeply, one field twice). A damaged one is lost, and
    /// counted as `encode_failed`. Attributes of resources are left out by [`with_dropped_attributes`](Self::with_dropped_attributes).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Filtered, Redaction, Relay};
    ///
    /// let redaction = Redaction::new().without("password");
    /// let builder = Relay::builder().with_record_filter(move |_, _| Filtered::Redact(redaction.clone()));
    /// ```
    pub fn with_record_filter<F>(mut self, filter: F) -> Self
    where
        F: Fn(&dyn LogView, &InstrumentationScope) -> Filtered + Send + Sync + 'static,
    {
        self.signal.record_filter = Some(Arc::new(filter));
        self
    }

    /// Sets the largest frame or datagram that is taken, in bytes. Default: 4 MiB. Larger ones, up to 64 MiB, are counted as `too_large`.
    pub fn with_max_record_bytes(mut self, max: usize) -> Self {
        self.signal.limits.max_record_bytes = max;
        self
    }

    /// Sets the largest body that a client may send, in bytes, as it is sent and decompressed. Default: 16 MiB. Larger ones are
    /// answered 413.
    pub fn with_max_incoming_bytes(mut self, max: usize) -> Self {
        self.signal.limits.max_request_bytes = max;
        self
    }

    /// The same for OTLP. Default: 64 MiB, since Python's SDK sends up to that in one request.
    pub fn with_max_otlp_bytes(mut self, max: usize) -> Self {
        self.signal.limits.max_otlp_bytes = max;
        self
    }

    /// Sets the most connections at a time. Default: 1024. Further ones wait.
    pub fn with_max_connections(mut self, max: usize) -> Self {
        self.signal.limits.max_connections = max;
        self
    }

    /// Sets the most memory for what is being read and what waits to be committed, in bytes. Default: 64 MiB; at least 1 MiB.
    ///
    /// When it is used up, requests are read later, and frames are counted as `buffer_full`: their clients are never made to wait.
    pub fn with_max_buffer_bytes(mut self, max: usize) -> Self {
        self.signal.limits.max_buffer_bytes = max;
        self
    }

    /// Sets the time that frames and datagrams wait in memory for others to be committed with. Default: 100 ms. Requests are committed at
    /// once, with all that wait.
    pub fn with_commit_delay(mut self, delay: Duration) -> Self {
        self.signal.limits.commit_delay = delay;
        self
    }

    /// Sets the wire format by its name.
    #[cfg(feature = "cli")]
    pub(crate) fn with_format(mut self, format: &'static Format) -> Self {
        self.signal.logs = LogsOut { named: Some(format), ..LogsOut::default() };
        self.code.settings.protocol = None;
        self
    }

    /// Checks all that can be checked before records are taken.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build) that settings and sockets which were handed over give. Nothing is bound, opened or sent.
    pub(crate) fn plan(self) -> Result<Plan, ExporterBuildError> {
        Plan::of(self)
    }

    /// Binds the sockets, opens the spool, starts delivery and returns the relay.
    ///
    /// # Errors
    ///
    /// [`ExporterBuildError::Missing`] and [`ExporterBuildError::Invalid`] name the setting, the problem and the values that are
    /// allowed; [`ExporterBuildError::Listen`] names the listener; [`ExporterBuildError::Spool`] and [`ExporterBuildError::Thread`] name the cause.
    pub fn build(self) -> Result<Relay, ExporterBuildError> {
        self.plan()?.start()
    }
}
