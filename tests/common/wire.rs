//! A scripted server below HTTP: a test says what it reads, what it says and how it closes, byte by byte.

use std::collections::HashSet;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a connection does.
type Conversation = dyn Fn(&mut Wire) -> io::Result<()> + Send + Sync;

/// Everything that came in so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Connections that were accepted.
    pub connections: usize,
    /// Heads of requests that were read, each with the number of its connection and the `Idempotency-Key`.
    pub heads: Vec<(usize, String)>,
    /// The messages of what was taken, in order, each `Idempotency-Key` once.
    pub stored: Vec<String>,
    /// How many records were taken again under a key that had been taken before.
    pub repeated: usize,
    keys: HashSet<String>,
}

/// The server. It answers until it is dropped.
pub struct WireServer {
    heard: Arc<Mutex<Heard>>,
    address: SocketAddr,
    scheme: &'static str,
    stopped: Arc<AtomicBool>,
}

/// The server's end of a connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    tcp: TcpStream,
    number: usize,
    heard: Arc<Mutex<Heard>>,
}

/// Encrypted or not.
trait Stream: io::Read + io::Write + Send {}

impl<T: io::Read + io::Write + Send> Stream for T {}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Head {
    text: String,
    /// The number of bytes in the body.
    pub length: usize,
}

impl Head {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
        self.text.lines().find(named).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }

    /// The `Idempotency-Key`.
    pub fn key(&self) -> &str {
        self.header("idempotency-key").expect("a request has an Idempotency-Key")
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WireServer {
    /// A server that does this on every connection. A connection whose conversation ends, or fails because the client is gone, is
    /// closed.
    pub fn start(conversation: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::serve(None, None, Arc::new(conversation))
    }

    /// The same with so small a buffer for what is not read yet that the client notices.
    pub fn start_narrow(
        bytes: u32,
        conversation: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(None, Some(bytes), Arc::new(conversation))
    }

    /// The same with TLS.
    pub fn start_tls(
        tls: Arc<ServerConfig>,
        bytes: u32,
        conversation: impl Fn(&mut Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(tls), Some(bytes), Arc::new(conversation))
    }

    fn serve(tls: Option<Arc<ServerConfig>>, buffer: Option<u32>, conversation: Arc<Conversation>) -> Self {
        let listener = listen(buffer);
        let address = listener.local_addr().expect("an address");
        let (heard, stopped) = (Arc::<Mutex<Heard>>::default(), Arc::<AtomicBool>::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = Self { heard: Arc::clone(&heard), address, scheme, stopped: Arc::clone(&stopped) };
        thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let number = lock(&heard).connections;
                lock(&heard).connections += 1;
                let (heard, tls) = (Arc::clone(&heard), tls.clone());
                let conversation = Arc::clone(&conversation);
                // A client that goes away is not this server's business.
                thread::spawn(move || drop(talk(tcp, tls, number, heard, &*conversation)));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("{}://{}/ingest", self.scheme, self.address)
    }

    /// Everything that came in so far.
    pub fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }
}

impl Drop for WireServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // To have the listener look.
        drop(TcpStream::connect(self.address));
    }
}

fn talk(
    tcp: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    number: usize,
    heard: Arc<Mutex<Heard>>,
    conversation: &Conversation,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let plain = tcp.try_clone()?;
    let stream: Box<dyn Stream> = match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, plain))
        }
        None => Box::new(plain),
    };
    conversation(&mut Wire { stream, tcp, number, heard })
}

/// A listener; its connections have a buffer of about so many bytes.
fn listen(buffer: Option<u32>) -> TcpListener {
    let Some(bytes) = buffer else { return TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let _entered = runtime.enter();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(bytes).expect("a socket option");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let listener = socket.listen(1024).expect("listening").into_std().expect("a listener");
    listener.set_nonblocking(false).expect("a listener that waits");
    listener
}

impl Wire {
    /// The number of this connection, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reads the head of the next request. `None` if the client has closed the connection instead.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte)? == 0 {
                return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            head.push(byte[0]);
        }
        let mut head = Head { text: String::from_utf8(head).expect("a head is text"), length: 0 };
        head.length = head.header("content-length").and_then(|length| length.parse().ok()).expect("a length");
        lock(&self.heard).heads.push((self.number, head.header("idempotency-key").unwrap_or_default().to_owned()));
        Ok(Some(head))
    }

    /// Reads a request's body.
    pub fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let mut body = vec![0; head.length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// Reads a request's body, and does this after every so many bytes.
    pub fn body_in_pieces(&mut self, head: &Head, bytes: usize, mut between: impl FnMut()) -> io::Result<Vec<u8>> {
        let mut body = vec![0; head.length];
        for piece in body.chunks_mut(bytes) {
            self.stream.read_exact(piece)?;
            between();
        }
        Ok(body)
    }

    /// Says something.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()
    }

    /// Says a response without a body that leaves the connection open.
    pub fn respond(&mut self, status: u16, headers: &str) -> io::Result<()> {
        self.say(&format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n{headers}\r\n"))
    }

    /// Takes the records: a JSON array of objects with a `message`.
    pub fn store(&self, head: &Head, body: &[u8]) {
        let records: Vec<Value> = serde_json::from_slice(body).expect("a JSON array");
        let messages = records.iter().map(|record| record["message"].as_str().expect("a message").to_owned());
        self.store_these(head, messages.collect());
    }

    /// Takes records with these messages.
    pub fn store_these(&self, head: &Head, messages: Vec<String>) {
        let mut all = lock(&self.heard);
        if all.keys.insert(head.key().to_owned()) {
            all.stored.extend(messages);
        } else {
            all.repeated += messages.len();
        }
    }

    /// Says no more, and waits until the client is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        self.tcp.shutdown(Shutdown::Write)?;
        self.wait_for_the_end()
    }

    /// Waits until the client is gone; whatever it says is not looked at.
    pub fn wait_for_the_end(&mut self) -> io::Result<()> {
        io::copy(&mut self.stream, &mut io::sink()).map(drop)
    }
}
