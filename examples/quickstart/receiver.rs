//! The endpoint: a small HTTP receiver on loopback that can fail in the ways endpoints fail.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_spool::BoxError;
use tokio::runtime::Runtime;

use crate::ledger::{SharedLedger, books};
use crate::tally::Signal;
use crate::wait::wait_until;

/// A fault of the receiver for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Responds with 503 and `Retry-After: 1`, and ignores the batch.
    Busy,
    /// Takes the batch and withholds the response: the sender cannot know and has to send it again.
    TakenButNotSaid,
}

#[derive(Clone)]
struct Desk {
    ledger: SharedLedger,
    /// The faults of the next requests, one each.
    script: Arc<Mutex<VecDeque<Answer>>>,
    delay: Duration,
}

/// The receiver. While it is up it has a runtime of its own: dropping that closes listener and connections at once.
pub(crate) struct Receiver {
    address: SocketAddr,
    ledger: SharedLedger,
    running: Option<Runtime>,
}

impl Receiver {
    /// Starts on a free port.
    pub(crate) fn start(ledger: SharedLedger) -> Result<Self, BoxError> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let mut receiver = Self { address, ledger, running: None };
        receiver.serve(listener, &[], Duration::ZERO)?;
        Ok(receiver)
    }

    /// Where records and spans go, by their paths.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses connections from now on, and cuts those that are open.
    pub(crate) fn go_down(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    /// Listens on the same port again, responds to the first requests with these faults and to the others well, but slowly.
    pub(crate) fn come_back(&mut self, script: &[Answer]) -> Result<(), BoxError> {
        let mut listener = None;
        wait_until(Duration::from_secs(5), || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        let listener = listener.ok_or("the receiver's port is taken")?;
        self.serve(listener, script, Duration::from_millis(60))
    }

    fn serve(&mut self, listener: TcpListener, script: &[Answer], delay: Duration) -> Result<(), BoxError> {
        let script = Arc::new(Mutex::new(script.iter().copied().collect()));
        let desk = Desk { ledger: Arc::clone(&self.ledger), script, delay };
        let logs = post(|State(desk), headers, body| take(desk, Signal::Logs, headers, body));
        let spans = post(|State(desk), headers, body| take(desk, Signal::Spans, headers, body));
        let router = Router::new().route("/ingest", logs).route("/v1/traces", spans).with_state(desk);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        listener.set_nonblocking(true)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(axum::serve(listener, router).into_future());
        self.running = Some(runtime);
        Ok(())
    }
}

async fn take(desk: Desk, signal: Signal, headers: HeaderMap, body: Bytes) -> Response {
    let next = desk.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    match next {
        Some(Answer::Busy) => {
            books(&desk.ledger).refused += 1;
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
        }
        Some(Answer::TakenButNotSaid) => {
            books(&desk.ledger).take(signal, &headers, &body);
            books(&desk.ledger).unanswered += 1;
            std::future::pending().await
        }
        None => {
            tokio::time::sleep(desk.delay).await;
            books(&desk.ledger).take(signal, &headers, &body);
            // An empty object is OTLP's response in JSON, and what comes of log records is the status alone.
            ([(header::CONTENT_TYPE, "application/json")], "{}").into_response()
        }
    }
}
