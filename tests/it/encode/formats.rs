//! Formats that endpoints expect besides the default one: bodies, methods and content types, as they arrive.

use std::time::{Duration, UNIX_EPOCH};

use common::{Answer, Receiver, Service, exporter, exporter_to, spool_dir};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LoggerProviderBuilder, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_spool::{
    BoxError, BulkEncoder, ClickHouseEncoder, Encoder, FormEncoder, Framing, JsonEncoder, LogView, LokiEncoder, Method,
    ResponseProtocol, SplunkEncoder, TextEncoder,
};
use serde_json::{Value, json};

/// A record with a value in every field, logged at 2021-01-11T19:24:28.365492Z.
fn fill(record: &mut SdkLogRecord) {
    record.set_event_name("order.taken");
    record.set_target("shop::orders");
    record.set_timestamp(UNIX_EPOCH + Duration::from_micros(1_610_393_068_365_492));
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_body("order taken\nby Zoë & co".into());
    record.set_trace_context(TraceId::from(7), SpanId::from(9), Some(TraceFlags::SAMPLED));
    record.add_attribute("code.file.path", "src/shop/orders.rs");
    record.add_attribute("code.function.name", "shop::take");
    record.add_attribute("code.line.number", 12);
    record.add_attribute("thread.id", 3);
    record.add_attribute("thread.name", "main");
    record.add_attribute("exception.type", "Full");
    record.add_attribute("exception.message", "no more");
    record.add_attribute("tenant", "acme");
    record.add_attribute("items", AnyValue::ListAny(Box::new(vec![1.into(), "b".into()])));
}

fn service(receiver: &Receiver, encoder: impl Encoder, path: &str, spool: &tempfile::TempDir) -> Service {
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "checkout"),
            KeyValue::new("process.pid", 42),
            KeyValue::new("host.name", "web-1"),
        ])
        .build();
    let builder = exporter_to(&receiver.url(path), spool).with_encoder(encoder);
    let provider = SdkLoggerProvider::builder().with_resource(resource);
    Service::build(builder, provider, LoggerProviderBuilder::with_simple_exporter)
}

/// The bodies that arrive of one full record and, if there are `others`, of so many plain ones.
fn sent(encoder: impl Encoder, others: usize) -> Vec<String> {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = service(&receiver, encoder, "/ingest", &spool);
    service.handle.pause();
    let mut record = service.provider.logger("app").create_log_record();
    fill(&mut record);
    service.provider.logger("app").emit(record);
    for number in 1..=others {
        service.log(&format!("other {number}"));
    }
    service.handle.resume();
    service.deliver();
    let requests = receiver.requests();
    requests.iter().map(|request| String::from_utf8(request.plain().into_owned()).unwrap()).collect()
}

fn one(encoder: impl Encoder) -> String {
    let mut sent = sent(encoder, 0);
    assert_eq!(sent.len(), 1);
    sent.remove(0)
}

#[test]
fn every_field_of_a_template_has_its_value() {
    for (template, expected) in [
        ("{message}", "order taken\nby Zoë & co"),
        ("{timestamp} {asctime}", "2021-01-11T19:24:28.365492Z 2021-01-11 19:24:28,365"),
        ("{created} {msecs}", "1610393068.365492 365"),
        ("{levelname} {levelno} {severity_text} {severity_number}", "WARNING 30 WARN 13"),
        ("{name} {target} {event}", "app shop::orders order.taken"),
        ("{pathname} {filename} {module} {funcName} {lineno}", "src/shop/orders.rs orders.rs orders shop::take 12"),
        ("{process} {processName} {thread} {threadName}", "42 checkout 3 main"),
        ("{exc_text}", "Full: no more"),
        ("{trace_id} {span_id}", "00000000000000000000000000000007 0000000000000009"),
        ("{attributes}", r#"{"tenant":"acme","items":[1,"b"]}"#),
        ("{attributes[tenant]} {attributes[items]} {attributes[none]}", r#"acme [1,"b"] "#),
        ("{resource[host.name]}", "web-1"),
        ("{{{levelname}}}", "{WARNING}"),
    ] {
        assert_eq!(one(TextEncoder::new(template).unwrap()), expected, "{template}");
    }
    let relative: f64 = one(TextEncoder::new("{relativeCreated}").unwrap()).parse().unwrap();
    assert!(relative < 0.0, "logged before the encoder was made: {relative}");
}

#[test]
fn a_template_with_a_field_that_there_is_not_is_an_error() {
    let error = |template| TextEncoder::new(template).unwrap_err().to_string();
    assert!(error("{tenant}").starts_with("there is no field `tenant`; there are message, timestamp, "));
    assert_eq!(error("100 %}"), "the brace at byte 5 has no other one; one that is text is written twice");
    assert_eq!(error("{message"), "the brace at byte 0 has no other one; one that is text is written twice");
}

#[test]
fn lines_of_text_are_joined_by_newlines() {
    let text = TextEncoder::new("{levelname}: {message}").unwrap();
    assert_eq!(sent(text.clone(), 2), ["WARNING: order taken\nby Zoë & co\nINFO: other 1\nINFO: other 2"]);
    let escaped = sent(text.with_escaped_newlines(true), 1);
    assert_eq!(escaped, ["WARNING: order taken\\nby Zoë & co\nINFO: other 1"]);
    let single = TextEncoder::new("{message}").unwrap().with_framing(Framing::single("text/plain; charset=utf-8"));
    assert_eq!(sent(single, 2), ["order taken\nby Zoë & co", "other 1", "other 2"], "in order, each alone");
}

#[test]
fn json_can_be_lines() {
    let lines = sent(JsonEncoder::default().with_framing(Framing::ndjson()), 1).remove(0);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["message"], "other 1");
}

#[test]
fn a_form_has_the_fields_that_it_was_given() {
    let form = FormEncoder::new().with_field("log", "{message}").unwrap().with_field("le vel", "{levelname}").unwrap();
    let expected = "log=order+taken%0Aby+Zo%C3%AB+%26+co&le+vel=WARNING";
    assert_eq!(sent(form.clone(), 1), [expected, "log=other+1&le+vel=INFO"]);
    let all = one(form.with_attributes(true));
    assert_eq!(all, format!("{expected}&tenant=acme&items=%5B1%2C%22b%22%5D"));
}

#[test]
fn the_form_of_pythons_http_handler_has_its_fields_in_its_order() {
    let form = one(FormEncoder::http_handler());
    let fields: Vec<(String, String)> = form
        .split('&')
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    // Python 3.12's `logging.makeLogRecord({}).__dict__` has these names, and those that were passed as `extra` are
    // added.
    assert_eq!(
        names,
        [
            "name",
            "msg",
            "args",
            "levelname",
            "levelno",
            "pathname",
            "filename",
            "module",
            "exc_info",
            "exc_text",
            "stack_info",
            "lineno",
            "funcName",
            "created",
            "msecs",
            "relativeCreated",
            "thread",
            "threadName",
            "processName",
            "process",
            "taskName",
            "tenant",
            "items",
        ]
    );
    let value = |name: &str| &*fields.iter().find(|(field, _)| field == name).unwrap().1;
    assert_eq!([value("args"), value("exc_info"), value("levelno"), value("msecs")], ["%28%29", "None", "30", "365"]);
}

#[test]
fn a_get_carries_the_form_in_its_query_in_order() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let form = FormEncoder::new().with_field("msg", "{message}").unwrap();
    let builder = exporter_to(&receiver.url("/log?app=shop"), &spool).with_encoder(form).with_method(Method::Get);
    receiver.answer_next(Answer::status(503));
    let service = Service::simple(builder);
    service.log_these(&["a b", "c&d", "e"]);
    service.deliver();
    let requests = receiver.requests();
    let targets: Vec<_> = requests.iter().map(|request| (&*request.method, &*request.target)).collect();
    let [first, second, third] = ["/log?app=shop&msg=a+b", "/log?app=shop&msg=c%26d", "/log?app=shop&msg=e"];
    assert_eq!(targets, [("GET", first), ("GET", first), ("GET", second), ("GET", third)]);
    assert!(requests.iter().all(|request| request.body.is_empty() && request.header("content-type").is_none()));
    assert_ne!(requests[0].key(), requests[2].key());
    assert_eq!(requests[0].key(), requests[1].key());
}

#[test]
fn what_was_no_form_is_posted_also_where_forms_are_asked_for() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let before = Service::simple(exporter(&receiver, &spool));
    before.log("as json");
    drop(before);
    receiver.come_up();
    let form = FormEncoder::new().with_field("msg", "{message}").unwrap();
    let after = Service::simple(exporter(&receiver, &spool).with_encoder(form).with_method(Method::Get));
    after.log("as a form");
    after.deliver();
    receiver.wait_for_requests(2);
    let mut methods: Vec<_> = receiver.requests().into_iter().map(|request| request.method).collect();
    methods.sort();
    assert_eq!(methods, ["GET", "POST"]);
}

#[test]
fn a_request_to_loki_is_one_stream_with_all_its_lines() {
    let line = TextEncoder::new("{target}: {message}").unwrap();
    let encoder = LokiEncoder::new(line).with_label("stage", "live {resource[host.name]}").unwrap();
    let encoder = encoder.with_metadata("x.y", "{attributes[tenant]}").unwrap();
    let body: Value = serde_json::from_str(&sent(encoder, 2)[0]).unwrap();
    let streams = body["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0]["stream"], json!({"service_name": "checkout", "host": "web-1", "stage": "live web-1"}));
    let lines = streams[0]["values"].as_array().unwrap();
    let metadata = json!({
        "level": "WARNING", "target": "shop::orders", "x_y": "acme",
        "trace_id": "00000000000000000000000000000007", "span_id": "0000000000000009",
    });
    assert_eq!(lines[0], json!(["1610393068365492000", "shop::orders: order taken\nby Zoë & co", metadata]));
    assert_eq!((&lines[1][1], &lines[1][2]), (&json!(": other 1"), &json!({"level": "INFO"})), "nothing is empty");
    assert_eq!((lines.len(), &lines[2][1]), (3, &json!(": other 2")));
}

#[test]
fn lokis_lines_are_json_by_default_and_need_no_structured_metadata() {
    let encoder = LokiEncoder::default().with_structured_metadata(false);
    let json: Value = serde_json::from_str(&one(encoder)).unwrap();
    let values = json["streams"][0]["values"][0].as_array().unwrap();
    assert_eq!(values.len(), 2);
    let line: Value = serde_json::from_str(values[1].as_str().unwrap()).unwrap();
    assert_eq!(line["message"], "order taken\nby Zoë & co");
}

/// The labels of the stream of a process with this resource.
fn labels(mut encoder: LokiEncoder, resource: &[(&'static str, &str)]) -> Value {
    let attributes = resource.iter().map(|(key, value)| KeyValue::new(*key, (*value).to_owned()));
    encoder.set_resource(&Resource::builder_empty().with_attributes(attributes).build());
    let framing = encoder.framing();
    let body: Value = serde_json::from_slice(&[framing.open(), framing.close()].concat()).unwrap();
    body["streams"][0]["stream"].clone()
}

#[test]
fn no_two_processes_share_a_stream_of_loki() {
    let own = |name, value| LokiEncoder::default().with_label(name, value).unwrap();
    let [service, instance, host] = [("service.name", "shop"), ("service.instance.id", "7f3a"), ("host.name", "web-1")];
    for (encoder, resource, expected) in [
        (
            LokiEncoder::default(),
            &[service, instance, host][..],
            json!({"service_name": "shop", "service_instance_id": "7f3a"}),
        ),
        (LokiEncoder::default(), &[service, host], json!({"service_name": "shop", "host": "web-1"})),
        (own("service.name", "{processName}"), &[service, host], json!({"service_name": "shop", "host": "web-1"})),
        (
            own("service_instance_id", "2"),
            &[service, instance],
            json!({"service_name": "shop", "service_instance_id": "2"}),
        ),
        (own("host", "web"), &[service, instance], json!({"service_name": "shop", "host": "web"})),
        (own("host", ""), &[service, instance], json!({"service_name": "shop"})),
        (own("1st", "a"), &[service, host], json!({"service_name": "shop", "host": "web-1", "_1st": "a"})),
    ] {
        assert_eq!(labels(encoder, resource), expected);
    }
    let alone = labels(LokiEncoder::default(), &[]);
    assert!(alone["service_name"].as_str().is_some_and(|name| name.starts_with("it-")), "the executable: {alone}");
    if cfg!(target_os = "linux") {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(alone["host"], host.trim());
    }
}

#[test]
fn a_label_of_loki_that_differs_from_record_to_record_is_an_error() {
    for template in ["{levelname}", "live {attributes[tenant]}", "{process}"] {
        let error = LokiEncoder::default().with_label("it", template).unwrap_err().to_string();
        assert!(error.starts_with("the label `it` differs from record to record"), "{error}");
    }
}

#[test]
fn labels_of_loki_are_no_longer_than_it_takes() {
    let long = "ü\u{1}".repeat(3_000);
    let value = labels(LokiEncoder::default(), &[("service.name", &long)])["service_name"].as_str().unwrap().to_owned();
    assert!((2_046..=2_048).contains(&value.len()) && long.starts_with(&value), "{}", value.len());
    let mut encoder = LokiEncoder::default();
    for number in 0..100 {
        encoder = encoder.with_label(&format!("label_{number}"), "{resource[service.name]}").unwrap();
    }
    let count = labels(encoder.clone(), &[("service.name", &long)]).as_object().unwrap().len();
    assert!((8..100).contains(&count), "as many as a framing holds: {count}");
    assert!(encoder.framing().open().len() < 65_536);
}

#[test]
fn records_of_an_earlier_process_keep_their_stream_of_loki() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let run = |instance: &str| {
        let resource =
            [KeyValue::new("service.name", "shop"), KeyValue::new("service.instance.id", instance.to_owned())];
        let provider =
            SdkLoggerProvider::builder().with_resource(Resource::builder_empty().with_attributes(resource).build());
        let exporter = exporter(&receiver, &spool).with_encoder(LokiEncoder::default());
        let service = Service::build(exporter, provider, LoggerProviderBuilder::with_simple_exporter);
        service.log(instance);
        service
    };
    drop(run("before"));
    receiver.come_up();
    run("after").deliver();
    let requests = receiver.wait_for_requests(2);
    let mut instances: Vec<_> = requests
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let stream = &body["streams"][0];
            let line: Value = serde_json::from_str(stream["values"][0][1].as_str().unwrap()).unwrap();
            assert_eq!(stream["stream"]["service_instance_id"], line["message"], "each line in its own stream");
            line["message"].as_str().unwrap().to_owned()
        })
        .collect();
    instances.sort();
    instances.dedup();
    assert_eq!(instances, ["after", "before"]);
}

#[test]
fn splunk_gets_events_with_their_time_and_host() {
    let sent = sent(SplunkEncoder::default().with_index("main").with_source_type("shop"), 1).remove(0);
    let events: Vec<Value> = sent.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = &events[0];
    assert_eq!(event["time"].to_string(), "1610393068.365492");
    let fields = ["host", "source", "sourcetype", "index"].map(|field| event[field].as_str().unwrap());
    assert_eq!(fields, ["web-1", "checkout", "shop", "main"]);
    assert_eq!(event["event"]["message"], "order taken\nby Zoë & co");
    assert_eq!(events[1]["event"]["message"], "other 1");
    let text: Value = serde_json::from_str(&one(SplunkEncoder::new(TextEncoder::new("{name}\n\"").unwrap()))).unwrap();
    assert_eq!(text["event"], "app\n\"");
}

/// An encoder whose records are all this.
struct Fixed(String, Framing);

impl Encoder for Fixed {
    fn framing(&self) -> Framing {
        self.1.clone()
    }

    fn encode(&self, _: &dyn LogView, _: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(())
    }
}

#[test]
fn no_event_is_empty_for_splunk() {
    let (text, json) = (Framing::new("text/plain", "", "\n", ""), Framing::ndjson());
    for (record, framing, empty) in [
        ("", &text, true),
        (" \t\n\u{3000}", &text, true),
        (&" ".repeat(1_000), &text, true),
        ("", &json, true),
        ("null", &json, true),
        (" \"\" ", &json, true),
        ("\" \\n\"", &json, true),
        ("-", &text, false),
        ("null", &text, false),
        ("{}", &json, false),
        ("0", &json, false),
    ] {
        let event: Value =
            serde_json::from_str(&one(SplunkEncoder::new(Fixed(record.to_owned(), framing.clone())))).unwrap();
        let whole =
            event["event"]["message"] == "order taken\nby Zoë & co" && event["event"]["extra"]["tenant"] == "acme";
        assert_eq!(whole, empty, "{record:?} in {}: {event}", framing.content_type());
        assert_eq!(event["host"], "web-1");
    }
}

#[test]
fn clickhouse_gets_a_row_for_each_record() {
    let row: Value = serde_json::from_str(&one(ClickHouseEncoder::default())).unwrap();
    assert_eq!(row["Timestamp"], "1610393068.365492000");
    assert_eq!(row["TraceId"], "00000000000000000000000000000007");
    assert_eq!(
        (&row["SeverityNumber"], &row["ServiceName"], &row["ScopeName"]),
        (&json!(13), &json!("checkout"), &json!("app"))
    );
    assert_eq!(
        row["ResourceAttributes"],
        json!({"host.name": "web-1", "process.pid": "42", "service.name": "checkout"})
    );
    assert_eq!(row["LogAttributes"]["items"], r#"[1,"b"]"#, "every value is a text");
    assert_eq!(row["LogAttributes"]["thread.id"], "3");
}

#[test]
fn a_document_keeps_its_id_however_often_and_in_whichever_batch_it_is_sent() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::status(503));
    receiver.answer_next(Answer::status(413));
    receiver.answer_always(Answer::ok().body(r#"{"took":1,"errors":false,"items":[]}"#));
    let service = service(&receiver, BulkEncoder::default().with_index("logs"), "/_bulk", &spool);
    service.handle.pause();
    service.log_these(&["a", "b", "c"]);
    service.handle.resume();
    service.deliver();
    let bodies: Vec<String> =
        receiver.requests().iter().map(|request| String::from_utf8(request.body.to_vec()).unwrap()).collect();
    assert_eq!(bodies[0], bodies[1], "after the 503");
    assert_eq!(bodies[2..].concat(), bodies[0], "in two halves after the 413");
    let lines: Vec<Value> = bodies[0].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: std::collections::HashSet<_> =
        lines.iter().step_by(2).map(|action| action["create"]["_id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), lines.len()), (3, 6));
    assert_eq!(lines[0]["create"]["_index"], "logs");
    assert_eq!(lines[1]["message"], "a");
    let (millis, seconds) = (lines[1]["@timestamp"].as_f64().unwrap(), lines[1]["created"].as_f64().unwrap());
    assert!((millis / 1e3 - seconds).abs() < 0.001, "the same time twice: {millis} and {seconds}");
}

#[test]
fn a_bulk_document_is_no_deeper_than_an_index_takes() {
    let deep = (0..100).fold(AnyValue::from("core"), |inner, _| {
        AnyValue::Map(Box::new([(opentelemetry::Key::new("k"), inner)].into()))
    });
    let provider = SdkLoggerProvider::builder().build();
    let mut record = provider.logger("").create_log_record();
    record.add_attribute("a.dotted.name", deep);
    let encoder = BulkEncoder::new(JsonEncoder::default().with_max_depth(256));
    let mut lines = Vec::new();
    encoder.encode(&record, &InstrumentationScope::default(), &mut lines).unwrap();
    let document: Value = serde_json::from_slice(lines.split(|byte| *byte == b'\n').next_back().unwrap()).unwrap();
    // Each dot is an object more.
    let (mut objects, mut value) = (2 + 2, &document["extra"]["a.dotted.name"]);
    while let Some(inner) = value.get("k") {
        (objects, value) = (objects + 1, inner);
    }
    assert_eq!(objects, 20);
    assert_eq!(value.as_str().unwrap().matches('{').count(), 100 - 16, "the rest is a text");
}

#[test]
fn a_200_that_is_no_response_of_a_bulk_delivers_nothing() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::ok().body("ok"));
    let service = service(&receiver, BulkEncoder::default(), "/_bulk", &spool);
    service.log("kept");
    let stats = service.wait_for_stats("the answer", |stats| stats.last_error.is_some());
    assert_eq!((stats.pending_records, stats.delivered_records), (1, 0));
    assert!(stats.last_error.unwrap().contains("no response of a _bulk"));
    receiver.answer_always(Answer::ok().body(r#"{"errors":false}"#));
    service.deliver();
}

#[test]
fn ones_own_encoder_can_say_how_its_responses_are_read() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let refused = |message: &String| message == "refused";
    receiver.answer_by(move |request| match request.messages.iter().filter(|message| refused(message)).count() {
        0 => Answer::ok(),
        bad => {
            let rejected = json!({"rejectedLogRecords": bad.to_string(), "errorMessage": "too old"});
            Answer::ok().body(&json!({"partialSuccess": rejected}).to_string())
        }
    });
    let framing = Framing::json_array().with_response_protocol(ResponseProtocol::Otlp);
    let service = service(&receiver, JsonEncoder::default().with_framing(framing), "/", &spool);
    service.handle.pause();
    service.log_these(&["taken", "refused"]);
    service.sync();
    service.handle.resume();
    service.deliver();
    let stats = service.handle.stats();
    assert_eq!((stats.rejected_records, stats.delivered_records), (1, 1), "{stats:?}");
    assert_eq!(receiver.requests().len(), 1, "a partial success is not repeated");

    service.log("refused");
    service.sync();
    let stats = service.wait_for_stats("the answer", |stats| stats.failed_requests > 0);
    assert_eq!((stats.rejected_records, stats.pending_records), (1, 1), "{stats:?}");
    let expected = format!("{}: the server responded with 200: too old", receiver.url("/"));
    assert_eq!(stats.last_error, Some(expected));
    service.wait_for_rejected(2);
    let rejected = service.handle.rejected().unwrap();
    assert_eq!(rejected.len(), 1, "all of it, so it is known which");
    assert_eq!(rejected[0].response, "the server responded with 200: too old");
}

#[test]
fn a_message_that_no_url_holds_is_rejected_and_the_next_one_sent() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let form = FormEncoder::new().with_field("msg", "{message}").unwrap();
    let builder = exporter_to(&receiver.url("/log"), &spool).with_encoder(form).with_method(Method::Get);
    // A server can have a bound of its own.
    receiver.answer_by(|request| Answer::status(if request.target.len() > 1_000 { 414 } else { 200 }));
    let service = Service::simple(builder);
    service.log(&"x".repeat(70_000));
    service.log(&"y".repeat(2_000));
    service.log("short");
    service.wait_for_rejected(2);
    service.deliver();
    let rejected = service.handle.rejected().unwrap();
    assert_eq!(rejected.iter().map(|record| record.status).collect::<Vec<_>>(), [414, 414]);
    let local = rejected.iter().filter(|record| record.response.contains("a URL of 70"));
    assert_eq!(local.count(), 1, "{rejected:?}");
    let taken: Vec<_> = receiver.requests().into_iter().filter(|request| request.answered == Some(200)).collect();
    let (live, others): (Vec<_>, Vec<_>) =
        taken.iter().partition(|request| request.target.starts_with("/log?msg=live-"));
    assert_eq!(others.iter().map(|request| &*request.target).collect::<Vec<_>>(), ["/log?msg=short"]);
    assert!(!live.is_empty());
}

#[test]
fn a_get_is_one_whatever_is_said_of_the_content_type() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let form = FormEncoder::new().with_field("msg", "{message}").unwrap();
    let builder = exporter_to(&receiver.url("/log"), &spool).with_encoder(form).with_method(Method::Get);
    let service = Service::simple(builder.with_headers([("content-type", "text/html")]));
    service.log("a");
    service.deliver();
    let request = &receiver.requests()[0];
    assert_eq!((&*request.method, &*request.target), ("GET", "/log?msg=a"));
}

#[test]
fn half_a_response_is_none_where_the_response_counts() {
    use std::io::{Read, Write};
    for (answers, first) in [(ResponseProtocol::ClickHouse, 2), (ResponseProtocol::Status, 1)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            // The first response is broken off.
            for (count, body) in (0..first).zip(["Content-Length: 500\r\n\r\nCode: 2", "Content-Length: 0\r\n\r\n"]) {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"]") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{body}").unwrap();
                assert!(count < first);
            }
        });
        let spool = spool_dir();
        let framing = Framing::json_array().with_response_protocol(answers);
        let service =
            Service::simple(exporter_to(&endpoint, &spool).with_encoder(JsonEncoder::default().with_framing(framing)));
        service.log("asked for until its answer is whole");
        service.deliver();
        assert_eq!(service.handle.stats().requests, first, "{answers:?}");
        server.join().unwrap();
    }
}

#[test]
fn a_bulk_that_rejects_every_document_is_asked_little_and_has_none_rejected_while_it_takes_none() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let items = |request: &common::Request, item: &str| {
        let documents = String::from_utf8_lossy(&request.body).lines().count() / 2;
        format!("[{}]", vec![item; documents].join(","))
    };
    receiver.answer_by(move |request| {
        let item = r#"{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"no"}}}"#;
        Answer::ok().body(&format!(r#"{{"errors":true,"items":{}}}"#, items(request, item)))
    });
    let builder = exporter_to(&receiver.url("/_bulk"), &spool).with_encoder(BulkEncoder::default());
    let mut policy = common::impatient();
    // Slow is an hour here.
    policy.max_delay = Duration::from_secs(3600);
    let service = Service::batch(builder.with_max_batch_records(64).with_retry_policy(policy));
    service.handle.pause();
    service.log_all("m", 1..=300);
    service.sync();
    service.handle.resume();
    receiver.wait_for_requests(2);
    assert!(service.handle.flush(Duration::from_millis(300)).is_err());

    // The batch, at most sixteen controls, and those of the flush.
    assert!(receiver.requests().len() <= 24, "{} requests", receiver.requests().len());
    let stats = service.handle.stats();
    assert_eq!((stats.rejected_records, stats.pending_records, stats.lost_records), (0, 300, 0), "{stats:?}");

    receiver.answer_by(move |request| {
        let item = r#"{"create":{"status":201}}"#;
        Answer::ok().body(&format!(r#"{{"errors":false,"items":{}}}"#, items(request, item)))
    });
    service.deliver();
    let stats = service.handle.stats();
    assert_eq!((stats.rejected_records, stats.delivered_records), (0, 300), "{stats:?}");
}
