//! [`LogView`]: a log record as encoders see it.

use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::{Key, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::logs::SdkLogRecord;

/// A log record as encoders see it, borrowed from whoever has it.
///
/// The SDK's record implements it. Encoders read a view, because the SDK's record cannot be made outside of the SDK: a record
/// that came by another way has a view of its own.
///
/// # Examples
///
/// ```
/// use opentelemetry::logs::AnyValue;
/// use opentelemetry_spool::LogView;
///
/// fn tenant(record: &dyn LogView) -> Option<&str> {
///     record.attributes().into_iter().find_map(|(key, value)| match (key.as_str(), value) {
///         ("tenant", AnyValue::String(text)) => Some(text.as_str()),
///         _ => None,
///     })
/// }
/// ```
pub trait LogView {
    /// The time at which the event happened.
    fn timestamp(&self) -> Option<SystemTime>;

    /// The time at which it was observed.
    fn observed_timestamp(&self) -> Option<SystemTime>;

    /// The severity as a number.
    fn severity_number(&self) -> Option<Severity>;

    /// The severity as the source of the record calls it.
    fn severity_text(&self) -> Option<&str>;

    /// The body.
    fn body(&self) -> Option<&AnyValue>;

    /// The target: the module that logged, with `tracing` and `log`.
    fn target(&self) -> Option<&str>;

    /// The name of the event.
    fn event_name(&self) -> Option<&str>;

    /// The span in which the record was made.
    fn trace(&self) -> Option<TraceIds>;

    /// Calls `visit` with each attribute, in order. A key can occur more than once; the last one counts.
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, &'a AnyValue));

    /// Every attribute, in order, in a list of its own.
    fn attributes(&self) -> Vec<(&Key, &AnyValue)> {
        let mut attributes = Vec::new();
        self.visit_attributes(&mut |key, value| attributes.push((key, value)));
        attributes
    }

    /// Where the record comes from, if that is another process. Default: `None`, it comes from this one.
    fn origin(&self) -> Option<&RecordOrigin> {
        None
    }

    /// The SDK's record, if it is one.
    fn as_sdk_record(&self) -> Option<&SdkLogRecord> {
        None
    }
}

/// Where a record of another process comes from. An encoder writes what is here in place of what it knows of its own process.
///
/// What is not known is not written: it is never this process's instead, but for attributes of the resource.
///
/// # Examples
///
/// An encoder that begins each line with the process:
///
/// ```
/// use opentelemetry::InstrumentationScope;
/// use opentelemetry_spool::{BoxError, Encoder, Framing, LogExporter, LogView};
///
/// struct Processes;
///
/// impl Encoder for Processes {
///     fn framing(&self) -> Framing {
///         Framing::new("text/plain; charset=utf-8", "", "\n", "")
///     }
///
///     fn encode(&self, record: &dyn LogView, _: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
///         let id = match record.origin() {
///             Some(origin) => origin.process_id,
///             None => Some(std::process::id().into()),
///         };
///         let id = id.map_or("-".to_owned(), |id| id.to_string());
///         out.extend_from_slice(format!("{id} {:?}", record.body()).as_bytes());
///         Ok(())
///     }
/// }
///
/// let builder = LogExporter::builder().with_encoder(Processes);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RecordOrigin {
    /// The attributes of the resource, each key once.
    pub resource: Vec<(Key, AnyValue)>,
    /// Whether the resource says all there is to say, as one that came with the record does. Default: `false`. Python's handlers, for example, send
    /// none: the attributes of this process's resource then count for the record as well, such as `service.name` and `host.name`, but for
    /// those that the record's has, those that describe a process (`process.*`, `telemetry.*`), and a `service.name` that nobody has given.
    pub resource_is_complete: bool,
    /// The id of the process.
    pub process_id: Option<i64>,
    /// The name of the process.
    pub process_name: Option<String>,
    /// The level's number on the scale of Python's `logging`, such as 20 or 17. Its name is the severity text.
    pub level: Option<i64>,
    /// The milliseconds from the start of the process to the record.
    pub relative_created: Option<f64>,
}

/// The ids of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceIds {
    /// The trace; [`TraceId::INVALID`] if there is none.
    pub trace_id: TraceId,
    /// The span; [`SpanId::INVALID`] if there is none.
    pub span_id: SpanId,
    /// The flags, where they are known.
    pub flags: Option<TraceFlags>,
}

impl LogView for SdkLogRecord {
    #[inline]
    fn timestamp(&self) -> Option<SystemTime> {
        Self::timestamp(self)
    }

    #[inline]
    fn observed_timestamp(&self) -> Option<SystemTime> {
        Self::observed_timestamp(self)
    }

    #[inline]
    fn severity_number(&self) -> Option<Severity> {
        Self::severity_number(self)
    }

    #[inline]
    fn severity_text(&self) -> Option<&str> {
        Self::severity_text(self)
    }

    #[inline]
    fn body(&self) -> Option<&AnyValue> {
        Self::body(self)
    }

    #[inline]
    fn target(&self) -> Option<&str> {
        Self::target(self).map(|target| &**target)
    }

    #[inline]
    fn event_name(&self) -> Option<&str> {
        Self::event_name(self)
    }

    #[inline]
    fn trace(&self) -> Option<TraceIds> {
        let ids = self.trace_context()?;
        Some(TraceIds { trace_id: ids.trace_id, span_id: ids.span_id, flags: ids.trace_flags })
    }

    #[inline]
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, &'a AnyValue)) {
        self.attributes_iter().for_each(|(key, value)| visit(key, value));
    }

    #[inline]
    fn as_sdk_record(&self) -> Option<&SdkLogRecord> {
        Some(self)
    }
}
