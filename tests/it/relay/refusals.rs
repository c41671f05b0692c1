//! What is refused, and what is dropped: counted by its reason, and reported where records are lost by it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use common::{PATIENCE, Receiver, free_port, in_words, spool_dir, wait_for};
use opentelemetry_spool::{DropReason, Listener, Relay};

use super::client::{Http, ask};
use super::message::{JSON, frame, framed, gzip, otlp_json, pickle};
use super::process::{bare_command, outcome};
use super::{any_port, builder, http_relay};

/// A request by its target, headers and body, and the status of its response.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);

const TEXT: (&str, &str) = ("Content-Type", "text/plain");

fn dropped(relay: &Relay, reason: DropReason) -> u64 {
    relay.stats().dropped(reason)
}

/// Waits until so many messages were dropped for a reason.
fn wait_for_dropped(relay: &Relay, reason: DropReason, messages: u64) {
    wait_for(reason.as_str(), || (dropped(relay, reason) >= messages).then_some(()));
    assert_eq!(dropped(relay, reason), messages, "{}", reason.as_str());
}

/// The messages that were delivered, but for gap records; and the records that these report as lost, by reason.
fn delivered(receiver: &Receiver) -> (Vec<String>, Vec<(String, u64)>) {
    let (gaps, messages): (Vec<_>, Vec<_>) =
        receiver.delivered().into_iter().partition(|message| message.starts_with("lost "));
    let mut reported: Vec<(String, u64)> = Vec::new();
    for gap in gaps {
        let records = gap.split(' ').nth(1).and_then(|number| number.parse().ok()).expect("a number");
        let reason = gap.split(['(', ')']).nth(1).expect("a reason").to_owned();
        match reported.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, all)) => *all += records,
            None => reported.push((reason, records)),
        }
    }
    reported.sort();
    (messages, reported)
}

/// Waits until the gap records that were delivered report these losses.
fn wait_for_reports(receiver: &Receiver, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(reason, records)| ((*reason).to_owned(), *records)).collect();
    wait_for("gap records", || {
        let (_, reported) = delivered(receiver);
        (reported.iter().map(|(_, records)| records).sum::<u64>() >= expected.iter().map(|(_, records)| records).sum())
            .then_some(())
    });
    assert_eq!(delivered(receiver).1, expected);
}

#[test]
fn what_the_page_of_another_site_has_a_browser_send_is_refused() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let cases: &[&[(&str, &str)]] = &[
        &[TEXT, ("Origin", "https://page.example")],
        &[TEXT, ("Origin", "null")],
        &[TEXT, ("Sec-Fetch-Site", "cross-site")],
        &[TEXT, ("Sec-Fetch-Site", "same-site")],
        // A name of the page's own that resolves to the loopback address.
        &[TEXT, ("Host", "page.example")],
        &[TEXT, ("Host", "127.0.0.1.page.example:9022")],
    ];
    for headers in cases {
        let response = ask(relay.addresses()[0], "POST", "/", headers, "from a page");
        assert_eq!(response.status, 403, "{headers:?}");
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
    // The question that a browser asks before others.
    let preflight = [("Origin", "https://page.example"), ("Access-Control-Request-Method", "POST")];
    assert_eq!(ask(relay.addresses()[0], "OPTIONS", "/", &preflight, "").status, 403);
    // An image of a page, too, is a request.
    let image = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")];
    assert_eq!(ask(relay.addresses()[0], "GET", "/?log=image", &image, "").status, 403);

    for headers in [&[TEXT, ("Sec-Fetch-Site", "none")][..], &[TEXT, ("Host", "localhost:1")]] {
        assert_eq!(ask(relay.addresses()[0], "POST", "/", headers, "from here").status, 200, "{headers:?}");
    }
    assert_eq!(receiver.wait_for_records(2), ["from here", "from here"]);
    assert_eq!(dropped(&relay, DropReason::CrossSite), 8);
}

#[test]
fn a_name_that_is_allowed_is_one_of_the_relays() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
    let relay = builder.with_host("logs.example").build().expect("a relay");
    for (host, status) in [("logs.example", 200), ("LOGS.example:9022", 200), ("example", 403)] {
        assert_eq!(ask(relay.addresses()[0], "POST", "/", &[TEXT, ("Host", host)], "a").status, status, "{host}");
    }
}

#[test]
fn who_has_no_credentials_is_refused_until_they_are_shown() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
    let relay = builder.with_token("secret-token").with_user("app", "pass:word").build().expect("a relay");
    let cases = [
        (None, 401),
        (Some("Bearer wrong"), 401),
        (Some("Basic c2VjcmV0LXRva2Vu"), 401),
        (Some("Bearer secret-token"), 200),
        // app:pass:word
        (Some("Basic YXBwOnBhc3M6d29yZA=="), 200),
    ];
    let mut refused = 0;
    for (authorization, status) in cases {
        let mut headers = vec![TEXT];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        let response = ask(relay.addresses()[0], "POST", "/", &headers, authorization.unwrap_or("none"));
        assert_eq!(response.status, status, "{authorization:?}");
        let challenge = response.header("www-authenticate").is_some();
        assert_eq!(challenge, status == 401, "{authorization:?}");
        refused += u64::from(status == 401);
    }
    assert_eq!(receiver.wait_for_records(2), ["Bearer secret-token", "Basic YXBwOnBhc3M6d29yZA=="]);
    assert_eq!(dropped(&relay, DropReason::Unauthorized), refused);
    assert_eq!(relay.logs().stats().lost_records, 0, "who is refused was told so");
}

#[test]
fn a_body_above_the_limit_is_read_and_its_client_sees_the_refusal() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
    let builder = builder.with_max_incoming_bytes(100_000).with_max_otlp_bytes(200_000);
    let relay = builder.build().expect("a relay");
    let large = vec![b'x'; 5 << 20];
    let otlp = otlp_json(&["x".repeat(150_000)]);
    let cases: &[Case<'_>] = &[
        ("/", &[TEXT], &large, 413),
        ("/", &[TEXT, ("Content-Encoding", "gzip")], &gzip(&large), 413),
        ("/v1/logs", &[JSON], &large, 413),
        ("/v1/logs", &[JSON], &otlp, 200),
        ("/", &[TEXT], b"small", 200),
    ];
    for (target, headers, body, status) in cases {
        let response = ask(relay.addresses()[0], "POST", target, headers, body);
        assert_eq!(response.status, *status, "{target} {headers:?}: {}", response.text());
    }
    let mut chunked = Http::connect(relay.addresses()[0]).expect("the relay listens");
    chunked
        .send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        .and_then(|()| chunked.send(format!("{:x}\r\n", large.len()).as_bytes()))
        .and_then(|()| chunked.send(&large))
        .and_then(|()| chunked.send(b"\r\n0\r\n\r\n"))
        .expect("all of it is read");
    assert_eq!(chunked.response(false).expect("a response").status, 413);

    assert_eq!(dropped(&relay, DropReason::TooLarge), 4);
    wait_for_reports(&receiver, &[("too_large", 4)]);
    assert_eq!(relay.logs().stats().too_large_records, 4);
}

#[test]
fn a_request_above_what_the_buffer_holds_is_refused_for_good() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = builder(&receiver, spool.path()).with_listener(Listener::Http(any_port()));
    let relay = builder.with_max_buffer_bytes(1 << 20).build().expect("a relay");
    // Half of the memory is for what is being read.
    for (bytes, status) in [(600_000, 413), (400_000, 200)] {
        let response = ask(relay.addresses()[0], "POST", "/v1/logs", &[JSON], otlp_json(&["x".repeat(bytes)]));
        assert_eq!(response.status, status, "{bytes}: {}", response.text());
    }
    assert_eq!(dropped(&relay, DropReason::TooLarge), 1);
    wait_for_reports(&receiver, &[("too_large", 1)]);
}

#[test]
fn what_the_relay_has_sent_itself_does_not_come_in_again() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    assert_eq!(ask(relay.addresses()[0], "POST", "/", &[TEXT], "once").status, 200);
    let sent = receiver.wait_for_requests(1).remove(0);
    let via = sent.header("via").expect("the relay says who it is").to_owned();
    // As a collector that was configured to send to the relay would send it.
    for via in [via.clone(), format!("1.1 proxy, {via}")] {
        let response = ask(relay.addresses()[0], "POST", "/", &[JSON, ("Via", &via)], sent.plain());
        assert_eq!(response.status, 508, "{via}");
    }
    assert_eq!(ask(relay.addresses()[0], "POST", "/", &[TEXT, ("Via", "1.1 otel-spool;other")], "other").status, 200);
    assert_eq!(receiver.wait_for_records(2), ["once", "other"]);
    assert_eq!(dropped(&relay, DropReason::Loop), 2);
}

#[test]
fn a_relay_that_would_send_to_itself_does_not_start() {
    let spool = spool_dir();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for host in ["127.0.0.1", "localhost"] {
        for listener in [Listener::Otlp(address), Listener::Http(address), Listener::Tcp(address)] {
            let endpoint = format!("http://{host}:{}/v1/logs", address.port());
            let builder = Relay::builder().with_spool_dir(spool.path()).with_endpoint(&endpoint);
            let error = in_words(&builder.with_listener(listener.clone()).build().expect_err("a circle"));
            assert!(error.contains("with_endpoint") && error.contains(&listener.to_string()), "{error}");
        }
    }
}

#[test]
fn neither_does_one_whose_endpoint_is_in_a_variable() {
    let spool = spool_dir();
    let address = format!("127.0.0.1:{}", free_port());
    let dir = spool.path().to_str().expect("a path of text");
    let mut command = bare_command(&[dir, "--otlp", &address]);
    // What is set for the applications of a host, the relay sees as well.
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
    let (code, out, error) = outcome(&mut command);
    assert_eq!((code, &*out), (2, ""), "{error}");
    assert!(error.contains("the relay itself") && error.contains(&address), "{error}");
}

#[test]
fn an_address_that_others_reach_has_to_be_allowed() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let anywhere: SocketAddr = "0.0.0.0:0".parse().expect("an address");
    for listener in
        [Listener::Http(anywhere), Listener::Otlp(anywhere), Listener::Tcp(anywhere), Listener::Udp(anywhere)]
    {
        let listening = || builder(&receiver, spool.path()).with_listener(listener.clone());
        let error = in_words(&listening().build().expect_err("it can be reached from other hosts"));
        assert!(error.contains(&listener.to_string()) && error.contains("with_listen_anywhere"), "{error}");
        drop(listening().with_listen_anywhere(true).build().expect("it is allowed"));
    }
}

#[test]
fn the_command_names_the_option_that_allows_an_address_that_others_reach() {
    let spool = spool_dir();
    let dir = spool.path().to_str().expect("a path of text");
    let (code, _, error) = outcome(&mut bare_command(&[dir, "--to", "http://127.0.0.1:9", "--otlp", "0.0.0.0:0"]));
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("--listen-anywhere"), "{error}");
}

/// A relay with listeners of frames.
fn frame_relay(receiver: &Receiver, spool: &std::path::Path) -> Relay {
    let builder = builder(receiver, spool).with_listener(Listener::Tcp(any_port()));
    builder.with_listener(Listener::Udp(any_port())).with_max_record_bytes(1000).build().expect("a relay")
}

#[test]
fn a_bad_frame_costs_itself_alone() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = frame_relay(&receiver, spool.path());
    let mut client = TcpStream::connect(relay.addresses()[0]).expect("the relay listens");
    let frames = [
        frame("first"),
        framed(b"no pickle"),
        // A pickle that is no record, and one that ends too early.
        framed(b"K\x01."),
        framed(&pickle("app", "early")[..20]),
        frame("second"),
        frame(&"x".repeat(1000)),
        framed(&vec![b'x'; 1 << 20]),
        frame("third"),
    ];
    client.write_all(&frames.concat()).expect("it is sent");

    wait_for("the third record", || delivered(&receiver).0.contains(&"third".to_owned()).then_some(()));
    assert_eq!(delivered(&receiver).0, ["first", "second", "third"]);
    wait_for_dropped(&relay, DropReason::BadFrame, 3);
    wait_for_dropped(&relay, DropReason::TooLarge, 2);
    wait_for_reports(&receiver, &[("bad_frame", 3), ("too_large", 2)]);
    let stats = relay.logs().stats();
    assert_eq!((stats.bad_frame_records, stats.too_large_records, stats.lost_records), (3, 2, 5));
    let listener = &relay.stats().listeners[0];
    assert_eq!((listener.connections, listener.open_connections, listener.records), (1, 1, 3));
}

#[test]
fn what_is_no_frame_at_all_ends_its_connection_and_no_other() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = frame_relay(&receiver, spool.path());
    let mut good = TcpStream::connect(relay.addresses()[0]).expect("the relay listens");
    good.write_all(&frame("before")).expect("it is sent");
    let tls_hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let far_too_long = [0x7f, 0xff, 0xff, 0xff, b'}'];
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &tls_hello, &[&frame("kept"), &far_too_long[..]].concat()] {
        let mut client = TcpStream::connect(relay.addresses()[0]).expect("the relay listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a limit");
        client.write_all(bytes).expect("it is sent");
        // The end, or a reset, but no answer.
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
    good.write_all(&frame("after")).expect("it is sent");
    wait_for("all records", || (delivered(&receiver).0.len() == 3).then_some(()));
    let (of_other, of_good): (Vec<_>, Vec<_>) = delivered(&receiver).0.into_iter().partition(|text| text == "kept");
    // Connections have no order among themselves.
    assert_eq!((of_other.len(), of_good), (1, vec!["before".to_owned(), "after".to_owned()]));
    wait_for_dropped(&relay, DropReason::BadFrame, 3);
    wait_for_reports(&receiver, &[("bad_frame", 3)]);
}

#[test]
fn a_frame_of_which_the_client_sent_a_part_is_cut() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = frame_relay(&receiver, spool.path());
    let cut = frame("cut");
    for kept in [2, 4, 10, cut.len() - 1] {
        let mut client = TcpStream::connect(relay.addresses()[0]).expect("the relay listens");
        client.write_all(&[&frame("whole"), &cut[..kept]].concat()).expect("it is sent");
    }
    wait_for_dropped(&relay, DropReason::Cut, 4);
    wait_for_reports(&receiver, &[("cut", 4)]);
    wait_for("the whole ones", || (delivered(&receiver).0 == ["whole"; 4]).then_some(()));
    assert_eq!(relay.logs().stats().cut_records, 4);
    wait_for("closed connections", || (relay.stats().listeners[0].open_connections == 0).then_some(()));
}

#[test]
fn a_datagram_is_one_frame_or_none() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = frame_relay(&receiver, spool.path());
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let two = [frame("one"), frame("two")].concat();
    for datagram in
        [&frame("first")[..], b"", b"abc", &frame("short")[..30], &two, &frame(&"x".repeat(1000)), &frame("last")]
    {
        client.send_to(datagram, relay.addresses()[1]).expect("it is sent");
    }
    wait_for("the last record", || delivered(&receiver).0.contains(&"last".to_owned()).then_some(()));
    assert_eq!(delivered(&receiver).0, ["first", "last"]);
    wait_for_dropped(&relay, DropReason::BadFrame, 4);
    wait_for_dropped(&relay, DropReason::TooLarge, 1);
    wait_for_reports(&receiver, &[("bad_frame", 4), ("too_large", 1)]);
}

#[test]
fn requests_that_are_none_are_refused_and_counted() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let relay = http_relay(&receiver, spool.path());
    let cases = [
        ("nonsense\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\na", 415),
        ("GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505),
    ];
    for (request, status) in cases {
        let mut http = Http::connect(relay.addresses()[0]).expect("the relay listens");
        http.send(request.as_bytes()).expect("it is sent");
        assert_eq!(http.response(false).expect("a response").status, status, "{request}");
        assert!(http.is_closed());
    }
    assert_eq!(dropped(&relay, DropReason::BadRequest), cases.len() as u64);

    let mut http = Http::connect(relay.addresses()[0]).expect("the relay listens");
    http.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\na part").expect("it is sent");
    drop(http);
    wait_for_dropped(&relay, DropReason::Cut, 1);
    assert_eq!(relay.logs().stats().accepted_records, 0);
}
