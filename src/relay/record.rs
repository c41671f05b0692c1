//! [`Record`]: a log record of another process, as a protocol reads it and as encoders see it.

use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{InstrumentationScope, Key};

use crate::encode::{LogView, RecordOrigin, TraceIds};

#[cfg(test)]
mod tests;

/// A log record of another process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The time at which the event happened.
    pub(crate) timestamp: Option<SystemTime>,
    /// The time at which it arrived.
    pub(crate) observed: Option<SystemTime>,
    pub(crate) severity: Option<Severity>,
    /// The name of the level, as it was sent.
    pub(crate) severity_text: Option<String>,
    pub(crate) body: Option<AnyValue>,
    pub(crate) event_name: Option<String>,
    pub(crate) trace: Option<TraceIds>,
    /// The logger.
    pub(crate) scope: InstrumentationScope,
    /// Everything else that it has, in order; the last of several values of a key counts.
    pub(crate) attributes: Vec<(Key, AnyValue)>,
    pub(crate) origin: RecordOrigin,
}

impl Record {
    /// A record of which nothing is known but its body and its arrival, which is its time as well.
    pub(crate) fn plain(body: impl Into<AnyValue>, arrived: SystemTime) -> Self {
        Self { timestamp: Some(arrived), observed: Some(arrived), body: Some(body.into()), ..Self::default() }
    }
}

impl LogView for Record {
    fn timestamp(&self) -> Option<SystemTime> {
        self.timestamp
    }

    fn observed_timestamp(&self) -> Option<SystemTime> {
        self.observed
    }

    fn severity_number(&self) -> Option<Severity> {
        self.severity
    }

    fn severity_text(&self) -> Option<&str> {
        self.severity_text.as_deref()
    }

    fn body(&self) -> Option<&AnyValue> {
        self.body.as_ref()
    }

    fn target(&self) -> Option<&str> {
        None
    }

    fn event_name(&self) -> Option<&str> {
        self.event_name.as_deref()
    }

    fn trace(&self) -> Option<TraceIds> {
        self.trace
    }

    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, &'a AnyValue)) {
        self.attributes.iter().for_each(|(key, value)| visit(key, value));
    }

    fn origin(&self) -> Option<&RecordOrigin> {
        Some(&self.origin)
    }
}
