//! The words of a failure: whom it was sent to, on which way, and what came back, the same wherever they are shown.

use std::sync::mpsc;
use std::time::Duration;

use common::{Answer, PATIENCE, Receiver, Service, exporter_to, spool_dir};
use opentelemetry_spool::{FormEncoder, LogExporterBuilder, SpoolEvent};

/// The reason of the first failure of a record that is sent with these settings, which events and figures share.
fn failure(exporter: LogExporterBuilder) -> String {
    let (sender, reported) = mpsc::channel();
    let service = Service::simple(exporter.with_on_event(move |event| drop(sender.send(event.clone()))));
    service.log("hello");
    let reason = loop {
        match reported.recv_timeout(PATIENCE).expect("an event") {
            SpoolEvent::DeliveryFailing { reason, .. } | SpoolEvent::BatchHeld { reason, .. } => break reason,
            // Of a spool that was sent elsewhere before.
            SpoolEvent::QueueStranded { .. }
            | SpoolEvent::QueueAdopted { .. }
            | SpoolEvent::SettingSuspicious { .. } => {}
            event => panic!("{event:?}"),
        }
    };
    let stats = service.handle.stats();
    assert_eq!(stats.last_error.as_deref(), Some(&*reason), "{stats:?}");
    assert!(SpoolEvent::BatchHeld { batch: String::new(), reason: reason.clone() }.to_string().ends_with(&reason));
    reason
}

/// `host:port` of a receiver.
fn address(receiver: &Receiver) -> String {
    receiver.url("").trim_start_matches("http://").to_owned()
}

#[test]
fn an_endpoint_that_nobody_listens_at_is_named() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let url = receiver.url("/ingest?key=s3cret").replace("://", "://me:pa55word@");
    let reason = failure(exporter_to(&url, &spool));
    let start =
        format!("{}?...: no connection to {}: tcp connect error: ", receiver.url("/ingest"), address(&receiver));
    assert!(reason.starts_with(&start), "{reason}");
    assert!(!reason.contains("s3cret") && !reason.contains("pa55word"), "{reason}");
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let spool = spool_dir();
    let reason = failure(exporter_to("http://logs.invalid:4318/ingest", &spool));
    assert!(
        reason.starts_with("http://logs.invalid:4318/ingest: no connection to logs.invalid:4318: dns error: "),
        "{reason}"
    );
}

#[test]
fn a_proxy_on_the_way_is_named() {
    let (proxy, spool) = (Receiver::start_down(), spool_dir());
    for (endpoint, host) in [("http://logs.invalid/in", "80"), ("https://logs.invalid/in", "443")] {
        if !cfg!(feature = "tls") && host == "443" {
            continue;
        }
        let (url, address) = (proxy.url(""), address(&proxy));
        let with_password = url.replace("://", "://me:pa55word@");
        let reason = failure(exporter_to(endpoint, &spool).with_proxy(with_password));
        let start = format!("{endpoint} through proxy {url}: no connection to {address}: ");
        assert!(reason.starts_with(&start) && reason.contains("tcp connect error"), "{reason}");
    }
    proxy.come_up();
    proxy.answer_always(Answer::status(407).body("who are you?"));
    let reason = failure(exporter_to("http://logs.invalid/in", &spool).with_proxy(proxy.url("")));
    let way = format!("http://logs.invalid/in through proxy {}", proxy.url(""));
    assert_eq!(reason, format!("{way}: the server responded with 407: who are you?"));
}

#[test]
fn an_endpoint_that_does_not_respond_is_named_with_the_time() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::hang());
    let timeout = Duration::from_millis(50);
    let reason = failure(exporter_to(&receiver.url("/in"), &spool).with_timeout(timeout).with_max_timeout(timeout));
    assert_eq!(reason, format!("{}: no response from {} within 50ms", receiver.url("/in"), address(&receiver)));
}

#[cfg(feature = "tls")]
#[test]
fn an_endpoint_that_does_not_speak_tls_is_named_and_so_is_one_that_is_not_trusted() {
    use common::Authority;

    let (receiver, spool) = (Receiver::start(), spool_dir());
    let url = receiver.url("/in").replace("http://", "https://");
    let reason = failure(exporter_to(&url, &spool));
    let start = format!("{url}: no connection to {}: ", address(&receiver));
    assert!(reason.starts_with(&start), "{reason}");
    assert!(reason.ends_with("; it does not speak TLS, which https:// asks for"), "{reason}");

    let authority = Authority::new();
    let receiver = Receiver::start_tls(authority.server(None));
    let reason = failure(exporter_to(&receiver.url("/in"), &spool));
    let host = receiver.url("").replace("https://", "");
    let start = format!("{}: no connection to {host}: ", receiver.url("/in"));
    assert!(reason.starts_with(&start) && reason.contains("UnknownIssuer"), "{reason}");
}

#[test]
fn the_text_of_a_refusal_is_shown_where_that_is_asked_for() {
    let spool = spool_dir();
    let receiver = Receiver::start();
    receiver.answer_always(Answer::status(422).body("level: not a number in\n 'hunter2'"));
    let url = receiver.url("/in");
    let reason = failure(exporter_to(&url, &spool));
    assert_eq!(
        reason,
        format!(
            "{url}: the server responded with 422, and a text that can repeat what was logged: `response_text` shows it; what was \
             sent is application/json"
        )
    );
    let reason = failure(exporter_to(&url, &spool).with_response_text(true));
    assert_eq!(reason, format!("{url}: the server responded with 422: level: not a number in 'hunter2'"));
}

#[test]
fn a_refusal_without_a_word_names_what_was_sent_also_of_a_format_of_before() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(400).body(""));
    let url = receiver.url("/in");
    let before = Service::careless(exporter_to(&url, &spool));
    before.handle.pause();
    before.log("hello");
    drop(before);
    let service = Service::simple(exporter_to(&url, &spool).with_encoder(FormEncoder::default()));
    let stats = service.wait_for_stats("an error", |stats| stats.last_error.is_some());
    let expected =
        format!("{url}: the server responded with 400: it does not say why; what was sent is application/json");
    assert_eq!(stats.last_error, Some(expected));
}

#[cfg(feature = "otlp")]
#[test]
fn a_404_at_a_path_that_is_there_twice_says_so() {
    use opentelemetry_spool::Protocol;

    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(404).body("404 page not found"));
    let url = receiver.url("/v1/logs/v1/logs");
    let reason = failure(exporter_to(&url, &spool).with_protocol(Protocol::HttpBinary));
    let expected = format!(
        "{url}: the server responded with 404: 404 page not found; its path is /v1/logs and /v1/logs: with_endpoint is used as \
         it is, so leave one of them out"
    );
    assert_eq!(reason, expected);
}
