//! [`Pieces`]: a record of OTLP as an endpoint of OTLP gets it: two envelopes and the record as it stands in them, in either encoding.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::config::values::{Protocol as Encoding, Signal};
use crate::encode::blocks::{Encoded, Envelope};
use crate::encode::transcode::messages::{MAX_DEPTH, Message, lists};
use crate::encode::transcode::wire::{Wire, put_field};
use crate::encode::transcode::{Unreadable, write_object};
use crate::relay::protocol::OtlpRecord;

/// A record in the message of its scope.
const RECORDS: u32 = 2;

/// Makes pieces of records, as [`NestedEncoder`](crate::encode::NestedEncoder) describes them. In protobuf they are the bytes that came.
///
/// It keeps the latest envelopes: records that follow one another mostly share them. All records are those of one message.
#[derive(Debug)]
pub(crate) struct Pieces {
    encoding: Encoding,
    outer: Head,
    inner: Head,
    record: Vec<u8>,
}

/// An envelope in JSON.
#[derive(Debug, Default)]
struct Head {
    /// The number of the fields of which it was made: see [`OtlpRecord::id`].
    of: Option<usize>,
    json: Vec<u8>,
}

impl Pieces {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { encoding, outer: Head::default(), inner: Head::default(), record: Vec::new() }
    }

    /// A record with its envelopes, to be pushed to [`Blocks`](crate::encode::blocks::Blocks).
    ///
    /// # Errors
    ///
    /// In JSON, if it is a span or a metric that cannot be read. A log record that cannot becomes one whose body it is.
    pub(crate) fn encoded<'a>(&'a mut self, record: &OtlpRecord<'a>) -> Result<Encoded<'a>, Unreadable> {
        self.record.clear();
        let envelope = match self.encoding {
            Encoding::HttpBinary => {
                put_field(RECORDS, Wire::Bytes(record.record), &mut self.record);
                Envelope { outer: record.resource, inner: record.scope }
            }
            Encoding::HttpJson => {
                let [(_, outer), (scopes, inner), (records, of_record)] = lists(record.signal);
                write_record(of_record, record, &mut self.record)?;
                Envelope {
                    outer: self.outer.of(record.id.outer, outer, scopes, record.resource),
                    inner: self.inner.of(record.id.inner, inner, records, record.scope),
                }
            }
        };
        Ok(Encoded { bytes: &self.record, envelope, timestamp: record.timestamp })
    }
}

/// A record that stands in three messages.
fn write_record(message: &Message, record: &OtlpRecord<'_>, json: &mut Vec<u8>) -> Result<(), Unreadable> {
    let written = write_object(message, "record", record.record, MAX_DEPTH - 3, json);
    if written.is_err() && record.signal == Signal::Logs {
        json.clear();
        let bytes = BASE64_STANDARD.encode(record.record);
        json.extend_from_slice(format!("{{\"body\":{{\"bytesValue\":\"{bytes}\"}}}}").as_bytes());
        return Ok(());
    }
    written
}

impl Head {
    /// The JSON of an envelope up to the list that it holds. One that cannot be read has the list alone.
    fn of(&mut self, number: usize, message: &Message, list: &'static str, protobuf: &[u8]) -> &[u8] {
        if self.of != Some(number) {
            self.json.clear();
            if write_object(message, list, protobuf, MAX_DEPTH - 1, &mut self.json).is_err() {
                self.json.clear();
                self.json.extend_from_slice(b"{}");
            }
            self.json.pop();
            if self.json.len() > 1 {
                self.json.push(b',');
            }
            self.json.extend_from_slice(format!("\"{list}\":[").as_bytes());
            self.of = Some(number);
        }
        &self.json
    }
}
