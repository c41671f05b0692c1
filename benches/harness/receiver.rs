//! The endpoint: HTTP/1.1 on one thread, as cheap as it can be. It goes down by script and counts exactly what arrives:
//! every number is remembered.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::Read;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use flate2::read::GzDecoder;
use hdrhistogram::Histogram;
use memchr::memmem;
use opentelemetry_spool::BoxError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use crate::args::{Args, OutageKind};
use crate::child::{Order, Orders, Told, tell};
use crate::latency::{histogram, percentiles};
use crate::mark::Finder;
use crate::report::run::Arrivals;
use crate::sample;

/// An empty object is an OTLP response in JSON, an empty body one in protobuf.
const TAKEN_JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// The books.
struct Desk {
    finder: Finder,
    arrivals: Arrivals,
    /// A bit for each number.
    seen: Vec<u64>,
    /// The highest number of each thread and partition, and one more.
    next: Vec<u64>,
    latency: Histogram<u64>,
}

impl Desk {
    fn new(args: &Args) -> Self {
        Self {
            finder: Finder::new(),
            arrivals: Arrivals::default(),
            seen: Vec::new(),
            next: vec![0; (args.threads * args.partitions) as usize],
            latency: histogram(),
        }
    }

    /// Enters a request.
    fn take(&mut self, body: &[u8], is_gzip: bool) -> std::io::Result<()> {
        let (now, mut decoded) = (sample::now(), Vec::new());
        let plain = if is_gzip {
            GzDecoder::new(body).read_to_end(&mut decoded)?;
            &decoded
        } else {
            body
        };
        let Self { finder, arrivals, seen, next, latency } = self;
        arrivals.requests += 1;
        arrivals.body_bytes += body.len() as u64;
        for (number, emitted) in finder.find(plain) {
            let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
            if word >= seen.len() {
                seen.resize(word + 1, 0);
            }
            if seen[word] & bit != 0 {
                arrivals.duplicated += 1;
                continue;
            }
            seen[word] |= bit;
            arrivals.arrived += 1;
            arrivals.last_micros = now;
            latency.saturating_record(now.saturating_sub(emitted));
            // A thread has every so many numbers, and of those each partition every so many.
            let lanes = next.len() as u64;
            let next = &mut next[(number % lanes) as usize];
            arrivals.out_of_order += u64::from(number < *next);
            *next = (number + 1).max(*next);
        }
        Ok(())
    }

    fn last_words(&self) -> Arrivals {
        let latency = (self.arrivals.arrived > 0).then(|| percentiles(&self.latency));
        Arrivals { latency, ..self.arrivals.clone() }
    }
}

/// The state that all connections share.
struct Shared {
    desk: RefCell<Desk>,
    /// How the endpoint is down right now.
    down: Cell<Option<OutageKind>>,
}

pub(crate) fn main(args: &Args) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, receive(args))
}

async fn receive(args: &Args) -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let shared = Rc::new(Shared { desk: RefCell::new(Desk::new(args)), down: Cell::new(None) });
    tell(&Told::<Arrivals>::Ready(listener.local_addr()?.port()));
    let (order, mut ordered) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut orders = Orders::new();
        while order.send(orders.next()).is_ok() {}
    });
    let Some(Order::Begin(begin)) = ordered.recv().await else { return Ok(()) };
    tokio::select! {
        result = follow_script(args, listener, begin, &shared) => result?,
        () = tell_ticks(begin, &shared) => {}
        _ = ordered.recv() => {}
    }
    tell(&Told::Done(shared.desk.borrow().last_words()));
    Ok(())
}

async fn tell_ticks(begin: u64, shared: &Shared) {
    for tick in 0.. {
        sleep(sample::until_tick(begin, tick)).await;
        tell(&Told::<Arrivals>::Tick(tick, shared.desk.borrow().arrivals.arrived));
    }
}

/// Serves, is down, serves again. Ends only with an error.
async fn follow_script(
    args: &Args,
    mut listener: TcpListener,
    begin: u64,
    shared: &Rc<Shared>,
) -> Result<(), BoxError> {
    let mut connections = JoinSet::new();
    if let Some(outage) = args.outage() {
        let [start, end] = [outage.start, outage.end].map(|seconds| begin + (seconds * 1e6) as u64);
        serve(&listener, shared, &mut connections, sleep(sample::until(start))).await?;
        if args.outage_kind == OutageKind::Refuse {
            let address = listener.local_addr()?;
            drop(listener);
            connections.shutdown().await;
            sleep(sample::until(end)).await;
            listener = bind(address).await?;
        } else {
            shared.down.set(Some(args.outage_kind));
            serve(&listener, shared, &mut connections, sleep(sample::until(end))).await?;
            // As after a restart: who still waits for a response sees the connection close.
            connections.shutdown().await;
            shared.down.set(None);
        }
    }
    serve(&listener, shared, &mut connections, pending()).await
}

/// Takes the same port again.
async fn bind(address: SocketAddr) -> Result<TcpListener, BoxError> {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return Ok(listener);
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(format!("{address} cannot be taken again").into())
}

/// Accepts connections until something happens; those that are there go on.
async fn serve(
    listener: &TcpListener,
    shared: &Rc<Shared>,
    connections: &mut JoinSet<std::io::Result<()>>,
    until: impl Future<Output = ()>,
) -> Result<(), BoxError> {
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn_local(converse(stream, shared.clone()));
            }
            // Nobody needs to know how they ended.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one request after the other, as clients send them that wait for the response.
async fn converse(mut stream: TcpStream, shared: Rc<Shared>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(256 << 10);
    loop {
        request.clear();
        let body = loop {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
            if let Some(end) = memmem::find(&request, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&request[..body]).to_ascii_lowercase();
        let Some(length) = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok()) else {
            return Err(std::io::Error::other("a request without its length"));
        };
        request.reserve((body + length).saturating_sub(request.len()));
        while request.len() < body + length {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let answer = match shared.down.get() {
            None => {
                let is_gzip = header(&head, "content-encoding") == Some("gzip");
                shared.desk.borrow_mut().take(&request[body..], is_gzip)?;
                if header(&head, "content-type") == Some("application/json") { TAKEN_JSON } else { TAKEN }
            }
            Some(OutageKind::Unavailable) => UNAVAILABLE,
            Some(OutageKind::Hang | OutageKind::Refuse) => pending().await,
        };
        stream.write_all(answer).await?;
    }
}

/// A header of a head in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}
