//! Connections from the first byte to the last, over a stream in memory and with a clock that waits for nothing.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{DuplexStream, ReadBuf, duplex};
use tokio::sync::Notify;

use super::super::guard::{Credential, Hosts, via};
use super::super::handler::Answering;
use super::*;
use crate::relay::protocol::Request;

/// Notes what it is given.
#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<String>>,
    refused: Mutex<Vec<Refusal>>,
    /// How many of these were strangers.
    strangers: AtomicUsize,
    /// Waits before each answer.
    gate: Option<Notify>,
    /// Keeps the memory of the requests.
    kept: Mutex<Vec<Permit>>,
    keeps: bool,
}

impl Handler for Notes {
    fn handle<'a>(&'a self, incoming: Incoming, _peer: &'a str) -> Answering<'a> {
        Box::pin(async move {
            let request = incoming.request();
            let query = request.query.map_or(String::new(), |query| format!("?{}", String::from_utf8_lossy(query)));
            let (path, body) = (String::from_utf8_lossy(request.path), String::from_utf8_lossy(&incoming.body));
            let cut = if incoming.cut { " cut" } else { "" };
            self.seen.lock().unwrap().push(format!("{} {path}{query} {body}{cut}", request.method));
            if self.keeps {
                self.kept.lock().unwrap().push(incoming.permit);
            }
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            Response { body: self.seen.lock().unwrap().len().to_string().into_bytes().into(), ..Response::new(200) }
        })
    }

    fn max_body(&self, request: &Request<'_>) -> Option<usize> {
        (request.path == b"/large").then_some(4 << 20)
    }

    fn refused(&self, refused: &Refused<'_>) {
        self.refused.lock().unwrap().push(refused.refusal);
        self.strangers.fetch_add(usize::from(refused.is_stranger), Ordering::Relaxed);
    }
}

fn server() -> Server<Notes> {
    let guard = Guard::new(Hosts::Any, Vec::new(), "id");
    let limits = RequestLimits { body: 100_000, ..RequestLimits::default() };
    Server { handler: Notes::default(), limits, guard, budget: Budget::new(1 << 20) }
}

impl Server<Notes> {
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.handler.seen.lock().unwrap())
    }

    fn refused(&self) -> Vec<Refusal> {
        std::mem::take(&mut *self.handler.refused.lock().unwrap())
    }

    /// Serves a client until both have ended. Returns what the client returns.
    async fn with<T>(&self, client: impl AsyncFnOnce(DuplexStream) -> T) -> T {
        let (near, far) = duplex(64 << 10);
        let (_up, down) = watch::channel(false);
        let both = async { tokio::join!(self.serve(far, "peer", down), client(near)).1 };
        timeout(Duration::from_secs(86_400), both).await.expect("it ends")
    }

    /// Sends these pieces, then the end. Returns all that comes back.
    async fn send(&self, pieces: &[&[u8]]) -> String {
        self.with(async |mut stream| {
            for piece in pieces {
                let _ = stream.write_all(piece).await;
                sleep(Duration::from_millis(1)).await;
            }
            let _ = stream.shutdown().await;
            text(&mut stream).await
        })
        .await
    }
}

async fn text(stream: &mut DuplexStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Reads a response whose body is one byte.
async fn response(stream: &mut DuplexStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    text.push(stream.read_u8().await.unwrap());
    String::from_utf8(text).unwrap()
}

fn statuses(responses: &str) -> Vec<u16> {
    let begins = responses.match_indices("HTTP/1.1 ").map(|(at, found)| &responses[at + found.len()..]);
    begins.map(|rest| rest[..3].parse::<u16>().unwrap()).collect()
}

const PYTHON_FORM: &str = "POST log HTTP/1.1\r\nHost: 127.0.0.1:33013\r\nAccept-Encoding: identity\r\n\
    Content-type: application/x-www-form-urlencoded\r\nContent-length: 70\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n\
    name=a.b&msg=caf%C3%A9+%25s+%26+more&levelname=WARNING&args=%281%2C%29";

/// What clients send, as it was recorded, and what a handler sees of it.
const RECORDED: [(&str, &str); 8] = [
    (
        "GET log?name=a.b&msg=caf%C3%A9+%25s+%26+more&levelname=WARNING&args=%281%2C%29 HTTP/1.1\r\n\
         Host: 127.0.0.1:49949\r\nAccept-Encoding: identity\r\n\r\n",
        "GET log?name=a.b&msg=caf%C3%A9+%25s+%26+more&levelname=WARNING&args=%281%2C%29 ",
    ),
    (PYTHON_FORM, "POST log name=a.b&msg=caf%C3%A9+%25s+%26+more&levelname=WARNING&args=%281%2C%29"),
    (
        "POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1:40811\r\nAccept-Encoding: identity\r\nContent-Length: 7\r\n\
         Content-Type: application/json\r\n\r\n{\"a\":1}",
        "POST /v1/logs {\"a\":1}",
    ),
    // Python 2.7.
    (
        "GET log?msg=caf%C3%A9+%25s+%26+more&args=%281%2C%29&name=a.b&levelname=WARNING HTTP/1.0\r\n\
         Host: 127.0.0.1\r\n\r\n",
        "GET log?msg=caf%C3%A9+%25s+%26+more&args=%281%2C%29&name=a.b&levelname=WARNING ",
    ),
    (
        "POST log HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-type: application/x-www-form-urlencoded\r\n\
         Content-length: 70\r\n\r\nmsg=caf%C3%A9+%25s+%26+more&args=%281%2C%29&name=a.b&levelname=WARNING",
        "POST log msg=caf%C3%A9+%25s+%26+more&args=%281%2C%29&name=a.b&levelname=WARNING",
    ),
    // Node.
    (
        "POST /v1/logs HTTP/1.1\r\nContent-Type: application/json\r\nHost: 127.0.0.1:44305\r\nConnection: keep-alive\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n",
        "POST /v1/logs {\"a\":1}",
    ),
    // Health checks.
    ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET / "),
    ("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HEAD / "),
];

#[tokio::test(start_paused = true)]
async fn what_clients_really_send_is_read_however_it_arrives() {
    for (sent, seen) in RECORDED {
        let server = server();
        let bytes = sent.as_bytes();
        let head = sent.find("\r\n\r\n").unwrap() + 4;
        let by_byte: Vec<_> = bytes.chunks(1).collect();
        for pieces in [&[bytes][..], &[&bytes[..head], &bytes[head..]], &by_byte] {
            let responses = server.send(pieces).await;
            assert_eq!(statuses(&responses), [200], "{sent}");
            assert_eq!(server.seen(), [seen], "{sent}");
            let stays = !sent.contains("HTTP/1.0");
            assert_eq!(responses.contains("Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n"), stays, "{sent}");
            assert_eq!(responses.contains("Connection: close\r\n"), !stays, "{sent}");
            assert_eq!(responses.ends_with("\r\n\r\n"), sent.starts_with("HEAD"), "{sent}");
        }
        assert_eq!(server.refused(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_connection_are_answered_in_order() {
    let server = server();
    let all: String = RECORDED.iter().map(|(sent, _)| *sent).filter(|sent| !sent.contains("HTTP/1.0")).collect();
    let by_byte: Vec<_> = all.as_bytes().chunks(1).collect();
    for pieces in [&[all.as_bytes()][..], &by_byte] {
        let responses = server.send(pieces).await;
        assert_eq!(statuses(&responses), [200; 6]);
        let bodies: Vec<_> = responses.split("HTTP/1.1 ").filter_map(|response| response.chars().last()).collect();
        assert_eq!(bodies, ['1', '2', '3', '4', '5', '\n']);
        assert_eq!(server.seen().len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_as_its_client_wishes() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.1", "Connection: x, Close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: keep-alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ];
    for (version, headers, stays) in cases {
        let request = format!("GET / {version}\r\n{headers}\r\n").repeat(2);
        let responses = server().send(&[request.as_bytes()]).await;
        assert_eq!(statuses(&responses).len(), if stays { 2 } else { 1 }, "{version} {headers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_line_may_have_megabytes() {
    let server = server();
    let sent = format!("GET log?msg={} HTTP/1.1\r\n\r\n", "x".repeat(8_000_000));
    assert_eq!(statuses(&server.send(&[sent.as_bytes()]).await), [200]);
    assert_eq!(server.seen()[0].len(), sent.len() - " HTTP/1.1\r\n\r\n".len() + 1);
    let sent = format!("GET log?msg={} HTTP/1.1\r\n\r\n", "x".repeat(9_000_000));
    assert_eq!(statuses(&server.send(&[sent.as_bytes()]).await), [414]);
    assert_eq!(server.refused(), [Refusal::LineTooLong]);
    assert_eq!(server.budget.available(), 1 << 20, "its memory was given back");
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_form_at_once_belongs_to_it_unless_it_is_a_request() {
    let form = |len: usize, rest: &str| {
        format!(
            "POST /f HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\nContent-length: {len}\r\n\r\n{rest}"
        )
    };
    let next = "GET /next HTTP/1.1\r\n\r\n";
    let cases: [(&[&str], &[&str], &[u16]); 9] = [
        (&[&form(5, "log=caf%C3%A9")], &["POST /f log=caf%C3%A9"], &[200]),
        (&[&form(5, "log=caf%C"), "3%A9", "+more"], &["POST /f log=caf%C3%A9+more"], &[200]),
        (&[&form(5, "log=c"), next], &["POST /f log=c", "GET /next "], &[200, 200]),
        (&[&(form(5, "log=c") + next)], &["POST /f log=c", "GET /next "], &[200, 200]),
        (&[&form(5, "log=cGE"), "T /next HTTP/1.1\r\n\r\n"], &["POST /f log=c", "GET /next "], &[200, 200]),
        // What comes behind surplus is not read any more, and what is left alone is no request.
        (&[&form(5, "log=caf"), next], &["POST /f log=caf"], &[200]),
        (&[&form(5, "log=cafGE"), "T /next HTTP/1.1\r\n\r\n"], &["POST /f log=cafGE"], &[200]),
        (&[&form(5, "log=cP"), next], &["POST /f log=c"], &[200, 400]),
        (&[&form(5, "log=c\r\nPOST"), &next[3..]], &["POST /f log=c", "POST /next "], &[200, 200]),
    ];
    for (pieces, seen, expected) in cases {
        let server = server();
        let bytes: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let responses = server.send(&bytes).await;
        assert_eq!(server.seen(), seen, "{pieces:?}");
        assert_eq!(statuses(&responses), expected, "{pieces:?}");
        let is_longer = seen[0] != "POST /f log=c";
        assert_eq!(!responses.contains("Connection: keep-alive"), is_longer, "{pieces:?}: the connection is closed");
    }
    // Only a form has any.
    let json = form(5, "12345678").replace("x-www-form-urlencoded", "json");
    let server = server();
    assert_eq!(statuses(&server.send(&[json.as_bytes()]).await), [200, 400]);
    assert_eq!(server.seen(), ["POST /f 12345"]);
}

/// Each form of the others would take as long as a timer does.
#[tokio::test(start_paused = true)]
async fn only_a_client_that_sends_surplus_is_waited_for() {
    for (agent, seen) in [("Python/3.10 aiohttp/3.9.5", "POST /f log=caf"), ("python-requests/2.34.2", "POST /f log=c")]
    {
        let form = format!(
            "POST /f HTTP/1.1\r\nUser-Agent: {agent}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-length: 5\r\n\r\nlog=c"
        );
        let server = server();
        server
            .with(async |mut stream| {
                stream.write_all(form.as_bytes()).await.unwrap();
                for _ in 0..100 {
                    // The clock stands still as long as there is something to run.
                    tokio::task::yield_now().await;
                }
                stream.write_all(b"af").await.unwrap();
                stream.shutdown().await.unwrap();
                text(&mut stream).await
            })
            .await;
        assert_eq!(server.seen(), [seen], "{agent}");
    }
}

/// All of it is there, so that nothing else would be waited for.
#[tokio::test]
async fn a_body_that_decodes_to_much_leaves_the_thread_to_others_between_its_parts() {
    const TURNS: usize = 10;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![b'x'; TURNS * BYTES_PER_TURN]).unwrap();
    let body = gzip.finish().unwrap();
    assert!(body.len() < READ_BYTES.1, "{} bytes", body.len());
    let head = format!("POST / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    let limits = RequestLimits { body: TURNS * BYTES_PER_TURN, ..RequestLimits::default() };
    let server = Server { limits, budget: Budget::new(64 << 20), ..server() };
    server
        .with(async |mut stream| {
            stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
            let mut turns = 0;
            while server.handler.seen.lock().unwrap().is_empty() {
                yield_now().await;
                turns += 1;
            }
            assert!(turns >= TURNS, "others had {turns} turns");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn surplus_has_the_limit_of_the_body() {
    let server = server();
    let sent = PYTHON_FORM.to_owned() + &"x".repeat(200_000);
    assert_eq!(statuses(&server.send(&[sent.as_bytes()]).await), [413]);
    assert_eq!(server.refused(), [Refusal::BodyTooLarge]);
}

#[tokio::test(start_paused = true)]
async fn surplus_that_drips_is_slow() {
    let server = server();
    let responses = server
        .with(async |mut stream| {
            stream.write_all(PYTHON_FORM.as_bytes()).await.unwrap();
            while stream.write_all(b"x").await.is_ok() && server.handler.refused.lock().unwrap().is_empty() {
                sleep(SURPLUS_PAUSE / 2).await;
            }
            text(&mut stream).await
        })
        .await;
    assert_eq!((statuses(&responses), server.refused()), (vec![408], vec![Refusal::Slow]));
}

#[tokio::test(start_paused = true)]
async fn a_form_that_its_client_has_cut_is_marked() {
    let aiohttp = |version: &str| format!("Accept-Encoding: identity\r\nUser-Agent: Python/3.13 aiohttp/{version}");
    let later = PYTHON_FORM.replace("Accept-Encoding: identity", &aiohttp("3.12.4"));
    let cases = [
        (later.clone(), true),
        (later.replace("Content-length", "Content-Length"), false),
        (later.replace("x-www-form-urlencoded", "json"), false),
        (PYTHON_FORM.replace("Accept-Encoding: identity", &aiohttp("3.11.18")), false),
        (PYTHON_FORM.to_owned(), false),
    ];
    for (sent, is_cut) in cases {
        let server = server();
        server.send(&[sent.as_bytes()]).await;
        assert_eq!(server.seen()[0].ends_with(" cut"), is_cut, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_first_is_told_to_go_on_or_refused() {
    let server = server();
    let head = "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nConnection: close\r\nContent-Length: ";
    let responses = server
        .with(async |mut stream| {
            stream.write_all(format!("{head}5\r\n\r\n").as_bytes()).await.unwrap();
            let mut interim = [0; 25];
            stream.read_exact(&mut interim).await.unwrap();
            assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
            stream.write_all(b"01234").await.unwrap();
            text(&mut stream).await
        })
        .await;
    assert_eq!((statuses(&responses), server.seen()), (vec![200], vec!["POST / 01234".to_owned()]));
    // Without its body.
    let refused = server
        .with(async |mut stream| {
            stream.write_all(format!("{head}500000\r\n\r\n").as_bytes()).await.unwrap();
            text(&mut stream).await
        })
        .await;
    assert_eq!((statuses(&refused), server.refused()), (vec![413], vec![Refusal::BodyTooLarge]));
    // The body is there, or there is none.
    for sent in
        [format!("{head}5\r\n\r\n01234"), format!("{head}0\r\n\r\n"), head.replace("1.1", "1.0") + "5\r\n\r\n01234"]
    {
        assert_eq!(statuses(&server.send(&[sent.as_bytes()]).await), [200], "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_read_before_it_is_refused() {
    let server = server();
    let sent =
        |path: &str, len: usize| format!("POST {path} HTTP/1.1\r\nContent-Length: {len}\r\n\r\n{}", "x".repeat(len));
    let responses = server
        .with(async |mut stream| {
            stream.write_all(sent("/", 3 << 20).as_bytes()).await.expect("all of it is read");
            text(&mut stream).await
        })
        .await;
    assert_eq!((statuses(&responses), server.refused()), (vec![413], vec![Refusal::BodyTooLarge]));
    assert!(responses.contains("Connection: close\r\n") && server.seen().is_empty());
    assert_eq!(statuses(&server.send(&[sent("/large", 3 << 20).as_bytes()]).await), [200], "a path has its own limit");
    // But not for ever.
    let server = Server { limits: RequestLimits { discard: 1 << 20, ..server.limits }, ..server };
    assert_eq!(statuses(&server.send(&[sent("/", 3 << 20).as_bytes()]).await), [413]);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_send_is_refused_and_counted() {
    let credentials = vec![Credential::bearer("token")];
    let server = Server { guard: Guard::new(Hosts::Any, credentials, "id"), ..server() };
    let loops = format!("Via: {}\r\nAuthorization: Bearer token\r\n", via("id"));
    let cases = [
        ("Origin: http://page.example\r\nAuthorization: Bearer token\r\n", 403, Refusal::CrossSite),
        ("Authorization: Bearer tokem\r\n", 401, Refusal::Unauthorized),
        (&loops, 508, Refusal::Loop),
    ];
    for (headers, status, refusal) in cases {
        // The body is read, so that the client sees the answer.
        let sent =
            format!("POST / HTTP/1.1\r\n{headers}Content-Length: 200000\r\n\r\n{}", "x".repeat(200_000)).repeat(2);
        assert_eq!(statuses(&server.send(&[sent.as_bytes()]).await), [status], "{headers}");
        assert_eq!((server.refused(), server.seen().len()), (vec![refusal], 0), "{headers}");
    }
    let large = format!("GET /{} HTTP/1.1\r\nAuthorization: Bearer token\r\n\r\n", "x".repeat(70_000));
    assert_eq!(statuses(&server.send(&[large.as_bytes()]).await), [414], "a stranger has a small head");
    assert_eq!(server.handler.strangers.load(Ordering::Relaxed), 4, "none has shown credentials");
    let small = large.replace('x', "");
    assert_eq!(statuses(&server.send(&[small.as_bytes(), large.as_bytes()]).await), [200, 200]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_refused_and_the_connection_closed() {
    let cases: [(&[u8], &[u16], &[Refusal]); 6] = [
        (b"", &[], &[]),
        (b"\r\n", &[], &[]),
        (b"\0\0\x02\x10", &[400], &[Refusal::Malformed]),
        (b"GET / HTTP/2.0\r\n\r\n", &[505], &[Refusal::Version]),
        (b"GET / HTT", &[400], &[Refusal::Cut]),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nGET / HTTP/1.1\r\n\r\n",
            &[400],
            &[Refusal::Malformed],
        ),
    ];
    for (sent, expected, refused) in cases {
        let server = server();
        let responses = server.send(&[sent]).await;
        assert_eq!(statuses(&responses), expected, "{}", sent.escape_ascii());
        assert_eq!((&*server.refused(), server.seen().len()), (refused, 0), "{}", sent.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_a_slow_request_refused() {
    let server = server();
    let begun = Instant::now();
    assert_eq!(server.with(async |mut stream| text(&mut stream).await).await, "");
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert_eq!(server.refused(), []);
    for sent in ["G", "GET / HTTP/1.1\r\nA", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n1"] {
        let begun = Instant::now();
        let responses = server
            .with(async |mut stream| {
                stream.write_all(sent.as_bytes()).await.unwrap();
                text(&mut stream).await
            })
            .await;
        assert_eq!((statuses(&responses), server.refused()), (vec![408], vec![Refusal::Slow]), "{sent}");
        assert_eq!(begun.elapsed().as_secs(), 10, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_request_has_more_time_than_a_small_one() {
    // 64 KiB a second, for 20 seconds.
    let server = server();
    let piece = vec![b'x'; 64 << 10];
    let responses = server
        .with(async |mut stream| {
            stream
                .write_all(b"POST /large HTTP/1.1\r\nContent-Length: 1310720\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            for _ in 0..20 {
                sleep(Duration::from_secs(1)).await;
                stream.write_all(&piece).await.unwrap();
            }
            text(&mut stream).await
        })
        .await;
    assert_eq!((statuses(&responses), server.refused()), (vec![200], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_for_memory_without_being_slow_and_holds_it_as_long_as_its_handler() {
    let server = server();
    let other = server.budget.try_take(1 << 20).unwrap();
    let head = "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 80000\r\n\r\n";
    let body = "x".repeat(80_000);
    let responses = server
        .with(async |mut stream| {
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body.as_bytes()[..40_000]).await.unwrap();
            sleep(Duration::from_secs(3600)).await;
            drop(other);
            sleep(Duration::from_secs(9)).await;
            stream.write_all(&body.as_bytes()[40_000..]).await.unwrap();
            text(&mut stream).await
        })
        .await;
    assert_eq!((statuses(&responses), server.refused()), (vec![200], vec![]));
    assert_eq!(server.budget.available(), 1 << 20);
    let server = Server { handler: Notes { keeps: true, ..Notes::default() }, ..server };
    server.send(&[head.as_bytes(), body.as_bytes()]).await;
    assert_eq!(server.budget.available(), (1 << 20) - 80_000);
    server.handler.kept.lock().unwrap().clear();
    assert_eq!(server.budget.available(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_together_exceed_the_budget_all_arrive() {
    let server = Server { budget: Budget::new(200_000), ..server() };
    let request = format!("POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n{}", "x".repeat(90_000));
    let (first, second) = request.as_bytes().split_at(60_000);
    let pieces = [first, second];
    let send = || server.send(&pieces);
    let responses = tokio::join!(send(), send(), send(), send(), send());
    for response in [responses.0, responses.1, responses.2, responses.3, responses.4] {
        assert_eq!(statuses(&response), [200]);
    }
    assert_eq!((server.seen().len(), server.refused()), (5, vec![]));
    assert_eq!(server.budget.available(), 200_000);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_ends_closes_idle_connections_and_finishes_requests() {
    let server = Server { handler: Notes { gate: Some(Notify::new()), ..Notes::default() }, ..server() };
    let gate = server.handler.gate.as_ref().unwrap();
    let (mut near, far) = duplex(1 << 10);
    let (up, down) = watch::channel(false);
    let begun = Instant::now();
    let client = async {
        near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        gate.notify_one();
        assert!(response(&mut near).await.contains("Connection: keep-alive\r\n"));
        // One that has begun, and one that has not.
        near.write_all(b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n1").await.unwrap();
        sleep(Duration::from_millis(1)).await;
        up.send(true).unwrap();
        near.write_all(b"2GET /b HTTP/1.1\r\n\r\n").await.unwrap();
        gate.notify_one();
        assert!(response(&mut near).await.contains("Connection: close\r\n"));
        assert_eq!(text(&mut near).await, "");
    };
    tokio::join!(server.serve(far, "peer", down.clone()), client);
    assert_eq!(server.seen(), ["GET / ", "POST /a 12"]);
    let (mut near, far) = duplex(1 << 10);
    tokio::join!(server.serve(far, "peer", down), async { assert_eq!(text(&mut near).await, "") });
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody waited for the end of a time");
}

/// Counts how often it is written to.
struct Counting<'a> {
    stream: DuplexStream,
    writes: &'a AtomicUsize,
}

impl AsyncRead for Counting<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_is_one_write() {
    for request in ["GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "GET / HTTP/3.0\r\n\r\n"] {
        let (server, writes) = (server(), AtomicUsize::new(0));
        let (mut near, stream) = duplex(64 << 10);
        let (_up, down) = watch::channel(false);
        near.write_all(request.as_bytes()).await.unwrap();
        tokio::join!(server.serve(Counting { stream, writes: &writes }, "peer", down), async move {
            let _ = text(&mut near).await;
        });
        assert_eq!(writes.into_inner(), 1, "{request}");
    }
}

#[tokio::test]
async fn connections_are_tasks_of_a_runtime_with_threads() {
    let server = std::sync::Arc::new(server());
    let (mut near, far) = duplex(1 << 10);
    let (_up, down) = watch::channel(false);
    let task = tokio::spawn(async move { server.serve(far, "peer", down).await });
    near.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&text(&mut near).await), [200]);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_has_no_handler_and_one_that_only_closed_its_side_is_answered() {
    let server = Server { handler: Notes { gate: Some(Notify::new()), ..Notes::default() }, ..server() };
    let gate = server.handler.gate.as_ref().unwrap();
    server.with(async |mut stream| stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap()).await;
    assert_eq!(server.budget.available(), 1 << 20);
    let responses = server
        .with(async |mut stream| {
            stream.write_all(b"GET /a HTTP/1.1\r\n\r\nGET /b HTT").await.unwrap();
            sleep(Duration::from_millis(1)).await;
            stream.write_all(b"P/1.1\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
            for _ in 0..2 {
                sleep(Duration::from_secs(5)).await;
                gate.notify_one();
            }
            text(&mut stream).await
        })
        .await;
    assert_eq!(statuses(&responses), [200, 200]);
    assert_eq!(server.seen(), ["GET / ", "GET /a ", "GET /b "]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stops_is_slow_however_much_has_come() {
    let server = server();
    let head = "POST /large HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n";
    let (responses, waited) = server
        .with(async |mut stream| {
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
            let begun = Instant::now();
            (text(&mut stream).await, begun.elapsed())
        })
        .await;
    assert_eq!((statuses(&responses), server.refused()), (vec![408], vec![Refusal::Slow]));
    assert_eq!(waited.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_send_cannot_have_much_read() {
    let server = Server { guard: Guard::new(Hosts::Any, vec![Credential::bearer("token")], "id"), ..server() };
    let read = server
        .with(async |mut stream| {
            stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
            let (piece, mut sent) = (vec![b'x'; 64 << 10], 0);
            while stream.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            sent
        })
        .await;
    assert!(read <= 3 << 20, "{read} bytes were read");
    assert_eq!(server.refused(), [Refusal::Unauthorized]);
}
