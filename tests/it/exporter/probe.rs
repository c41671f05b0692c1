//! `probe` of a builder: by the settings that are made in code, in any runtime, and without a word of a secret.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::{Answer, Receiver, spool_dir};
use opentelemetry_spool::{
    Compression, LogExporter, LogExporterBuilder, MetricExporter, ProbeMode, ProbeReport, ProbeResult, ProbeStage,
    Protocol, SpanExporter, Verdict,
};
use tempfile::TempDir;

fn failure(report: &ProbeReport) -> (ProbeStage, String) {
    let step = report.failure().unwrap_or_else(|| panic!("nothing failed:\n{report}"));
    (step.stage, step.text.clone())
}

fn stages(report: &ProbeReport) -> Vec<(ProbeStage, ProbeResult)> {
    let steps = report.steps().iter().filter(|step| step.result != ProbeResult::Warned);
    steps.map(|step| (step.stage, step.result)).collect()
}

fn logs(receiver: &Receiver, spool: &TempDir) -> LogExporterBuilder {
    LogExporter::builder()
        .with_endpoint(receiver.url("/in?key=s3cret-of-url"))
        .with_spool_dir(spool.path().join("spool"))
}

#[test]
fn a_marked_record_has_the_partition_the_hook_and_the_coding_of_every_other() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let report = logs(&receiver, &spool)
        .with_compression(Compression::Gzip)
        .with_partition_key(|record, scope| {
            format!("{} of {}", record.severity_text().unwrap_or_default(), scope.name())
        })
        .with_header_hook(|batch, headers| {
            headers.insert("x-partition", batch.partition_key())?;
            headers.insert("x-records", batch.records().to_string())?;
            Ok(())
        })
        .probe(ProbeMode::Send);
    let passed = |stage| (stage, ProbeResult::Passed);
    let expected = [
        ProbeStage::Settings,
        ProbeStage::Directory,
        ProbeStage::Space,
        ProbeStage::Name,
        ProbeStage::Connection,
        ProbeStage::Response,
        ProbeStage::Clock,
        ProbeStage::Delivery,
    ];
    let mut found = stages(&report);
    // Of a disk that is nearly full it is a warning.
    found.retain(|(stage, _)| *stage != ProbeStage::Space);
    let expected: Vec<_> = expected.into_iter().filter(|stage| *stage != ProbeStage::Space).map(passed).collect();
    assert_eq!(found, expected, "{report}");
    assert!(!report.to_string().contains("s3cret"), "{report}");

    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("x-partition"), Some("INFO of opentelemetry-spool"));
    assert_eq!((requests[0].header("x-records"), requests[0].header("content-encoding")), (Some("1"), Some("gzip")));
    assert!(requests[0].records()[0]["message"].as_str().is_some_and(|text| text.starts_with("probe of ")));
    assert!(!spool.path().join("spool").exists(), "nothing is spooled");
}

#[test]
fn a_probe_of_spans_and_of_metrics_sends_one_of_them() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let endpoint = |path: &str| receiver.url(path);
    let spans = SpanExporter::builder()
        .with_endpoint(endpoint("/v1/traces"))
        .with_spool_dir(spool.path())
        .with_protocol(Protocol::HttpJson)
        .probe(ProbeMode::Send);
    let metrics = MetricExporter::builder()
        .with_endpoint(endpoint("/v1/metrics"))
        .with_spool_dir(spool.path())
        .with_protocol(Protocol::HttpJson)
        .with_partition_key(|metric, _| metric.name().to_owned())
        .probe(ProbeMode::Send);
    assert!(spans.is_ok() && metrics.is_ok(), "{spans}\n{metrics}");
    let bodies: Vec<serde_json::Value> =
        receiver.requests().iter().map(|request| serde_json::from_slice(&request.body).expect("JSON")).collect();
    let span = &bodies[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["attributes"][0]["key"], "spool.probe", "{span}");
    let metric = &bodies[1]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
    assert_eq!(
        (&metric["name"], metric["gauge"]["dataPoints"].as_array().map(Vec::len)),
        (&"spool.probe".into(), Some(1))
    );
}

#[test]
fn a_metric_that_is_rejected_in_a_partial_success_is_refused() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver
        .answer_always(Answer::ok().body(r#"{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"too old"}}"#));
    let report = MetricExporter::builder()
        .with_endpoint(receiver.url("/v1/metrics"))
        .with_spool_dir(spool.path())
        .probe(ProbeMode::Send);
    assert_eq!(failure(&report), (ProbeStage::Response, "the server responded with 200: too old".to_owned()));
    assert!(report.is_refused(), "{report}");
}

#[tokio::test]
async fn a_probe_may_block_a_thread_of_a_runtime_and_awaits_an_asynchronous_hook() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = logs(&receiver, &spool).with_async_header_hook(|_, mut headers| async move {
        tokio::task::yield_now().await;
        headers.insert("authorization", "Bearer t0ken-of-ours")?;
        Ok(headers)
    });
    let report = builder.probe(ProbeMode::Send);
    assert!(report.is_ok(), "{report}");
    assert_eq!(receiver.requests()[0].header("authorization"), Some("Bearer t0ken-of-ours"));
    receiver.answer_always(Answer::status(403).body("Bearer t0ken-of-ours is no token of s3cret-of-url"));
    let builder = logs(&receiver, &spool).with_headers([("authorization", "Bearer t0ken-of-ours")]);
    let report = tokio::task::spawn_blocking(|| builder.probe(ProbeMode::Send)).await.expect("a probe");
    assert_eq!(failure(&report).0, ProbeStage::Response);
    let text = report.to_string();
    assert!(text.contains("sent were the headers authorization"), "{text}");
    assert!(!text.contains("t0ken") && !text.contains("s3cret"), "{text}");
}

#[test]
fn what_the_application_gives_may_fail_or_panic_and_is_named() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let report =
        logs(&receiver, &spool).with_partition_key(|_, _| panic!("a panic that is asked for")).probe(ProbeMode::Send);
    let expected = "a record cannot be encoded: the partition key function panicked";
    assert_eq!(failure(&report), (ProbeStage::Settings, expected.to_owned()));
    let report = logs(&receiver, &spool).with_header_hook(|_, _| Err("no token today".into())).probe(ProbeMode::Send);
    assert_eq!(failure(&report), (ProbeStage::Response, "the header hook failed: no token today".to_owned()));
    assert!(receiver.requests().is_empty(), "nothing is sent");
}

#[test]
fn a_hook_that_does_not_return_is_named_and_what_was_found_before_stays() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let builder = logs(&receiver, &spool).with_timeout(Duration::from_secs(3)).with_header_hook(move |_, _| {
        let _ = released.lock().expect("one call").recv();
        Ok(())
    });
    let report = builder.probe(ProbeMode::Send);
    let expected = "the header hook did not return within 3s";
    assert_eq!(failure(&report), (ProbeStage::Response, expected.to_owned()), "{report}");
    let found = stages(&report);
    assert!(found.contains(&(ProbeStage::Connection, ProbeResult::Passed)), "{report}");
    assert!(receiver.requests().is_empty(), "nothing is sent");
    drop(release);
}

#[test]
fn a_client_of_the_application_is_asked_for_nothing_before_it_sends() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let proxy = reqwest::Proxy::all(receiver.url("")).expect("a proxy");
    let client = reqwest::Client::builder().proxy(proxy).build().expect("a client");
    // Only its proxy knows the name.
    let builder = logs(&receiver, &spool).with_endpoint("http://collector.invalid/in").with_http_client(client);
    let report = builder.probe(ProbeMode::Send);
    assert!(report.is_ok(), "{report}");
    let found = stages(&report);
    assert!(found.contains(&(ProbeStage::Connection, ProbeResult::Skipped)), "{report}");
    assert!(found.iter().all(|(stage, _)| *stage != ProbeStage::Name), "{report}");
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn an_endpoint_that_reads_no_gzip_is_warned_of_since_delivery_sends_to_it_plain() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| match request.header("content-encoding") {
        Some(_) => Answer::status(400).body("no JSON"),
        None => Answer::ok(),
    });
    let report = logs(&receiver, &spool).with_compression(Compression::Gzip).probe(ProbeMode::Send);
    assert!(report.is_ok() && !report.is_refused(), "{report}");
    let response = report.steps().iter().find(|step| step.stage == ProbeStage::Response).expect("a response");
    assert_eq!(response.result, ProbeResult::Warned, "{report}");
    assert!(response.text.ends_with("it reads no gzip"), "{report}");
    // What is refused plain as well is refused.
    receiver.answer_always(Answer::status(400).body("no field `x`"));
    let report = logs(&receiver, &spool).with_compression(Compression::Gzip).probe(ProbeMode::Send);
    assert!(report.is_refused() && !report.to_string().contains("no gzip"), "{report}");
    assert_eq!(receiver.requests().len(), 4);
}

#[test]
fn the_headers_of_a_hook_and_of_the_url_are_among_those_that_were_sent() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(403));
    let url = receiver.url("/in").replace("://", "://me:s3cret@");
    let builder = logs(&receiver, &spool).with_endpoint(url).with_header_hook(|_, headers| {
        headers.insert("x-token", "t0ken")?;
        Ok(())
    });
    let text = builder.probe(ProbeMode::Send).to_string();
    assert!(text.contains("sent were the headers authorization, x-token"), "{text}");
    let text = logs(&receiver, &spool).probe(ProbeMode::Send).to_string();
    assert!(text.contains("no header with credentials was sent"), "{text}");
}

#[test]
fn a_record_that_is_too_large_for_the_settings_is_no_refusal_of_the_endpoint() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let report = logs(&receiver, &spool).with_max_request_bytes(10).probe(ProbeMode::Send);
    let (stage, text) = failure(&report);
    assert_eq!(stage, ProbeStage::Settings, "{report}");
    assert!(text.ends_with("was not sent: with_max_request_bytes allows 10"), "{report}");
    assert!(!report.is_refused() && stages(&report).iter().all(|(stage, _)| *stage != ProbeStage::Clock), "{report}");
    assert!(receiver.requests().is_empty(), "nothing is sent");
}

#[test]
fn what_delivery_would_do_follows_the_classifier_of_the_application() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(403));
    let delivery = |verdict: Verdict| {
        let report = logs(&receiver, &spool).with_response_classifier(move |_| verdict.clone()).probe(ProbeMode::Send);
        let step = report.steps().iter().find(|step| step.stage == ProbeStage::Delivery).expect("what delivery does");
        (report.is_ok(), report.is_refused(), step.text.clone())
    };
    let cases = [
        (Verdict::Delivered, true, false, "are delivered"),
        (Verdict::Hold, false, false, "records are held"),
        (Verdict::Retry, false, false, "is deferred for 24 h"),
        (Verdict::Rejected, false, true, "until another record is taken"),
        (Verdict::TooLarge, false, true, "until another record is taken"),
        (Verdict::Unconfirmed, false, false, "is sent 3 times under the same id"),
        (Verdict::DeliveredPartially { rejected: 1 }, false, true, "until another record is taken"),
    ];
    for (verdict, is_ok, is_refused, words) in cases {
        let (ok, refused, text) = delivery(verdict.clone());
        assert_eq!((ok, refused, text.contains(words)), (is_ok, is_refused, true), "{verdict:?}: {text}");
    }
}
