//! Streams: a body is written to a connection, which is kept for the next one.

use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::send_queue;
use crate::error::ExporterBuildError;
use crate::observe::probe::{ProbeStage, ProbeStep};
use crate::observe::stats::Outcome;
use crate::transport::contract::{Delivery, Peer, Probed, Probing, SendError, Transport};
use crate::transport::request::Request;
use crate::transport::settings::TransportSettings;
use crate::transport::url;
use crate::transport::verdict::{Judgement, Verdict};

/// The time after which bytes that were written count as delivered while the other side has not taken them, if the connection
/// is well.
const BELIEVED_AFTER: Duration = Duration::from_secs(1);

/// The same where the kernel does not tell of the send queue: a connection that breaks at once is noticed, and no batch waits for long.
const BELIEVED_BLINDLY_AFTER: Duration = Duration::from_millis(20);

/// The time between two looks at the send queue, at first and at most.
const LOOK: Duration = Duration::from_millis(1);
const LOOK_AT_MOST: Duration = Duration::from_millis(50);

/// The idle time after which the kernel asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

struct StreamTransport {
    address: Address,
    connect_timeout: Duration,
    /// The connection, if it is idle and well. Batches go one after the other.
    connection: Mutex<Option<Connection>>,
}

enum Address {
    Tcp(String, u16),
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no such sockets here"))]
    Unix(PathBuf),
}

enum Connection {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Opens `tcp://host:port`. The connection is made when there is something to send.
///
/// # Errors
///
/// If a setting is not allowed.
#[expect(clippy::needless_pass_by_value, reason = "every transport is opened so")]
pub(crate) fn open_tcp(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let Some((host, port)) = url::host_and_port(&settings.endpoint.value) else {
        return Err(settings.endpoint.invalid("a TCP socket is tcp://host:port, and nothing else"));
    };
    open(&settings, Address::Tcp(host, port))
}

/// Opens `unix:///path`, in the same way.
///
/// # Errors
///
/// If a setting is not allowed.
#[cfg(unix)]
#[expect(clippy::needless_pass_by_value, reason = "every transport is opened so")]
pub(crate) fn open_unix(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let Some((path, None)) = url::path_and_query(&settings.endpoint.value) else {
        return Err(settings.endpoint.invalid("a Unix socket is unix:///path, and nothing else"));
    };
    open(&settings, Address::Unix(path))
}

fn open(settings: &TransportSettings, address: Address) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    settings.check_without_http("a socket")?;
    let connect_timeout = settings.connect_timeout.value;
    Ok(Arc::new(StreamTransport { address, connect_timeout, connection: Mutex::new(None) }))
}

impl StreamTransport {
    /// Sends a body. The connection is kept if that was well to the end: else the other side may have half a record.
    async fn send(&self, kept: &mut Option<Connection>, request: &Request) -> Result<(), SendError> {
        let mut connection = match kept.take().filter(Connection::is_well) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let interrupted = |why: &str| SendError::Interrupted(format!("the connection broke: {why}"));
        connection.write(&request.body).await.map_err(|error| interrupted(&error.to_string()))?;
        if needs_end(request) {
            connection.write(b"\n").await.map_err(|error| interrupted(&error.to_string()))?;
        }
        if !connection.is_taken().await {
            return Err(interrupted("the receiver closed it"));
        }
        *kept = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<Connection, SendError> {
        let connecting = async {
            match &self.address {
                Address::Tcp(host, port) => Connection::tcp(TcpStream::connect((host.as_str(), *port)).await?),
                #[cfg(unix)]
                Address::Unix(path) => UnixStream::connect(path).await.map(Connection::Unix),
                #[cfg(not(unix))]
                Address::Unix(_) => Err(ErrorKind::Unsupported.into()),
            }
        };
        let failed = |why: &str| SendError::Unreachable(format!("could not connect: {why}"));
        match timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| failed(&error.to_string())),
            Err(_) => Err(failed(&format!("not within {:?}", self.connect_timeout))),
        }
    }
}

/// Whether a body is followed by a newline: a text that has none at its end.
fn needs_end(request: &Request) -> bool {
    let is_binary = ["pickle", "octet-stream", "protobuf"].iter().any(|of| request.content_type.contains(of));
    !is_binary && !request.body.ends_with(b"\n")
}

impl Connection {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        Ok(Self::Tcp(stream))
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream: &mut (dyn AsyncWrite + Send + Unpin) = match self {
            Self::Tcp(stream) => stream,
            #[cfg(unix)]
            Self::Unix(stream) => stream,
        };
        stream.write_all(bytes).await
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            #[cfg(unix)]
            Self::Unix(stream) => SockRef::from(stream),
        }
    }

    /// Whether the other side has neither closed the connection nor broken it. What it sends is read and means nothing.
    fn is_well(&self) -> bool {
        let mut read = [0; 1024];
        loop {
            match (&*self.socket()).read(&mut read) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// The bytes that the other side has not taken; `None` if that is not known.
    fn unsent(&self) -> Option<u32> {
        match self {
            Self::Tcp(stream) => send_queue::of_tcp(stream),
            #[cfg(unix)]
            Self::Unix(stream) => send_queue::of_unix(stream),
        }
    }

    /// Waits until the other side has taken what was written, or for as long as [`patience`] says. False if the connection broke.
    async fn is_taken(&self) -> bool {
        let (begun, mut pause) = (Instant::now(), LOOK);
        loop {
            let unsent = self.unsent();
            if !self.is_well() {
                return false;
            }
            if begun.elapsed() >= patience(unsent) {
                return true;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_AT_MOST);
        }
    }
}

/// How long a connection that is well is watched, by the bytes that the other side has not taken.
fn patience(unsent: Option<u32>) -> Duration {
    match unsent {
        Some(0) => Duration::ZERO,
        Some(_) => BELIEVED_AFTER,
        None => BELIEVED_BLINDLY_AFTER,
    }
}

impl Transport for StreamTransport {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            let mut kept = self.connection.lock().await;
            let in_flight = request.begin();
            let sent = match timeout(request.timeout, self.send(&mut kept, &request)).await {
                Ok(sent) => sent,
                Err(_) => Err(SendError::TimedOut(format!("the batch was not taken within {:?}", request.timeout))),
            };
            in_flight.end(match &sent {
                Ok(()) => Outcome::Delivered(0),
                Err(error) => error.outcome(),
            });
            sent.map(|()| Judgement::without_response(Verdict::Delivered, String::new()))
        })
    }

    fn probe(&self, request: Option<Request>) -> Probing<'_> {
        Box::pin(async move {
            let mut probed = Probed::default();
            match self.connect().await {
                Ok(connection) => {
                    *self.connection.lock().await = Some(connection);
                    probed.steps.push(ProbeStep::passed(ProbeStage::Connection, "the socket takes connections"));
                    if let Some(request) = request {
                        probed.respond(self.deliver(request).await, None);
                    }
                }
                Err(error) => {
                    let remedy = "start what listens there, or correct the endpoint".to_owned();
                    probed.end_at(ProbeStage::Connection, error, Some(remedy));
                }
            }
            probed
        })
    }

    fn takes_gzip(&self) -> bool {
        false
    }

    fn peer(&self) -> Peer {
        match &self.address {
            Address::Tcp(host, port) => Peer { address: host.clone(), port: Some(*port), ..Peer::default() },
            Address::Unix(path) => Peer { address: path.display().to_string(), ..Peer::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::values::Sourced;
    use crate::transport::request::tests::request;

    type Open = fn(TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError>;

    fn settings(url: &str) -> TransportSettings {
        TransportSettings::new(Sourced::new(url.to_owned(), "with_endpoint"))
    }

    fn tcp(listener: &TcpListener) -> Arc<dyn Transport> {
        open_tcp(settings(&format!("tcp://{}", listener.local_addr().unwrap()))).ok().unwrap()
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    async fn deliver(transport: &dyn Transport, content_type: &str, body: &str) -> Result<Verdict, SendError> {
        transport.deliver(request(content_type, [""; 3], &[body])).await.map(|judgement| judgement.verdict)
    }

    /// Reads all that comes on a connection.
    fn read_all(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let mut read = String::new();
            stream.read_to_string(&mut read).unwrap();
            read
        })
    }

    #[test]
    fn bodies_follow_one_another_on_one_connection_and_texts_end_in_a_newline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let transport = tcp(&listener);
        let received = std::thread::spawn(move || read_all(listener.accept().unwrap().0).join().unwrap());
        run(async {
            for (content_type, body) in [
                ("text/plain", "a\nb"),
                ("application/x-ndjson", "c\n"),
                ("application/x-python-pickle", "d"),
                ("application/octet-stream", "e"),
                ("application/json", "[f]"),
            ] {
                assert_eq!(deliver(&*transport, content_type, body).await, Ok(Verdict::Delivered));
            }
            drop(transport);
        });
        assert_eq!(received.join().unwrap(), "a\nb\nc\nde[f]\n");
    }

    #[test]
    fn a_connection_that_the_receiver_has_closed_is_made_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let transport = tcp(&listener);
        run(async {
            let (first, second) = (deliver(&*transport, "text/plain", "a"), async {
                let mut stream = listener.accept().unwrap().0;
                let mut read = [0; 2];
                tokio::task::spawn_blocking(move || stream.read_exact(&mut read).map(|()| (stream, read)))
                    .await
                    .unwrap()
            });
            let (first, second) = tokio::join!(first, second);
            let (stream, read) = second.unwrap();
            assert_eq!((first, &read), (Ok(Verdict::Delivered), b"a\n"));
            drop(stream);
            let transport = transport.clone();
            let second = tokio::spawn(async move { deliver(&*transport, "text/plain", "b").await });
            let stream = tokio::task::spawn_blocking(move || listener.accept().unwrap().0).await.unwrap();
            let mut reading = stream;
            let read = tokio::task::spawn_blocking(move || {
                let mut read = [0; 2];
                reading.read_exact(&mut read).map(|()| (reading, read))
            });
            let (_stream, read) = read.await.unwrap().unwrap();
            assert_eq!((second.await.unwrap(), &read), (Ok(Verdict::Delivered), b"b\n"));
        });
    }

    #[test]
    fn a_receiver_that_closes_with_a_batch_unread_interrupts_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let transport = tcp(&listener);
        let closing = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let result = run(async {
            // The second attempt is refused at the latest: nobody listens any more.
            let first = deliver(&*transport, "text/plain", &"a".repeat(16 << 20)).await;
            (first, deliver(&*transport, "text/plain", "b").await)
        });
        closing.join().unwrap();
        assert!(matches!(result.0, Err(SendError::Interrupted(_))), "{result:?}");
        assert!(matches!(result.1, Err(SendError::Unreachable(_))), "{result:?}");
    }

    #[test]
    fn a_batch_waits_for_its_receiver_the_less_the_less_is_known_of_it() {
        assert_eq!([Some(0), None, Some(1)].map(|unsent| patience(unsent).as_millis()), [0, 20, 1_000]);
    }

    #[test]
    fn a_receiver_that_does_not_read_lets_the_time_run_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let transport = tcp(&listener);
        let body = "a".repeat(64 << 20);
        let request = Request { timeout: Duration::from_millis(50), ..request("text/plain", [""; 3], &[&body]) };
        let result = run(transport.deliver(request));
        assert!(matches!(result, Err(SendError::TimedOut(_))), "{result:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_a_stream_like_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.sock");
        for slashes in ["//", ""] {
            let transport = open_unix(settings(&format!("unix:{slashes}{}", path.display()))).ok().unwrap();
            let refused = run(deliver(&*transport, "text/plain", "a"));
            let Err(SendError::Unreachable(why)) = refused else { panic!("{refused:?}") };
            assert!(why.starts_with("could not connect: "), "{why}");
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let received = std::thread::spawn(move || read_all(listener.accept().unwrap().0).join().unwrap());
            run(async {
                assert_eq!(deliver(&*transport, "text/plain", "a").await, Ok(Verdict::Delivered));
                drop(transport);
            });
            assert_eq!(received.join().unwrap(), "a\n");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_no_socket_is_an_error_that_shows_nothing_of_it() {
        let cases = [
            (open_tcp as Open, "tcp://me:s3cret@host:1", "tcp://host:port"),
            (open_tcp, "tcp://host", "tcp://host:port"),
            #[cfg(unix)]
            (open_unix, "unix:///run/log?s3cret", "unix:///path"),
            #[cfg(unix)]
            (open_unix, "unix://s3cret/run/log", "unix:///path"),
        ];
        for (open, url, expected) in cases {
            let error = open(settings(url)).err().expect("an error").to_string();
            assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
        }
        let gzip = TransportSettings { gzip: Some(Sourced::new((), "with_compression")), ..settings("tcp://host:1") };
        assert_eq!(
            open_tcp(gzip).err().expect("an error").to_string(),
            "`with_compression` is invalid: a socket has no use for it; leave it out"
        );
    }
}
