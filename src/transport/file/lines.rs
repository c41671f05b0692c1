//! [`Lines`]: the records of a batch as they stand in a file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::encode::framing::{Framing, Nesting};
use crate::transport::request::Request;

/// The formats that a file takes, in words.
pub(super) const FORMATS: &str = "a file takes one record after the other, as in the formats text, ndjson, json, splunk, bulk, clickhouse, form and pickle";

/// The end of a record in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A newline.
    Line,
    /// None: the record says its length in the four bytes that it begins with.
    Frame,
    /// None.
    Bare,
}

impl End {
    fn of(content_type: &str) -> Self {
        if content_type.contains("pickle") {
            Self::Frame
        } else if content_type.starts_with("application/octet-stream") {
            Self::Bare
        } else {
            Self::Line
        }
    }

    pub(super) fn text(self) -> &'static [u8] {
        match self {
            Self::Line => b"\n",
            Self::Frame | Self::Bare => b"",
        }
    }
}

/// The records of a batch, and what ends each of them.
pub(super) struct Lines {
    body: Bytes,
    places: Arc<[Range<usize>]>,
    pub(super) end: End,
}

impl Lines {
    /// `None` if the records cannot be told apart, or if what stands around them says more than where they begin and end.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let (body, places) = (&request.body, &request.places);
        let (first, last) = (places.first()?, places.last()?);
        let whole = request.content_encoding.is_none() && last.end <= body.len();
        let takes = whole && are_taken(&body[..first.start], &body[last.end..]);
        takes.then(|| Self { body: body.clone(), places: places.clone(), end: End::of(&request.content_type) })
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| self.body.get(place.clone()).unwrap_or_default())
    }
}

/// Whether a file takes records of this framing.
pub(super) fn takes(framing: &Framing) -> bool {
    framing.nesting() == Nesting::Flat && are_taken(framing.open(), framing.close())
}

/// Whether the start and the end of a body hold nothing that a file would miss: in a list in JSON, each record is a line.
fn are_taken(open: &[u8], close: &[u8]) -> bool {
    matches!((open.trim_ascii(), close.trim_ascii()), (b"", b"") | (b"[", b"]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::request::tests::request;

    #[test]
    fn the_records_of_a_body_are_those_between_what_stands_around_them() {
        for (content_type, framing, end) in [
            ("text/plain; charset=utf-8", ["", "\n", ""], End::Line),
            ("application/x-ndjson", ["", "\n", "\n"], End::Line),
            ("application/json", ["[", ",", "]"], End::Line),
            ("application/x-python-pickle", ["", "", ""], End::Frame),
            ("application/octet-stream", ["", "", ""], End::Bare),
        ] {
            let lines = Lines::of(&request(content_type, framing, &["a", "b"])).unwrap();
            assert_eq!(lines.records().collect::<Vec<_>>(), [b"a", b"b"], "{content_type}");
            assert_eq!(lines.end, end, "{content_type}");
        }
    }

    #[test]
    fn a_body_that_says_more_around_its_records_or_does_not_say_where_they_are_is_not_taken() {
        let json = |open, close| request("application/json", [open, ",", close], &["a", "b"]);
        for request in [
            json("{\"streams\":[", "]}"),
            json("", "]}"),
            Request { places: Arc::default(), ..json("[", "]") },
            Request { body: "[a".into(), ..json("[", "]") },
            Request { content_encoding: Some("gzip"), ..json("[", "]") },
        ] {
            assert!(Lines::of(&request).is_none(), "{:?}", request.body);
        }
    }

    #[test]
    fn the_framing_says_the_same_before_there_is_a_record() {
        for (framing, taken) in [
            (Framing::json_array(), true),
            (Framing::ndjson(), true),
            (Framing::single("text/plain"), true),
            (Framing::new("application/json", "{\"streams\":[", ",", "]}"), false),
            (Framing::json_array().nested(Nesting::Json), false),
        ] {
            assert_eq!(takes(&framing), taken, "{framing:?}");
        }
    }
}
