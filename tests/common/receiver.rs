//! A scripted HTTP server: it records every request, responds by a script, goes down and comes up again.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request as HttpRequest, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::progress::{PATIENCE, Progress};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    /// From 0, in the order in which requests were received to their end.
    pub number: usize,
    pub method: String,
    /// The target in the request line: path and query, or the whole URL if this server is asked as a proxy.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The client's port: the same on one connection.
    pub remote_port: u16,
    /// The status of the response, once it was sent.
    pub answered: Option<u16>,
    /// The `message` of every record, if the body is a JSON array of objects.
    pub messages: Arc<[String]>,
}

impl Request {
    /// A header's value; fails if it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().expect("a header is text"));
        assert!(values.next().is_none(), "header {name} was sent twice in {:?}", self.headers);
        value
    }

    /// The `Idempotency-Key`.
    pub fn key(&self) -> &str {
        self.header("idempotency-key").expect("a request has an Idempotency-Key")
    }

    /// The body as a JSON array.
    pub fn records(&self) -> Vec<Value> {
        serde_json::from_slice(&self.plain()).unwrap_or_else(|error| {
            panic!("not a JSON array: {error} in {}", String::from_utf8_lossy(&self.plain()));
        })
    }

    /// The body without its `Content-Encoding`.
    pub fn plain(&self) -> Cow<'_, [u8]> {
        match self.header("content-encoding") {
            None => Cow::Borrowed(&self.body),
            Some("gzip") => {
                let (mut plain, mut gzip) = (Vec::new(), flate2::bufread::GzDecoder::new(&self.body[..]));
                gzip.read_to_end(&mut plain).expect("a gzip member");
                assert!(gzip.into_inner().is_empty(), "more than one member");
                Cow::Owned(plain)
            }
            Some(other) => panic!("nobody asked for {other}"),
        }
    }
}

/// The server's reaction to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Says it at once.
    Reply { status: u16, headers: Vec<(String, String)>, body: String },
    /// Takes the records, but breaks the connection instead of saying so.
    Lost,
    /// Breaks the connection.
    Reset,
    /// Says nothing until [`Receiver::release`].
    Held(Box<Answer>),
}

impl Answer {
    /// A 400 says why: without a word it would be a server's own, and nothing about the records.
    pub fn status(status: u16) -> Self {
        let body = if status == 400 { "there is no field `x`" } else { "" };
        Self::Reply { status, headers: Vec::new(), body: body.to_owned() }
    }

    pub fn ok() -> Self {
        Self::status(200)
    }

    /// Never responds, unless released.
    pub fn hang() -> Self {
        Self::Held(Box::new(Self::ok()))
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.into()));
        }
        self
    }

    pub fn body(mut self, text: &str) -> Self {
        if let Self::Reply { body, .. } = &mut self {
            text.clone_into(body);
        }
        self
    }
}

type Choice = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// Everything that came in so far.
#[derive(Default)]
pub struct Log {
    pub requests: Vec<Request>,
    /// The messages of the requests whose response was a success, each `Idempotency-Key` once.
    pub delivered: Vec<String>,
    /// How many records came in requests whose response was a success after the same key already had one.
    pub repeated: usize,
    /// How many connections were accepted, TLS handshake included.
    pub connections: usize,
    /// How many TLS handshakes failed.
    pub failed_handshakes: usize,
    /// The body without its coding and the messages of every key that came in.
    bodies: HashMap<String, (Bytes, Arc<[String]>)>,
    successes: HashSet<String>,
    faults: Vec<String>,
}

impl Log {
    fn record(&mut self, request: Request) {
        if let Some(key) = request.headers.get("idempotency-key").and_then(|key| key.to_str().ok()) {
            match self.bodies.get(key) {
                // The id names the content, whatever its coding.
                Some((body, _)) if *body != *request.plain() => self.faults.push(format!(
                    "Idempotency-Key {key} came with {} bytes, then with {} other ones",
                    body.len(),
                    request.plain().len()
                )),
                Some(_) => {}
                None => {
                    let content = match request.plain() {
                        Cow::Borrowed(_) => request.body.clone(),
                        Cow::Owned(plain) => plain.into(),
                    };
                    self.bodies.insert(key.to_owned(), (content, Arc::clone(&request.messages)));
                }
            }
        }
        self.requests.push(request);
    }

    /// The messages in a request's body. Parsing takes long, and a request can be repeated often.
    fn messages(&self, request: &Request) -> Arc<[String]> {
        let key = request.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        match key.and_then(|key| self.bodies.get(key)) {
            Some((body, messages)) if *body == *request.plain() => Arc::clone(messages),
            _ => {
                let records: Vec<Value> = serde_json::from_slice(&request.plain()).unwrap_or_default();
                records.iter().filter_map(|record| Some(record.get("message")?.as_str()?.to_owned())).collect()
            }
        }
    }

    fn answered(&mut self, number: usize, status: u16, taken: bool) {
        let request = &mut self.requests[number];
        request.answered = Some(status);
        if !taken {
            return;
        }
        let key = request.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        if key.is_none_or(|key| self.successes.insert(key.to_owned())) {
            self.delivered.extend(request.messages.iter().cloned());
        } else {
            self.repeated += request.messages.len();
        }
    }

    fn check(&self) {
        assert!(self.faults.is_empty(), "the client broke its promise: {:#?}", self.faults);
    }

    /// The figures that move while anything comes in.
    fn figure(&self) -> [usize; 4] {
        [self.connections, self.failed_handshakes, self.requests.len(), self.delivered.len() + self.repeated]
    }

    fn summary(&self) -> String {
        let mut text = format!(
            "{} connections ({} failed handshakes), {} requests, {} records delivered",
            self.connections,
            self.failed_handshakes,
            self.requests.len(),
            self.delivered.len()
        );
        for request in self.requests.iter().rev().take(10).rev() {
            let Request { number, method, target, body, answered, messages, .. } = request;
            let key = request.headers.get("idempotency-key");
            let (first, last) = (messages.first(), messages.last());
            let _ = write!(
                text,
                "\n  #{number} {method} {target} key {key:?}, {} bytes, {} records ({first:?} to {last:?}), answer {answered:?}",
                body.len(),
                messages.len(),
            );
        }
        text
    }
}

struct Script {
    next: VecDeque<Answer>,
    then: Choice,
}

struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
    script: Mutex<Script>,
    /// Counts the calls of `release`.
    released: watch::Sender<u64>,
}

/// A test that failed while it held a lock must not make the others fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn update<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut lock(&self.log));
        self.changed.notify_all();
        result
    }

    /// Numbers and records a request, and gives the response to it.
    fn take(&self, mut request: Request) -> (usize, Answer) {
        request.messages = lock(&self.log).messages(&request);
        let mut script = lock(&self.script);
        let number = lock(&self.log).requests.len();
        request.number = number;
        // Chosen before the request can be seen: what the test says next is about the next one.
        let answer = script.next.pop_front().unwrap_or_else(|| (script.then)(&request));
        self.update(|log| log.record(request));
        (number, answer)
    }
}

/// Where the port is: served, or kept by a socket that does not listen, so that connections are refused and no other
/// program can take the port in between.
enum Port {
    Up { stop: oneshot::Sender<()>, thread: thread::JoinHandle<()> },
    Down(TcpSocket),
}

/// The server. It runs on a thread of its own and stops when this is dropped.
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    port: Mutex<Option<Port>>,
}

impl Receiver {
    /// A server that responds with 200 to everything until another response is set.
    pub fn start() -> Self {
        let receiver = Self::create(None);
        receiver.come_up();
        receiver
    }

    /// A server that is not up yet: its port refuses connections.
    pub fn start_down() -> Self {
        Self::create(None)
    }

    /// A server that speaks TLS only.
    pub fn start_tls(config: Arc<ServerConfig>) -> Self {
        let receiver = Self::create(Some(config));
        receiver.come_up();
        receiver
    }

    fn create(tls: Option<Arc<ServerConfig>>) -> Self {
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let shared = Shared {
            log: Mutex::default(),
            changed: Condvar::new(),
            script: Mutex::new(Script { next: VecDeque::new(), then: Arc::new(|_| Answer::ok()) }),
            released: watch::Sender::new(0),
        };
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { shared: Arc::new(shared), address, tls, port: Mutex::new(Some(Port::Down(socket))) }
    }

    /// The URL of a path (and query) on this server.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Queues the response to the next request that has none yet.
    pub fn answer_next(&self, answer: Answer) {
        lock(&self.shared.script).next.push_back(answer);
    }

    /// Sets the response to every request once the queue is empty.
    pub fn answer_always(&self, answer: Answer) {
        self.answer_by(move |_| answer.clone());
    }

    /// Sets the function that chooses the response once the queue is empty.
    pub fn answer_by(&self, choice: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        lock(&self.shared.script).then = Arc::new(choice);
    }

    /// Lets every request that is held now have its response.
    pub fn release(&self) {
        self.shared.released.send_modify(|times| *times += 1);
    }

    /// Closes the port and every connection. When this returns, connections are refused.
    pub fn go_down(&self) {
        let mut port = lock(&self.port);
        match port.take().expect("the port is somewhere") {
            Port::Up { stop, thread } => {
                let _ = stop.send(());
                thread.join().expect("the receiver did not panic");
                *port = Some(Port::Down(bind(self.address)));
            }
            down @ Port::Down(_) => *port = Some(down),
        }
    }

    /// Opens the same port again. When this returns, connections are accepted.
    pub fn come_up(&self) {
        let mut port = lock(&self.port);
        match port.take().expect("the port is somewhere") {
            Port::Down(socket) => *port = Some(serve(socket, self.tls.clone(), Arc::clone(&self.shared))),
            up @ Port::Up { .. } => *port = Some(up),
        }
    }

    /// Waits until `condition` has a value; fails with what had arrived if nothing comes any more.
    pub fn wait_until<T>(&self, what: &str, mut condition: impl FnMut(&Log) -> Option<T>) -> T {
        let mut progress = Progress::new();
        let mut log = lock(&self.shared.log);
        loop {
            log.check();
            if let Some(value) = condition(&log) {
                return value;
            }
            let Some(left) = progress.at(log.figure()) else {
                panic!("{what}: nothing came for {PATIENCE:?}; there were {}", log.summary());
            };
            log = self.shared.changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until at least `count` requests came in, whatever the responses were.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        self.wait_until(&format!("{count} requests"), |log| (log.requests.len() >= count).then(|| log.requests.clone()))
    }

    /// Waits until at least `count` records were delivered; gives their messages.
    pub fn wait_for_records(&self, count: usize) -> Vec<String> {
        self.wait_until(&format!("{count} records"), |log| {
            (log.delivered.len() >= count).then(|| log.delivered.clone())
        })
    }

    /// Looks at all that came in so far.
    pub fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        let log = lock(&self.shared.log);
        log.check();
        look(&log)
    }

    /// Forgets the bodies of all requests but the newest, and what came under which key, so that a test can go on for
    /// hours.
    pub fn forget_bodies(&self) {
        const KEPT: usize = 200;
        let mut log = lock(&self.shared.log);
        log.check();
        log.bodies.clear();
        let old = log.requests.len().saturating_sub(KEPT);
        for request in &mut log.requests[..old] {
            (request.body, request.messages, request.headers) = Default::default();
        }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.look(|log| log.requests.clone())
    }

    /// The messages that were delivered, in order, each `Idempotency-Key` once.
    pub fn delivered(&self) -> Vec<String> {
        self.look(|log| log.delivered.clone())
    }

    /// Those that were delivered to one target.
    pub fn delivered_to(&self, target: &str) -> Vec<String> {
        self.look(|log| {
            let mut keys = HashSet::new();
            let taken = log.requests.iter().filter(|request| request.target == target && request.answered == Some(200));
            let new = taken.filter(|request| keys.insert(request.key()));
            new.flat_map(|request| request.messages.iter().cloned()).collect()
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(Port::Up { stop, thread }) = lock(&self.port).take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
        if !thread::panicking() {
            self.look(|_| ());
        }
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let mut progress = Progress::new();
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a socket option");
        match socket.bind(address) {
            Ok(()) => return socket,
            // The kernel can take a moment to let go of the listener that was just closed.
            Err(error) if progress.at(()).is_none() => panic!("could not bind {address}: {error}"),
            Err(_) => thread::yield_now(),
        }
    }
}

fn serve(socket: TcpSocket, tls: Option<Arc<ServerConfig>>, shared: Arc<Shared>) -> Port {
    let (stop, stopped) = oneshot::channel::<()>();
    let (up, is_up) = std::sync::mpsc::channel();
    let seed = fastrand::u64(..);
    let thread = thread::Builder::new()
        .name("receiver".to_owned())
        .spawn(move || {
            // The random choice of responses follows the test's own seed.
            fastrand::seed(seed);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = socket.listen(1024).expect("listening");
                let address = listener.local_addr().expect("a listener has an address");
                up.send(()).expect("somebody waits for the server to be up");
                let (ready, connections) = mpsc::unbounded_channel();
                tokio::spawn(accept(listener, tls, Arc::clone(&shared), ready));
                let app = Router::new().fallback(answer).with_state(shared);
                let serving = axum::serve(
                    Connections { connections, address },
                    app.into_make_service_with_connect_info::<Peer>(),
                );
                tokio::select! {
                    result = serving.into_future() => result.expect("serving never ends"),
                    _ = stopped => {}
                }
            });
            // Dropping the runtime closes the listener and every connection.
        })
        .expect("a thread");
    is_up.recv().expect("the server comes up");
    Port::Up { stop, thread }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    ready: mpsc::UnboundedSender<(Connection, Peer)>,
) {
    loop {
        let Ok((stream, address)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let peer = Peer { port: address.port(), broken: Arc::default() };
        let (tls, shared, ready) = (tls.clone(), Arc::clone(&shared), ready.clone());
        // A client that is slow with its handshake must not hold the others.
        tokio::spawn(async move {
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(config) => match TlsAcceptor::from(config).accept(stream).await {
                    Ok(stream) => Stream::Tls(Box::new(stream)),
                    Err(_) => return shared.update(|log| log.failed_handshakes += 1),
                },
            };
            shared.update(|log| log.connections += 1);
            let _ = ready.send((Connection { stream, broken: Arc::clone(&peer.broken) }, peer));
        });
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: HttpRequest,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        // The client went away in the middle: this was no request.
        return Response::default();
    };
    let request = Request {
        number: 0,
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        messages: Arc::default(),
        body,
        remote_port: peer.port,
        answered: None,
    };
    // Subscribed before the request can be seen, so that no release is missed.
    let mut released = shared.released.subscribe();
    let (number, mut answer) = shared.take(request);
    loop {
        match answer {
            Answer::Held(then) => {
                let _ = released.changed().await;
                answer = *then;
            }
            Answer::Lost | Answer::Reset => {
                if matches!(answer, Answer::Lost) {
                    shared.update(|log| log.answered(number, 200, true));
                }
                peer.broken.store(true, Ordering::Release);
                return Response::default();
            }
            Answer::Reply { status, headers, body } => {
                shared.update(|log| log.answered(number, status, (200..300).contains(&status)));
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                return response.body(Body::from(body)).expect("a legal answer");
            }
        }
    }
}

/// Who is at the other end of a connection, and whether it is to be broken.
#[derive(Clone, Debug)]
struct Peer {
    port: u16,
    broken: Arc<AtomicBool>,
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.remote_addr().clone()
    }
}

/// The connections that are ready for HTTP.
struct Connections {
    connections: mpsc::UnboundedReceiver<(Connection, Peer)>,
    address: SocketAddr,
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { port: self.address.port(), broken: Arc::default() })
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that can be broken: then nothing is written any more, and the client sees a reset.
struct Connection {
    stream: Stream,
    broken: Arc<AtomicBool>,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.check().is_err() {
            let stream = match &self.stream {
                Stream::Plain(stream) => stream,
                Stream::Tls(stream) => stream.get_ref().0,
            };
            let _ = stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
