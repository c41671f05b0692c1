//! [`RequestBody`]: the body of a request, which notes how far it was sent and ends early where nobody reads it any more.
//!
//! A server may answer while the client still sends, and many close the connection then, with data unread. So the sender
//! has to know whether the body was handed over to its end, and must be able to stop it. The end of a long body is a piece of
//! its own, which the connection takes when it has written most of what is before it. More pieces would be more writes, each
//! of which can fail before the response is read that is there already.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// A body that is not longer is handed over at once.
const SHORT_BYTES: usize = 64 << 10;

/// The end of a longer one.
const TAIL_BYTES: usize = 1 << 10;

/// Whether a body of so many bytes is handed over at once.
pub(super) fn is_short(bytes: usize) -> bool {
    bytes <= SHORT_BYTES
}

pub(super) struct RequestBody {
    rest: Bytes,
    /// The time that the server has to refuse the head of the request, before the body follows.
    hold: Option<Duration>,
    holding: Option<Pin<Box<Sleep>>>,
    /// Nothing was handed over since the connection was last read.
    was_read: bool,
    shared: Arc<Shared>,
}

/// The sender's end of a body.
pub(super) struct Sending(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    ended: Notify,
}

struct State {
    order: Order,
    progress: Progress,
    /// The connection that waits for the body.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Send,
    Pause,
    Abort,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Underway,
    HandedOver,
    /// The connection broke before the body was handed over.
    Dropped,
}

/// Breaks a connection off on purpose.
#[derive(Debug)]
struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response came before the request was sent")
    }
}

impl Error for Aborted {}

impl RequestBody {
    /// A body, and the sender's end of it. With `hold` the head of the request is sent alone, and the body follows after that
    /// time: a server that refuses by the head closes no connection that has data unread then.
    pub(super) fn new(bytes: Bytes, hold: Option<Duration>) -> (Self, Sending) {
        let progress = if bytes.is_empty() { Progress::HandedOver } else { Progress::Underway };
        let state = Mutex::new(State { order: Order::Send, progress, waker: None });
        let shared = Arc::new(Shared { state, ended: Notify::new() });
        let sending = Sending(Arc::clone(&shared));
        (Self { rest: bytes, hold, holding: None, was_read: true, shared }, sending)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, progress: Progress) {
        self.state().progress = progress;
        self.ended.notify_waiters();
    }
}

impl Sending {
    /// Whether the whole body was handed over to the connection.
    pub(super) fn is_complete(&self) -> bool {
        self.0.state().progress == Progress::HandedOver
    }

    /// Sends no more for now; what was handed over is written.
    pub(super) fn pause(&self) {
        self.order(Order::Pause);
    }

    /// Ends the body before its end, which closes the connection.
    pub(super) fn abort(&self) {
        self.order(Order::Abort);
    }

    /// Waits until the body was handed over, or the connection broke. Whether it is complete.
    pub(super) async fn ended(&self) -> bool {
        loop {
            let ended = self.0.ended.notified();
            match self.0.state().progress {
                Progress::Underway => {}
                progress => return progress == Progress::HandedOver,
            }
            ended.await;
        }
    }

    fn order(&self, order: Order) {
        let mut state = self.0.state();
        state.order = order;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = &mut *self;
        let order = {
            let mut state = body.shared.state();
            state.waker = Some(context.waker().clone());
            state.order
        };
        match order {
            Order::Abort => return Poll::Ready(Some(Err(Aborted.into()))),
            Order::Pause => return Poll::Pending,
            Order::Send => {}
        }
        if let Some(hold) = body.hold.take() {
            body.holding = Some(Box::pin(tokio::time::sleep(hold)));
        }
        if let Some(holding) = &mut body.holding {
            if holding.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            body.holding = None;
        }
        if body.rest.is_empty() {
            return Poll::Ready(None);
        }
        if !body.was_read {
            body.was_read = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        body.was_read = false;
        let len = body.rest.len();
        let piece = body.rest.split_to(if is_short(len) { len } else { len - TAIL_BYTES });
        if body.rest.is_empty() {
            body.shared.end(Progress::HandedOver);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            self.shared.end(Progress::Dropped);
        }
    }
}
