//! The functions that the fuzz targets call.
#![allow(missing_docs, unreachable_pub, clippy::missing_panics_doc)]

use super::http::head::HeadLimits;
use super::http::pieces;

#[cfg(fuzzing)]
pub use frames::{frame, is_record};

/// What requests are made of.
pub const WORDS: [&[u8]; 32] = [
    b"GET /log?a=b HTTP/1.1\r\n",
    b"POST http://a/b HTTP/1.1\r\n",
    b"PUT log HTTP/1.0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-length: 11\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Content-Encoding: ",
    b"Name: value\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" HTTP/1.1\r\n",
    b"01234",
    b"5\r\n01234\r\n",
    b"0\r\n\r\n",
    b"a;b=c\r\n",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x78\x9c\x03\x00\x00\x00\x00\x01",
    b"\x00\x00\x00\xff\xff",
    b"\xed\xc1\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee\x08\x0a",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST log?a=b HTTP/1.1\r\n",
    b"PUT http://a/b HTTP/1.0\r\n",
    b"Content-length: 10\r\n",
    b" ",
    b"0\r\n",
    b"\x03\x00",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// Reads the requests in some bytes: at once, byte by byte, and in pieces of these lengths. Returns how many there are.
pub fn http(bytes: &[u8], lengths: &[u8]) -> usize {
    let limits = HeadLimits { line: 500, headers: 400, whole: 800 };
    let read = |pieces: &[&[u8]]| pieces::requests(pieces, limits, 2000);
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for len in lengths {
        let (piece, behind) = rest.split_at(rest.len().min(usize::from(*len)));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    let by_byte: Vec<_> = bytes.chunks(1).collect();
    let found = read(&[bytes]);
    assert_eq!(read(&by_byte), found);
    assert_eq!(read(&pieces), found);
    assert!(found.0.iter().all(|(_, body)| body.len() <= 2000));
    found.0.len()
}

#[cfg(fuzzing)]
mod frames {
    use std::time::UNIX_EPOCH;

    use crate::encode::{Encoder as _, JsonEncoder};
    use crate::relay::protocol::{Message, OtlpRecord, Protocol as _, Sink};
    use crate::relay::protocols::frames::Frames;
    use crate::relay::record::Record;

    /// The JSON of the record that a frame is, if it is one.
    pub fn frame(body: &[u8]) -> Option<Vec<u8>> {
        let mut sink = Json(Vec::new());
        let message = Message { body, arrived: UNIX_EPOCH, request: None, file: None };
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
        Frames.read(&Message { body, arrived: UNIX_EPOCH, request: None, file: None }, &mut Nothing).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::WORDS;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn how_the_bytes_of_requests_are_cut_does_not_matter(
            words in prop::collection::vec((0..WORDS.len() + 1, any::<u8>()), 0..20),
            lengths in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let bytes: Vec<u8> = words.iter().flat_map(|(word, byte)| WORDS.get(*word).map_or(vec![*byte], |word| word.to_vec())).collect();
            super::http(&bytes, &lengths);
        }
    }
}
