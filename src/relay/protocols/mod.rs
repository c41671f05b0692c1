//! The protocols: a file each, and the table in which an HTTP request looks for its own.

mod article;
mod form;
pub(crate) mod frames;
pub(crate) mod framing;
mod http_handler;
mod json;
mod level;
mod log_record;
pub(crate) mod logserv;
mod loki;
mod other;
pub(crate) mod otlp;
mod percent_format;
mod pino;
mod python_literal;
mod splunk;
#[cfg(test)]
mod testing;
mod text;
mod time;

use crate::relay::protocol::{Message, Protocol};

/// The protocols of HTTP, in the order in which they are asked whether a request is theirs: by its content, the first that says so
/// reads it. The last one reads everything.
pub(crate) static HTTP: &[&dyn Protocol] = &[
    // JSON and protobuf with a form of their own come first; OTLP claims all other protobuf.
    &loki::Loki,
    &otlp::Otlp,
    &splunk::Splunk { with_time: true },
    &splunk::Splunk { with_time: false },
    // Any JSON.
    &pino::Pino,
    &json::Json,
    // A query or a form.
    &http_handler::HttpHandler,
    &article::Article,
    // The rest.
    &text::Text,
    &other::Other,
];

/// The protocol of a request.
pub(crate) fn of(message: &Message<'_>) -> &'static dyn Protocol {
    HTTP.iter().copied().find(|protocol| protocol.claims(message)).unwrap_or(&other::Other)
}
