//! moto, whose server takes `PutLogEvents` among others: records by an encoder of one's own. It does not check
//! signatures, which the service itself wants.

use opentelemetry_spool::{Rejection, Response, Verdict};

use super::*;

/// The server finds in it whose request it is, and reads no more of it.
const AUTHORIZATION: &str =
    "AWS4-HMAC-SHA256 Credential=shop/20260101/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=none";

/// Records as log events.
#[derive(Debug)]
struct LogEvents(JsonEncoder);

impl Encoder for LogEvents {
    fn framing(&self) -> Framing {
        let group = r#"{"logGroupName":"shop","logStreamName":"orders","logEvents":["#;
        Framing::new("application/x-amz-json-1.1", group, ",", "]}")
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let time = record.timestamp().ok_or("no time")?.duration_since(UNIX_EPOCH)?;
        let mut message = Vec::new();
        self.0.encode(record, scope, &mut message)?;
        let event = json!({"timestamp": time.as_millis(), "message": String::from_utf8(message)?});
        serde_json::to_writer(out, &event)?;
        Ok(())
    }
}

/// A success can name records that were too old, up to this position: by moto including it, by the service excluding it.
fn judge(response: &Response) -> Verdict {
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    match body["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"].as_u64() {
        Some(last) if response.status() == 200 => {
            let rejection = |record| Rejection { record, response: "too old".to_owned() };
            Verdict::DeliveredExcept((0..=usize::try_from(last).expect("a position")).map(rejection).collect())
        }
        _ => Verdict::of(response),
    }
}

struct Moto {
    _program: Program,
    _dir: TempDir,
    url: String,
}

impl Moto {
    fn start() -> Option<Self> {
        let (program, dir, port) = (installed("moto/bin/moto_server")?, spool_dir(), free_port());
        let log = dir.path().join("log");
        let program =
            Program::keep("TERM", Command::new(program).args(["-H", "127.0.0.1", "-p", &port.to_string()]), &log);
        wait_for_port(port, &log);
        let moto = Self { _program: program, _dir: dir, url: format!("http://127.0.0.1:{port}/") };
        let stream = json!({"logGroupName": "shop", "logStreamName": "orders"});
        moto.ask("CreateLogGroup", &json!({"logGroupName": "shop"}));
        moto.ask("CreateLogStream", &stream);
        Some(moto)
    }

    fn ask(&self, operation: &str, body: &Value) -> Value {
        let target = format!("Logs_20140328.{operation}");
        let headers = [
            ("X-Amz-Target", &*target),
            ("Content-Type", "application/x-amz-json-1.1"),
            ("Authorization", AUTHORIZATION),
        ];
        let (status, answer) = ask("POST", &self.url, &headers, body.to_string().as_bytes());
        assert_eq!(status, 200, "{answer}");
        if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer).expect("JSON") }
    }

    /// The messages of every event, in order.
    fn messages(&self) -> Vec<String> {
        let wanted = json!({"logGroupName": "shop", "logStreamName": "orders", "startFromHead": true, "limit": 1000});
        let events = self.ask("GetLogEvents", &wanted);
        let message = |event: &Value| -> String {
            let text = event["message"].as_str().unwrap_or_else(|| panic!("no text in {event}"));
            let event: Value = serde_json::from_str(text).expect("JSON");
            event["message"].as_str().expect("a message").to_owned()
        };
        events["events"].as_array().expect("events").iter().map(message).collect()
    }
}

#[test]
fn cloudwatch_logs_as_moto_has_them_take_every_event_and_name_those_that_are_too_old() {
    let Some(moto) = Moto::start() else { return };
    let (spool, now) = (spool_dir(), SystemTime::now());
    let exporter = exporter_to(&moto.url, &spool).with_encoder(LogEvents(JsonEncoder::default()));
    let headers = [("x-amz-target", "Logs_20140328.PutLogEvents"), ("authorization", AUTHORIZATION)];
    let service = shop(exporter.with_headers(headers).with_response_classifier(judge));
    for number in 1..=3 {
        order(&service, number, |record| record.set_timestamp(now - Duration::from_secs(30 * 86_400 - number as u64)));
    }
    for number in 4..=COUNT {
        order(&service, number, |record| record.set_timestamp(now + Duration::from_millis(number as u64)));
    }
    service.deliver();

    assert_eq!(moto.messages(), names("m", 4..=COUNT));
    let rejected = service.handle.rejected().expect("a rejected store");
    let bodies: Vec<_> = rejected.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
    assert!(names("m", 1..=3).iter().all(|name| bodies.iter().any(|body| body.contains(name))), "{bodies:?}");
    assert_eq!((rejected.len(), service.handle.stats().failed_requests), (3, 1));
}
