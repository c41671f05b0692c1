//! [`Server`]: the runtime of a relay, and the tasks that accept and serve.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::ExporterBuildError;
use crate::process;
use crate::relay::counts::ListenerCounts;
use crate::relay::datagrams::{self, Datagrams, Udp};
use crate::relay::decoder::{Decoder, Source};
use crate::relay::http::budget::Budget;
use crate::relay::http::connection::Server as HttpServer;
use crate::relay::http::guard::{Credential, Guard, Hosts};
use crate::relay::http::handler::Handler;
use crate::relay::http::limits::RequestLimits;
use crate::relay::intake::sender;
use crate::relay::listener::{Bound, Listener};
use crate::relay::requests::Requests;
use crate::relay::service::Service;
use crate::relay::settings::RelaySettings;
use crate::relay::status::server::{StatusPages, every_moment};
use crate::relay::streams;

/// The threads that read and answer: what takes time is done by others.
const THREADS: usize = 2;

/// The time after which accepting is tried again where the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most who look at the status at a time; further ones wait.
const MAX_STATUS_CONNECTIONS: usize = 32;

/// The least time for frames that were read and are not decoded when a relay is stopped.
const LEAST_DECODING: Duration = Duration::from_millis(200);

/// What a server is made of.
pub(crate) struct Config {
    pub(crate) bound: Vec<Bound>,
    pub(crate) status: Option<(Bound, StatusPages)>,
    pub(crate) service: Arc<Service>,
    pub(crate) settings: RelaySettings,
    /// The relay's own name in requests that it forwards.
    pub(crate) id: String,
}

/// The runtime of a relay. Dropping it ends all connections at once.
pub(crate) struct Server {
    runtime: Arc<Mutex<Option<Runtime>>>,
    stop: watch::Sender<bool>,
    /// Ends with the last connection.
    ended: Mutex<mpsc::Receiver<()>>,
    /// Ends with the decode threads.
    decode_ended: Mutex<mpsc::Receiver<()>>,
    /// The files of its sockets.
    files: Vec<PathBuf>,
}

/// What every connection has.
#[derive(Clone)]
struct Connections {
    stop: watch::Receiver<bool>,
    permits: Arc<Semaphore>,
    /// Kept as long as a connection is there.
    alive: mpsc::SyncSender<()>,
    service: Arc<Service>,
    /// The place of the listener.
    listener: usize,
    tags_senders: bool,
}

impl Server {
    /// Starts to accept.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started, or a socket is none of the runtime's.
    pub(crate) fn start(config: Config) -> Result<Self, ExporterBuildError> {
        let Config { bound, status, service, settings, id } = config;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("otel-spool-relay")
            .on_thread_start(|| {
                // As long as the thread lives: what the runtime and its tasks log is not to come back.
                std::mem::forget(Context::enter_telemetry_suppressed_scope());
            })
            .enable_all()
            .build()
            .map_err(ExporterBuildError::Thread)?;
        // The other half is for what waits to be committed.
        let budget = Budget::new(settings.limits.max_buffer_bytes / 2);
        let (decoder, decode_ended) = Decoder::start(service.outlets.clone(), service.counts.clone(), budget.clone())?;
        let (stop, stopped) = watch::channel(false);
        let (alive, ended) = mpsc::sync_channel(0);
        let permits = Arc::new(Semaphore::new(settings.limits.max_connections));
        let files = bound.iter().filter_map(|bound| bound.file.clone()).collect();
        {
            let _entered = runtime.enter();
            for (at, bound) in bound.into_iter().enumerate() {
                let connections = Connections {
                    stop: stopped.clone(),
                    permits: permits.clone(),
                    alive: alive.clone(),
                    service: service.clone(),
                    listener: at,
                    tags_senders: settings.tags_senders,
                };
                let error = bound.listener.error();
                accept_from(bound, connections, &settings, &budget, &decoder, &id).map_err(error)?;
            }
            if let Some((bound, pages)) = status {
                let server = Arc::new(HttpServer {
                    handler: pages,
                    limits: RequestLimits::default(),
                    guard: Guard::new(hosts(&bound.listener, &settings), Vec::new(), &id),
                    budget: Budget::new(1 << 20),
                });
                let socket = TcpListener::from_std(bound.socket.into()).map_err(bound.listener.error())?;
                let pages = server.clone();
                // Sizes of files are read.
                let look = move || tokio::task::block_in_place(|| drop(pages.handler.look()));
                tokio::spawn(every_moment(look, stopped.clone()));
                tokio::spawn(serve_status(socket, server, stopped.clone()));
            }
        }
        Ok(Self {
            runtime: Arc::new(Mutex::new(Some(runtime))),
            stop,
            ended: Mutex::new(ended),
            decode_ended: Mutex::new(decode_ended),
            files,
        })
    }

    /// Accepts nothing more, reads what has come, and ends the connections. False if some of them had to be broken off.
    pub(crate) fn stop(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.stop.send_replace(true);
        self.remove_files();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let in_time = ended.recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout);
        // On a thread of its own: waiting for a runtime inside of another one would panic.
        let runtime = self.runtime.clone();
        let shut_down = process::spawn("shutdown", move || {
            if let Some(runtime) = runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
                runtime.shutdown_timeout(deadline.saturating_duration_since(Instant::now()));
            }
        });
        match shut_down {
            Ok(thread) => drop(thread.join()),
            Err(_) => self.abort(),
        }
        // All who hand frames over are gone. What is not decoded by then is not written: that is counted.
        let left = deadline.saturating_duration_since(Instant::now()).max(LEAST_DECODING);
        let decoded = self.decode_ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(left);
        in_time && decoded != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

impl Server {
    /// So that a client sees at once that nobody listens any more.
    fn remove_files(&self) {
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }

    /// Breaks all connections off.
    pub(crate) fn abort(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.remove_files();
            // A runtime that is dropped inside of another one would panic.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Starts the task of a listener. It runs on the runtime that is entered.
fn accept_from(
    bound: Bound,
    connections: Connections,
    settings: &RelaySettings,
    budget: &Budget,
    decoder: &Decoder,
    id: &str,
) -> io::Result<()> {
    let Bound { listener, socket, .. } = bound;
    let max_record_bytes = settings.limits.max_record_bytes;
    match listener {
        Listener::Http(_) | Listener::Otlp(_) => {
            let server = Arc::new(HttpServer {
                handler: Requests::new(connections.service.clone(), connections.listener, settings),
                limits: RequestLimits { body: settings.limits.max_request_bytes, ..RequestLimits::default() },
                guard: Guard::new(hosts(&listener, settings), credentials(settings), id),
                budget: budget.clone(),
            });
            tokio::spawn(accept_http(TcpListener::from_std(socket.into())?, server, connections));
        }
        Listener::Tcp(_) => {
            let accept =
                accept_frames(TcpListener::from_std(socket.into())?, connections, decoder.clone(), max_record_bytes);
            tokio::spawn(accept);
        }
        Listener::Udp(_) => {
            let socket = Udp::new(tokio::net::UdpSocket::from_std(socket.into())?);
            serve_datagrams(socket, max_record_bytes, decoder, connections);
        }
        #[cfg(unix)]
        Listener::Unix(_) => {
            let socket = tokio::net::UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into())?;
            tokio::spawn(accept_unix_frames(socket, connections, decoder.clone(), max_record_bytes));
        }
        #[cfg(unix)]
        Listener::UnixDatagram(_) => {
            let socket = tokio::net::UnixDatagram::from_std(std::os::fd::OwnedFd::from(socket).into())?;
            serve_datagrams(socket, max_record_bytes, decoder, connections);
        }
        #[cfg(not(unix))]
        Listener::Unix(_) | Listener::UnixDatagram(_) => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok(())
}

/// By which names a listener may be called.
fn hosts(listener: &Listener, settings: &RelaySettings) -> Hosts {
    match listener.address() {
        Some(address) => Hosts::Only { bound: address.ip(), names: settings.hosts.clone() },
        None => Hosts::Any,
    }
}

fn credentials(settings: &RelaySettings) -> Vec<Credential> {
    let users = settings.users.iter().map(|(name, password)| Credential::basic(name, password));
    users.chain(settings.tokens.iter().map(|token| Credential::bearer(token))).collect()
}

impl Connections {
    /// Waits for a connection, and until it may be served. `None` once the relay is stopped and nobody waits any more: who has
    /// connected before can have sent something.
    async fn accept<A: Accept>(&mut self, socket: &A) -> Option<(A::Stream, Connection)> {
        let (stream, permit) = accept(socket, &self.permits, &mut self.stop).await?;
        Some((stream, Connection::begin(self, permit)))
    }

    /// Where frames come from, with who sends them if records are to say so.
    fn source(&self, peer: Option<&str>, ids: Option<(u32, Option<i32>)>) -> Source {
        let listener = self.service.counts.listener(self.listener);
        let sender = self.tags_senders.then(|| Arc::new(sender(listener, peer, ids)));
        Source { listener: self.listener, file: None, sender }
    }
}

/// Waits for a connection, and then for its permit: a listener to which nobody comes takes none from the others. `None` once the
/// relay is stopped.
async fn accept<A: Accept>(
    socket: &A,
    permits: &Arc<Semaphore>,
    stop: &mut watch::Receiver<bool>,
) -> Option<(A::Stream, OwnedSemaphorePermit)> {
    let stream = loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accepted() => accepted,
            () = stopped(stop) => return None,
        };
        match accepted {
            Ok(stream) => break stream,
            // A connection that was reset while it waited, or no descriptor is left: others may end.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    };
    tokio::select! {
        biased;
        permit = permits.clone().acquire_owned() => permit.ok().map(|permit| (stream, permit)),
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

/// Waits until the relay is stopped, and for one turn of the runtime's driver: what the system has for a socket is known after that.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
    // A timer is looked at behind the sockets.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A connection that is counted as open until this is dropped.
struct Connection {
    service: Arc<Service>,
    listener: usize,
    _permit: OwnedSemaphorePermit,
    _alive: mpsc::SyncSender<()>,
}

impl Connection {
    fn begin(of: &Connections, permit: OwnedSemaphorePermit) -> Self {
        let connection =
            Self { service: of.service.clone(), listener: of.listener, _permit: permit, _alive: of.alive.clone() };
        connection.counts().connections.add(1);
        connection.counts().open_connections.add(1);
        connection
    }

    fn counts(&self) -> &ListenerCounts {
        self.service.counts.of(self.listener)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts().open_connections.subtract(1);
    }
}

/// A socket that accepts connections.
trait Accept {
    type Stream;

    fn accepted(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A connection, and the name of its peer.
impl Accept for TcpListener {
    type Stream = (TcpStream, String);

    async fn accepted(&self) -> io::Result<(TcpStream, String)> {
        let (stream, peer) = self.accept().await?;
        // An answer that waits for another one delays the application.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer.to_string()))
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accepted(&self) -> io::Result<Self::Stream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

async fn accept_http<H: Handler + 'static>(
    socket: TcpListener,
    server: Arc<HttpServer<H>>,
    mut connections: Connections,
) {
    while let Some(((stream, peer), connection)) = connections.accept(&socket).await {
        let (server, stop) = (server.clone(), connections.stop.clone());
        tokio::spawn(async move {
            server.serve(stream, &peer, stop).await;
            drop(connection);
        });
    }
}

async fn serve_status<H: Handler + 'static>(
    socket: TcpListener,
    server: Arc<HttpServer<H>>,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(MAX_STATUS_CONNECTIONS));
    while let Some(((stream, peer), permit)) = accept(&socket, &permits, &mut stop).await {
        let (server, stop) = (server.clone(), stop.clone());
        tokio::spawn(async move {
            server.serve(stream, &peer, stop).await;
            drop(permit);
        });
    }
}

async fn accept_frames(socket: TcpListener, mut connections: Connections, decoder: Decoder, max_record_bytes: usize) {
    while let Some(((stream, peer), connection)) = connections.accept(&socket).await {
        let source = connections.source(Some(&peer), None);
        serve_frames(stream, source, connection, &connections, &decoder, max_record_bytes);
    }
}

#[cfg(unix)]
async fn accept_unix_frames(
    socket: tokio::net::UnixListener,
    mut connections: Connections,
    decoder: Decoder,
    max_record_bytes: usize,
) {
    while let Some((stream, connection)) = connections.accept(&socket).await {
        let ids = stream.peer_cred().ok().map(|ids| (ids.uid(), ids.pid()));
        let source = connections.source(None, ids);
        serve_frames(stream, source, connection, &connections, &decoder, max_record_bytes);
    }
}

fn serve_frames(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    source: Source,
    connection: Connection,
    connections: &Connections,
    decoder: &Decoder,
    max_record_bytes: usize,
) {
    let (decoder, stop) = (decoder.clone(), connections.stop.clone());
    tokio::spawn(async move {
        streams::serve(stream, source, max_record_bytes, decoder, stop).await;
        drop(connection);
    });
}

fn serve_datagrams(socket: impl Datagrams, max_record_bytes: usize, decoder: &Decoder, connections: Connections) {
    let (source, decoder) = (connections.source(None, None), decoder.clone());
    tokio::spawn(async move {
        datagrams::serve(Arc::new(socket), source, max_record_bytes, decoder, connections.stop.clone()).await;
        drop(connections);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_waits_takes_no_connection_from_another_one() {
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let (quiet, busy) = (bind().await, bind().await);
        let permits = Arc::new(Semaphore::new(1));
        let (_stop, stopped) = watch::channel(false);
        let (mut first, mut second) = (stopped.clone(), stopped);
        let waiting = accept(&quiet, &permits, &mut first);
        let served = async {
            let _client = TcpStream::connect(busy.local_addr().unwrap()).await.unwrap();
            accept(&busy, &permits, &mut second).await.is_some()
        };
        tokio::select! {
            biased;
            _ = waiting => panic!("nobody came"),
            is_served = served => assert!(is_served),
        }
    }
}
