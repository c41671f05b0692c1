//! What an answer says, protocol by protocol: pure functions from an answer to a verdict and its reason.

use serde_json::Value;

use crate::batch::Answers;
use crate::retry::{Refusal, Response, Verdict};

/// A verdict, and why it is not simply a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) reason: String,
}

/// How much of an error's text goes into a reason.
const MAX_REASON_CHARS: usize = 500;

impl Judgement {
    /// By the status alone.
    pub(crate) fn of_status(response: &Response) -> Self {
        Self::new(Verdict::of(response), response, "")
    }

    pub(crate) fn new(verdict: Verdict, response: &Response, detail: &str) -> Self {
        let mut reason = format!("the server answered {}", response.status);
        if !detail.is_empty() {
            reason.push_str(": ");
            reason.extend(detail.chars().take(MAX_REASON_CHARS));
        }
        Self { verdict, reason }
    }
}

impl Answers {
    /// The most of an answer that is looked at: a `_bulk` has something to say on every record.
    pub(crate) fn max_bytes(self) -> usize {
        match self {
            Self::Bulk => 4 << 20,
            _ => 64 << 10,
        }
    }

    /// How it is stored with records: by its place.
    const ALL: [(Self, &str); 5] = [
        (Self::Status, "status"),
        (Self::Otlp, "otlp"),
        (Self::Bulk, "bulk"),
        (Self::SplunkHec, "splunk_hec"),
        (Self::ClickHouse, "clickhouse"),
    ];

    pub(crate) fn byte(self) -> u8 {
        let at = Self::ALL.iter().position(|(answers, _)| *answers == self);
        at.and_then(|at| at.try_into().ok()).unwrap_or_default()
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).map(|(answers, _)| *answers)
    }

    /// How it is stored with a record that was rejected.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL[usize::from(self.byte())].1
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other)| *other == name).map(|(answers, _)| *answers)
    }

    /// What the answer to a batch of so many records says.
    pub(crate) fn judge(self, response: &Response, records: u64) -> Judgement {
        if let Some(why) = tls_to_blame(response) {
            return Judgement::new(Verdict::Hold, response, why);
        }
        let succeeded = (200..300).contains(&response.status);
        if succeeded && self != Self::Status && response.body.trim_ascii_start().starts_with(b"<") {
            return Judgement::new(Verdict::Hold, response, "a page, and no answer; is it the endpoint that answers?");
        }
        match self {
            Self::Otlp if succeeded => otlp(response, records),
            Self::Bulk if succeeded => bulk(response, records),
            Self::SplunkHec => splunk(response),
            Self::ClickHouse => clickhouse(response),
            Self::Status | Self::Otlp | Self::Bulk => Judgement::of_status(response),
        }
    }
}

/// nginx answers 400 where a client's certificate or TLS is to blame, and not what it was sent; Go's servers where it is TLS.
fn tls_to_blame(response: &Response) -> Option<&'static str> {
    const PLAIN: &str = "Client sent an HTTP request to an HTTPS server.";
    const TITLES: [&str; 3] = [
        "400 No required SSL certificate was sent",
        "400 The SSL certificate error",
        "400 The plain HTTP request was sent to HTTPS port",
    ];
    if response.status != 400 {
        return None;
    }
    let page = String::from_utf8_lossy(&response.body);
    if page.trim() == PLAIN {
        return Some(PLAIN);
    }
    let title = page.split_once("<title>")?.1.split("</title>").next();
    TITLES.into_iter().find(|known| title == Some(known))
}

/// A success, unless it says that it is a partial one. What cannot be read is a success: the status says so, and the
/// specification asks for nothing in the body.
fn otlp(response: &Response, records: u64) -> Judgement {
    let (rejected, message) = otlp_partial_success(&response.body).unwrap_or_default();
    if rejected == 0 {
        // A message alone is a warning.
        return Judgement::new(Verdict::Delivered, response, &message);
    }
    if rejected >= records {
        // It is known which they are.
        let all =
            (0..usize::try_from(records).unwrap_or_default()).map(|record| Refusal { record, answer: message.clone() });
        return Judgement::new(Verdict::DeliveredExcept(all.collect()), response, &message);
    }
    Judgement::new(Verdict::DeliveredBut { refused: rejected }, response, &message)
}

/// How many records were rejected, and why.
fn otlp_partial_success(body: &[u8]) -> Option<(u64, String)> {
    if body.first() != Some(&b'{') {
        return protobuf_partial_success(body);
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    let partial = answer.get("partialSuccess")?;
    // A 64-bit integer is a string in OTLP's JSON; not all servers know.
    let rejected = partial.get("rejectedLogRecords").and_then(|number| match number {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    });
    Some((rejected.unwrap_or_default(), text(partial, "errorMessage")))
}

/// `ExportLogsServiceResponse { 1: partial_success { 1: rejected_log_records, 2: error_message } }`. Read here, because what
/// was spooled with the feature `otlp` can be delivered without it.
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

/// The fields of a message; `None` where it is none.
struct Protobuf<'a>(&'a [u8]);

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width.
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

/// Each item has a status of its own. Items that are to come again have all of them come again: the others are then there
/// already, and say so.
fn bulk(response: &Response, records: u64) -> Judgement {
    let strange = |detail: &str| Judgement::new(Verdict::Hold, response, detail);
    if response.body.len() >= Answers::Bulk.max_bytes() && records > 1 {
        // Not all of it is there; nothing is lost by asking for half of it.
        return Judgement::new(Verdict::TooLarge, response, "an answer that is too long");
    }
    let Ok(answer) = serde_json::from_slice::<Value>(&response.body) else {
        return strange("no answer of a _bulk; is the endpoint's path the right one?");
    };
    if answer.get("errors") == Some(&Value::Bool(false)) {
        return Judgement::new(Verdict::Delivered, response, "");
    }
    let items = answer.get("items").and_then(Value::as_array);
    let Some(items) = items.filter(|items| items.len() as u64 == records) else {
        return strange("a _bulk's answer without an item for each record");
    };
    let (mut refusals, mut again, mut held, mut kind) = (Vec::new(), None, None, None);
    for (record, item) in items.iter().enumerate() {
        let Some(item) = item.as_object().and_then(|item| item.values().next()) else {
            return strange("a _bulk's answer with an item that says nothing");
        };
        let status = item.get("status").and_then(Value::as_u64).unwrap_or_default();
        let reason = || format!("{status} {}", bulk_error(item));
        match status {
            // It is there already.
            200..=299 | 409 => {}
            408 | 429 | 500..=599 => again = again.or_else(|| Some(reason())),
            400 if is_about_the_index(item) => held = held.or_else(|| Some(reason())),
            400 | 413 | 415 | 422 => {
                // What else it says can repeat what was logged.
                kind.get_or_insert_with(|| item.get("error").map(|error| text(error, "type")).unwrap_or_default());
                refusals.push(Refusal { record, answer: reason() });
            }
            _ => held = held.or_else(|| Some(reason())),
        }
    }
    match (again, held) {
        (Some(reason), _) => Judgement::new(Verdict::Retry, response, &reason),
        (None, Some(reason)) => Judgement::new(Verdict::Hold, response, &reason),
        (None, None) if refusals.is_empty() => Judgement::new(Verdict::Delivered, response, ""),
        (None, None) => {
            // That all of them are bad is less likely than that something else is: halving finds out, and slows down.
            let all = refusals.len() as u64 == records && records > 1;
            let verdict = if all { Verdict::Refused } else { Verdict::DeliveredExcept(refusals) };
            Judgement::new(verdict, response, &kind.unwrap_or_default())
        }
    }
}

/// A 400 that somebody can mend: the cluster has as many shards as it may, an index is closed or has no name to be written by.
fn is_about_the_index(item: &Value) -> bool {
    let Some(error) = item.get("error") else { return false };
    let (kind, reason) = (text(error, "type"), text(error, "reason"));
    matches!(
        &*kind,
        "validation_exception" | "index_closed_exception" | "cluster_block_exception" | "invalid_index_name_exception"
    ) || reason.contains("no write index")
}

fn bulk_error(item: &Value) -> String {
    match item.get("error") {
        Some(Value::String(error)) => error.clone(),
        Some(error) => {
            let cause = error.get("caused_by").map(|cause| text(cause, "reason")).unwrap_or_default();
            let words = [text(error, "type"), text(error, "reason"), cause];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(": ")
        }
        None => String::new(),
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// `{"text": "...", "code": 0}`.
fn splunk(response: &Response) -> Judgement {
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let code = answer.get("code").and_then(Value::as_u64);
    let verdict = match (response.status, code) {
        // Others that speak its protocol are not as particular about the body.
        (200..=299, None | Some(0)) => Verdict::Delivered,
        // The token, the index and the channel are settings; so is what they call indexer acknowledgement.
        (200..=299, _) | (400, Some(1..=4 | 7 | 10 | 11 | 14 | 16)) => Verdict::Hold,
        _ => Verdict::of(response),
    };
    let detail = code.map(|code| format!("code {code}, {}", text(&answer, "text"))).unwrap_or_default();
    Judgement::new(verdict, response, &detail)
}

/// What is wrong with the rows themselves: text that cannot be parsed, values that do not fit their column or are
/// against a constraint.
const CLICKHOUSE_ROWS: [u32; 27] = [
    6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 128, 130, 131, 190, 321, 349, 376, 407, 441, 467, 469, 675,
    676, 691,
];

/// What somebody has to mend: a column, a table, a database, the statement, a setting, the user, his rights.
const CLICKHOUSE_SETTINGS: [u32; 19] =
    [10, 16, 20, 46, 60, 62, 73, 81, 85, 115, 164, 192, 193, 194, 195, 291, 452, 497, 516];

/// `Code: 60. DB::Exception: ...`, under whatever status, even 200 where the exception came late.
fn clickhouse(response: &Response) -> Judgement {
    let body = String::from_utf8_lossy(&response.body);
    let at = body.find("Code: ").filter(|_| body.contains("DB::"));
    let code = at.and_then(|at| {
        let digits: String = body[at + 6..].chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let verdict = match code {
        Some(code) if CLICKHOUSE_ROWS.contains(&code) => Verdict::Refused,
        Some(code) if CLICKHOUSE_SETTINGS.contains(&code) => Verdict::Hold,
        // More days in one insert than it takes.
        Some(252) if body.contains("Too many partitions") => Verdict::TooLarge,
        // Too many parts, too little memory, a replica that is read-only.
        Some(_) if !matches!(response.status, 400..=499) => Verdict::Retry,
        Some(202 | 241 | 252) => Verdict::Retry,
        _ => Verdict::of(response),
    };
    // Of a row that is refused, its text stands behind the code.
    let detail = at.map(|at| body[at..].lines().next().unwrap_or_default()).unwrap_or_default();
    let detail = if verdict == Verdict::Refused { detail.split([',', '.']).next().unwrap_or_default() } else { detail };
    Judgement::new(verdict, response, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: impl AsRef<[u8]>) -> Response {
        Response { status, retry_after: None, body: body.as_ref().to_vec() }
    }

    fn judge(answers: Answers, status: u16, body: impl AsRef<[u8]>) -> (Verdict, String) {
        let Judgement { verdict, reason } = answers.judge(&answer(status, body), 3);
        (verdict, reason)
    }

    #[test]
    fn every_protocol_has_a_byte_and_a_name_of_its_own() {
        for byte in 0..=255 {
            assert!(Answers::from_byte(byte).is_none_or(|answers| answers.byte() == byte));
        }
        for answers in [Answers::Status, Answers::Otlp, Answers::Bulk, Answers::SplunkHec, Answers::ClickHouse] {
            assert_eq!(Answers::from_byte(answers.byte()), Some(answers));
            assert_eq!(Answers::from_name(answers.name()), Some(answers));
        }
        assert_eq!(Answers::from_byte(5), None);
    }

    #[test]
    fn a_400_that_nginx_gives_for_the_sake_of_tls_is_not_the_batchs() {
        let page = |status, title: &str| {
            let body = format!("<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center>...");
            judge(Answers::Status, status, body)
        };
        let why = "400 No required SSL certificate was sent";
        assert_eq!(page(400, why), (Verdict::Hold, format!("the server answered 400: {why}")));
        assert_eq!(page(400, "400 The SSL certificate error").0, Verdict::Hold);
        assert_eq!(page(400, "400 The plain HTTP request was sent to HTTPS port").0, Verdict::Hold);
        assert_eq!(page(400, "400 Bad Request").0, Verdict::Refused);
        assert_eq!(page(422, why).0, Verdict::Refused);
        assert_eq!(judge(Answers::Otlp, 400, why).0, Verdict::Refused, "it is no page of nginx");
        let go = "Client sent an HTTP request to an HTTPS server.\n";
        assert_eq!(judge(Answers::Otlp, 400, go).0, Verdict::Hold);
    }

    #[test]
    fn an_otlp_success_can_be_partial() {
        let message = "the server answered 200: no body";
        // As protobuf's own library writes { partial_success { rejected_log_records: 2, error_message: "no body" } }.
        let protobuf = b"\x0a\x0b\x08\x02\x12\x07no body";
        let json = br#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no body"}}"#;
        let number = br#"{"partialSuccess":{"rejectedLogRecords":2,"errorMessage":"no body"}}"#;
        for body in [&protobuf[..], json, number] {
            assert_eq!(judge(Answers::Otlp, 200, body), (Verdict::DeliveredBut { refused: 2 }, message.to_owned()));
        }
        let all = br#"{"partialSuccess":{"rejectedLogRecords":"9","errorMessage":"why"}}"#;
        let refusals = (0..3).map(|record| Refusal { record, answer: "why".to_owned() }).collect();
        assert_eq!(judge(Answers::Otlp, 200, all).0, Verdict::DeliveredExcept(refusals), "it is known which they are");
    }

    #[test]
    fn any_other_otlp_success_is_one() {
        let warning = br#"{"partialSuccess":{"errorMessage":"deprecated"}}"#;
        let null = br#"{"partialSuccess":null}"#;
        let bodies = [&b""[..], b"{}", null, b"\x0a\x00", b"OK", b"\xff\xff\xff", b"\x0a\x7fshort", warning];
        for body in bodies {
            assert_eq!(judge(Answers::Otlp, 200, body).0, Verdict::Delivered, "{body:?}");
        }
        assert_eq!(judge(Answers::Otlp, 503, b"").0, Verdict::Retry);
        assert_eq!(judge(Answers::Otlp, 400, b"").0, Verdict::Refused);
    }

    fn items(statuses: [u16; 3]) -> String {
        let item = |status: u16| match status {
            201 => r#"{"create":{"_index":"logs","_id":"a","status":201,"result":"created"}}"#.to_owned(),
            status => format!(
                r#"{{"create":{{"_id":"a","status":{status},"error":{{"type":"t{status}","reason":"why","caused_by":{{"reason":"deep"}}}}}}}}"#
            ),
        };
        format!(r#"{{"took":3,"errors":true,"items":[{}]}}"#, statuses.map(item).join(","))
    }

    #[test]
    fn every_item_of_a_bulk_counts() {
        let bulk = |statuses| judge(Answers::Bulk, 200, items(statuses));
        assert_eq!(bulk([201, 409, 201]).0, Verdict::Delivered, "what exists already was delivered before");
        assert_eq!(bulk([201, 429, 400]), (Verdict::Retry, "the server answered 200: 429 t429: why: deep".to_owned()));
        assert_eq!(bulk([201, 404, 400]).0, Verdict::Hold);
        assert_eq!(bulk([400, 400, 400]).0, Verdict::Refused, "halving finds out whether it is the records");
        let (_, reason) = bulk([201, 201, 400]);
        assert_eq!(reason, "the server answered 200: t400", "what else it says can repeat what was logged");
        let refusal = Refusal { record: 2, answer: "400 t400: why: deep".to_owned() };
        assert_eq!(bulk([201, 409, 400]).0, Verdict::DeliveredExcept(vec![refusal]));
        assert_eq!(judge(Answers::Bulk, 200, r#"{"took":1,"errors":false,"items":[]}"#).0, Verdict::Delivered);
    }

    #[test]
    fn a_400_of_a_bulk_that_somebody_can_mend_holds_the_batch() {
        for (kind, reason) in [
            ("validation_exception", "this cluster currently has [1000]/[1000] maximum normal shards open"),
            ("index_closed_exception", "closed"),
            ("illegal_argument_exception", "no write index is defined for alias [logs]"),
        ] {
            let item = format!(r#"{{"create":{{"status":400,"error":{{"type":"{kind}","reason":"{reason}"}}}}}}"#);
            let body = format!(r#"{{"errors":true,"items":[{item},{item},{item}]}}"#);
            assert_eq!(judge(Answers::Bulk, 200, body).0, Verdict::Hold, "{kind}");
        }
    }

    #[test]
    fn a_bulks_answer_that_is_too_long_asks_for_half_of_it() {
        let long = format!(r#"{{"errors":true,"items":["{}"#, "x".repeat(Answers::Bulk.max_bytes()));
        assert_eq!(judge(Answers::Bulk, 200, &long[..Answers::Bulk.max_bytes()]).0, Verdict::TooLarge);
    }

    #[test]
    fn a_page_is_no_answer_of_any_protocol() {
        for answers in [Answers::Otlp, Answers::Bulk, Answers::SplunkHec, Answers::ClickHouse] {
            assert_eq!(judge(answers, 200, "\n<!doctype html><html>sign in").0, Verdict::Hold, "{answers:?}");
        }
        assert_eq!(judge(Answers::Status, 200, "<html>thanks").0, Verdict::Delivered);
    }

    #[test]
    fn what_is_not_a_bulks_answer_is_no_success() {
        for body in ["<html>sign in</html>", "", "{}", r#"{"errors":true,"items":[]}"#] {
            assert_eq!(judge(Answers::Bulk, 200, body).0, Verdict::Hold, "{body}");
        }
        assert_eq!(judge(Answers::Bulk, 429, "").0, Verdict::Retry);
    }

    #[test]
    fn splunks_code_tells_the_settings_from_the_events() {
        let code = |status, code| judge(Answers::SplunkHec, status, format!(r#"{{"text":"why","code":{code}}}"#)).0;
        assert_eq!(code(200, 0), Verdict::Delivered);
        assert_eq!(code(200, 17), Verdict::Hold);
        assert_eq!(code(400, 6), Verdict::Refused, "invalid data format");
        assert_eq!(code(400, 7), Verdict::Hold, "incorrect index");
        assert_eq!(code(403, 4), Verdict::Hold, "invalid token");
        assert_eq!(code(400, 15), Verdict::Refused, "indexed fields");
        assert_eq!(code(503, 9), Verdict::Retry, "server is busy");
        assert_eq!(judge(Answers::SplunkHec, 200, "ok").0, Verdict::Delivered);
        assert_eq!(
            judge(Answers::SplunkHec, 400, r#"{"text":"Incorrect index","code":7}"#).1,
            "the server answered 400: code 7, Incorrect index"
        );
    }

    #[test]
    fn clickhouses_code_counts_more_than_its_status() {
        let exception = |status, code| {
            let body = format!("Code: {code}. DB::Exception: why. (NAME) (version 25.8)\n");
            judge(Answers::ClickHouse, status, body).0
        };
        assert_eq!(exception(500, 27), Verdict::Refused, "older versions say 500 where a row cannot be parsed");
        assert_eq!(exception(400, 691), Verdict::Refused);
        let of_2018 =
            "Code: 27, e.displayText() = DB::Exception: Cannot parse input: (at row 2)\n, e.what() = DB::Exception";
        assert_eq!(judge(Answers::ClickHouse, 500, of_2018).0, Verdict::Refused);
        assert_eq!(exception(400, 62), Verdict::Hold, "the statement is in the endpoint's URL");
        assert_eq!(exception(404, 60), Verdict::Hold);
        assert_eq!(exception(403, 516), Verdict::Hold);
        assert_eq!(exception(500, 241), Verdict::Retry);
        assert_eq!(exception(400, 252), Verdict::Retry);
        assert_eq!(exception(400, 9999), Verdict::Refused, "one that is not known");
        assert_eq!(exception(500, 9999), Verdict::Retry);
        let days = "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100).";
        assert_eq!(judge(Answers::ClickHouse, 500, days).0, Verdict::TooLarge);
        let row = "Code: 27. DB::Exception: Cannot parse input: expected ',' before: 's3cret'";
        assert_eq!(judge(Answers::ClickHouse, 400, row).1, "the server answered 400: Code: 27");
        assert_eq!(exception(200, 241), Verdict::Retry, "an exception that came late");
        assert_eq!(judge(Answers::ClickHouse, 200, "").0, Verdict::Delivered);
        assert_eq!(judge(Answers::ClickHouse, 502, "Bad Gateway").0, Verdict::Retry);
    }
}
