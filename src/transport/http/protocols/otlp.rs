//! OTLP, whose success can be partial.

use serde_json::Value;

use super::text::text;
use crate::transport::http::response::{Reading, Response};
use crate::transport::verdict::{Rejection, Verdict};

/// A success, unless its body says that it is a partial one. A body that cannot be read is a success as well: the
/// specification requires none.
pub(super) fn read(response: &Response, records: u64) -> Reading {
    let (rejected, message) = otlp_partial_success(&response.body).unwrap_or_default();
    if rejected == 0 {
        // A message alone is a warning.
        return Reading::new(Verdict::Delivered, response, &message);
    }
    if rejected >= records {
        // All of them are rejected, so they are known.
        let all = (0..usize::try_from(records).unwrap_or_default())
            .map(|record| Rejection { record, response: message.clone() });
        return Reading::new(Verdict::DeliveredExcept(all.collect()), response, &message);
    }
    Reading::new(Verdict::DeliveredPartially { rejected }, response, &message)
}

/// The number of rejected records, and the reason.
fn otlp_partial_success(body: &[u8]) -> Option<(u64, String)> {
    if body.first() != Some(&b'{') {
        return protobuf_partial_success(body);
    }
    let success: Value = serde_json::from_slice(body).ok()?;
    let partial = success.get("partialSuccess")?;
    // A 64-bit integer is a string in OTLP's JSON, but some servers write a number.
    let rejected = partial.get("rejectedLogRecords").and_then(|number| match number {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    });
    Some((rejected.unwrap_or_default(), text(partial, "errorMessage")))
}

/// Reads `ExportLogsServiceResponse { 1: partial_success { 1: rejected_log_records, 2: error_message } }`. It does so without
/// the feature `otlp`, since a build without it can deliver records that were spooled with it.
fn protobuf_partial_success(body: &[u8]) -> Option<(u64, String)> {
    let (mut rejected, mut message) = (0, String::new());
    for field in Protobuf(body) {
        let (1, Field::Bytes(partial)) = field? else { continue };
        for field in Protobuf(partial) {
            match field? {
                (1, Field::Varint(count)) => rejected = count,
                (2, Field::Bytes(text)) => message = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
    }
    Some((rejected, message))
}

/// The fields of a message; `None` if the bytes are none.
struct Protobuf<'a>(&'a [u8]);

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A field of a fixed width.
    Other,
}

impl<'a> Protobuf<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let len = self.varint()?;
                Field::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

impl<'a> Iterator for Protobuf<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use crate::encode::framing::ResponseProtocol;
    use crate::transport::http::protocols::tests::read;
    use crate::transport::verdict::{Rejection, Verdict};

    #[test]
    fn an_otlp_success_can_be_partial() {
        let message = "the server responded with 200: no body";
        // As protobuf's own library writes { partial_success { rejected_log_records: 2, error_message: "no body" } }.
        let protobuf = b"\x0a\x0b\x08\x02\x12\x07no body";
        let json = br#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no body"}}"#;
        let number = br#"{"partialSuccess":{"rejectedLogRecords":2,"errorMessage":"no body"}}"#;
        for body in [&protobuf[..], json, number] {
            assert_eq!(
                read(ResponseProtocol::Otlp, 200, body),
                (Verdict::DeliveredPartially { rejected: 2 }, message.to_owned())
            );
        }
        let all = br#"{"partialSuccess":{"rejectedLogRecords":"9","errorMessage":"why"}}"#;
        let rejections = (0..3).map(|record| Rejection { record, response: "why".to_owned() }).collect();
        assert_eq!(
            read(ResponseProtocol::Otlp, 200, all).0,
            Verdict::DeliveredExcept(rejections),
            "it is known which they are"
        );
    }

    #[test]
    fn any_other_otlp_success_is_one() {
        let warning = br#"{"partialSuccess":{"errorMessage":"deprecated"}}"#;
        let null = br#"{"partialSuccess":null}"#;
        let bodies = [&b""[..], b"{}", null, b"\x0a\x00", b"OK", b"\xff\xff\xff", b"\x0a\x7fshort", warning];
        for body in bodies {
            assert_eq!(read(ResponseProtocol::Otlp, 200, body).0, Verdict::Delivered, "{body:?}");
        }
        assert_eq!(read(ResponseProtocol::Otlp, 503, b"").0, Verdict::Retry);
        assert_eq!(read(ResponseProtocol::Otlp, 400, b"").0, Verdict::Rejected);
    }
}
