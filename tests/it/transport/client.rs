//! The HTTP client and its settings: proxy, redirects, timeouts, connections, and a client of one's own.

use std::time::Duration;

use common::{Answer, Authority, Receiver, Service, exporter, exporter_to, in_words, names, spool_dir};
use opentelemetry_spool::{Durability, ExporterBuildError, LogExporter, LogExporterBuilder};

#[test]
fn requests_go_through_the_proxy() {
    let (proxy, spool) = (Receiver::start(), spool_dir());
    // This name does not resolve: only a proxy can reach it.
    let endpoint = "http://logs.invalid/ingest?a=b";
    let proxy_url = proxy.url("").replace("http://", "http://user:pass@");
    let service = Service::simple(exporter_to(endpoint, &spool).with_proxy(proxy_url));

    service.log("hello");
    service.deliver();

    let request = proxy.requests().remove(0);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", endpoint));
    assert_eq!(request.header("host"), Some("logs.invalid"));
    let agent = request.header("user-agent").expect("a name");
    assert!(agent.starts_with("OTel-Spool-Exporter-Rust/0."), "{agent}");
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwYXNz"));
    assert_eq!(proxy.delivered(), ["hello"]);
}

#[test]
fn a_proxy_that_is_down_holds_the_records() {
    let (proxy, receiver, spool) = (Receiver::start_down(), Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_proxy(proxy.url("")));
    service.log("hello");
    service.wait_for_stats("failed requests", |stats| stats.failed_requests > 1);
    assert_eq!(receiver.look(|log| log.connections), 0);

    proxy.come_up();
    service.deliver();
    assert_eq!(proxy.delivered(), ["hello"]);
}

#[test]
fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (receiver, elsewhere, spool) = (Receiver::start(), Receiver::start(), spool_dir());
        for to in [elsewhere.url("/"), receiver.url("/elsewhere")] {
            receiver.answer_next(Answer::status(status).header("location", to));
        }
        let service = Service::simple(exporter(&receiver, &spool).with_headers([("authorization", "s3cret")]));

        service.log("hello");
        service.deliver();

        let requests = receiver.requests();
        assert_eq!(requests.len(), 3, "{status}");
        assert!(requests.iter().all(|request| request.method == "POST" && request.target == "/ingest"), "{status}");
        assert_eq!(elsewhere.look(|log| log.connections), 0, "{status}");
    }
}

#[test]
fn one_connection_is_kept_for_all_requests() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));
    for round in 0..20 {
        if round % 5 == 4 {
            receiver.answer_next(Answer::status(503));
        }
        service.log("hello");
        service.deliver();
    }
    let requests = receiver.requests();
    assert_eq!(requests.len(), 24);
    assert!(requests.iter().all(|request| request.remote_port == requests[0].remote_port));
    assert_eq!(receiver.look(|log| log.connections), 1);
}

#[test]
fn no_connection_is_kept_when_that_is_asked_for() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_keep_alive(Duration::ZERO));
    for _ in 0..5 {
        service.log("hello");
        service.deliver();
    }
    assert_eq!(receiver.look(|log| log.connections), 5);
}

#[test]
fn a_kept_connection_that_the_server_has_closed_costs_nothing() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool));
    for number in 1..=10 {
        service.log(&common::name("m", number));
        service.deliver();
        receiver.go_down();
        receiver.come_up();
    }
    assert_eq!(receiver.delivered(), names("m", 1..=10));
    assert_eq!(receiver.look(|log| log.repeated), 0);
}

#[test]
fn a_client_of_one_s_own_is_used_as_it_is() {
    let (receiver, proxy, spool) = (Receiver::start(), Receiver::start(), spool_dir());
    let headers = axum::http::HeaderMap::from_iter([(
        axum::http::HeaderName::from_static("x-default"),
        axum::http::HeaderValue::from_static("mine"),
    )]);
    let client = reqwest::Client::builder()
        .user_agent("checkout/1.0")
        .default_headers(headers)
        .proxy(reqwest::Proxy::http(proxy.url("")).expect("a proxy"))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let service =
        Service::simple(exporter(&receiver, &spool).with_http_client(client).with_headers([("x-static", "ours")]));

    service.log("hello");
    service.deliver();

    let request = proxy.requests().remove(0);
    assert_eq!(request.header("user-agent"), Some("checkout/1.0"));
    assert_eq!(request.header("x-default"), Some("mine"));
    assert_eq!(request.header("x-static"), Some("ours"));
    assert_eq!(receiver.requests().len(), 0);
}

#[test]
fn the_timeout_holds_for_a_client_of_one_s_own_too() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::hang());
    let service = Service::simple(
        exporter(&receiver, &spool).with_http_client(reqwest::Client::new()).with_timeout(Duration::from_millis(300)),
    );
    service.log("hello");
    service.deliver();
    assert_eq!(receiver.delivered(), ["hello"]);
}

/// Expects `build()` to fail with an error that names the setting. Gives it in words.
fn refused(setting: &str, value: &str, change: impl FnOnce(LogExporterBuilder) -> LogExporterBuilder) -> String {
    let spool = spool_dir();
    let builder = LogExporter::builder().with_endpoint("http://127.0.0.1:1/").with_spool_dir(spool.path());
    let Err(error) = change(builder).build() else { panic!("{setting} took {value:?}") };
    let ExporterBuildError::Invalid { setting: named, .. } = &error else { panic!("{setting}: {error:?}") };
    assert!(named.contains(setting), "{setting}, {value:?}: {named}");
    let text = in_words(&error);
    assert!(text.contains(setting), "{text}");
    // Whatever was wrong, nothing was left behind.
    let left = spool.path().read_dir().expect("a directory").count();
    assert_eq!(left, 0, "a spool was made though {setting} is {value:?}");
    text
}

#[cfg(not(feature = "tls"))]
#[test]
fn what_takes_tls_is_an_error_that_names_setting_and_feature() {
    let text = [
        refused("with_endpoint", "https", |builder| builder.with_endpoint("https://127.0.0.1:1/")),
        refused("with_proxy", "https", |builder| builder.with_proxy("https://127.0.0.1:1/")),
        refused("with_root_certificate_pem", "any", |builder| builder.with_root_certificate_pem("any")),
        refused("with_client_identity_pem", "any", |builder| builder.with_client_identity_pem("any")),
    ];
    assert!(text.iter().all(|text| text.contains("the feature `tls`")), "{text:#?}");
}

#[test]
fn what_has_no_default_must_be_set() {
    let spool = spool_dir();
    let error = LogExporter::builder().with_spool_dir(spool.path()).build().expect_err("no endpoint");
    assert!(matches!(error, ExporterBuildError::Missing { setting: "with_endpoint", .. }), "{error:?}");
    let error = LogExporter::builder().with_endpoint("http://127.0.0.1:1/").build().expect_err("no spool");
    assert!(matches!(error, ExporterBuildError::Missing { setting: "with_spool_dir", .. }), "{error:?}");
}

#[test]
fn a_setting_that_is_not_legal_is_an_error_that_names_it() {
    let relative = ["", "logs.example.com/ingest", "/ingest"];
    for endpoint in
        relative.into_iter().chain(["ftp://127.0.0.1/", "http://", "http://a b/", "http://[::1/", "http://a/b#c"])
    {
        refused("with_endpoint", endpoint, |builder| builder.with_endpoint(endpoint));
    }
    // A proxy that would not be used is as bad as one that cannot be.
    for proxy in ["", "://", "http://", "nonsense://127.0.0.1:1", "ftp://127.0.0.1:1", "socks5://127.0.0.1:1"] {
        refused("with_proxy", proxy, |builder| builder.with_proxy(proxy));
    }
    let not_base64 = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "not a PEM", not_base64, not_x509] {
        refused("with_root_certificate_pem", pem, |builder| builder.with_root_certificate_pem(pem));
    }
    let (certificate, identity) = (Authority::new().pem(), Authority::new().client_identity());
    let key = identity.split_once("-----BEGIN CERTIFICATE").expect("a key, then a certificate").0;
    for pem in ["", "not a PEM", not_base64, &certificate, key, &(key.to_owned() + not_x509)] {
        refused("with_client_identity_pem", pem, |builder| builder.with_client_identity_pem(pem));
    }
    let zero = Duration::ZERO;
    refused("with_timeout", "zero", |builder| builder.with_timeout(zero));
    refused("with_connect_timeout", "zero", |builder| builder.with_connect_timeout(zero));
    refused("with_durability", "zero", |builder| builder.with_durability(Durability::Interval(zero)));
    refused("with_max_batch_records", "zero", |builder| builder.with_max_batch_records(0));
    refused("with_max_batch_bytes", "zero", |builder| builder.with_max_batch_bytes(0));
    refused("with_max_request_bytes", "zero", |builder| builder.with_max_request_bytes(0));
    refused("with_max_response_bytes", "zero", |builder| builder.with_max_response_bytes(0));
    refused("with_segment_bytes", "too few", |builder| builder.with_segment_bytes((1 << 20) - 1));
    refused("with_headers", "a line break", |builder| builder.with_headers([("x", "a\nb")]));
}

#[test]
fn the_largest_settings_are_legal() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(
        exporter(&receiver, &spool)
            .with_timeout(Duration::MAX)
            .with_connect_timeout(Duration::MAX)
            .with_keep_alive(Duration::MAX)
            .with_linger(Duration::from_millis(1))
            .with_max_batch_records(usize::MAX)
            .with_max_batch_bytes(usize::MAX)
            .with_max_request_bytes(usize::MAX)
            .with_max_response_bytes(usize::MAX),
    );
    service.log_all("m", 1..=1_000);
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=1_000));
}

#[test]
fn a_request_that_is_larger_than_allowed_is_split_and_never_sent() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_max_request_bytes(600));
    service.log_all("m", 1..=20);
    service.log(&common::noise(2_000));
    receiver.come_up();
    service.wait_for_rejected(1);
    service.deliver();

    let delivered: Vec<_> = receiver.delivered().into_iter().filter(|message| !message.starts_with("live")).collect();
    assert_eq!(delivered, names("m", 1..=20), "in order, in smaller ones");
    assert!(receiver.requests().iter().all(|request| request.body.len() <= 600));
    assert_eq!(service.handle.stats().rejected_records, 1, "one that is larger alone");
    let rejected = service.handle.rejected().expect("the rejected store");
    assert!(rejected[0].response.contains("with_max_request_bytes allows 600"), "{:?}", rejected[0].response);
}
