//! [`PartitionBy`]: what of a record, or of the message that it came in, is its partition key.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::AnyValue;

use crate::encode::LogView;
use crate::relay::protocol::Message;
use crate::spool::start_of;

/// The part of a record, or of the message that it came in, that is its partition key.
///
/// Records of one partition may share a request and keep their order; partitions are delivered independently of each other. The
/// header hook and a directory of files see the key. A record without the part has the empty key.
///
/// Clients choose the keys, and each partition takes memory until it is delivered. So a key has at most 256 bytes, after which it is cut, at a
/// character. A relay gives at most 10,000 keys for each signal as long as it runs: records with any other one have the empty key.
///
/// As text, in the order of the variants: `nothing`, `logger`, `process`, `logserv-file`, `header:NAME`, `attribute:NAME`, `resource:NAME`.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::PartitionBy;
///
/// assert_eq!("header:x-tenant".parse(), Ok(PartitionBy::Header("x-tenant".into())));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionBy {
    /// Nothing: all records are in one partition. This is the default.
    #[default]
    Nothing,
    /// The name of the logger, in OTLP of the scope.
    Logger,
    /// The id of the process.
    Process,
    /// The name of the file that a client of logserv asks for, without its directory.
    LogservFile,
    /// The value of a header of the request.
    Header(String),
    /// An attribute of the record: an `extra` of Python.
    Attribute(String),
    /// An attribute of the record's resource.
    Resource(String),
}

/// The most bytes of a key.
const MAX_KEY_BYTES: usize = 256;

/// The most keys that a relay gives for a signal.
const MAX_KEYS: usize = 10_000;

/// The keys that were given so far.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    given: Mutex<HashSet<String>>,
}

impl Keys {
    /// The key that is given in place of this one.
    pub(crate) fn bounded(&self, mut key: String) -> String {
        if key.is_empty() {
            return key;
        }
        key.truncate(start_of(&key, MAX_KEY_BYTES).len());
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.contains(&key) {
            return key;
        }
        if given.len() == MAX_KEYS {
            return String::new();
        }
        given.insert(key.clone());
        key
    }
}

/// A text that is no [`PartitionBy`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "allowed are nothing, logger, process, logserv-file, header:NAME, attribute:NAME and resource:NAME, with a name of its own each"
)]
pub struct ParsePartitionByError(());

impl FromStr for PartitionBy {
    type Err = ParsePartitionByError;

    fn from_str(text: &str) -> Result<Self, ParsePartitionByError> {
        let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        match (kind, name) {
            ("nothing", None) => Ok(Self::Nothing),
            ("logger", None) => Ok(Self::Logger),
            ("process", None) => Ok(Self::Process),
            ("logserv-file", None) => Ok(Self::LogservFile),
            ("header", Some(name)) if !name.is_empty() => Ok(Self::Header(name.to_ascii_lowercase())),
            ("attribute", Some(name)) if !name.is_empty() => Ok(Self::Attribute(name.to_owned())),
            ("resource", Some(name)) if !name.is_empty() => Ok(Self::Resource(name.to_owned())),
            _ => Err(ParsePartitionByError(())),
        }
    }
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Logger => f.write_str("logger"),
            Self::Process => f.write_str("process"),
            Self::LogservFile => f.write_str("logserv-file"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Attribute(name) => write!(f, "attribute:{name}"),
            Self::Resource(name) => write!(f, "resource:{name}"),
        }
    }
}

impl PartitionBy {
    /// Whether the key is in the record, so that it has to be read where it could be passed on as it is.
    pub(crate) fn is_in_record(&self) -> bool {
        !matches!(self, Self::Nothing | Self::LogservFile | Self::Header(_))
    }

    /// Whether records of one resource and scope can have different keys.
    pub(crate) fn is_of_each_record(&self) -> bool {
        matches!(self, Self::Attribute(_))
    }

    /// The header that a repeated request has alike.
    pub(crate) fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            _ => None,
        }
    }

    /// The key that a message gives to all of its records, if it is one that messages give.
    pub(crate) fn of_message(&self, message: &Message<'_>) -> String {
        match self {
            Self::Header(name) => {
                message.request.and_then(|request| request.header(name)).unwrap_or_default().to_owned()
            }
            // Most clients send a path. The directory is the operator's to choose.
            Self::LogservFile => {
                message.file.and_then(|file| file.rsplit(['/', '\\']).next()).unwrap_or_default().to_owned()
            }
            _ => String::new(),
        }
    }

    /// The key that a record gives, if it is one that records give.
    pub(crate) fn of_record(&self, record: &dyn LogView, scope: &InstrumentationScope) -> Option<String> {
        match self {
            Self::Logger => Some(scope.name().to_owned()),
            Self::Process => {
                let id = record.origin().and_then(|origin| origin.process_id);
                Some(id.map(|id| id.to_string()).unwrap_or_default())
            }
            Self::Attribute(name) => {
                let mut found = String::new();
                record.visit_attributes(&mut |key, value| {
                    if key.as_str() == name {
                        found = text_of(value);
                    }
                });
                Some(found)
            }
            Self::Resource(name) => {
                let resource = record.origin().map(|origin| origin.resource.as_slice()).unwrap_or_default();
                let value = resource.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| text_of(value));
                Some(value.unwrap_or_default())
            }
            Self::Nothing | Self::LogservFile | Self::Header(_) => None,
        }
    }
}

/// A value as a key: what is no plain value is none.
fn text_of(value: &AnyValue) -> String {
    match value {
        AnyValue::String(text) => text.as_str().to_owned(),
        AnyValue::Int(number) => number.to_string(),
        AnyValue::Double(number) => number.to_string(),
        AnyValue::Boolean(value) => value.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_at_a_character_and_those_beyond_the_limit_are_empty() {
        let keys = Keys::default();
        assert_eq!(keys.bounded("é".repeat(200)), "é".repeat(128));
        assert_eq!(keys.bounded(format!("a{}", "é".repeat(200))), format!("a{}", "é".repeat(127)));
        for key in 2..MAX_KEYS {
            assert_eq!(keys.bounded(key.to_string()), key.to_string());
        }
        assert_eq!(keys.bounded("one more".into()), "");
        assert_eq!(keys.bounded("2".into()), "2", "it was given before");
        assert_eq!(keys.bounded(String::new()), "");
    }
}
