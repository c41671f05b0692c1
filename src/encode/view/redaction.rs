//! [`Filtered`] and [`Redaction`]: what a filter leaves of a log record, and the view of it that encoders then see.

use std::time::SystemTime;

use opentelemetry::Key;
use opentelemetry::logs::{AnyValue, Severity};

use super::log::{LogView, RecordOrigin, TraceIds};

/// The decision of a record filter: see [`with_record_filter`](crate::LogExporterBuilder::with_record_filter).
#[derive(Clone, Debug, PartialEq)]
pub enum Filtered {
    /// The record is stored as it is.
    Keep,
    /// The record is not stored. That is no loss: it is counted as `filtered_records`.
    Drop,
    /// The record is stored without what the redaction leaves out.
    Redact(Redaction),
}

/// The changes of a log record before it is encoded.
///
/// It names attributes by their keys, whether a record has them or not, so one redaction serves all records. Encoders see a
/// record without what it leaves out, so that is written nowhere.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{Filtered, LogExporter, Redaction};
///
/// let redaction = Redaction::new().without("password").with_attribute("user.email", "redacted");
/// let builder = LogExporter::builder().with_record_filter(move |_, _| Filtered::Redact(redaction.clone()));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redaction {
    attributes: Vec<(Key, Change)>,
    body: Option<Change>,
}

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    LeaveOut,
    Replace(AnyValue),
}

impl Change {
    fn value(&self) -> Option<&AnyValue> {
        match self {
            Self::LeaveOut => None,
            Self::Replace(value) => Some(value),
        }
    }
}

impl Redaction {
    /// A redaction that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out the attributes of this key. The values in a map have keys of their own, which are not looked at: the map is left out,
    /// or replaced, as a whole.
    #[must_use]
    pub fn without(self, key: impl Into<Key>) -> Self {
        self.attribute(key.into(), Change::LeaveOut)
    }

    /// Puts a value in place of that of each attribute of this key. A record that has none gets none.
    #[must_use]
    pub fn with_attribute(self, key: impl Into<Key>, value: impl Into<AnyValue>) -> Self {
        self.attribute(key.into(), Change::Replace(value.into()))
    }

    /// Leaves out the body.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.body = Some(Change::LeaveOut);
        self
    }

    /// Puts a value in place of the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<AnyValue>) -> Self {
        self.body = Some(Change::Replace(body.into()));
        self
    }

    /// Of several decisions about an attribute, the last one counts.
    fn attribute(mut self, key: Key, change: Change) -> Self {
        self.attributes.retain(|(other, _)| *other != key);
        self.attributes.push((key, change));
        self
    }

    /// What is decided about an attribute.
    fn of(&self, key: &Key) -> Option<&Change> {
        self.attributes.iter().find_map(|(changed, change)| (changed == key).then_some(change))
    }
}

/// A log record without what a redaction leaves out. It is not the SDK's record: that still has all of it.
#[derive(Clone, Copy)]
pub(crate) struct RedactedLog<'r> {
    pub(crate) record: &'r dyn LogView,
    pub(crate) redaction: &'r Redaction,
}

impl LogView for RedactedLog<'_> {
    fn timestamp(&self) -> Option<SystemTime> {
        self.record.timestamp()
    }

    fn observed_timestamp(&self) -> Option<SystemTime> {
        self.record.observed_timestamp()
    }

    fn severity_number(&self) -> Option<Severity> {
        self.record.severity_number()
    }

    fn severity_text(&self) -> Option<&str> {
        self.record.severity_text()
    }

    fn body(&self) -> Option<&AnyValue> {
        self.redaction.body.as_ref().map_or_else(|| self.record.body(), Change::value)
    }

    fn target(&self) -> Option<&str> {
        self.record.target()
    }

    fn event_name(&self) -> Option<&str> {
        self.record.event_name()
    }

    fn trace(&self) -> Option<TraceIds> {
        self.record.trace()
    }

    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, &'a AnyValue)) {
        self.record.visit_attributes(&mut |key, value| {
            if let Some(value) = self.redaction.of(key).map_or(Some(value), Change::value) {
                visit(key, value);
            }
        });
    }

    fn origin(&self) -> Option<&RecordOrigin> {
        self.record.origin()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _};
    use opentelemetry_sdk::logs::SdkLoggerProvider;

    use super::*;

    #[test]
    fn the_last_decision_about_an_attribute_counts_and_all_others_stay_in_order() {
        let mut record = SdkLoggerProvider::builder().build().logger("").create_log_record();
        record.set_body("body".into());
        for key in ["a", "b", "c", "a", "d"] {
            record.add_attribute(key, format!("{key} as it was"));
        }
        let redaction =
            Redaction::new().with_attribute("a", "one").without("a").with_attribute("d", "d").without("none");
        let redacted = RedactedLog { record: &record, redaction: &redaction.with_attribute("other", 1) };
        let attributes: Vec<_> = redacted.attributes().into_iter().map(|(key, value)| (key.as_str(), value)).collect();
        assert_eq!(attributes, [("b", &"b as it was".into()), ("c", &"c as it was".into()), ("d", &"d".into())]);
        assert_eq!(redacted.body(), Some(&"body".into()));
        assert!(redacted.as_sdk_record().is_none(), "that has all of it");
        for (redaction, body) in [
            (Redaction::new().without_body(), None),
            (Redaction::new().without_body().with_body("other"), Some(&AnyValue::from("other"))),
        ] {
            assert_eq!(RedactedLog { record: &record, redaction: &redaction }.body(), body);
        }
    }
}
