//! A request of OTLP in protobuf, taken apart: its records, each with the messages around it. Nothing is decoded, and nothing copied but
//! an envelope with fields on both sides of its list.
//!
//! ```text
//! request   1: resource's message [ envelope   2: scope's message [ envelope   2: record ]... ]...
//! ```
//!
//! Lengths are checked as far as the records; what is inside a record is looked at for its time alone. So a record that is damaged
//! inside passes as it came, with all others of its request.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::values::Signal;
use crate::encode::blocks::EnvelopeId;
use crate::encode::transcode::wire::{Fields, WireError};
use crate::relay::protocol::{OtlpRecord, Sink};

/// The field of a request that holds its resources.
const RESOURCES: u32 = 1;
/// The field of a resource's message that holds its scopes, and of a scope's that holds its records.
const LIST: u32 = 2;

/// Gives each record of a request to `sink`, in order.
pub(super) fn split(signal: Signal, request: &[u8], sink: &mut dyn Sink) -> Result<(), WireError> {
    let mut id = EnvelopeId::default();
    for resource in messages(request, RESOURCES) {
        let of_resource = resource?;
        let resource = &*envelope(of_resource)?;
        for scope in messages(of_resource, LIST) {
            let of_scope = scope?;
            let scope = &*envelope(of_scope)?;
            for record in messages(of_scope, LIST) {
                let record = record?;
                sink.otlp(OtlpRecord { signal, id, resource, scope, record, timestamp: time_of(signal, record) });
                if sink.is_full() {
                    return Ok(());
                }
            }
            id.inner += 1;
        }
        id.outer += 1;
    }
    Ok(())
}

/// The messages in a field of this number.
fn messages(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields(message).filter_map(move |field| match field {
        Ok((other, value)) if other == number => Some(value.bytes().ok_or("a list in it is none of messages")),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The fields of a message but for its list, in their order.
fn envelope(message: &[u8]) -> Result<Cow<'_, [u8]>, WireError> {
    let mut fields = Fields(message);
    // Most envelopes are one piece, before the list.
    let mut piece: Range<usize> = 0..0;
    let mut pieces = Vec::new();
    loop {
        let start = message.len() - fields.0.len();
        let Some(field) = fields.next() else { break };
        if field?.0 == LIST {
            continue;
        }
        if piece.end != start {
            pieces.extend_from_slice(&message[piece]);
            piece = start..start;
        }
        piece.end = message.len() - fields.0.len();
    }
    if pieces.is_empty() {
        return Ok(Cow::Borrowed(&message[piece]));
    }
    pieces.extend_from_slice(&message[piece]);
    Ok(Cow::Owned(pieces))
}

// --- Times --------------------------------------------------------------------------------------------------------

/// `LogRecord`.
const TIME: u32 = 1;
const OBSERVED_TIME: u32 = 11;
/// `Span`.
const END_TIME: u32 = 8;
/// `Metric`: the fields of which one holds its points.
const POINTS: [u32; 5] = [5, 7, 9, 10, 11];
const DATA_POINTS: u32 = 1;
/// A point of any kind.
const POINT_TIME: u32 = 3;

/// The time of a record: of a log record its own or the one at which it was observed, of a span its end, of a metric that of its last point.
fn time_of(signal: Signal, record: &[u8]) -> Option<SystemTime> {
    let nanos = match signal {
        Signal::Logs => log_time(record),
        Signal::Traces => time_in(record, END_TIME),
        Signal::Metrics => {
            let points = Fields(record).map_while(Result::ok).filter(|(number, _)| POINTS.contains(number));
            let points =
                points.filter_map(|(_, points)| messages(points.bytes()?, DATA_POINTS).map_while(Result::ok).last());
            time_in(points.last()?, POINT_TIME)
        }
    }?;
    system_time(nanos)
}

fn log_time(record: &[u8]) -> Option<u64> {
    let mut observed = None;
    for (number, value) in Fields(record).map_while(Result::ok) {
        match (number, value.fixed64().filter(|nanos| *nanos > 0)) {
            (TIME, Some(time)) => return Some(time),
            (OBSERVED_TIME, Some(time)) => observed = Some(time),
            _ => {}
        }
    }
    observed
}

fn time_in(message: &[u8], number: u32) -> Option<u64> {
    let mut fields = Fields(message).map_while(Result::ok);
    fields.find(|(other, _)| *other == number)?.1.fixed64().filter(|nanos| *nanos > 0)
}

/// Nanoseconds since 1970 as a time.
pub(super) fn system_time(nanos: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
}
