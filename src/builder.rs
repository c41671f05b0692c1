//! The builder: every setting, its unit, its default and what is allowed.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::logs::SdkLogRecord;

use crate::batch::{BatchContext, HeaderMap};
use crate::config::{
    BatchLimits, Compression, Durability, FullPolicy, Pace, RetryPolicy, SpoolCompression, SpoolLimits,
};
use crate::drain::{Classifier, Drain};
use crate::encode::{Encoder, JsonEncoder};
use crate::error::{BoxError, ExporterBuildError};
use crate::exporter::{LogExporter, PartitionKey};
use crate::gap;
use crate::hook::HeaderHook;
use crate::retry::{Response, Verdict};
use crate::spool::{Coding, Spool, SpoolConfig, Wake};
use crate::stats::Counters;
use crate::transport::{HttpSettings, HttpTransport, public_url};
use crate::worker::{Control, Worker};

const MIN_SEGMENT_BYTES: u64 = 1 << 20;
const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;

/// Configures a [`LogExporter`].
///
/// Where `opentelemetry_otlp` has a setting, it has the same name here; its environment variables are not read. Two have no
/// default:
/// [`with_endpoint`](Self::with_endpoint) and [`with_spool_dir`](Self::with_spool_dir).
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
pub struct LogExporterBuilder {
    spool_dir: Option<PathBuf>,
    durability: Durability,
    compression: Option<Compression>,
    spool_compression: SpoolCompression,
    segment_bytes: Option<u64>,
    limits: Limits,
    spool_limits: SpoolLimits,
    headers: Vec<(String, String)>,
    partition_key: Option<Box<PartitionKey>>,
    hook: HeaderHook,
    encoder: Box<dyn Encoder>,
    retry: RetryPolicy,
    max_in_flight: usize,
    classifier: Box<Classifier>,
    http: HttpSettings,
    /// The spool is another one's: where it is sent to is not noted in it.
    foreign: bool,
}

/// The batch limits as they were given.
#[derive(Clone, Copy, Debug)]
struct Limits {
    max_records: usize,
    max_bytes: usize,
    linger: Duration,
}

impl Default for LogExporterBuilder {
    fn default() -> Self {
        Self {
            spool_dir: None,
            durability: Durability::default(),
            compression: None,
            spool_compression: SpoolCompression::default(),
            segment_bytes: None,
            spool_limits: SpoolLimits::default(),
            limits: Limits { max_records: 512, max_bytes: 1 << 20, linger: Duration::ZERO },
            headers: Vec::new(),
            partition_key: None,
            hook: HeaderHook::None,
            encoder: Box::new(JsonEncoder::default()),
            retry: RetryPolicy::default(),
            max_in_flight: 1,
            classifier: Box::new(Verdict::of),
            http: HttpSettings::default(),
            foreign: false,
        }
    }
}

impl LogExporterBuilder {
    /// Changes nothing: HTTP is the transport. Here so that swapping from `opentelemetry_otlp` stays one line.
    pub fn with_http(self) -> Self {
        self
    }

    // --- where to -------------------------------------------------------------------------------------------------

    /// The URL that batches are posted to, with its path and query. Required.
    ///
    /// A user and password in it are sent as basic authentication and never shown.
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.http.endpoint = Some(endpoint.into());
        self
    }

    /// The directory of the spool, made if it is not there, readable by the owner alone. Required.
    ///
    /// It belongs on a local disk. Several exporters, also of several processes, may share one: each has its own part.
    /// What one of them leaves behind is delivered by another, so they should have the same endpoint and headers.
    pub fn with_spool_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spool_dir = Some(dir.into());
        self
    }

    // --- what is sent ---------------------------------------------------------------------------------------------

    /// How a record is encoded. Default: [`JsonEncoder::default`].
    ///
    /// Records that are in the spool already stay as they are.
    pub fn with_encoder(mut self, encoder: impl Encoder) -> Self {
        self.encoder = Box::new(encoder);
        self
    }

    /// Which records may share a request: those for which this returns the same key. Default: all of them.
    ///
    /// The key is stored with the records and is what the header hook goes by. Keys are delivered independently of each
    /// other; within a key the order is kept. At most 64 KiB of a key count. Called once per record, in `export`, or on the
    /// thread that logs with a [`SpoolProcessor`](crate::SpoolProcessor). The empty key can also come with a record that tells of losses in very many partitions at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_partition_key(|record, _scope| {
    ///     let tenant = record.attributes_iter().find(|(key, _)| key.as_str() == "tenant");
    ///     tenant.map(|(_, value)| format!("{value:?}")).unwrap_or_default()
    /// });
    /// ```
    pub fn with_partition_key<F>(mut self, key: F) -> Self
    where
        F: Fn(&SdkLogRecord, &InstrumentationScope) -> String + Send + Sync + 'static,
    {
        self.partition_key = Some(Box::new(key));
        self
    }

    /// Headers of every request. Default: none but `Content-Type`, `Content-Encoding` with gzip, `Idempotency-Key` and
    /// what HTTP itself needs.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_headers([("x-api-key", "s3cret"), ("x-service", "checkout")]);
    /// ```
    pub fn with_headers<K: Into<String>, V: Into<String>>(mut self, headers: impl IntoIterator<Item = (K, V)>) -> Self {
        self.headers.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// A function that sets headers, called before every attempt with the batch that is to be sent.
    ///
    /// It sees the headers so far and may set, replace and remove any of them. What it sets is never stored: secrets
    /// are as fresh as the attempt. If it fails, the batch waits and is tried again. It runs on the delivery thread and
    /// must not block; use [`with_async_header_hook`](Self::with_async_header_hook) to wait for something. The later of
    /// the two counts.
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
        self.hook = HeaderHook::Sync(Box::new(hook));
        self
    }

    /// Like [`with_header_hook`](Self::with_header_hook), for a hook that waits: to refresh a token, say.
    ///
    /// It runs on the delivery thread's own tokio runtime and has as long as [`with_timeout`](Self::with_timeout).
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
        self.hook = HeaderHook::asynchronous(hook);
        self
    }

    /// How request bodies are compressed. Default: not at all.
    ///
    /// Records are compressed once, when they are logged; the pieces lie in the spool and are joined to one gzip member
    /// when they are sent. An endpoint that does not take `Content-Encoding: gzip` answers 415 or 400: the records would go
    /// to the rejected store, one by one. Try it with a fresh spool first: leaving it off later does not change what is in
    /// the spool. Takes the crate's feature `gzip-http`.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::{Compression, LogExporter};
    ///
    /// let builder = LogExporter::builder().with_compression(Compression::Gzip);
    /// ```
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    // --- how much at a time ---------------------------------------------------------------------------------------

    /// The most records of one request. Default: 512; at least 1.
    ///
    /// This and the next hold for what is logged from now on. What is in the spool already keeps the limits with which it
    /// was logged, so that a batch that was sent once is the same after a restart.
    pub fn with_max_batch_records(mut self, max: usize) -> Self {
        self.limits.max_records = max;
        self
    }

    /// The largest request body, in bytes before it is compressed. Default: 1 MiB, what nginx lets through by default; at
    /// least 1.
    ///
    /// A single record that is larger goes alone.
    pub fn with_max_batch_bytes(mut self, max: usize) -> Self {
        self.limits.max_bytes = max;
        self
    }

    /// How long a record may wait for others to fill its batch. Default: zero, what is there is sent.
    ///
    /// While a request is under way, the next one gathers in any case.
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.limits.linger = linger;
        self
    }

    /// How many requests of one partition may be under way at the same time. Default: 1, which keeps the order; at most
    /// 1024.
    ///
    /// With more, a slow network does not bound what is delivered, but the records of one request can arrive after those
    /// of the next. It is the most that there are: beginning with one, there are more for as long as the answers do not
    /// take longer for it, and half as many after 408, 429, 5xx, a broken connection or a timeout; what failed is repeated
    /// beside them, each after its own delay. This is adapted for all partitions together. Requests of
    /// different partitions go in parallel in any case, up to 16.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::LogExporter;
    ///
    /// let builder = LogExporter::builder().with_max_in_flight(8);
    /// ```
    pub fn with_max_in_flight(mut self, max: usize) -> Self {
        self.max_in_flight = max;
        self
    }

    /// How failed requests are repeated. Default: [`RetryPolicy::default`].
    pub fn with_retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// What an answer means. Default: [`Verdict::of`].
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
        self.classifier = Box::new(classifier);
        self
    }

    // --- the spool ------------------------------------------------------------------------------------------------

    /// What an accepted record survives. Default: [`Durability::Sync`], a power cut.
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How records are compressed in the spool. Default: [`SpoolCompression::Lz4`].
    ///
    /// They are sent as if they were not. With [`with_compression`](Self::with_compression) this does not count: they lie
    /// there as they are sent.
    pub fn with_spool_compression(mut self, compression: SpoolCompression) -> Self {
        self.spool_compression = compression;
        self
    }

    /// The size of the spool's segments, in bytes. Default: 16 MiB, or an eighth of
    /// [`with_max_spool_bytes`](Self::with_max_spool_bytes) if that is less; from 1 MiB to that eighth.
    ///
    /// Disk is given back a segment at a time, and memory grows with the segment's size, not with the backlog.
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// How much the spool directory may take on disk, in bytes, all exporters that share it together. Default: 1 GiB; at
    /// least 8 MiB.
    ///
    /// Never more than this and one segment. [`with_full_policy`](Self::with_full_policy) says what gives way.
    pub fn with_max_spool_bytes(mut self, bytes: u64) -> Self {
        self.spool_limits.max_bytes = bytes;
        self
    }

    /// How much is to be left free on the spool's file system, in bytes. Default: zero.
    pub fn with_min_free_bytes(mut self, bytes: u64) -> Self {
        self.spool_limits.min_free_bytes = bytes;
        self
    }

    /// What gives way when the spool is full. Default: [`FullPolicy::DropOldest`].
    ///
    /// What is dropped is counted in [`SpoolStats::dropped_records`](crate::SpoolStats::dropped_records) and told in the
    /// stream, by a record of its own in each partition.
    pub fn with_full_policy(mut self, policy: FullPolicy) -> Self {
        self.spool_limits.when_full = policy;
        self
    }

    /// How long a record may wait to be delivered. Default: for ever.
    ///
    /// A batch is given up when its newest record is older. That is counted in
    /// [`SpoolStats::expired_records`](crate::SpoolStats::expired_records) and told in the stream. It goes by the system's
    /// clock: if that jumps ahead by more than this, what waits is given up.
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.spool_limits.max_age = Some(age);
        self
    }

    /// How much the rejected store may hold, in bytes. Default: 16 MiB. The oldest records make room for new ones.
    ///
    /// It keeps what the receiver refused for good: see [`SpoolHandle::rejected`](crate::SpoolHandle::rejected).
    pub fn with_max_rejected_bytes(mut self, bytes: u64) -> Self {
        self.spool_limits.max_rejected_bytes = bytes;
        self
    }

    // --- the HTTP client ------------------------------------------------------------------------------------------

    /// How long one request may take, from connecting to the end of the answer. Default: 10 s.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.http.timeout = timeout;
        self
    }

    /// How long connecting may take. Default: 5 s.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.http.connect_timeout = timeout;
        self
    }

    /// How long an idle connection is kept for the next request. Default: 90 s; zero keeps none.
    pub fn with_keep_alive(mut self, idle: Duration) -> Self {
        self.http.keep_alive = idle;
        self
    }

    /// Trusts further certificate authorities besides the system's: one or more certificates in PEM. Can be repeated.
    pub fn with_root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.root_certificates.push(pem.into());
        self
    }

    /// Authenticates the client (mTLS): its private key and its certificates, together in PEM. Default: none.
    pub fn with_client_identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.client_identity = Some(pem.into());
        self
    }

    /// Accepts **any** certificate, also one that is forged: whoever is on the way can read and change everything.
    /// For experiments. Default: false.
    pub fn with_danger_accept_invalid_certificates(mut self, accept: bool) -> Self {
        self.http.accept_invalid_certificates = accept;
        self
    }

    /// Sends every request through a proxy, `http://[user:password@]host:port`. Default: what `HTTP_PROXY`,
    /// `HTTPS_PROXY` and `NO_PROXY` say.
    pub fn with_proxy(mut self, url: impl Into<String>) -> Self {
        self.http.proxy = Some(url.into());
        self
    }

    /// Uses a client of one's own, for what there is no setting here. Default: one made from the settings above.
    ///
    /// Of those, only [`with_timeout`](Self::with_timeout) applies to it. It should not follow redirects: a redirected
    /// POST becomes a GET without its records. It is used on a runtime of the exporter's own, so do not share one whose
    /// connections belong to another.
    pub fn with_http_client(mut self, client: reqwest::Client) -> Self {
        self.http.client = Some(client);
        self
    }

    /// For a program that delivers what others have left. What was spooled before a moment is given up.
    #[cfg(feature = "cli")]
    pub(crate) fn for_another(mut self, not_before: Option<std::time::SystemTime>) -> Self {
        self.foreign = true;
        self.spool_limits.not_before = not_before;
        self
    }

    // --- build ----------------------------------------------------------------------------------------------------

    /// Opens the spool, starts the delivery of what is in it, and returns the exporter.
    ///
    /// # Errors
    ///
    /// If a setting is missing or not allowed, and if the spool cannot be opened. The error names the setting, what is
    /// wrong with it and what is allowed.
    pub fn build(self) -> Result<LogExporter, ExporterBuildError> {
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let headers = self.static_headers()?;
        let config = self.spool_config()?;
        let pace = self.pace()?;
        let counters = Arc::new(Counters::default());
        let control = Arc::new(Control::default());
        let (http, hook, classifier, for_drain) = (self.http, self.hook, self.classifier, counters.clone());
        let wake = control.clone();
        let encoder = Arc::new(RwLock::new(self.encoder));
        let announcer = gap::announcer(encoder.clone());
        let worker = Worker::start(control, pace, move || {
            let hook = hook.within(http.timeout);
            let transport = HttpTransport::build(&http)?;
            let wake: Arc<Wake> = Arc::new(move || wake.wake());
            let spool = Arc::new(Spool::open(&config, &announcer, &wake)?);
            Ok(Drain { spool, transport, headers, hook, classifier, counters: for_drain })
        })?;
        Ok(LogExporter {
            encoder,
            partition_key: self.partition_key,
            worker,
            counters,
            groups: Mutex::default(),
            shut_down: AtomicBool::new(false),
            warned_of_encoder: AtomicBool::new(false),
        })
    }

    fn static_headers(&self) -> Result<HeaderMap, ExporterBuildError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(name, value).map_err(|error| invalid("with_headers", error.to_string()))?;
        }
        Ok(headers)
    }

    fn spool_config(&self) -> Result<SpoolConfig, ExporterBuildError> {
        let Some(dir) = self.spool_dir.clone() else {
            let hint = "give the directory that keeps records until they are delivered, such as /var/lib/NAME/spool";
            return Err(ExporterBuildError::Missing { setting: "with_spool_dir", hint });
        };
        let max_segment_bytes = self.spool_limits.max_bytes / 8;
        if max_segment_bytes < MIN_SEGMENT_BYTES {
            let reason =
                format!("{} bytes; allowed are {} and more", self.spool_limits.max_bytes, 8 * MIN_SEGMENT_BYTES);
            return Err(invalid("with_max_spool_bytes", reason));
        }
        let segment_bytes = self.segment_bytes.unwrap_or(DEFAULT_SEGMENT_BYTES.min(max_segment_bytes));
        if !(MIN_SEGMENT_BYTES..=max_segment_bytes).contains(&segment_bytes) {
            let reason = format!(
                "{segment_bytes} bytes; allowed are {MIN_SEGMENT_BYTES} to {max_segment_bytes}, an eighth of the spool"
            );
            return Err(invalid("with_segment_bytes", reason));
        }
        if self.spool_limits.max_age == Some(Duration::ZERO) {
            return Err(invalid("with_max_age", "zero; allowed are longer ones".to_owned()));
        }
        if self.durability == Durability::Interval(Duration::ZERO) {
            let reason = "an interval of zero; allowed are longer ones, or `Durability::Sync`";
            return Err(invalid("with_durability", reason.to_owned()));
        }
        let framing = self.encoder.framing();
        let longest = [framing.content_type().as_bytes(), framing.open(), framing.separator(), framing.close()]
            .into_iter()
            .map(<[u8]>::len)
            .max();
        if longest > Some(usize::from(u16::MAX)) {
            return Err(invalid("with_encoder", "a part of its framing is longer than 65,535 bytes".to_owned()));
        }
        if let Err(error) = HeaderMap::new().insert("content-type", framing.content_type()) {
            return Err(invalid("with_encoder", format!("the content type of its framing: {error}")));
        }
        let Limits { max_records, max_bytes, linger } = self.limits;
        for (setting, value) in [("with_max_batch_records", max_records), ("with_max_batch_bytes", max_bytes)] {
            if value == 0 {
                return Err(invalid(setting, "0; allowed are 1 and more".to_owned()));
            }
        }
        let limits = BatchLimits { max_records: max_records as u64, max_bytes: max_bytes as u64, linger };
        Ok(SpoolConfig {
            dir,
            durability: self.durability,
            coding: self.coding()?,
            segment_bytes,
            batch: limits,
            limits: self.spool_limits,
            endpoint: self.http.endpoint.as_deref().filter(|_| !self.foreign).and_then(public_url),
        })
    }

    fn coding(&self) -> Result<Coding, ExporterBuildError> {
        match (self.compression, self.spool_compression) {
            (Some(Compression::Gzip), _) if cfg!(feature = "gzip-http") => Ok(Coding::Deflate),
            (Some(Compression::Gzip), _) => {
                let reason = "gzip takes the feature `gzip-http` of opentelemetry-spool";
                Err(invalid("with_compression", reason.to_owned()))
            }
            (None, SpoolCompression::Lz4) => Ok(Coding::Lz4),
            (None, SpoolCompression::None) => Ok(Coding::Identity),
        }
    }

    fn pace(&self) -> Result<Pace, ExporterBuildError> {
        let RetryPolicy { initial_delay, max_delay, .. } = self.retry;
        if initial_delay.is_zero() || max_delay < initial_delay {
            let reason = format!(
                "initial_delay is {initial_delay:?} and max_delay {max_delay:?}; \
                 allowed is an initial_delay above zero and a max_delay that is not shorter"
            );
            return Err(invalid("with_retry_policy", reason));
        }
        match u16::try_from(self.max_in_flight) {
            Ok(max_in_flight @ 1..=1024) => Ok(Pace { retry: self.retry.clone(), max_in_flight }),
            _ => Err(invalid("with_max_in_flight", format!("{} is not from 1 to 1024", self.max_in_flight))),
        }
    }
}

fn invalid(setting: &'static str, reason: String) -> ExporterBuildError {
    ExporterBuildError::Invalid { setting, reason, source: None }
}

impl std::fmt::Debug for LogExporterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not shown, because they can hold secrets: the endpoint, header values, keys, the proxy.
        f.debug_struct("LogExporterBuilder")
            .field("spool_dir", &self.spool_dir)
            .field("durability", &self.durability)
            .field("segment_bytes", &self.segment_bytes)
            .field("limits", &self.limits)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
