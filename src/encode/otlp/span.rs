//! A span, with its events and links.

use opentelemetry::SpanId;
use opentelemetry::trace::{SpanKind, Status};

use super::fields::{Field, Fields};
use super::value::write_attributes;
use crate::encode::common::time::nanos;
use crate::encode::view::{EventView, LinkView, SpanView};

/// `Span`.
const TRACE_ID: Field = Field::new(1, "traceId");
const SPAN_ID: Field = Field::new(2, "spanId");
const TRACE_STATE: Field = Field::new(3, "traceState");
const PARENT_SPAN_ID: Field = Field::new(4, "parentSpanId");
const NAME: Field = Field::new(5, "name");
const KIND: Field = Field::new(6, "kind");
const START_TIME: Field = Field::new(7, "startTimeUnixNano");
const END_TIME: Field = Field::new(8, "endTimeUnixNano");
const ATTRIBUTES: Field = Field::new(9, "attributes");
const DROPPED_ATTRIBUTES: Field = Field::new(10, "droppedAttributesCount");
const EVENTS: Field = Field::new(11, "events");
const DROPPED_EVENTS: Field = Field::new(12, "droppedEventsCount");
const LINKS: Field = Field::new(13, "links");
const DROPPED_LINKS: Field = Field::new(14, "droppedLinksCount");
const STATUS: Field = Field::new(15, "status");
const FLAGS: Field = Field::new(16, "flags");

/// `Span.Event`.
const EVENT_TIME: Field = Field::new(1, "timeUnixNano");
const EVENT_NAME: Field = Field::new(2, "name");
const EVENT_ATTRIBUTES: Field = Field::new(3, "attributes");
const EVENT_DROPPED_ATTRIBUTES: Field = Field::new(4, "droppedAttributesCount");

/// `Span.Link`.
const LINK_TRACE_ID: Field = Field::new(1, "traceId");
const LINK_SPAN_ID: Field = Field::new(2, "spanId");
const LINK_TRACE_STATE: Field = Field::new(3, "traceState");
const LINK_ATTRIBUTES: Field = Field::new(4, "attributes");
const LINK_DROPPED_ATTRIBUTES: Field = Field::new(5, "droppedAttributesCount");
const LINK_FLAGS: Field = Field::new(6, "flags");

/// `Status`.
const MESSAGE: Field = Field::new(2, "message");
const CODE: Field = Field::new(3, "code");

/// The fields of a span.
#[inline]
pub(super) fn write_span(span: &(impl SpanView + ?Sized), out: &mut impl Fields) {
    out.id(TRACE_ID, span.trace_id().to_bytes());
    out.id(SPAN_ID, span.span_id().to_bytes());
    out.text(TRACE_STATE, &span.trace_state());
    if span.parent_span_id() != SpanId::INVALID {
        out.id(PARENT_SPAN_ID, span.parent_span_id().to_bytes());
    }
    out.fixed32(FLAGS, span.flags());
    out.text(NAME, span.name());
    out.uint32(KIND, span.kind().map_or(0, |kind| number_of(&kind)));
    out.fixed64(START_TIME, nanos(span.start_time()));
    out.fixed64(END_TIME, nanos(span.end_time()));
    write_attributes(ATTRIBUTES, span, out);
    out.uint32(DROPPED_ATTRIBUTES, span.dropped_attributes_count());
    out.list(EVENTS, |list| span.visit_events(&mut |event| list.push(|out| write_event(event, out))));
    out.uint32(DROPPED_EVENTS, span.dropped_events_count());
    out.list(LINKS, |list| span.visit_links(&mut |link| list.push(|out| write_link(link, out))));
    out.uint32(DROPPED_LINKS, span.dropped_links_count());
    out.message(STATUS, |out| write_status(span.status(), out));
}

fn write_event(event: &dyn EventView, out: &mut impl Fields) {
    out.fixed64(EVENT_TIME, nanos(event.time()));
    out.text(EVENT_NAME, event.name());
    write_attributes(EVENT_ATTRIBUTES, event, out);
    out.uint32(EVENT_DROPPED_ATTRIBUTES, event.dropped_attributes_count());
}

fn write_link(link: &dyn LinkView, out: &mut impl Fields) {
    out.id(LINK_TRACE_ID, link.trace_id().to_bytes());
    out.id(LINK_SPAN_ID, link.span_id().to_bytes());
    out.text(LINK_TRACE_STATE, &link.trace_state());
    write_attributes(LINK_ATTRIBUTES, link, out);
    out.uint32(LINK_DROPPED_ATTRIBUTES, link.dropped_attributes_count());
    out.fixed32(LINK_FLAGS, link.flags());
}

fn write_status(status: &Status, out: &mut impl Fields) {
    match status {
        Status::Unset => {}
        Status::Ok => out.uint32(CODE, 1),
        Status::Error { description } => {
            out.text(MESSAGE, description);
            out.uint32(CODE, 2);
        }
    }
}

fn number_of(kind: &SpanKind) -> u32 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use opentelemetry::trace::{Event, Link, SpanContext, TraceState};
    use opentelemetry::{Array, InstrumentationScope, KeyValue, TraceFlags, TraceId, Value};
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
    use prost::Message;

    use super::*;
    use crate::config::values::Protocol;
    use crate::encode::otlp::pieces;

    fn assert_is_what_the_generated_types_make_of_it(data: &SpanData) {
        let [binary, json] = [Protocol::HttpBinary, Protocol::HttpJson].map(|protocol| {
            let mut out = Vec::new();
            pieces::write_span(protocol, data, &mut out);
            out
        });
        let expected = Span::from(data.clone());
        assert_eq!(Span::decode(&*binary).unwrap(), expected);
        let json = String::from_utf8([b"{", &*json, b"}"].concat()).unwrap();
        assert!(!json.contains("null"), "{json}");
        assert_eq!(serde_json::from_str::<Span>(&json).unwrap(), expected, "{json}");
    }

    fn context(trace: u128, span: u64, is_remote: bool, state: &str) -> SpanContext {
        let (trace, span) = (TraceId::from(trace), SpanId::from(span));
        let state = if state.is_empty() { TraceState::default() } else { state.parse().unwrap() };
        SpanContext::new(trace, span, TraceFlags::SAMPLED, is_remote, state)
    }

    fn at(nanos: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    fn attributes() -> Vec<KeyValue> {
        vec![
            KeyValue::new("text", "Z\u{fc}rich \"West\"\n"),
            KeyValue::new("long", "x".repeat(20_000)),
            KeyValue::new("empty", ""),
            KeyValue::new("", true),
            KeyValue::new("false", false),
            KeyValue::new("int", i64::MIN),
            KeyValue::new("zero", 0),
            KeyValue::new("double", 0.1),
            KeyValue::new("minus zero", -0.0),
            KeyValue::new("texts", Value::Array(Array::String(vec!["a".into(), String::new().into()]))),
            KeyValue::new("bools", Value::Array(Array::Bool(vec![true, false]))),
            KeyValue::new("ints", Value::Array(Array::I64((-100..100).collect()))),
            KeyValue::new("doubles", Value::Array(Array::F64(vec![f64::MAX, f64::MIN_POSITIVE]))),
            KeyValue::new("none", Value::Array(Array::I64(vec![]))),
        ]
    }

    fn empty() -> SpanData {
        SpanData {
            span_context: context(1, 1, false, ""),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: UNIX_EPOCH,
            end_time: UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    fn full() -> SpanData {
        let (mut events, mut links) = (SpanEvents::default(), SpanLinks::default());
        events.events =
            vec![Event::new("exception", at(5), attributes(), 3), Event::new("", UNIX_EPOCH, Vec::new(), 0)];
        events.dropped_count = 200;
        links.links = vec![
            Link::new(context(7, 8, true, "vendor=link"), attributes(), u32::MAX),
            Link::new(SpanContext::empty_context(), Vec::new(), 0),
        ];
        links.dropped_count = 6;
        SpanData {
            span_context: context(u128::MAX, 0xc2, false, "vendor=span,other=1"),
            parent_span_id: SpanId::from(9),
            parent_span_is_remote: true,
            name: "GET /orders/{id}".into(),
            start_time: at(1_610_393_068_365_492_100),
            end_time: at(i64::MAX.cast_unsigned()),
            attributes: attributes(),
            dropped_attributes_count: 128,
            events,
            links,
            status: Status::error("it \"failed\""),
            ..empty()
        }
    }

    #[test]
    fn every_field_of_a_span_is_what_the_generated_types_make_of_it() {
        assert_is_what_the_generated_types_make_of_it(&full());
        assert_is_what_the_generated_types_make_of_it(&empty());
    }

    #[test]
    fn every_kind_and_status_has_its_number() {
        let kinds = [SpanKind::Client, SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal];
        for (span_kind, status) in kinds.into_iter().zip([Status::Ok, Status::Unset, Status::error("")].iter().cycle())
        {
            assert_is_what_the_generated_types_make_of_it(&SpanData { span_kind, status: status.clone(), ..full() });
        }
    }

    #[test]
    fn a_parent_is_remote_only_if_its_flag_says_so() {
        for is_remote in [true, false] {
            let span = SpanData { parent_span_is_remote: is_remote, ..full() };
            assert_is_what_the_generated_types_make_of_it(&span);
            assert_eq!(span.parent_is_remote(), Some(is_remote));
        }
    }

    #[test]
    fn a_time_that_otlp_cannot_hold_is_the_nearest() {
        let (before, after) = (UNIX_EPOCH - Duration::from_secs(1), at(u64::MAX));
        let mut out = Vec::new();
        pieces::write_span(
            Protocol::HttpBinary,
            &SpanData { start_time: before, end_time: after, ..empty() },
            &mut out,
        );
        let span = Span::decode(&*out).unwrap();
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (0, i64::MAX.cast_unsigned()));
    }
}
