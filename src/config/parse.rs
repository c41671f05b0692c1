//! Settings as text, in the environment and in files: the forms that are allowed, and the error of any other.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::logs::Severity;
use percent_encoding::percent_decode_str;

use crate::config::nearest::nearest;
use crate::config::values::{
    Compression, Durability, FullPolicy, Headers, Method, Pem, Protocol, Sourced, SpoolCompression,
    TemporalityPreference, Urls, bytes, with_unit,
};
use crate::encode::Template;
use crate::encode::formats::{FORMATS, Format};
use crate::error::{ExporterBuildError, TemplateError};

/// A setting that can be read from text.
pub(crate) trait FromText: Sized {
    /// # Errors
    ///
    /// The problem, and the values that are allowed.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// Reads a setting from text.
///
/// # Errors
///
/// If the text is not a value of the setting; the error names its source.
pub(crate) fn parse<T: FromText>(text: &Sourced<String>) -> Result<Sourced<T>, ExporterBuildError> {
    match T::from_text(&text.value) {
        Ok(value) => Ok(Sourced::new(value, &*text.source)),
        Err(reason) => Err(text.invalid(reason)),
    }
}

/// Parses one of several words, in capitals or not.
fn word<T: Clone>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, value)| value.clone()).ok_or_else(|| {
        let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let meant = nearest(text, allowed.iter().copied());
        let meant = meant.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        format!("{text:?}; allowed are {}{meant}", allowed.join(", "))
    })
}

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromText for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("true", true), ("false", false)])
    }
}

impl FromText for TemporalityPreference {
    fn from_text(text: &str) -> Result<Self, String> {
        word(
            text,
            &[
                ("cumulative", Self::Cumulative),
                ("delta", Self::Delta),
                ("lowmemory", Self::LowMemory),
                ("low_memory", Self::LowMemory),
            ],
        )
    }
}

/// The names that the specification gives the numbers.
impl FromText for Severity {
    fn from_text(text: &str) -> Result<Self, String> {
        word(
            text,
            &[
                ("trace", Self::Trace),
                ("trace2", Self::Trace2),
                ("trace3", Self::Trace3),
                ("trace4", Self::Trace4),
                ("debug", Self::Debug),
                ("debug2", Self::Debug2),
                ("debug3", Self::Debug3),
                ("debug4", Self::Debug4),
                ("info", Self::Info),
                ("info2", Self::Info2),
                ("info3", Self::Info3),
                ("info4", Self::Info4),
                ("warn", Self::Warn),
                ("warn2", Self::Warn2),
                ("warn3", Self::Warn3),
                ("warn4", Self::Warn4),
                ("error", Self::Error),
                ("error2", Self::Error2),
                ("error3", Self::Error3),
                ("error4", Self::Error4),
                ("fatal", Self::Fatal),
                ("fatal2", Self::Fatal2),
                ("fatal3", Self::Fatal3),
                ("fatal4", Self::Fatal4),
            ],
        )
    }
}

impl FromText for usize {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?}; allowed is a number such as 512"))
    }
}

impl FromText for f64 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?}; allowed is a number such as 0.5"))
    }
}

/// Bytes.
impl FromText for u64 {
    fn from_text(text: &str) -> Result<Self, String> {
        bytes(text).ok_or_else(|| format!("{text:?}; allowed are bytes such as 1048576, 64KiB, 512MiB or 2GiB"))
    }
}

/// A number without a unit is in milliseconds, as OpenTelemetry specifies.
impl FromText for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        let units = [("", 1), ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let millis = with_unit(text, &units);
        millis.map(Self::from_millis).ok_or_else(|| {
            format!("{text:?}; allowed are milliseconds such as 10000, or a number with ms, s, m, h or d such as 10s")
        })
    }
}

/// `None` is gRPC, which the same variable may name for other exporters.
impl FromText for Option<Protocol> {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("grpc") {
            return Ok(None);
        }
        word(text, &[("http/protobuf", Protocol::HttpBinary), ("http/json", Protocol::HttpJson)]).map(Some)
    }
}

impl FromText for Option<Compression> {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("gzip", Some(Compression::Gzip)), ("none", None)])
    }
}

impl FromText for SpoolCompression {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("lz4", Self::Lz4), ("none", Self::None)])
    }
}

impl FromText for Method {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("post", Self::Post), ("get", Self::Get)])
    }
}

impl FromText for FullPolicy {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("evict_oldest", Self::EvictOldest), ("reject_new", Self::RejectNew)])
    }
}

impl FromText for &'static Format {
    fn from_text(text: &str) -> Result<Self, String> {
        let names: Vec<_> = FORMATS.iter().map(|format| (format.name, format)).collect();
        word(text, &names)
    }
}

impl FromText for Template {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: TemplateError| {
            let meant = match &error {
                TemplateError::UnknownField { field, known } => nearest(field, known.split(", ")),
                _ => None,
            };
            error.to_string() + &meant.map(|field| format!("; did you mean {field}?")).unwrap_or_default()
        })
    }
}

impl FromText for Durability {
    fn from_text(text: &str) -> Result<Self, String> {
        let named = word(text, &[("sync", Self::Sync), ("process", Self::Process)]);
        named.or_else(|_| Duration::from_text(text).map(Self::Interval)).map_err(|_| {
            format!("{text:?}; allowed are sync, process, or how long a power cut may take back, such as 500ms")
        })
    }
}

/// `name=value,name=value`, each value percent-encoded where it has to be.
impl FromText for Headers {
    fn from_text(text: &str) -> Result<Self, String> {
        let headers = text.split(',').map(str::trim).enumerate().filter(|(_, pair)| !pair.is_empty());
        let header = |(at, pair): (usize, &str)| {
            // The text can be a secret, so no error shows it.
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                format!("the header at place {} has no `=`; allowed is name=value,name=value", at + 1)
            })?;
            let value = percent_decode_str(value.trim()).decode_utf8();
            let value = value.map_err(|_| format!("header `{}`: the value is not UTF-8", name.trim()))?;
            Ok((name.trim().to_owned(), value.into_owned()))
        };
        headers.map(header).collect::<Result<_, _>>().map(Self)
    }
}

/// URLs with commas between them.
impl FromText for Urls {
    fn from_text(text: &str) -> Result<Self, String> {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        Ok(Self(urls.map(str::to_owned).collect()))
    }
}

/// The path of a file.
impl FromText for Pem {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains("-----BEGIN") {
            return Err("it is the key or certificate itself; allowed is the path of a file that holds it".to_owned());
        }
        Self::of_file(text).map_err(|error| format!("{text:?} cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_milliseconds_or_have_a_unit() {
        let millis = |text| Duration::from_text(text).unwrap().as_millis();
        let texts = ["10000", "10s", "250 ms", "2m", "1h", "7d"];
        assert_eq!(texts.map(millis), [10_000, 10_000, 250, 120_000, 3_600_000, 604_800_000]);
        for wrong in ["", "s", "-1", "1.5s", "10 weeks", "99999999999999999999", "18446744073709551615d"] {
            let error = Duration::from_text(wrong).unwrap_err();
            assert!(error.contains("allowed are milliseconds"), "{error}");
        }
    }

    #[test]
    fn bytes_have_binary_units() {
        let bytes = ["1048576", "64KiB", "2 mib", "1GiB"].map(|text| u64::from_text(text).unwrap());
        assert_eq!(bytes, [1 << 20, 64 << 10, 2 << 20, 1 << 30]);
        for wrong in ["1MB", "1k", "", "17179869184TiB"] {
            assert!(u64::from_text(wrong).unwrap_err().contains("such as 1048576"), "{wrong}");
        }
    }

    #[test]
    fn headers_are_decoded_and_never_repeated_in_an_error() {
        let headers = Headers::from_text(" a=1, b = x%20y%2Cz ,c=d=e,, ").ok().unwrap();
        let expected = [("a", "1"), ("b", "x y,z"), ("c", "d=e")];
        assert_eq!(headers.0, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for wrong in ["a=1,s3cret", "a=s3cret%ff"] {
            let error = Headers::from_text(wrong).err().unwrap();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_word_that_is_none_is_an_error_that_names_those_that_are() {
        assert_eq!(Option::<Protocol>::from_text("HTTP/json"), Ok(Some(Protocol::HttpJson)));
        let error = Option::<Protocol>::from_text("http").unwrap_err();
        assert_eq!(error, r#""http"; allowed are http/protobuf, http/json"#);
        let error = Option::<Protocol>::from_text("protobuf").unwrap_err();
        assert_eq!(error, r#""protobuf"; allowed are http/protobuf, http/json; did you mean http/protobuf?"#);
        assert_eq!(Option::<Protocol>::from_text("grpc"), Ok(None), "it may be meant for other exporters");
        assert_eq!(Durability::from_text("200ms"), Ok(Durability::Interval(Duration::from_millis(200))));
        assert!(Durability::from_text("never").unwrap_err().contains("allowed are sync, process"));
        assert!(Pem::from_text("/nowhere.pem").err().unwrap().contains("cannot be read"));
        let key = Pem::from_text("-----BEGIN PRIVATE KEY-----\nMIIs3cret").err().unwrap();
        assert!(key.contains("the path of a file") && !key.contains("s3cret"), "{key}");
    }
}
