//! [`Server`]: a connection, one request after the other.
//!
//! Each request is answered before the next one is read, so that answers keep the order, and a client that sends faster than
//! its records are stored waits. A refused request is read to its end if nothing speaks against it: a client that still sends
//! when the connection is closed would see a reset in place of the answer.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::body::{BodyReader, Framing, Progress};
use super::budget::{Budget, Permit};
use super::guard::Guard;
use super::handler::{Handler, Incoming};
use super::head::{Head, HeadLimits, HeadReader, Version};
use super::limits::Limits;
use super::refusal::Refusal;
use super::response::{After, Response};
use super::surplus;

/// The room for what is read at once: of a head, of a body.
const READ_BYTES: (usize, usize) = (8 << 10, 64 << 10);

/// A head that is not longer takes nothing from the budget.
const FREE_HEAD_BYTES: usize = 64 << 10;

/// A request has a second more for each so many bytes of it.
const BYTES_PER_SECOND: u64 = 64 << 10;

/// Surplus of a body ends when nothing came for so long.
const SURPLUS_PAUSE: Duration = Duration::from_millis(50);

/// The time and the bytes that a client has to read a refusal while it still sends.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 1 << 20);

/// Serves connections for a handler.
#[derive(Debug)]
pub(crate) struct Server<H> {
    pub(crate) handler: H,
    pub(crate) limits: Limits,
    pub(crate) guard: Guard,
    pub(crate) budget: Budget,
}

impl<H: Handler> Server<H> {
    /// Serves a connection until it ends. When `shutdown` becomes true, it ends after the request that has begun.
    pub(crate) async fn serve<S>(&self, stream: S, peer: &str, shutdown: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let buffer = BytesMut::new();
        let mut connection = Connection { server: self, stream, peer, shutdown, buffer, is_known: false };
        while connection.begins().await && connection.exchange().await {}
    }
}

struct Connection<'a, S, H> {
    server: &'a Server<H>,
    stream: S,
    peer: &'a str,
    shutdown: watch::Receiver<bool>,
    /// What has come and is not read yet.
    buffer: BytesMut,
    /// It has shown credentials.
    is_known: bool,
}

/// The time that a request has.
struct Clock {
    begun: Instant,
    slow: Duration,
    received: u64,
    /// The time for which it waited for memory.
    waited: Duration,
}

impl Clock {
    fn deadline(&self) -> Instant {
        self.begun + self.slow + self.waited + Duration::from_secs(self.received / BYTES_PER_SECOND)
    }
}

/// A request that has arrived.
struct Arrived {
    incoming: Incoming,
    is_persistent: bool,
    /// Bytes were taken that a proxy may see as another request.
    has_surplus: bool,
}

impl<S, H> Connection<'_, S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    /// Waits for a request. False if none comes.
    async fn begins(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return true;
        }
        // Not the memory of a large request.
        self.buffer = BytesMut::with_capacity(READ_BYTES.0);
        tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.buffer) => matches!(read, Ok(1..)),
            _ = self.shutdown.wait_for(|is_down| *is_down) => false,
            () = sleep(self.server.limits.idle) => false,
        }
    }

    /// Reads a request and answers it. Whether the connection stays open.
    async fn exchange(&mut self) -> bool {
        let mut clock = Clock {
            begun: Instant::now(),
            slow: self.server.limits.slow,
            received: self.buffer.len() as u64,
            waited: Duration::ZERO,
        };
        let mut body = None;
        let arrived = match self.receive(&mut clock, &mut body).await {
            Ok(Some(arrived)) => arrived,
            Ok(None) => return false,
            Err(refusal) => {
                self.refuse(refusal, body, &mut clock).await;
                return false;
            }
        };
        let is_head = arrived.incoming.head.method == "HEAD";
        let response = self.server.handler.handle(arrived.incoming, self.peer).await;
        let stays = arrived.is_persistent && !arrived.has_surplus && !*self.shutdown.borrow();
        let after = if stays { After::KeepAlive(self.server.limits.idle) } else { After::Close };
        let is_written = self.write(&response.bytes(is_head, after, SystemTime::now())).await;
        if arrived.has_surplus {
            self.linger().await;
        } else if !stays {
            let _ = self.stream.shutdown().await;
        }
        is_written && stays
    }

    /// Reads a request; nothing if the connection ends before it. Leaves in `rest` what has to be read of a refused one.
    async fn receive(&mut self, clock: &mut Clock, rest: &mut Option<BodyReader>) -> Result<Option<Arrived>, Refusal> {
        let mut permit = self.server.budget.permit();
        let Some(head) = self.head(clock, &mut permit).await? else { return Ok(None) };
        let framing = Framing::of(&head)?;
        let mut reader = BodyReader::discarding(framing, self.server.limits.discard);
        let expects = head.version == Version::Http11
            && head.elements("expect").any(|expectation| expectation.eq_ignore_ascii_case("100-continue"));
        let waits_for_us = expects && !reader.is_complete() && self.buffer.is_empty();
        let cut = surplus::is_cut(&head);
        let max_body = self.server.handler.max_body(&head.request(cut)).unwrap_or(self.server.limits.body);
        let checked = self.server.guard.check(&head).and_then(|()| reader.keep(&head, max_body));
        if let Err(refusal) = checked {
            // Who waits for a permission sends nothing after a refusal.
            *rest = (!waits_for_us).then_some(reader);
            return Err(refusal);
        }
        self.is_known = true;
        if waits_for_us {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        let of_head = permit.bytes();
        if let Err(refusal) = self.body(&mut reader, of_head, clock, &mut permit).await {
            *rest = Some(reader);
            return Err(refusal);
        }
        let mut body = reader.into_body();
        let has_surplus = surplus::may_follow(&head, framing) && self.surplus(&mut body, max_body).await?;
        body.shrink_to_fit();
        permit.cover(of_head + body.len()).await;
        permit.shrink(of_head + body.len());
        let is_persistent = is_persistent(&head);
        let incoming = Incoming { head, body: Bytes::from(body), cut, permit };
        Ok(Some(Arrived { incoming, is_persistent, has_surplus }))
    }

    async fn head(&mut self, clock: &mut Clock, permit: &mut Permit) -> Result<Option<Head>, Refusal> {
        let Limits { line, headers, stranger, .. } = self.server.limits;
        let is_stranger = self.server.guard.wants_credentials() && !self.is_known;
        let whole = if is_stranger { stranger } else { line + headers };
        let (mut reader, limits) = (HeadReader::default(), HeadLimits { line, headers, whole });
        loop {
            if let Some(head) = reader.read(&mut self.buffer, limits)? {
                return Ok(Some(head));
            }
            if self.buffer.len() > FREE_HEAD_BYTES {
                cover(permit, self.buffer.capacity(), clock).await;
            }
            match self.fill(READ_BYTES.0, clock).await {
                // An empty line is no request.
                Err(Refusal::Cut) if self.buffer.is_empty() => return Ok(None),
                filled => filled?,
            }
        }
    }

    async fn body(
        &mut self,
        reader: &mut BodyReader,
        of_head: usize,
        clock: &mut Clock,
        permit: &mut Permit,
    ) -> Result<(), Refusal> {
        loop {
            let progress = reader.read(&mut self.buffer)?;
            cover(permit, of_head + reader.memory(), clock).await;
            match progress {
                Progress::Working => {}
                Progress::NeedsInput => self.fill(READ_BYTES.1, clock).await?,
                Progress::Complete => return Ok(()),
            }
        }
    }

    /// Takes what follows a form body at once and belongs to it. Whether there was any.
    async fn surplus(&mut self, body: &mut Vec<u8>, max_body: usize) -> Result<bool, Refusal> {
        if self.buffer.is_empty() {
            self.read_within(Duration::ZERO).await;
        }
        let mut is_taken = false;
        loop {
            let len = surplus::len(&self.buffer);
            if len == 0 {
                return Ok(is_taken);
            }
            if body.len() + len > max_body {
                return Err(Refusal::BodyTooLarge);
            }
            body.extend_from_slice(&self.buffer.split_to(len));
            is_taken = true;
            self.read_within(SURPLUS_PAUSE).await;
        }
    }

    /// Reads what comes within a time.
    async fn read_within(&mut self, time: Duration) {
        self.buffer.reserve(READ_BYTES.0);
        let _ = timeout(time, self.stream.read_buf(&mut self.buffer)).await;
    }

    /// Reads more of a request.
    async fn fill(&mut self, room: usize, clock: &mut Clock) -> Result<(), Refusal> {
        self.buffer.reserve(room);
        match timeout_at(clock.deadline(), self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0) | Err(_)) => Err(Refusal::Cut),
            Ok(Ok(len)) => {
                clock.received += len as u64;
                Ok(())
            }
            Err(_) => Err(Refusal::Slow),
        }
    }

    /// Answers a request that the handler does not see.
    async fn refuse(&mut self, refusal: Refusal, rest: Option<BodyReader>, clock: &mut Clock) {
        self.server.handler.refused(refusal, self.peer);
        if let Some(mut rest) = rest.filter(|_| !matches!(refusal, Refusal::Slow | Refusal::Cut)) {
            rest.discard(self.server.limits.discard);
            let mut permit = self.server.budget.permit();
            // Whether it ends does not change the answer.
            let _ = self.body(&mut rest, 0, clock, &mut permit).await;
        }
        self.write(&Response::refused(refusal).bytes(false, After::Close, SystemTime::now())).await;
        self.linger().await;
    }

    /// Writes in one piece. Whether the client has taken it.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        let time = self.server.limits.slow + Duration::from_secs(bytes.len() as u64 / BYTES_PER_SECOND);
        let written = timeout(time, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        matches!(written.await, Ok(Ok(())))
    }

    /// Ends the connection, but lets the client read the answer: unread bytes would reset it.
    async fn linger(&mut self) {
        let (time, mut left) = LINGER;
        let _ = timeout(time, async {
            self.stream.shutdown().await?;
            while left > 0 {
                self.buffer.clear();
                self.buffer.reserve(READ_BYTES.0);
                match self.stream.read_buf(&mut self.buffer).await? {
                    0 => break,
                    len => left = left.saturating_sub(len),
                }
            }
            std::io::Result::Ok(())
        })
        .await;
    }
}

/// Waits for memory, which does not count as the client's time.
async fn cover(permit: &mut Permit, bytes: usize, clock: &mut Clock) {
    if bytes > permit.bytes() {
        let begun = Instant::now();
        permit.cover(bytes).await;
        clock.waited += begun.elapsed();
    }
}

/// Whether the client would keep the connection.
fn is_persistent(head: &Head) -> bool {
    let has = |option: &str| head.elements("connection").any(|element| element.eq_ignore_ascii_case(option));
    !has("close") && (head.version == Version::Http11 || has("keep-alive"))
}

#[cfg(test)]
mod tests;
