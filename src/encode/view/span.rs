//! [`SpanView`]: a span as encoders see it, with its events and links.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, SpanContext, SpanKind, Status};
use opentelemetry::{InstrumentationScope, Key, SpanId, TraceId};
use opentelemetry_sdk::trace::SpanData;

use super::attributes::{AttributeValue, AttributesView, visit_plain};

/// OTLP: it is known whether the context is remote.
const HAS_IS_REMOTE: u32 = 0x100;
/// OTLP: the context is remote.
const IS_REMOTE: u32 = 0x200;

/// A span that has ended as encoders see it, borrowed from whoever has it.
///
/// The SDK's span implements it.
///
/// # Examples
///
/// ```
/// use opentelemetry::trace::Status;
/// use opentelemetry_spool::SpanView;
///
/// fn has_failed(span: &dyn SpanView) -> bool {
///     matches!(*span.status(), Status::Error { .. })
/// }
/// ```
pub trait SpanView: AttributesView {
    /// The trace that the span belongs to.
    fn trace_id(&self) -> TraceId;

    /// The id of the span itself.
    fn span_id(&self) -> SpanId;

    /// The span's parent; [`SpanId::INVALID`] if there is none.
    fn parent_span_id(&self) -> SpanId;

    /// The flags as OTLP has them: those of the trace in bits 0 to 7, in bit 8 whether it is known that the parent is remote,
    /// in bit 9 whether it is.
    fn flags(&self) -> u32;

    /// The state of the trace, as the header `tracestate` has it.
    fn trace_state(&self) -> Cow<'_, str>;

    /// The name.
    fn name(&self) -> &str;

    /// The kind, where it is known.
    fn kind(&self) -> Option<SpanKind>;

    /// The time at which the span began.
    fn start_time(&self) -> SystemTime;

    /// The time at which it ended.
    fn end_time(&self) -> SystemTime;

    /// The number of attributes that were dropped before the span was exported.
    fn dropped_attributes_count(&self) -> u32;

    /// Calls `visit` with each event, in order.
    fn visit_events<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn EventView));

    /// The number of events that were dropped before the span was exported.
    fn dropped_events_count(&self) -> u32;

    /// Calls `visit` with each link, in order.
    fn visit_links<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn LinkView));

    /// The number of links that were dropped before the span was exported.
    fn dropped_links_count(&self) -> u32;

    /// The status.
    fn status(&self) -> &Status;

    /// The scope that made the span.
    fn scope(&self) -> &InstrumentationScope;

    /// Whether the parent is in another process, where it is known.
    fn parent_is_remote(&self) -> Option<bool> {
        let flags = self.flags();
        (flags & HAS_IS_REMOTE != 0).then_some(flags & IS_REMOTE != 0)
    }
}

/// An event of a span.
pub trait EventView: AttributesView {
    /// The name.
    fn name(&self) -> &str;

    /// The time at which it happened.
    fn time(&self) -> SystemTime;

    /// The number of attributes that were dropped before the span was exported.
    fn dropped_attributes_count(&self) -> u32;
}

/// A link of a span to another one.
pub trait LinkView: AttributesView {
    /// The other span's trace.
    fn trace_id(&self) -> TraceId;

    /// The other span.
    fn span_id(&self) -> SpanId;

    /// The flags as in [`SpanView::flags`], of the other span itself.
    fn flags(&self) -> u32;

    /// The state of the trace, as the header `tracestate` has it.
    fn trace_state(&self) -> Cow<'_, str>;

    /// The number of attributes that were dropped before the span was exported.
    fn dropped_attributes_count(&self) -> u32;
}

/// The flags of OTLP.
fn flags(context: &SpanContext, is_remote: bool) -> u32 {
    u32::from(context.trace_flags().to_u8()) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 }
}

impl AttributesView for SpanData {
    #[inline]
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
        visit_plain(self.attributes.iter(), visit);
    }
}

impl SpanView for SpanData {
    #[inline]
    fn trace_id(&self) -> TraceId {
        self.span_context.trace_id()
    }

    #[inline]
    fn span_id(&self) -> SpanId {
        self.span_context.span_id()
    }

    #[inline]
    fn parent_span_id(&self) -> SpanId {
        self.parent_span_id
    }

    #[inline]
    fn flags(&self) -> u32 {
        flags(&self.span_context, self.parent_span_is_remote)
    }

    #[inline]
    fn trace_state(&self) -> Cow<'_, str> {
        self.span_context.trace_state().header().into()
    }

    #[inline]
    fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    fn kind(&self) -> Option<SpanKind> {
        Some(self.span_kind.clone())
    }

    #[inline]
    fn start_time(&self) -> SystemTime {
        self.start_time
    }

    #[inline]
    fn end_time(&self) -> SystemTime {
        self.end_time
    }

    #[inline]
    fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }

    #[inline]
    fn visit_events<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn EventView)) {
        self.events.iter().for_each(|event| visit(event));
    }

    #[inline]
    fn dropped_events_count(&self) -> u32 {
        self.events.dropped_count
    }

    #[inline]
    fn visit_links<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn LinkView)) {
        self.links.iter().for_each(|link| visit(link));
    }

    #[inline]
    fn dropped_links_count(&self) -> u32 {
        self.links.dropped_count
    }

    #[inline]
    fn status(&self) -> &Status {
        &self.status
    }

    #[inline]
    fn scope(&self) -> &InstrumentationScope {
        &self.instrumentation_scope
    }
}

impl AttributesView for Event {
    #[inline]
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
        visit_plain(self.attributes.iter(), visit);
    }
}

impl EventView for Event {
    #[inline]
    fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    fn time(&self) -> SystemTime {
        self.timestamp
    }

    #[inline]
    fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }
}

impl AttributesView for Link {
    #[inline]
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
        visit_plain(self.attributes.iter(), visit);
    }
}

impl LinkView for Link {
    #[inline]
    fn trace_id(&self) -> TraceId {
        self.span_context.trace_id()
    }

    #[inline]
    fn span_id(&self) -> SpanId {
        self.span_context.span_id()
    }

    #[inline]
    fn flags(&self) -> u32 {
        flags(&self.span_context, self.span_context.is_remote())
    }

    #[inline]
    fn trace_state(&self) -> Cow<'_, str> {
        self.span_context.trace_state().header().into()
    }

    #[inline]
    fn dropped_attributes_count(&self) -> u32 {
        self.dropped_attributes_count
    }
}
