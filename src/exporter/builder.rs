//! [`ExporterBuilder`]: every setting that exporters of all signals have, its unit and its default.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "self-metrics")]
use opentelemetry::metrics::{Meter, MeterProvider};

#[cfg(feature = "config-file")]
use crate::config::file::ExporterConfig;
use crate::config::format::FormatSettings;
use crate::config::resolve::{CodeSettings, ResolvedConfig};
#[cfg(feature = "self-metrics")]
use crate::config::values::Signal;
use crate::config::values::{
    Compression, Durability, FullPolicy, Protocol, RetryPolicy, Sourced, SpoolCompression, Urls, Warning,
};
use crate::config::{directory, environment};
use crate::delivery::{Pipeline, PipelineConfig};
#[cfg(feature = "self-metrics")]
use crate::encode::framing::{Framing, ResponseProtocol};
use crate::encode::points::items_of;
use crate::error::{BoxError, ExporterBuildError};
use crate::exporter::marked::Marked;
use crate::exporter::probe::{Unresolved, probe};
use crate::observe::event::{Events, OnEvent, SpoolEvent};
#[cfg(feature = "self-metrics")]
use crate::observe::metrics::{self, Otlp, SelfMetrics};
use crate::observe::probe::{ProbeMode, ProbeReport};
use crate::spool::GapEncoder;
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::hook::HeaderHook;
use crate::transport::http::response::Response;
use crate::transport::request::BatchContext;
use crate::transport::verdict::Verdict;

/// Configures an exporter. `S` holds the settings that one signal alone has; the exporters' own names for it are
/// [`LogExporterBuilder`](crate::LogExporterBuilder) and its like.
///
/// A setting that `opentelemetry_otlp` has as well has the same name here. Two settings have no default:
/// [`with_spool_dir`](Self::with_spool_dir) and, unless OTLP is sent, [`with_endpoint`](Self::with_endpoint).
///
/// A setting that is not made in code is read from the environment; the chapter on [configuration](crate::docs::configuration)
/// names the variable of each.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_sdk::logs::SdkLoggerProvider;
/// use opentelemetry_spool::{CallerThreadProcessor, LogExporter};
///
/// let exporter = LogExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/ingest")
///     .with_spool_dir(dir.path())
///     .build()?;
/// let provider = SdkLoggerProvider::builder()
///     .with_log_processor(CallerThreadProcessor::new())
///     .with_batch_exporter(exporter)
///     .build();
/// # provider.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is made before `build`"]
pub struct ExporterBuilder<S> {
    pub(crate) code: CodeSettings,
    pub(crate) signal: S,
    on_event: Option<Arc<OnEvent>>,
    #[cfg(feature = "self-metrics")]
    meter: Option<Meter>,
}

impl<S: Default> Default for ExporterBuilder<S> {
    fn default() -> Self {
        Self {
            code: CodeSettings::default(),
            signal: S::default(),
            on_event: None,
            #[cfg(feature = "self-metrics")]
            meter: None,
        }
    }
}

/// A value set in code, with the method that set it.
#[expect(clippy::unnecessary_wraps, reason = "each setting is optional")]
pub(crate) fn given<T>(value: T, method: &str) -> Option<Sourced<T>> {
    Some(Sourced::new(value, method))
}

/// A signal whose newer records may be delivered before older ones: not metrics.
pub trait Reorderable {}

impl<S: Reorderable> ExporterBuilder<S> {
    /// Sets the share of a partition's requests that the backlog of an outage has, from 0.0 to 1.0. Default: 1.0, all
    /// come in order.
    ///
    /// With a share below that, records that are logged after an outage, or after a start, do not wait until all is
    /// delivered that was kept before: they have the other requests of their partition while both wait, so with 0.25
    /// three of four. With 0.0 the backlog is sent while no new record waits. **This gives up the order within a
    /// partition**, after an outage in those that failed and after a start in all: backlog and new records each keep
    /// theirs. It is an error together with a strict order, so for metrics, which keep theirs. See
    /// [the order](crate::docs::guarantees#order-and-duplicates).
    ///
    /// # Errors
    ///
    /// `build` fails where the share is not from 0.0 to 1.0, and with a share below 1.0 and
    /// [`with_strict_order`](Self::with_strict_order).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_backlog_share(0.25);
    /// ```
    pub fn with_backlog_share(mut self, share: f64) -> Self {
        self.code.settings.backlog_share = given(share, "with_backlog_share");
        self
    }
}

impl<S> ExporterBuilder<S> {
    /// Sends OTLP in protobuf, as after a swap from `opentelemetry_otlp`, unless another format is given: a protocol, an encoder, or
    /// one by its name. Default: what the endpoint takes. Needs the crate's feature `otlp`, unless another format is given.
    ///
    /// HTTP is the transport in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_http();
    /// ```
    pub fn with_http(mut self) -> Self {
        self.code.settings.with_http = true;
        self
    }

    // --- the endpoint and the spool's place -----------------------------------------------------------------------

    /// Sets the URL that batches are sent to, complete with path and query. Required, except with OTLP, whose default is
    /// `http://localhost:4318/v1/logs`. A path that ends in `/v1/logs`, `/v1/traces` or `/v1/metrics` means OTLP, unless another format
    /// is given.
    ///
    /// A user and password in it are sent as basic authentication, and never stored or shown.
    ///
    /// `{batch_id}` in its query becomes the id of each batch, which is also its `Idempotency-Key`: for servers that recognise what
    /// comes again by a part of the URL, as [ClickHouse](crate::docs::receivers#clickhouse) does.
    ///
    /// With the feature `relay` it can be a file (`file:///var/log/app.log?max_bytes=10MiB&backups=5`), a directory with a file
    /// for each partition (`file:///var/log/app/`) or a socket (`tcp://host:port`, `unix:///path`, `udp://host:port`): see
    /// [configuration](crate::docs::configuration#endpoints-that-are-not-http). **What is delivered to a socket is written to it,
    /// and no more:** nothing tells whether the receiver has kept it.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_endpoint("https://logs.example.com/ingest?source=checkout");
    /// ```
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.code.settings.endpoint = given(endpoint.into(), "with_endpoint");
        self
    }

    /// Sets the directory of the spool. Required. It is created if it is missing, readable by its owner alone.
    ///
    /// It has to be on a local disk. Several exporters, also of several processes, may share one: each has a queue of its
    /// own. A queue that a dead process leaves is adopted and delivered by another exporter, if that is of the same signal and
    /// its endpoint has the same scheme, host and port. In one process, two exporters of a signal with different ones take
    /// different directories: `build` of the second one fails. See [`with_adopt_from`](Self::with_adopt_from).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_spool_dir("/var/lib/checkout/spool");
    /// ```
    pub fn with_spool_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.code.settings.spool_dir = given(dir.into(), "with_spool_dir");
        self
    }

    /// Sets the mount point of the volume that the spool has to be on. Default: none, any directory will do.
    ///
    /// `build` then fails unless something is mounted at `path` and the directory of
    /// [`with_spool_dir`](Self::with_spool_dir) lies on it. Without this, a service that starts while its volume is away
    /// spools under the mount point, on the disk of the system, and those records are hidden when the volume is back. It is
    /// looked at once, in `build`. Mount points are known on Unix only: elsewhere it is always an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder()
    ///     .with_spool_dir("/mnt/logs/checkout")
    ///     .with_required_mount("/mnt/logs");
    /// ```
    pub fn with_required_mount(mut self, path: impl Into<PathBuf>) -> Self {
        self.code.settings.required_mount = given(path.into(), "with_required_mount");
        self
    }

    /// Adopts also the queues that were left for these endpoints, which are URLs like that of
    /// [`with_endpoint`](Self::with_endpoint): their records go to this exporter's endpoint. Default: none.
    ///
    /// Records are sent to the scheme, host and port that they were spooled for, and to no other. Where the endpoint changes,
    /// those that wait for the old one are *stranded*: they are kept, counted (`stranded_records` of
    /// [`SpoolStats`](crate::SpoolStats)) and reported at each start, until a process has the old endpoint again, or this names
    /// it. The path of a URL does not matter. `otel-spool assign` does the same once, for what is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder()
    ///     .with_endpoint("https://new.example.com/v1/logs")
    ///     .with_adopt_from(["https://old.example.com"]);
    /// ```
    pub fn with_adopt_from<U: Into<String>>(mut self, endpoints: impl IntoIterator<Item = U>) -> Self {
        let urls = endpoints.into_iter().map(Into::into).collect();
        self.code.settings.adopt_from = given(Urls(urls), "with_adopt_from");
        self
    }

    // --- the request ----------------------------------------------------------------------------------------------

    /// Sends OTLP, in protobuf or in JSON. Default: protobuf for spans and metrics, and for log records with
    /// [`with_http`](Self::with_http) or an endpoint of OTLP; else none. Needs the crate's feature `otlp`.
    ///
    /// It is the same as [`with_encoder`](crate::LogExporterBuilder::with_encoder) with an `OtlpEncoder`; the later call of the two wins.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{LogExporter, Protocol};
    ///
    /// let builder = LogExporter::builder().with_protocol(Protocol::HttpBinary);
    /// ```
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.code.settings.protocol = given(Some(protocol), "with_protocol");
        self
    }

    /// Adds headers to every request. Default: only `Content-Type`, `Content-Encoding` with gzip, `Idempotency-Key` and the
    /// headers that HTTP itself needs.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_headers([("x-api-key", "s3cret"), ("x-service", "checkout")]);
    /// ```
    pub fn with_headers<K: Into<String>, V: Into<String>>(mut self, headers: impl IntoIterator<Item = (K, V)>) -> Self {
        self.code.headers.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Sets a function that is called before every attempt and may change the headers of the request. Default: none.
    ///
    /// It receives the batch and the headers so far, and may set, replace and remove any of them. Headers are never stored,
    /// so a secret is as fresh as the attempt. If the function fails or panics, the batch is retried as after a 503. It runs
    /// on a thread of its own, for one batch after the other, and cannot be stopped: while it blocks, this exporter sends nothing else. [`with_async_header_hook`](Self::with_async_header_hook) waits for
    /// several batches at the same time. The later call of the two wins.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_header_hook(|batch, headers| {
    ///     headers.insert("x-tenant", batch.partition_key())?;
    ///     headers.insert("x-attempt", batch.attempt().to_string())?;
    ///     Ok(())
    /// });
    /// ```
    pub fn with_header_hook<F>(mut self, hook: F) -> Self
    where
        F: Fn(&BatchContext, &mut HeaderMap) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.code.http.hook = HeaderHook::Sync(Arc::new(hook));
        self
    }

    /// Sets an asynchronous function like that of [`with_header_hook`](Self::with_header_hook), for a hook that waits: to
    /// refresh a token, for example.
    ///
    /// It runs on the tokio runtime of the delivery thread, which all exporters of the process on the same directory share: it may wait, but not block. It fails after [`with_timeout`](Self::with_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn token_for(_tenant: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_async_header_hook(|batch, mut headers| async move {
    ///     let token = token_for(batch.partition_key()).await?;
    ///     headers.insert("authorization", format!("Bearer {token}"))?;
    ///     Ok(headers)
    /// });
    /// ```
    pub fn with_async_header_hook<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(BatchContext, HeaderMap) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderMap, BoxError>> + Send + 'static,
    {
        self.code.http.hook = HeaderHook::asynchronous(hook);
        self
    }

    /// Sets the compression of request bodies. Default: none. Needs the crate's feature `gzip-http`.
    ///
    /// Records are compressed once, when they are logged; the compressed pieces are in the spool and are joined to one gzip
    /// member when they are sent. An endpoint that does not take `Content-Encoding: gzip` mostly responds with 400 or
    /// 500: the batch is sent once more without it, and after three such batches nothing is compressed for an hour
    /// ([`SpoolEvent::CompressionRefused`]). Try it with a fresh spool first: a later change of this setting does not change
    /// the records in the spool.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Compression, LogExporter};
    ///
    /// let builder = LogExporter::builder().with_compression(Compression::Gzip);
    /// ```
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.code.settings.compression = given(Some(compression), "with_compression");
        self
    }

    // --- batches and retries --------------------------------------------------------------------------------------

    /// Sets the most records of one request. Default: 512; at least 1.
    ///
    /// This limit and [`with_max_batch_bytes`](Self::with_max_batch_bytes) apply to records that are logged from now on.
    /// Records in the spool keep the limits with which they were logged, so that a batch is the same after a restart.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_batch_records(2_000);
    /// ```
    pub fn with_max_batch_records(mut self, max: usize) -> Self {
        self.code.settings.max_batch_records = given(max, "with_max_batch_records");
        self
    }

    /// Sets the largest request body, in bytes before compression. Default: 1 MiB, which nginx accepts by default; at
    /// least 1.
    ///
    /// A single larger record is a request of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_batch_bytes(5 << 20); // 5 MiB
    /// ```
    pub fn with_max_batch_bytes(mut self, max: usize) -> Self {
        self.code.settings.max_batch_bytes = given(max as u64, "with_max_batch_bytes");
        self
    }

    /// Sets the time that a record may wait for others to fill its batch. Default: zero, a batch is sent at once.
    ///
    /// While a request is in flight, the next batch of its partition fills up in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    /// use std::time::Duration;
    ///
    /// let builder = LogExporter::builder().with_linger(Duration::from_secs(10));
    /// ```
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.code.settings.linger = given(linger, "with_linger");
        self
    }

    /// Sets the most requests of one partition in flight. Default: 1, which keeps the order, and for spans 8, since nobody is owed
    /// theirs; at most 1024. For metrics the variable is not read, since it is shared with other exporters.
    ///
    /// With more, the round trip does not bound the rate, but the records of one request can arrive after those of the next.
    /// The number adapts, for all partitions together: it begins at one, grows while responses do not take longer for it,
    /// and is halved after 408, 429, 5xx, a broken connection or a timeout. A failed batch is retried beside the others,
    /// after its own delay. Requests of different partitions run in parallel in any case, up to 16.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_in_flight(8);
    /// ```
    pub fn with_max_in_flight(mut self, max: usize) -> Self {
        self.code.settings.max_in_flight = given(max, "with_max_in_flight");
        self
    }

    /// Sends no record before an earlier one of its partition, whatever it costs. Default: off, and on for metrics. One request of a
    /// partition is in flight then, unless [`with_max_in_flight`](Self::with_max_in_flight) says otherwise.
    ///
    /// Otherwise a record from behind is sent where a batch keeps failing, to find out whether the batch or the endpoint is to
    /// blame, and what keeps failing while others are taken is sent later than those. With this, a batch that the endpoint
    /// refuses holds up its partition until it is taken, expires or is evicted; only records are rejected that a response names while it
    /// takes others of their batch.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_strict_order(true);
    /// ```
    pub fn with_strict_order(mut self, strict: bool) -> Self {
        self.code.settings.strict_order = given(strict, "with_strict_order");
        self
    }

    /// Sets how long a record is deferred that the endpoint fails for while it takes others. Default: 24 h.
    ///
    /// It is tried again every ten minutes meanwhile, since a part of the endpoint may be down. After that it is rejected.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    /// use std::time::Duration;
    ///
    /// let builder = LogExporter::builder().with_defer_for(Duration::from_secs(3600));
    /// ```
    pub fn with_defer_for(mut self, defer_for: Duration) -> Self {
        self.code.settings.defer_for = given(defer_for, "with_defer_for");
        self
    }

    /// Sets the delays of retries. Default: [`RetryPolicy::default`], from 500 ms to 30 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{LogExporter, RetryPolicy};
    ///
    /// let mut policy = RetryPolicy::default();
    /// policy.max_delay = std::time::Duration::from_secs(5);
    /// let builder = LogExporter::builder().with_retry_policy(policy);
    /// ```
    pub fn with_retry_policy(mut self, policy: RetryPolicy) -> Self {
        const SETTING: &str = "with_retry_policy";
        self.code.settings.retry_initial_delay = given(policy.initial_delay, SETTING);
        self.code.settings.retry_max_delay = given(policy.max_delay, SETTING);
        self.code.settings.retry_max_retry_after = given(policy.max_retry_after, SETTING);
        self
    }

    /// Sets the function that judges a response. Default: [`Verdict::of`], refined by the framing's
    /// [response protocol](crate::ResponseProtocol). It runs on the delivery thread, which all exporters of the process on the
    /// same directory share, and must not block.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{LogExporter, Verdict};
    ///
    /// // A gateway that says 403 while it is overloaded.
    /// let builder = LogExporter::builder().with_response_classifier(|response| match response.status() {
    ///     403 => Verdict::Retry,
    ///     _ => Verdict::of(response),
    /// });
    /// ```
    pub fn with_response_classifier<F>(mut self, classifier: F) -> Self
    where
        F: Fn(&Response) -> Verdict + Send + Sync + 'static,
    {
        self.code.http.classifier = Some(Arc::new(classifier));
        self
    }

    // --- the spool ------------------------------------------------------------------------------------------------

    /// Sets the durability of accepted records. Default: [`Durability::Sync`]: they survive a power cut.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Durability, LogExporter};
    ///
    /// let builder = LogExporter::builder().with_durability(Durability::Process);
    /// ```
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.code.settings.durability = given(durability, "with_durability");
        self
    }

    /// Sets the compression of records in the spool. Default: [`SpoolCompression::Lz4`].
    ///
    /// The endpoint does not see it. With [`with_compression`](Self::with_compression) this setting has no effect: records
    /// are stored as they are sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{LogExporter, SpoolCompression};
    ///
    /// let builder = LogExporter::builder().with_spool_compression(SpoolCompression::None);
    /// ```
    pub fn with_spool_compression(mut self, compression: SpoolCompression) -> Self {
        self.code.settings.spool_compression = given(compression, "with_spool_compression");
        self
    }

    /// Sets the size of a segment, in bytes. Default: 8 MiB, or an eighth of
    /// [`with_max_spool_bytes`](Self::with_max_spool_bytes) if that is less; from 1 MiB to that eighth.
    ///
    /// Disk space is given back a segment at a time, and memory grows with the size of a segment, not with the backlog.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_segment_bytes(4 << 20); // 4 MiB
    /// ```
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.code.settings.segment_bytes = given(bytes, "with_segment_bytes");
        self
    }

    /// Sets the largest size of the spool directory on disk, in bytes, for all exporters of the same signal that share it. Default: 1 GiB; at
    /// least 8 MiB. Queues of other signals do not count: they have limits of their own.
    ///
    /// The directory never exceeds it by more than one segment per exporter. At the limit
    /// [`with_full_policy`](Self::with_full_policy) decides whether the oldest records are evicted or new ones rejected.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_spool_bytes(10 << 30); // 10 GiB
    /// ```
    pub fn with_max_spool_bytes(mut self, bytes: u64) -> Self {
        self.code.settings.max_spool_bytes = given(bytes, "with_max_spool_bytes");
        self
    }

    /// Sets the bytes that stay free on the spool's file system. Default: zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_min_free_bytes(1 << 30); // 1 GiB
    /// ```
    pub fn with_min_free_bytes(mut self, bytes: u64) -> Self {
        self.code.settings.min_free_bytes = given(bytes, "with_min_free_bytes");
        self
    }

    /// Sets the policy of a full spool. Default: [`FullPolicy::EvictOldest`].
    ///
    /// Lost records are counted in [`SpoolStats::lost_records`](crate::SpoolStats::lost_records) and reported in the
    /// stream, by a gap record in each partition.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{FullPolicy, LogExporter};
    ///
    /// let builder = LogExporter::builder().with_full_policy(FullPolicy::RejectNew);
    /// ```
    pub fn with_full_policy(mut self, policy: FullPolicy) -> Self {
        self.code.settings.full_policy = given(policy, "with_full_policy");
        self
    }

    /// Sets the longest time that a record may wait to be delivered. Default: none, records wait for ever.
    ///
    /// A batch expires when its newest record is older. Expired records are counted in
    /// [`SpoolStats::expired_records`](crate::SpoolStats::expired_records) and reported in the stream. The system's clock
    /// decides: if it jumps ahead by more than this, waiting records expire.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    /// use std::time::Duration;
    ///
    /// let builder = LogExporter::builder().with_max_age(Duration::from_secs(7 * 24 * 3600));
    /// ```
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.code.settings.max_age = given(age, "with_max_age");
        self
    }

    /// Sets the size of the rejected store, in bytes. Default: 16 MiB. It counts within the spool's limit, and is at most half
    /// of it. When it is full, what the endpoint rejects waits in the spool until there is room.
    ///
    /// The store keeps the records that the endpoint rejected for good: see
    /// [`SpoolHandle::rejected`](crate::SpoolHandle::rejected).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_rejected_bytes(64 << 20); // 64 MiB
    /// ```
    pub fn with_max_rejected_bytes(mut self, bytes: u64) -> Self {
        self.code.settings.max_rejected_bytes = given(bytes, "with_max_rejected_bytes");
        self
    }

    // --- the HTTP client ------------------------------------------------------------------------------------------

    /// Sets the longest time of one request, from connecting to the end of the response. Default: 10 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    /// use std::time::Duration;
    ///
    /// let builder = LogExporter::builder().with_timeout(Duration::from_secs(3));
    /// ```
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.code.settings.timeout = given(timeout, "with_timeout");
        self
    }

    /// Sets what the longest time of one request grows to. Default: 60 s, or [`with_timeout`](Self::with_timeout) if that is
    /// longer.
    ///
    /// The time of a batch doubles with each attempt that it was not enough for: an endpoint that takes the batch, but slowly,
    /// would otherwise get it again and again.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    /// use std::time::Duration;
    ///
    /// let builder = LogExporter::builder().with_max_timeout(Duration::from_secs(120));
    /// ```
    pub fn with_max_timeout(mut self, timeout: Duration) -> Self {
        self.code.settings.max_timeout = given(timeout, "with_max_timeout");
        self
    }

    /// Sets the longest time of connecting. Default: 5 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    /// use std::time::Duration;
    ///
    /// let builder = LogExporter::builder().with_connect_timeout(Duration::from_secs(1));
    /// ```
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.code.settings.connect_timeout = given(timeout, "with_connect_timeout");
        self
    }

    /// Sets the time that an idle connection is kept for the next request. Default: 90 s; zero keeps none.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    /// use std::time::Duration;
    ///
    /// let builder = LogExporter::builder().with_keep_alive(Duration::from_secs(30));
    /// ```
    pub fn with_keep_alive(mut self, idle: Duration) -> Self {
        self.code.settings.keep_alive = given(idle, "with_keep_alive");
        self
    }

    /// Sets the largest request body that is sent, in bytes, after compression. Default: 64 MiB, which OTLP's specification
    /// has receivers take; at least 1.
    ///
    /// A batch that is larger is split before it is sent, as after a 413. A single record that is larger is rejected.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_request_bytes(5 << 20); // 5 MiB
    /// ```
    pub fn with_max_request_bytes(mut self, max: usize) -> Self {
        self.code.settings.max_request_bytes = given(max as u64, "with_max_request_bytes");
        self
    }

    /// Sets the most bytes of a response that are read. Default: 4 MiB; at least 1.
    ///
    /// The response to a `_bulk` has an entry for every record, and the response of an OTLP receiver can name what it
    /// rejected. Of a success that is longer it is not known what it rejects:
    /// [`SpoolStats::unconfirmed_records`](crate::SpoolStats::unconfirmed_records).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_response_bytes(16 << 20); // 16 MiB
    /// ```
    pub fn with_max_response_bytes(mut self, max: usize) -> Self {
        self.code.settings.max_response_bytes = given(max as u64, "with_max_response_bytes");
        self
    }

    /// Sets whether the reasons of failures show all that a response says. Default: `false`.
    ///
    /// A reason always has the status and the words that can hardly be what was logged: those of an error that the protocol defines,
    /// and of any response that is not about the records (401, 403, 404, 5xx). The text of a success, of a 400, 413, 415 or 422 is left
    /// out, since many servers repeat in it what was sent. With `true` up to 1,000 bytes of it are in the reasons of
    /// [`SpoolEvent`], and so in the log, and in [`last_error`](crate::SpoolStats::last_error). What is secret of the
    /// request itself is masked in both cases.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_response_text(true);
    /// ```
    pub fn with_response_text(mut self, shown: bool) -> Self {
        self.code.settings.response_text = given(shown, "with_response_text");
        self
    }

    /// Trusts further certificate authorities besides the system's: one or more certificates in PEM. Default: none. It can
    /// be called several times.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_root_certificate_pem(std::fs::read("/etc/ssl/private-ca.pem")?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.code.http.root_certificates.push(Sourced::new(pem.into().into(), "with_root_certificate_pem"));
        self
    }

    /// Sets the client's identity for mTLS: its private key and its certificates, together in PEM. Default: none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let pem = [std::fs::read("/etc/ssl/client.key")?, std::fs::read("/etc/ssl/client.pem")?].concat();
    /// let builder = LogExporter::builder().with_client_identity_pem(pem);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_client_identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.code.http.client_identity = given(pem.into().into(), "with_client_identity_pem");
        self
    }

    /// Accepts **any** certificate, including a forged one: anyone on the network path can read and change everything.
    /// For experiments only. Default: false.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_danger_accept_invalid_certificates(true);
    /// ```
    pub fn with_danger_accept_invalid_certificates(mut self, accept: bool) -> Self {
        self.code.settings.danger_accept_invalid_certificates =
            given(accept, "with_danger_accept_invalid_certificates");
        self
    }

    /// Sends every request through a proxy, `http://[user:password@]host:port`. Default: the proxy that `HTTP_PROXY`,
    /// `HTTPS_PROXY` and `NO_PROXY` name.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_proxy("http://proxy.example.com:3128");
    /// ```
    pub fn with_proxy(mut self, url: impl Into<String>) -> Self {
        self.code.settings.proxy = given(url.into(), "with_proxy");
        self
    }

    /// Sends requests with a client of your own, for options that have no setting here. Default: a client made from the
    /// settings above.
    ///
    /// None of the settings of connections, proxies and certificates above applies to it, and it keeps its connections also
    /// after a response that came too early. It must not follow redirects: a redirected POST becomes a GET without its records. The exporter uses it on a runtime of its own, so do not share a
    /// client whose connections belong to another runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let client = reqwest::Client::builder().user_agent("checkout").build()?;
    /// let builder = LogExporter::builder().with_http_client(client);
    /// # Ok::<(), reqwest::Error>(())
    /// ```
    pub fn with_http_client(mut self, client: reqwest::Client) -> Self {
        self.code.http.client = Some(client);
        self
    }

    // --- observation ------------------------------------------------------------------------------------------------

    /// Sets a function that receives each change of the exporter's state: the endpoint is lost or back, a limit is reached,
    /// something is damaged. Default: none.
    ///
    /// It runs on a thread of its own, with telemetry suppressed, for one event after the other: it delays neither delivery
    /// nor the application, and may use a [`SpoolHandle`](crate::SpoolHandle). While it runs, up to 256 events wait; further
    /// ones are only logged, those of threads that log not even that. If it panics, it is called again for the next event.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{LogExporter, SpoolEvent};
    ///
    /// let builder = LogExporter::builder().with_on_event(|event| match event {
    ///     SpoolEvent::BatchHeld { reason, .. } => eprintln!("logs are held until this is fixed: {reason}"),
    ///     SpoolEvent::RecordsLost { reason, .. } => eprintln!("logs are lost: {}", reason.as_str()),
    ///     _ => {}
    /// });
    /// ```
    pub fn with_on_event<F>(mut self, on_event: F) -> Self
    where
        F: Fn(&SpoolEvent) + Send + Sync + 'static,
    {
        self.on_event = Some(Arc::new(on_event));
        self
    }

    /// Sets the provider of the exporter's metrics. Default: the global meter provider as it is when this exporter is
    /// built. Needs the crate's feature `self-metrics`.
    ///
    /// Set the global provider before, or pass one here: instruments that were made without a provider stay without one.
    /// The chapter [`metrics`](crate::docs::metrics) lists the instruments, and queries for a dashboard.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_sdk::metrics::SdkMeterProvider;
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let meters = SdkMeterProvider::builder().build(); // .with_periodic_exporter(...)
    /// let builder = LogExporter::builder().with_meter_provider(&meters);
    /// ```
    #[cfg(feature = "self-metrics")]
    pub fn with_meter_provider(mut self, provider: &dyn MeterProvider) -> Self {
        self.meter = Some(metrics::meter_of(provider));
        self
    }

    /// Takes what is not set in code from a configuration file, in place of the environment. Takes the crate's feature
    /// `config-file`.
    ///
    /// `build` reports what is wrong with a value, and its line.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use opentelemetry_spool::{ExporterConfig, LogExporter};
    ///
    /// let yaml = std::fs::read_to_string("/etc/checkout/otel.yaml")?;
    /// let builder = LogExporter::builder().with_config(ExporterConfig::from_yaml(&yaml)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "config-file")]
    pub fn with_config(mut self, config: ExporterConfig) -> Self {
        #[cfg(feature = "relay")]
        {
            self.code.in_file = Some(config.signals());
        }
        self.code.outside = Some(Arc::new(move |signal| config.clone().settings(signal)));
        self
    }

    /// Has each event told to this function as well.
    #[cfg(feature = "relay")]
    pub(crate) fn also_on_event(mut self, also: impl Fn(&SpoolEvent) + Send + Sync + 'static) -> Self {
        let first = self.on_event.take();
        self.on_event = Some(Arc::new(move |event| {
            also(event);
            if let Some(first) = &first {
                first(event);
            }
        }));
        self
    }

    /// The same settings for another exporter, with those of its signal.
    #[cfg(feature = "relay")]
    pub(crate) fn with_signal<T>(&self, signal: T) -> ExporterBuilder<T> {
        ExporterBuilder {
            code: self.code.clone(),
            signal,
            on_event: self.on_event.clone(),
            #[cfg(feature = "self-metrics")]
            meter: self.meter.clone(),
        }
    }

    /// Opens the spool and starts delivery. `format` chooses the encoder; `with_gaps` makes of it what the exporter keeps, and
    /// what encodes gap records.
    pub(crate) fn start<F: FormatSettings, E>(
        self,
        format: impl FnOnce(S) -> F,
        with_gaps: impl FnOnce(F::Encoder) -> (E, Option<Arc<GapEncoder>>),
    ) -> Result<(E, Pipeline), ExporterBuildError> {
        let resolved = resolve(self.code, format(self.signal)).map_err(|(error, unknown)| {
            let events = Events::new(F::SIGNAL.name());
            for warning in unknown {
                events.report(suspicious(warning));
            }
            error
        })?;
        let rest = ExporterBuilder {
            code: CodeSettings::default(),
            signal: (),
            on_event: self.on_event,
            #[cfg(feature = "self-metrics")]
            meter: self.meter,
        };
        rest.start_resolved(resolved, with_gaps)
    }

    /// Tries the settings; `mark` makes the marked record.
    pub(crate) fn try_settings<F: FormatSettings>(
        self,
        mode: ProbeMode,
        format: impl FnOnce(S) -> F,
        mark: impl FnOnce(F::Encoder) -> Result<Marked, BoxError>,
    ) -> ProbeReport {
        probe(mode, resolve(self.code, format(self.signal)), mark)
    }

    /// The same with settings that are resolved.
    pub(crate) fn start_resolved<C, E>(
        self,
        resolved: ResolvedConfig<C>,
        with_gaps: impl FnOnce(C) -> (E, Option<Arc<GapEncoder>>),
    ) -> Result<(E, Pipeline), ExporterBuildError> {
        let signal = resolved.spool.signal;
        #[cfg(feature = "self-metrics")]
        let self_metrics = Some(self_metrics(self.meter, signal, &resolved.framing));
        let ResolvedConfig { encoder, spool, dir, transport, pace, warnings, .. } = resolved;
        let (encoder, gap_encoder) = with_gaps(encoder);
        let pipeline = Pipeline::start(PipelineConfig {
            spool,
            transport,
            pace,
            count_items: items_of(signal),
            gap_encoder,
            on_event: self.on_event.map(|on_event| -> Box<OnEvent> { Box::new(move |event| on_event(event)) }),
            #[cfg(feature = "self-metrics")]
            self_metrics,
        })
        .map_err(|error| directory::refused(error, &dir))?;
        for warning in warnings {
            pipeline.events().report(suspicious(warning));
        }
        Ok((encoder, pipeline))
    }
}

/// The settings that count, with what is noticed of them; or the first that is wrong.
fn resolve<F: FormatSettings>(code: CodeSettings, format: F) -> Result<ResolvedConfig<F::Encoder>, Unresolved> {
    let unknown = code.unknown_variables(F::SIGNAL);
    match ResolvedConfig::resolve(code, format, &|name| std::env::var_os(name)) {
        Ok(mut resolved) => {
            resolved.warnings.extend(unknown);
            Ok(resolved)
        }
        Err(error) => Err((environment::missing(error, &unknown), unknown)),
    }
}

/// The event of a setting that is probably not meant so.
fn suspicious(Warning { setting, reason }: Warning) -> SpoolEvent {
    SpoolEvent::SettingSuspicious { setting, reason }
}

/// Chooses how the exporter's metrics are called, by its signal and by what it sends.
#[cfg(feature = "self-metrics")]
fn self_metrics(meter: Option<Meter>, signal: Signal, framing: &Framing) -> SelfMetrics {
    let names = match signal {
        Signal::Logs => &metrics::OF_LOGS,
        Signal::Traces => &metrics::OF_SPANS,
        Signal::Metrics => &metrics::OF_METRICS,
    };
    let otlp = match (framing.response_protocol(), framing.content_type()) {
        (ResponseProtocol::Otlp, "application/x-protobuf") => Some(Otlp::Protobuf),
        (ResponseProtocol::Otlp, "application/json") => Some(Otlp::Json),
        _ => None,
    };
    SelfMetrics { meter: meter.unwrap_or_else(metrics::global_meter), names, otlp }
}

impl<S> std::fmt::Debug for ExporterBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The endpoint, header values, keys and the proxy can hold secrets: they are not shown.
        f.debug_struct("ExporterBuilder")
            .field("spool_dir", &self.code.settings.spool_dir.as_ref().map(|dir| &dir.value))
            .field("headers", &self.code.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
