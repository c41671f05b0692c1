//! The protocols: a file each, and the table in which an HTTP request looks for its own.

pub(crate) mod frames;
pub(crate) mod framing;
mod log_record;
pub(crate) mod logserv;
pub(crate) mod otlp;

use crate::relay::protocol::{Message, Protocol};

pub(crate) fn of(_: &Message<'_>) -> &'static dyn Protocol {
    &otlp::Otlp
}
