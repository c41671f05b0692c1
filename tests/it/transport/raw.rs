//! A server that is scripted byte by byte: for what no HTTP library would send.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The server. Each connection has a thread of its own, which the script keeps as long as it wants.
pub(super) struct Raw {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) requests: Arc<AtomicUsize>,
}

/// A connection of it.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    reader: BufReader<TcpStream>,
    requests: Arc<AtomicUsize>,
    /// From 0, in the order in which they came.
    pub(super) number: usize,
}

/// The head of a request.
pub(super) struct Head {
    /// From 0, over all connections.
    pub(super) number: usize,
    pub(super) content_length: usize,
}

impl Raw {
    pub(super) fn start(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, count_requests, script) = (Arc::clone(&connections), Arc::clone(&requests), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                let reader = BufReader::new(stream.try_clone().expect("a stream"));
                let (requests, script) = (Arc::clone(&count_requests), Arc::clone(&script));
                let number = count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || script(&mut Connection { stream, reader, requests, number }));
            }
        });
        Self { address, connections, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/ingest", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Connection {
    /// Reads the head of the next request; nothing if the client closes.
    pub(super) fn head(&mut self) -> Option<Head> {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            self.reader.read_line(&mut text).ok().filter(|&bytes| bytes > 0)?;
        }
        let lower = text.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
        let content_length = length.map_or(0, |length| length.trim().parse().expect("a length"));
        Some(Head { number: self.requests.fetch_add(1, Ordering::SeqCst), content_length })
    }

    /// Reads the next request to its end.
    pub(super) fn request(&mut self) -> Option<(Head, Vec<u8>)> {
        let head = self.head()?;
        let mut body = vec![0; head.content_length];
        self.reader.read_exact(&mut body).ok()?;
        Some((head, body))
    }

    pub(super) fn say(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// Reads and drops so many bytes, or as many as the client sends; how many there were.
    pub(super) fn skip(&mut self, bytes: usize) -> u64 {
        let (mut buffer, mut left) = ([0; 8 << 10], bytes);
        while left > 0 {
            match self.reader.read(&mut buffer[..left.min(8 << 10)]) {
                Ok(read) if read > 0 => left -= read,
                _ => break,
            }
        }
        (bytes - left) as u64
    }

    /// Whether nothing comes for a moment.
    pub(super) fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket option");
        let came = self.reader.fill_buf();
        came.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// What comes first, in one read.
    #[cfg(feature = "tls")]
    pub(super) fn some_bytes(&mut self) -> Vec<u8> {
        self.reader.fill_buf().unwrap_or_default().to_vec()
    }
}
