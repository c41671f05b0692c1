//! From what was given to what is built: precedence, defaults, and what is allowed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::environment::is_variable;
use crate::config::format::FormatSettings;
use crate::config::table::Settings;
use crate::config::values::{
    AdoptFrom, BatchLimits, Compression, DEFAULT_DEFER_FOR, DEFAULT_SOURCE, Durability, Headers, Method, Origin, Pace,
    Pem, RetryPolicy, Signal, Sourced, SpoolCompression, SpoolLimits, Timeouts, Urls, Warning,
};
use crate::config::{directory, environment, mount, warnings};
#[cfg(feature = "relay")]
use crate::encode::formats::Format;
use crate::encode::framing::{FORM, Framing, ResponseProtocol};
use crate::error::ExporterBuildError;
use crate::spool::{Coding, SpoolConfig};
use crate::transport::allowed_urls;
use crate::transport::http::headers::HeaderMap;
use crate::transport::http::public_url;
use crate::transport::http::settings::HttpSettings;
use crate::transport::settings::TransportSettings;

const MIN_SEGMENT_BYTES: u64 = 1 << 20;
const DEFAULT_SEGMENT_BYTES: u64 = 8 << 20;

/// The default endpoint of OTLP, without the signal's path.
const OTLP_ENDPOINT: &str = "http://localhost:4318";

/// Settings that are looked up once the signal is known.
pub(crate) type Outside = dyn Fn(Signal) -> Result<Settings, ExporterBuildError> + Send + Sync;

/// Everything that an application gives an exporter of any signal in code.
#[derive(Clone, Default)]
pub(crate) struct CodeSettings {
    pub(crate) settings: Settings,
    /// The settings of a file, by the signal; without one the environment is read.
    pub(crate) outside: Option<Arc<Outside>>,
    /// The signals that the file has settings for, if there is a file.
    #[cfg(feature = "relay")]
    pub(crate) in_file: Option<Vec<Signal>>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) http: HttpSettings,
}

impl CodeSettings {
    /// Notices variables of the process that do not exist, where the environment is read.
    pub(crate) fn unknown_variables(&self, signal: Signal) -> Vec<Warning> {
        if self.outside.is_some() {
            return Vec::new();
        }
        environment::unknown(std::env::vars_os().map(|(name, _)| name), signal)
    }
}

#[cfg(feature = "relay")]
impl CodeSettings {
    /// The directory of the spool of a signal, wherever it is given.
    ///
    /// # Errors
    ///
    /// Those of [`ResolvedConfig::resolve`] that reading the environment or the file gives.
    pub(crate) fn spool_dir(
        &self,
        signal: Signal,
        lookup: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Sourced<PathBuf>>, ExporterBuildError> {
        self.early(signal, lookup, |settings| settings.spool_dir.clone())
    }

    /// The format that is named outside of code.
    ///
    /// # Errors
    ///
    /// Those of [`ResolvedConfig::resolve`] that reading the environment or the file gives.
    pub(crate) fn format(
        &self,
        signal: Signal,
        lookup: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Sourced<&'static Format>>, ExporterBuildError> {
        self.early(signal, lookup, |settings| settings.format.clone())
    }

    /// Whether there are settings for a signal: a file can be without.
    pub(crate) fn has(&self, signal: Signal) -> bool {
        self.in_file.as_ref().is_none_or(|signals| signals.contains(&signal))
    }

    /// The durability, if it is given anywhere. Nothing else is looked at.
    ///
    /// # Errors
    ///
    /// Those of [`ResolvedConfig::resolve`] that reading the environment or the file gives.
    pub(crate) fn durability(
        &self,
        signal: Signal,
        lookup: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Sourced<Durability>>, ExporterBuildError> {
        self.early(signal, lookup, |settings| settings.durability.clone())
    }

    fn early<T>(
        &self,
        signal: Signal,
        lookup: &dyn Fn(&str) -> Option<OsString>,
        setting: impl Fn(&Settings) -> Option<T>,
    ) -> Result<Option<T>, ExporterBuildError> {
        if let Some(given) = setting(&self.settings) {
            return Ok(Some(given));
        }
        let outside = match &self.outside {
            Some(file) => file(signal)?,
            None => Settings::from_environment(lookup, signal, false)?,
        };
        Ok(setting(&outside))
    }
}

/// The settings of an exporter with the encoder `E`, each with the value that counts, and allowed.
pub(crate) struct ResolvedConfig<E> {
    pub(crate) encoder: E,
    /// The encoder's, whichever records already lie in the spool.
    #[cfg(feature = "self-metrics")]
    pub(crate) framing: Framing,
    pub(crate) spool: SpoolConfig,
    /// The directory of the spool as it is given.
    pub(crate) dir: Sourced<PathBuf>,
    pub(crate) transport: TransportSettings,
    pub(crate) pace: Pace,
    /// What is allowed and probably not meant so.
    pub(crate) warnings: Vec<Warning>,
}

impl<E> ResolvedConfig<E> {
    /// Resolves each setting: the value given in code, else outside, else the default.
    ///
    /// # Errors
    ///
    /// If a setting is missing or not allowed.
    pub(crate) fn resolve<F: FormatSettings<Encoder = E>>(
        code: CodeSettings,
        format: F,
        lookup: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ExporterBuildError> {
        let outside = if let Some(file) = code.outside {
            file(F::SIGNAL)?
        } else {
            let given = &code.settings;
            // A collector's credentials are not for any other endpoint.
            let outside = Settings::from_environment(lookup, F::SIGNAL, given.endpoint.is_none())?;
            if given.endpoint.is_some() && format.is_otlp(given, &outside) {
                Settings::from_environment(lookup, F::SIGNAL, true)?
            } else {
                outside
            }
        };
        let (encoder, framing) = format.choose(&code.settings, &outside)?;
        let (headers, of_headers) = headers(outside.headers.as_ref(), code.headers)?;
        let mut settings = code.settings.or(outside);
        let endpoint = endpoint(settings.endpoint.take(), F::SIGNAL, &framing)?;
        let dir = spool_dir(&settings)?;
        let mut warned = std::mem::take(&mut settings.warnings);
        warned.extend(of_headers);
        warned.extend(warnings::of_endpoint(&endpoint, F::SIGNAL, &framing));
        warned.extend(directory::warnings(&dir, settings.min_free_bytes.as_ref()));
        let mut spool = spool_config(&settings, &dir, F::SIGNAL, &framing)?;
        spool.endpoint = public_url(&endpoint.value);
        spool.origin = crate::transport::origin(&endpoint.value);
        if F::SIGNAL != Signal::Logs {
            // It is meant for the log exporter beside this one.
            settings.method.take_if(|method| is_variable(&method.source));
        }
        let method = settings.method.as_ref().map(|method| check_method(method, &framing, spool.coding)).transpose()?;
        check_signal(&settings, F::SIGNAL)?;
        if F::SIGNAL == Signal::Metrics {
            // It gives up the order, which nobody gives up for metrics.
            settings.max_in_flight.take_if(|in_flight| is_variable(&in_flight.source));
            settings.backlog_share.take_if(|share| is_variable(&share.source));
        }
        let pace = pace(&settings, F::MAX_IN_FLIGHT, F::STRICT_ORDER)?;
        let http = HttpSettings { headers, method: method.unwrap_or_default(), ..code.http };
        let mut transport = transport(settings, endpoint, http)?;
        transport.framing = Some(framing.clone());
        Ok(Self {
            encoder,
            #[cfg(feature = "self-metrics")]
            framing,
            spool,
            dir,
            transport,
            pace,
            warnings: warned,
        })
    }
}

/// Settings of metrics are for nothing else. Their variables are read for metrics alone.
fn check_signal(settings: &Settings, signal: Signal) -> Result<(), ExporterBuildError> {
    let reason = || format!("it is a setting of metrics; this exporter has {}", signal.name());
    let template = settings.template.as_ref().filter(|template| !is_variable(&template.source));
    if let Some(share) = settings.backlog_share.as_ref().filter(|share| !is_variable(&share.source))
        && signal == Signal::Metrics
    {
        return Err(share.invalid("it gives up the order, which metrics keep"));
    }
    match (&settings.temporality_preference, &settings.thinning, template) {
        (Some(temporality), ..) if signal != Signal::Metrics => Err(temporality.invalid(reason())),
        (None, Some(thinning), _) if signal != Signal::Metrics => Err(thinning.invalid(reason())),
        (.., Some(template)) if signal != Signal::Logs => Err(template.invalid("it is a setting of log records")),
        _ => Ok(()),
    }
}

fn transport(
    settings: Settings,
    endpoint: Sourced<String>,
    mut http: HttpSettings,
) -> Result<TransportSettings, ExporterBuildError> {
    if http.client_identity.is_none() {
        http.client_identity = identity(&settings)?;
    }
    if http.root_certificates.is_empty() {
        http.root_certificates.extend(settings.certificate);
    }
    if let Some(keep_alive) = settings.keep_alive {
        http.keep_alive = keep_alive.value;
    }
    if let Some(accept) = settings.danger_accept_invalid_certificates {
        http.accept_invalid_certificates = accept.value;
    }
    if let Some(max) = at_least_one(settings.max_request_bytes)? {
        http.max_request_bytes = max;
    }
    if let Some(max) = at_least_one(settings.max_response_bytes)? {
        http.max_response_bytes = max;
    }
    if let Some(text) = settings.response_text {
        http.response_text = text.value;
    }
    http.proxy = settings.proxy;
    let defaults = TransportSettings::new(endpoint);
    let gzip = settings.compression.filter(|of| of.value.is_some()).map(|of| Sourced::new((), of.source));
    Ok(TransportSettings {
        gzip,
        timeout: settings.timeout.unwrap_or(defaults.timeout),
        connect_timeout: settings.connect_timeout.unwrap_or(defaults.connect_timeout),
        http,
        ..defaults
    })
}

/// A number of bytes in memory, if it is given.
fn at_least_one(bytes: Option<Sourced<u64>>) -> Result<Option<usize>, ExporterBuildError> {
    match bytes {
        Some(bytes) if bytes.value == 0 => Err(bytes.invalid("0; allowed are 1 and more")),
        bytes => Ok(bytes.map(|bytes| usize::try_from(bytes.value).unwrap_or(usize::MAX))),
    }
}

fn or_default<T>(given: Option<Sourced<T>>, default: T) -> Sourced<T> {
    given.unwrap_or_else(|| Sourced::new(default, DEFAULT_SOURCE))
}

/// Those given in code are added to those from outside.
fn headers(
    outside: Option<&Sourced<Headers>>,
    code: Vec<(String, String)>,
) -> Result<(HeaderMap, Vec<Warning>), ExporterBuildError> {
    let (mut headers, mut warned) = (HeaderMap::new(), Vec::new());
    let outside = outside.into_iter().flat_map(|outside| {
        outside.value.0.iter().map(|(name, value)| (name.clone(), value.clone(), &*outside.source))
    });
    for (name, value, source) in outside.chain(code.into_iter().map(|(name, value)| (name, value, "with_headers"))) {
        warned.extend(warnings::of_header(&name, source));
        let set = headers.insert(name, value);
        set.map_err(|error| Sourced::new((), source).invalid(error.to_string()))?;
    }
    Ok((headers, warned))
}

/// The directory of the spool, if a spool can be there.
fn spool_dir(settings: &Settings) -> Result<Sourced<PathBuf>, ExporterBuildError> {
    let Some(dir) = &settings.spool_dir else {
        let hint = "give the directory that keeps records until they are delivered, such as /var/lib/NAME/spool, \
                    or set OTEL_EXPORTER_SPOOL_DIR, or in a file `spool_dir`";
        return Err(ExporterBuildError::Missing { setting: "with_spool_dir", hint });
    };
    directory::check(dir)?;
    if let Some(required) = &settings.required_mount {
        mount::check(&required.value, &dir.value).map_err(|reason| required.invalid(reason))?;
    }
    Ok(dir.clone())
}

fn endpoint(
    given: Option<Sourced<String>>,
    signal: Signal,
    framing: &Framing,
) -> Result<Sourced<String>, ExporterBuildError> {
    match given {
        Some(endpoint) => Ok(endpoint),
        None if framing.response_protocol() == ResponseProtocol::Otlp => {
            Ok(or_default(None, format!("{OTLP_ENDPOINT}/{}", signal.path())))
        }
        // Only log records have a format without a default endpoint.
        None => {
            let hint = "give the URL that records are sent to, such as https://logs.example.com/ingest, \
                        or set OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or in a file `endpoint`";
            Err(ExporterBuildError::Missing { setting: "with_endpoint", hint })
        }
    }
}

fn check_method(method: &Sourced<Method>, framing: &Framing, coding: Coding) -> Result<Method, ExporterBuildError> {
    match method.value {
        Method::Get if framing.content_type() != FORM || !framing.is_single() => {
            Err(method.invalid("a GET carries one form; it takes a `FormEncoder`, or the format `form`"))
        }
        Method::Get if coding == Coding::Deflate => {
            Err(method.invalid("a GET cannot be compressed; leave out `with_compression`"))
        }
        method => Ok(method),
    }
}

/// The key and the certificates that come from files.
fn identity(settings: &Settings) -> Result<Option<Sourced<Pem>>, ExporterBuildError> {
    match (&settings.client_key, &settings.client_certificate) {
        (None, None) => Ok(None),
        (Some(key), Some(certificate)) => {
            Ok(Some(Sourced::new(key.value.and(&certificate.value), format!("{}, {}", key.source, certificate.source))))
        }
        (Some(key), None) => Err(key.invalid("a client's key takes its certificate as well")),
        (None, Some(certificate)) => Err(certificate.invalid("a client's certificate takes its key as well")),
    }
}

fn spool_config(
    settings: &Settings,
    dir: &Sourced<PathBuf>,
    signal: Signal,
    framing: &Framing,
) -> Result<SpoolConfig, ExporterBuildError> {
    let defaults = SpoolLimits::default();
    let max_bytes = or_default(settings.max_spool_bytes.clone(), defaults.max_bytes);
    let max_segment_bytes = max_bytes.value / 8;
    if max_segment_bytes < MIN_SEGMENT_BYTES {
        return Err(max_bytes.invalid(format!(
            "{} bytes; allowed are {} and more",
            max_bytes.value,
            8 * MIN_SEGMENT_BYTES
        )));
    }
    let segment_bytes = or_default(settings.segment_bytes.clone(), DEFAULT_SEGMENT_BYTES.min(max_segment_bytes));
    if !(MIN_SEGMENT_BYTES..=max_segment_bytes).contains(&segment_bytes.value) {
        return Err(segment_bytes.invalid(format!(
            "{} bytes; allowed are {MIN_SEGMENT_BYTES} to {max_segment_bytes}, an eighth of the spool",
            segment_bytes.value
        )));
    }
    if let Some(max_age) = settings.max_age.as_ref().filter(|max_age| max_age.value.is_zero()) {
        return Err(max_age.invalid("zero; allowed are longer ones, such as 7d"));
    }
    let durability = or_default(settings.durability.clone(), Durability::default());
    if durability.value == Durability::Interval(Duration::ZERO) {
        return Err(
            durability.invalid("an interval of zero; allowed are longer ones, such as 500ms, or `Durability::Sync`")
        );
    }
    check_framing(framing)?;
    let of_spool = |given: &Option<Sourced<u64>>, default| given.as_ref().map_or(default, |given| given.value);
    let limits = SpoolLimits {
        max_bytes: max_bytes.value,
        min_free_bytes: of_spool(&settings.min_free_bytes, defaults.min_free_bytes),
        when_full: settings.full_policy.as_ref().map_or(defaults.when_full, |policy| policy.value),
        max_age: settings.max_age.as_ref().map(|max_age| max_age.value),
        max_rejected_bytes: of_spool(&settings.max_rejected_bytes, defaults.max_rejected_bytes),
        not_before: None,
    };
    Ok(SpoolConfig {
        dir: dir.value.clone(),
        signal,
        durability: durability.value,
        coding: coding(settings)?,
        segment_bytes: segment_bytes.value,
        batch: batch_limits(settings, framing)?,
        limits,
        endpoint: None,
        origin: None,
        adopt_from: AdoptFrom::These(settings.adopt_from.as_ref().map(origins).transpose()?.unwrap_or_default()),
    })
}

/// The origins of some endpoints. No URL is repeated in the error: it can hold a password.
fn origins(urls: &Sourced<Urls>) -> Result<Vec<Origin>, ExporterBuildError> {
    let origin = |(at, url): (usize, &String)| {
        let of_none = || urls.invalid(format!("the URL at place {} is none; allowed are {}", at + 1, allowed_urls()));
        crate::transport::origin(url).ok_or_else(of_none)
    };
    urls.value.0.iter().enumerate().map(origin).collect()
}

fn check_framing(framing: &Framing) -> Result<(), ExporterBuildError> {
    let encoder = Sourced::new((), "with_encoder");
    let parts = [framing.content_type().as_bytes(), framing.open(), framing.separator(), framing.close()];
    if parts.iter().any(|part| part.len() > usize::from(u16::MAX)) {
        return Err(encoder.invalid("a part of its framing is longer than 65,535 bytes"));
    }
    let content_type = HeaderMap::new().insert("content-type", framing.content_type());
    content_type.map_err(|error| encoder.invalid(format!("the content type of its framing: {error}")))
}

fn batch_limits(settings: &Settings, framing: &Framing) -> Result<BatchLimits, ExporterBuildError> {
    let max_records = or_default(settings.max_batch_records.clone(), 512);
    let max_bytes = or_default(settings.max_batch_bytes.clone(), 1 << 20);
    if max_records.value == 0 {
        return Err(max_records.invalid("0; allowed are 1 and more"));
    }
    if max_bytes.value == 0 {
        return Err(max_bytes.invalid("0; allowed are 1 and more"));
    }
    Ok(BatchLimits {
        max_records: if framing.is_single() { 1 } else { max_records.value as u64 },
        max_bytes: max_bytes.value,
        linger: settings.linger.as_ref().map_or(Duration::ZERO, |linger| linger.value),
    })
}

fn coding(settings: &Settings) -> Result<Coding, ExporterBuildError> {
    match (&settings.compression, &settings.spool_compression) {
        (Some(Sourced { value: Some(Compression::Gzip), .. }), _) if cfg!(feature = "gzip-http") => Ok(Coding::Deflate),
        (Some(gzip @ Sourced { value: Some(Compression::Gzip), .. }), _) => {
            Err(gzip.invalid("gzip takes the feature `gzip-http` of opentelemetry-spool"))
        }
        (_, Some(Sourced { value: SpoolCompression::None, .. })) => Ok(Coding::Identity),
        _ => Ok(Coding::Lz4),
    }
}

fn pace(settings: &Settings, in_flight: usize, strict_order: bool) -> Result<Pace, ExporterBuildError> {
    let defaults = RetryPolicy::default();
    let initial_delay = or_default(settings.retry_initial_delay.clone(), defaults.initial_delay);
    let max_delay = or_default(settings.retry_max_delay.clone(), defaults.max_delay);
    if initial_delay.value.is_zero() || max_delay.value < initial_delay.value {
        let wrong = if settings.retry_initial_delay.is_some() { &initial_delay } else { &max_delay };
        return Err(wrong.invalid(format!(
            "initial_delay is {:?} and max_delay {:?}; \
             allowed is an initial_delay above zero and a max_delay that is not shorter",
            initial_delay.value, max_delay.value
        )));
    }
    let max_retry_after = settings.retry_max_retry_after.as_ref().map_or(defaults.max_retry_after, |after| after.value);
    let retry = RetryPolicy { initial_delay: initial_delay.value, max_delay: max_delay.value, max_retry_after };
    let strict_order = settings.strict_order.as_ref().map_or(strict_order, |strict| strict.value);
    let backlog_share = backlog_share(settings, strict_order)?;
    let max_in_flight = or_default(settings.max_in_flight.clone(), if strict_order { 1 } else { in_flight });
    match u16::try_from(max_in_flight.value) {
        Ok(max_in_flight @ 1..=1024) => Ok(Pace {
            retry,
            max_in_flight,
            strict_order,
            backlog_share,
            defer_for: settings.defer_for.as_ref().map_or(DEFAULT_DEFER_FOR, |defer_for| defer_for.value),
            timeouts: timeouts(settings)?,
        }),
        _ => Err(max_in_flight.invalid(format!("{}; allowed are 1 to 1024", max_in_flight.value))),
    }
}

/// The share of the requests that a backlog has; `None` if all of them.
fn backlog_share(settings: &Settings, strict_order: bool) -> Result<Option<f64>, ExporterBuildError> {
    let Some(share) = &settings.backlog_share else { return Ok(None) };
    if !(0.0..=1.0).contains(&share.value) {
        return Err(share.invalid(format!("{}; allowed are 0 to 1", share.value)));
    }
    if share.value < 1.0 && strict_order {
        return Err(share.invalid(format!(
            "{}: new records would overtake earlier ones, and the order is strict (`with_strict_order`); \
             allowed with that is 1, which is off",
            share.value
        )));
    }
    Ok(Some(share.value).filter(|share| *share < 1.0))
}

/// The time of a request at first and at most. A longer time at first is the most as well.
fn timeouts(settings: &Settings) -> Result<Timeouts, ExporterBuildError> {
    let defaults = Timeouts::default();
    let first = settings.timeout.as_ref().map_or(defaults.first, |timeout| timeout.value);
    match &settings.max_timeout {
        Some(max) if max.value < first && first == Duration::MAX => {
            Err(max.invalid(format!("{:?}; with a timeout without a limit, allowed is none", max.value)))
        }
        Some(max) if max.value < first => {
            Err(max.invalid(format!("{:?}; allowed is {first:?}, the time of a request at first, and more", max.value)))
        }
        Some(max) => Ok(Timeouts { first, max: max.value }),
        None => Ok(Timeouts { first, max: defaults.max.max(first) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::{FullPolicy, Protocol};
    use crate::encode::formats::{FORMATS, Format};
    use crate::encode::{Encoder, FormEncoder, JsonEncoder};
    use crate::exporter::log_builder::LogExporterBuilder;

    fn resolve(
        builder: LogExporterBuilder,
        variables: &[(&str, &str)],
    ) -> Result<ResolvedConfig<Box<dyn Encoder>>, ExporterBuildError> {
        let find = |name: &str| variables.iter().find(|(variable, _)| *variable == name);
        ResolvedConfig::resolve(builder.code, builder.signal.format, &|name| find(name).map(|(_, value)| value.into()))
    }

    fn builder() -> LogExporterBuilder {
        LogExporterBuilder::default().with_endpoint("http://code/").with_spool_dir("/spool")
    }

    #[test]
    fn a_backlog_s_share_is_a_number_up_to_one_which_is_off_and_does_not_go_with_a_strict_order() {
        let share = |text| resolve(builder(), &[("OTEL_EXPORTER_SPOOL_BACKLOG_SHARE", text)]);
        assert_eq!(share("0.25").ok().unwrap().pace.backlog_share, Some(0.25));
        assert_eq!(share("1").ok().unwrap().pace.backlog_share, None);
        for wrong in ["1.5", "-1", "NaN", "half"] {
            let error = share(wrong).err().unwrap().to_string();
            assert!(error.contains("OTEL_EXPORTER_SPOOL_BACKLOG_SHARE") && error.contains("allowed"), "{error}");
        }
        let strict = builder().with_strict_order(true);
        let error = error(strict, &[("OTEL_EXPORTER_SPOOL_BACKLOG_SHARE", "0.5")]);
        assert!(error.contains("`with_strict_order`"), "{error}");
        assert!(resolve(builder().with_strict_order(true).with_backlog_share(1.0), &[]).is_ok());
    }

    fn error(builder: LogExporterBuilder, variables: &[(&str, &str)]) -> String {
        resolve(builder, variables).err().expect("an error").to_string()
    }

    const OUTSIDE: [(&str, &str); 6] = [
        ("OTEL_EXPORTER_SPOOL_FORMAT", "json"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://outside/"),
        ("OTEL_EXPORTER_SPOOL_DIR", "/outside"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_SPOOL_FULL_POLICY", "reject_new"),
        ("OTEL_EXPORTER_SPOOL_RETRY_MAX_DELAY", "1m"),
    ];

    #[test]
    fn code_counts_before_the_environment_and_that_before_the_defaults() {
        let outside = resolve(LogExporterBuilder::default(), &OUTSIDE).ok().unwrap();
        assert_eq!(
            (&*outside.transport.endpoint.value, outside.transport.timeout.value.as_secs()),
            ("http://outside/", 3)
        );
        assert_eq!(
            (outside.spool.dir.to_str().unwrap(), outside.spool.limits.when_full),
            ("/outside", FullPolicy::RejectNew)
        );
        let RetryPolicy { initial_delay, max_delay, .. } = outside.pace.retry;
        assert_eq!((initial_delay, max_delay), (RetryPolicy::default().initial_delay, Duration::from_secs(60)));
        let code = resolve(builder().with_timeout(Duration::from_secs(7)), &OUTSIDE).ok().unwrap();
        assert_eq!((&*code.transport.endpoint.value, code.transport.timeout.value.as_secs()), ("http://code/", 7));
        assert_eq!((code.spool.dir.to_str().unwrap(), code.spool.limits.when_full), ("/spool", FullPolicy::RejectNew));
        let defaults = resolve(builder(), &[]).ok().unwrap();
        assert_eq!((defaults.transport.timeout.value.as_secs(), defaults.spool.batch.max_records), (10, 512));
    }

    #[test]
    fn headers_of_code_are_added_to_those_of_the_environment() {
        let variables = [("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-a=outside,x-b=outside")];
        let headers =
            resolve(builder().with_headers([("X-A", "code")]), &variables).ok().unwrap().transport.http.headers;
        assert_eq!((headers.get("x-a"), headers.get("x-b"), headers.len()), (Some("code"), Some("outside"), 2));
        let wrong = error(builder(), &[("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-a=1%0d")]);
        assert!(wrong.starts_with("`OTEL_EXPORTER_OTLP_LOGS_HEADERS` is invalid: header `x-a`"), "{wrong}");
    }

    #[test]
    fn whom_records_are_for_is_the_server_of_a_url_and_no_error_repeats_one() {
        const NAME: &str = "OTEL_EXPORTER_SPOOL_ADOPT_FROM";
        let origins = |origins: &[&str]| AdoptFrom::These(origins.iter().map(|origin| Origin::new(*origin)).collect());
        let two = [(NAME, "http://one/v1/logs, https://me:s3cret@two ,")];
        let resolved = resolve(builder(), &two).ok().unwrap().spool;
        assert_eq!(resolved.origin, Some(Origin::new("http://code:80")));
        assert_eq!(resolved.adopt_from, origins(&["http://one:80", "https://two:443"]));
        let code = resolve(builder().with_adopt_from(["http://three:4318"]), &two).ok().unwrap().spool;
        assert_eq!(code.adopt_from, origins(&["http://three:4318"]));
        assert_eq!(resolve(builder(), &[]).ok().unwrap().spool.adopt_from, AdoptFrom::OWN);
        let wrong = error(builder(), &[(NAME, "http://one,s3cret")]);
        assert!(
            wrong.starts_with(&format!("`{NAME}` is invalid: the URL at place 2 is none; allowed are http://")),
            "{wrong}"
        );
        assert!(!wrong.contains("s3cret"), "{wrong}");
    }

    #[test]
    fn an_empty_directory_is_none() {
        let empty = error(builder().with_spool_dir(""), &[]);
        assert_eq!(empty, "`with_spool_dir` is invalid: it is empty; give a directory, such as /var/lib/NAME/spool");
    }

    #[test]
    fn a_file_takes_the_place_of_the_environment() {
        let mut builder = builder();
        builder.code.outside = Some(Arc::new(|_| Ok(Settings::default())));
        assert_eq!(resolve(builder, &OUTSIDE).ok().unwrap().transport.timeout.value.as_secs(), 10);
    }

    #[test]
    fn what_is_wrong_is_said_of_whoever_gave_it() {
        let zero = [("OTEL_EXPORTER_SPOOL_MAX_BATCH_RECORDS", "0")];
        assert_eq!(
            error(builder(), &zero),
            "`OTEL_EXPORTER_SPOOL_MAX_BATCH_RECORDS` is invalid: 0; allowed are 1 and more"
        );
        assert_eq!(
            error(builder().with_max_batch_records(0), &zero),
            "`with_max_batch_records` is invalid: 0; allowed are 1 and more"
        );
        let segments = error(builder(), &[("OTEL_EXPORTER_SPOOL_SEGMENT_BYTES", "1GiB")]);
        assert!(
            segments.starts_with("`OTEL_EXPORTER_SPOOL_SEGMENT_BYTES` is invalid: 1073741824 bytes; allowed are"),
            "{segments}"
        );
        let key = error(builder(), &[("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/nowhere/key.pem")]);
        assert!(
            key.starts_with("`OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY` is invalid: \"/nowhere/key.pem\" cannot be read"),
            "{key}"
        );
        let delay = error(builder(), &[("OTEL_EXPORTER_SPOOL_RETRY_MAX_DELAY", "1ms")]);
        assert!(delay.starts_with("`OTEL_EXPORTER_SPOOL_RETRY_MAX_DELAY` is invalid: "), "{delay}");
        let missing = error(LogExporterBuilder::default().with_endpoint("http://code/"), &[]);
        assert!(
            missing.starts_with("`with_spool_dir` is not set: ") && missing.contains("OTEL_EXPORTER_SPOOL_DIR"),
            "{missing}"
        );
    }

    #[test]
    fn the_format_is_codes_else_that_of_the_environment() {
        let framing = |builder, variables: &[_]| resolve(builder, variables).ok().unwrap().encoder.framing();
        let form = [("OTEL_EXPORTER_SPOOL_FORMAT", "form"), ("OTEL_EXPORTER_SPOOL_TEMPLATE", "{message}")];
        assert_eq!(framing(builder(), &[]), Framing::json_array());
        assert_eq!(framing(builder(), &form), Framing::single(FORM));
        assert_eq!(framing(builder().with_encoder(JsonEncoder::default()), &form), Framing::json_array());
        assert_eq!(resolve(builder(), &form).ok().unwrap().spool.batch.max_records, 1, "one a request");
        for Format { name, .. } in FORMATS {
            let template = matches!(*name, "text" | "form" | "loki");
            let given = resolve(builder(), &[("OTEL_EXPORTER_SPOOL_FORMAT", name), form[1]]);
            assert_eq!(given.is_ok(), template, "{name}");
            assert!(resolve(builder(), &[("OTEL_EXPORTER_SPOOL_FORMAT", name)]).is_ok(), "{name}");
        }
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn the_later_of_protocol_and_encoder_counts_and_a_format_before_a_protocol_outside() {
        let read_as =
            |builder, variables: &[_]| resolve(builder, variables).ok().unwrap().encoder.framing().response_protocol();
        let otlp = || builder().with_encoder(JsonEncoder::default()).with_protocol(Protocol::HttpJson);
        assert_eq!(read_as(otlp(), &[]), ResponseProtocol::Otlp);
        assert_eq!(read_as(otlp().with_encoder(JsonEncoder::default()), &[]), ResponseProtocol::Status);
        let protocol = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json");
        assert_eq!(read_as(builder(), &[protocol]), ResponseProtocol::Otlp);
        assert_eq!(read_as(builder(), &[protocol, ("OTEL_EXPORTER_SPOOL_FORMAT", "json")]), ResponseProtocol::Status);
        assert_eq!(read_as(builder().with_encoder(JsonEncoder::default()), &[protocol]), ResponseProtocol::Status);
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn otlp_has_a_default_endpoint_and_grpc_is_an_error_where_it_would_count() {
        let otlp = LogExporterBuilder::default().with_spool_dir("/spool").with_protocol(Protocol::HttpBinary);
        assert_eq!(resolve(otlp, &[]).ok().unwrap().transport.endpoint.value, "http://localhost:4318/v1/logs");
        let grpc = [("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")];
        let wrong = error(builder(), &grpc);
        let expected = "`OTEL_EXPORTER_OTLP_LOGS_PROTOCOL` is invalid: grpc; this exporter speaks";
        assert!(wrong.starts_with(expected), "{wrong}");
        assert!(resolve(builder().with_encoder(JsonEncoder::default()), &grpc).is_ok());
    }

    #[test]
    fn what_is_meant_for_a_collector_is_not_for_another_endpoint() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ];
        let resolved = resolve(builder(), &variables).ok().unwrap();
        assert!(resolved.transport.http.headers.is_empty());
        assert_eq!(
            (resolved.encoder.framing(), resolved.transport.endpoint.value),
            (Framing::json_array(), "http://code/".to_owned())
        );
        let asked = error(LogExporterBuilder::default().with_spool_dir("/spool"), &variables);
        assert!(asked.starts_with("`OTEL_EXPORTER_OTLP_COMPRESSION` is invalid: \"zstd\""), "{asked}");
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn a_collectors_variables_alone_send_otlp_to_it() {
        let variables =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"), ("OTEL_EXPORTER_OTLP_HEADERS", "k=v")];
        let resolved = resolve(LogExporterBuilder::default().with_spool_dir("/spool"), &variables).ok().unwrap();
        assert_eq!(resolved.encoder.framing().content_type(), "application/x-protobuf");
        assert_eq!(
            (&*resolved.transport.endpoint.value, resolved.transport.http.headers.get("k")),
            ("http://collector:4318/v1/logs", Some("v"))
        );
    }

    #[cfg(not(feature = "otlp"))]
    #[test]
    fn a_collectors_variables_take_the_feature_or_a_format() {
        let endpoint = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://collector:4318/v1/logs");
        let builder = || LogExporterBuilder::default().with_spool_dir("/spool");
        assert!(error(builder(), &[endpoint]).contains("takes the feature `otlp`"));
        assert!(resolve(builder(), &[endpoint, ("OTEL_EXPORTER_SPOOL_FORMAT", "json")]).is_ok());
    }

    #[cfg(not(feature = "otlp"))]
    #[test]
    fn otlp_without_its_feature_says_so() {
        let missing = error(builder().with_protocol(Protocol::HttpBinary), &[]);
        assert_eq!(missing, "`with_protocol` is invalid: OTLP takes the feature `otlp` of opentelemetry-spool");
    }

    #[test]
    fn a_get_takes_a_form_that_is_not_compressed() {
        let form = || builder().with_encoder(FormEncoder::http_handler()).with_method(Method::Get);
        assert!(resolve(form(), &[]).is_ok());
        let wrong = error(form().with_encoder(JsonEncoder::default()), &[]);
        assert_eq!(
            wrong,
            "`with_method` is invalid: a GET carries one form; it takes a `FormEncoder`, or the format `form`"
        );
        if cfg!(feature = "gzip-http") {
            let wrong = error(form().with_compression(Compression::Gzip), &[]);
            assert!(wrong.contains("cannot be compressed"), "{wrong}");
        }
    }

    #[test]
    fn a_key_takes_its_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (key, certificate) = (path("key"), path("certificate"));
        let variables = [
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", &*key),
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", &certificate),
        ];
        let identity = resolve(builder(), &variables).ok().unwrap().transport.http.client_identity.unwrap();
        assert_eq!(
            (&*identity.value.contents, identity.source.contains("CLIENT_KEY")),
            (&b"key\ncertificate"[..], true)
        );
        assert!(error(builder(), &variables[..1]).ends_with("a client's key takes its certificate as well"));
        assert!(error(builder(), &variables[1..]).ends_with("a client's certificate takes its key as well"));
        let authority = [("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", &*certificate)];
        assert_eq!(
            resolve(builder(), &authority).ok().unwrap().transport.http.root_certificates[0].value.contents,
            b"certificate"
        );
        let code = resolve(builder().with_root_certificate_pem("code"), &authority).ok().unwrap();
        assert_eq!(code.transport.http.root_certificates.len(), 1);
    }
}
