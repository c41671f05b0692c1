//! The functions that the fuzz targets call.
#![allow(missing_docs, clippy::missing_panics_doc)]

use std::time::UNIX_EPOCH;

use super::protocol::{Message, OtlpRecord, Protocol as _, Sink};
use super::protocols::frames::Frames;
use super::record::Record;
use crate::encode::{Encoder as _, JsonEncoder};

/// The JSON of the record that a frame is, if it is one.
pub fn frame(body: &[u8]) -> Option<Vec<u8>> {
    let mut sink = Json(Vec::new());
    let message = Message { body, arrived: UNIX_EPOCH, request: None };
    Frames.read(&message, &mut sink).ok()?;
    Some(sink.0)
}

struct Json(Vec<u8>);

impl Sink for Json {
    fn log(&mut self, record: &Record) {
        let encoder = JsonEncoder::default();
        encoder.encode(record, &record.scope, &mut self.0).expect("any record can be encoded");
    }

    fn otlp(&mut self, _: OtlpRecord<'_>) {
        unreachable!("a frame is a log record");
    }
}

/// Whether a frame is a record. Nothing is encoded, so this is what reading costs.
pub fn is_record(body: &[u8]) -> bool {
    struct Nothing;
    impl Sink for Nothing {
        fn log(&mut self, record: &Record) {
            std::hint::black_box(record);
        }

        fn otlp(&mut self, _: OtlpRecord<'_>) {}
    }
    Frames.read(&Message { body, arrived: UNIX_EPOCH, request: None }, &mut Nothing).is_ok()
}
