//! The messages of OTLP: each field's number, name and type, as the `v1` packages of its schema declare them.
//!
//! What profiles alone have is not in it. Both directions between protobuf and JSON are led by it.

use Kind::{Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Int64, Of, Sfixed64, Sint32, Text, Uint32, Uint64};

use crate::config::values::Signal;

/// The number of messages inside one another that are read, as in other readers of protobuf.
pub(crate) const MAX_DEPTH: usize = 100;

/// The most messages that one level of a value takes: a map, an entry of it and its value.
pub(crate) const LEVEL: usize = 3;

/// The fields of a message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) fields: &'static [Field],
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    /// The name in JSON.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) is_repeated: bool,
    /// Whether it is written also where it is absent: some receivers refuse an attribute without a key, and a list of values
    /// without values.
    pub(crate) is_always: bool,
}

/// The type of a field, which says how it is read and what it is in JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `string`.
    Text,
    /// `bytes` of an id, which are hexadecimal in OTLP's JSON.
    Hex,
    /// Other `bytes`.
    Base64,
    Bool,
    Uint32,
    /// An enumeration, which is a number in OTLP's JSON; some write its name.
    Enum(&'static Names),
    Sint32,
    Int64,
    Uint64,
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    /// A message.
    Of(&'static Message),
}

/// The names of an enumeration, by their numbers, behind what all of them begin with.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) prefix: &'static str,
    pub(crate) names: &'static [&'static str],
}

/// The message of a request.
pub(crate) fn request_of(signal: Signal) -> &'static Message {
    match signal {
        Signal::Logs => &LOGS,
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
    }
}

impl Message {
    /// Whether it is this message of the table.
    pub(crate) fn is(&self, other: &Message) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The lists of a signal's request that stand in one another, from the outside: of resources, of scopes, of records. Each has its name and the
/// message of its elements.
pub(crate) fn lists(signal: Signal) -> [(&'static str, &'static Message); 3] {
    match signal {
        Signal::Logs => [("resourceLogs", &RESOURCE_LOGS), ("scopeLogs", &SCOPE_LOGS), ("logRecords", &LOG_RECORD)],
        Signal::Traces => [("resourceSpans", &RESOURCE_SPANS), ("scopeSpans", &SCOPE_SPANS), ("spans", &SPAN)],
        Signal::Metrics => {
            [("resourceMetrics", &RESOURCE_METRICS), ("scopeMetrics", &SCOPE_METRICS), ("metrics", &METRIC)]
        }
    }
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_repeated: false, is_always: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { is_repeated: true, ..one(number, name, kind) }
}

const fn always(field: Field) -> Field {
    Field { is_always: true, ..field }
}

/// `ExportLogsServiceRequest`.
static LOGS: Message = Message { fields: &[many(1, "resourceLogs", Of(&RESOURCE_LOGS))] };
static RESOURCE_LOGS: Message = Message {
    fields: &[one(1, "resource", Of(&RESOURCE)), many(2, "scopeLogs", Of(&SCOPE_LOGS)), one(3, "schemaUrl", Text)],
};
static SCOPE_LOGS: Message = Message {
    fields: &[one(1, "scope", Of(&SCOPE)), many(2, "logRecords", Of(&LOG_RECORD)), one(3, "schemaUrl", Text)],
};
pub(crate) static LOG_RECORD: Message = Message {
    fields: &[
        one(1, "timeUnixNano", Fixed64),
        one(2, "severityNumber", Enum(&SEVERITY_NUMBER)),
        one(3, "severityText", Text),
        one(5, "body", Of(&ANY_VALUE)),
        many(6, "attributes", Of(&KEY_VALUE)),
        one(7, "droppedAttributesCount", Uint32),
        one(8, "flags", Fixed32),
        one(9, "traceId", Hex),
        one(10, "spanId", Hex),
        one(11, "observedTimeUnixNano", Fixed64),
        one(12, "eventName", Text),
    ],
};

static SEVERITY_NUMBER: Names = Names {
    prefix: "SEVERITY_NUMBER_",
    names: &[
        "UNSPECIFIED",
        "TRACE",
        "TRACE2",
        "TRACE3",
        "TRACE4",
        "DEBUG",
        "DEBUG2",
        "DEBUG3",
        "DEBUG4",
        "INFO",
        "INFO2",
        "INFO3",
        "INFO4",
        "WARN",
        "WARN2",
        "WARN3",
        "WARN4",
        "ERROR",
        "ERROR2",
        "ERROR3",
        "ERROR4",
        "FATAL",
        "FATAL2",
        "FATAL3",
        "FATAL4",
    ],
};

/// `ExportTraceServiceRequest`.
static TRACES: Message = Message { fields: &[many(1, "resourceSpans", Of(&RESOURCE_SPANS))] };
static RESOURCE_SPANS: Message = Message {
    fields: &[one(1, "resource", Of(&RESOURCE)), many(2, "scopeSpans", Of(&SCOPE_SPANS)), one(3, "schemaUrl", Text)],
};
static SCOPE_SPANS: Message =
    Message { fields: &[one(1, "scope", Of(&SCOPE)), many(2, "spans", Of(&SPAN)), one(3, "schemaUrl", Text)] };
static SPAN: Message = Message {
    fields: &[
        one(1, "traceId", Hex),
        one(2, "spanId", Hex),
        one(3, "traceState", Text),
        one(4, "parentSpanId", Hex),
        one(5, "name", Text),
        one(6, "kind", Enum(&SPAN_KIND)),
        one(7, "startTimeUnixNano", Fixed64),
        one(8, "endTimeUnixNano", Fixed64),
        many(9, "attributes", Of(&KEY_VALUE)),
        one(10, "droppedAttributesCount", Uint32),
        many(11, "events", Of(&EVENT)),
        one(12, "droppedEventsCount", Uint32),
        many(13, "links", Of(&LINK)),
        one(14, "droppedLinksCount", Uint32),
        one(15, "status", Of(&STATUS)),
        one(16, "flags", Fixed32),
    ],
};
static EVENT: Message = Message {
    fields: &[
        one(1, "timeUnixNano", Fixed64),
        one(2, "name", Text),
        many(3, "attributes", Of(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Uint32),
    ],
};
static LINK: Message = Message {
    fields: &[
        one(1, "traceId", Hex),
        one(2, "spanId", Hex),
        one(3, "traceState", Text),
        many(4, "attributes", Of(&KEY_VALUE)),
        one(5, "droppedAttributesCount", Uint32),
        one(6, "flags", Fixed32),
    ],
};
static STATUS: Message = Message { fields: &[one(2, "message", Text), one(3, "code", Enum(&STATUS_CODE))] };
static SPAN_KIND: Names =
    Names { prefix: "SPAN_KIND_", names: &["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"] };
static STATUS_CODE: Names = Names { prefix: "STATUS_CODE_", names: &["UNSET", "OK", "ERROR"] };

/// `ExportMetricsServiceRequest`.
static METRICS: Message = Message { fields: &[many(1, "resourceMetrics", Of(&RESOURCE_METRICS))] };
static RESOURCE_METRICS: Message = Message {
    fields: &[
        one(1, "resource", Of(&RESOURCE)),
        many(2, "scopeMetrics", Of(&SCOPE_METRICS)),
        one(3, "schemaUrl", Text),
    ],
};
static SCOPE_METRICS: Message =
    Message { fields: &[one(1, "scope", Of(&SCOPE)), many(2, "metrics", Of(&METRIC)), one(3, "schemaUrl", Text)] };
static METRIC: Message = Message {
    fields: &[
        one(1, "name", Text),
        one(2, "description", Text),
        one(3, "unit", Text),
        one(5, "gauge", Of(&GAUGE)),
        one(7, "sum", Of(&SUM)),
        one(9, "histogram", Of(&HISTOGRAM)),
        one(10, "exponentialHistogram", Of(&EXPONENTIAL_HISTOGRAM)),
        one(11, "summary", Of(&SUMMARY)),
        many(12, "metadata", Of(&KEY_VALUE)),
    ],
};
static GAUGE: Message = Message { fields: &[many(1, "dataPoints", Of(&NUMBER_POINT))] };
static SUM: Message = Message {
    fields: &[
        many(1, "dataPoints", Of(&NUMBER_POINT)),
        one(2, "aggregationTemporality", Enum(&TEMPORALITY)),
        one(3, "isMonotonic", Bool),
    ],
};
static HISTOGRAM: Message = Message {
    fields: &[many(1, "dataPoints", Of(&HISTOGRAM_POINT)), one(2, "aggregationTemporality", Enum(&TEMPORALITY))],
};
static EXPONENTIAL_HISTOGRAM: Message = Message {
    fields: &[many(1, "dataPoints", Of(&EXPONENTIAL_POINT)), one(2, "aggregationTemporality", Enum(&TEMPORALITY))],
};
static SUMMARY: Message = Message { fields: &[many(1, "dataPoints", Of(&SUMMARY_POINT))] };
static NUMBER_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "asDouble", Double),
        many(5, "exemplars", Of(&EXEMPLAR)),
        one(6, "asInt", Sfixed64),
        many(7, "attributes", Of(&KEY_VALUE)),
        one(8, "flags", Uint32),
    ],
};
static HISTOGRAM_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        many(6, "bucketCounts", Fixed64),
        many(7, "explicitBounds", Double),
        many(8, "exemplars", Of(&EXEMPLAR)),
        many(9, "attributes", Of(&KEY_VALUE)),
        one(10, "flags", Uint32),
        one(11, "min", Double),
        one(12, "max", Double),
    ],
};
static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        many(1, "attributes", Of(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        one(6, "scale", Sint32),
        one(7, "zeroCount", Fixed64),
        one(8, "positive", Of(&BUCKETS)),
        one(9, "negative", Of(&BUCKETS)),
        one(10, "flags", Uint32),
        many(11, "exemplars", Of(&EXEMPLAR)),
        one(12, "min", Double),
        one(13, "max", Double),
        one(14, "zeroThreshold", Double),
    ],
};
static BUCKETS: Message = Message { fields: &[one(1, "offset", Sint32), many(2, "bucketCounts", Uint64)] };
static SUMMARY_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        many(6, "quantileValues", Of(&QUANTILE)),
        many(7, "attributes", Of(&KEY_VALUE)),
        one(8, "flags", Uint32),
    ],
};
static QUANTILE: Message = Message { fields: &[one(1, "quantile", Double), one(2, "value", Double)] };
static EXEMPLAR: Message = Message {
    fields: &[
        one(2, "timeUnixNano", Fixed64),
        one(3, "asDouble", Double),
        one(4, "spanId", Hex),
        one(5, "traceId", Hex),
        one(6, "asInt", Sfixed64),
        many(7, "filteredAttributes", Of(&KEY_VALUE)),
    ],
};
static TEMPORALITY: Names =
    Names { prefix: "AGGREGATION_TEMPORALITY_", names: &["UNSPECIFIED", "DELTA", "CUMULATIVE"] };

static RESOURCE: Message = Message {
    fields: &[
        many(1, "attributes", Of(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Uint32),
        many(3, "entityRefs", Of(&ENTITY_REF)),
    ],
};
static ENTITY_REF: Message = Message {
    fields: &[
        one(1, "schemaUrl", Text),
        one(2, "type", Text),
        many(3, "idKeys", Text),
        many(4, "descriptionKeys", Text),
    ],
};
static SCOPE: Message = Message {
    fields: &[
        one(1, "name", Text),
        one(2, "version", Text),
        many(3, "attributes", Of(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Uint32),
    ],
};
pub(crate) static KEY_VALUE: Message =
    Message { fields: &[always(one(1, "key", Text)), one(2, "value", Of(&ANY_VALUE))] };
pub(crate) static ANY_VALUE: Message = Message {
    fields: &[
        one(1, "stringValue", Text),
        one(2, "boolValue", Bool),
        one(3, "intValue", Int64),
        one(4, "doubleValue", Double),
        one(5, "arrayValue", Of(&ARRAY)),
        one(6, "kvlistValue", Of(&MAP)),
        one(7, "bytesValue", Base64),
    ],
};
static ARRAY: Message = Message { fields: &[always(many(1, "values", Of(&ANY_VALUE)))] };
static MAP: Message = Message { fields: &[always(many(1, "values", Of(&KEY_VALUE)))] };
