//! The protocols: a file each, and the table in which an HTTP request looks for its own.

mod article;
mod form;
pub(crate) mod frames;
mod framing;
mod http_handler;
mod json;
mod level;
mod log_record;
mod logserv;
mod loki;
mod other;
mod percent_format;
mod pino;
mod python_literal;
mod splunk;
#[cfg(test)]
mod testing;
mod text;
mod time;

use crate::relay::protocol::Protocol;

/// The protocols of HTTP, in the order in which they are asked whether a request is theirs: by its content, the first that says so
/// reads it. The last one reads everything.
pub(crate) static HTTP: &[&dyn Protocol] = &[
    // JSON and protobuf with a form of their own come first.
    &loki::Loki,
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
