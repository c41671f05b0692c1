//! [`Server`]: a connection, one request after the other.
//!
//! Each request is answered before the next one is read, so that answers keep the order, and a client that sends faster than
//! its records are stored waits. A refused request is read to its end if nothing speaks against it: a client that still sends
//! when the connection is closed would see a reset in place of the answer.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::body::{BodyFraming, BodyReader, Progress};
use super::budget::{Budget, Permit};
use super::guard::Guard;
use super::handler::{Handler, Incoming};
use super::head::{Head, HeadLimits, HeadReader, Version};
use super::limits::{LAST_READ, RequestLimits};
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
    pub(crate) limits: RequestLimits,
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

/// The time and the memory that a request has.
struct Allowance {
    begun: Instant,
    slow: Duration,
    received: u64,
    /// The time for which it waited for memory.
    waited: Duration,
    permit: Permit,
    /// The part of the memory that its head has.
    of_head: usize,
}

impl Allowance {
    fn deadline(&self) -> Instant {
        self.begun + self.slow + self.waited + Duration::from_secs(self.received / BYTES_PER_SECOND)
    }

    /// Waits for memory, so much in all, which does not count as the client's time.
    async fn cover(&mut self, bytes: usize) {
        if bytes > self.permit.bytes() {
            let begun = Instant::now();
            self.permit.cover(bytes).await;
            self.waited += begun.elapsed();
        }
    }
}

/// A request that has arrived.
struct Arrived {
    head: Head,
    body: Vec<u8>,
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
        let down = async {
            let _ = self.shutdown.wait_for(|is_down| *is_down).await;
            sleep(LAST_READ).await;
        };
        tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.buffer) => matches!(read, Ok(1..)),
            () = down => false,
            () = sleep(self.server.limits.idle) => false,
        }
    }

    /// Reads a request and answers it. Whether the connection stays open.
    async fn exchange(&mut self) -> bool {
        let mut allowance = Allowance {
            begun: Instant::now(),
            slow: self.server.limits.slow,
            received: self.buffer.len() as u64,
            waited: Duration::ZERO,
            permit: self.server.budget.permit(),
            of_head: 0,
        };
        let mut rest = None;
        let Arrived { head, body, has_surplus } = match self.receive(&mut allowance, &mut rest).await {
            Ok(Some(arrived)) => arrived,
            Ok(None) => return false,
            Err(refusal) => {
                self.refuse(refusal, rest, allowance).await;
                return false;
            }
        };
        allowance.permit.shrink(allowance.of_head + body.len());
        let (is_head, wants_to_stay) = (head.method == "HEAD", is_persistent(&head) && !has_surplus);
        let cut = surplus::is_cut(&head);
        let incoming = Incoming { head, body: body.into(), cut, permit: allowance.permit };
        let response = self.server.handler.handle(incoming, self.peer).await;
        let stays = wants_to_stay && !*self.shutdown.borrow();
        let after = if stays { After::KeepAlive(self.server.limits.idle) } else { After::Close };
        let is_written = self.write(&response.bytes(is_head, after, SystemTime::now())).await;
        if has_surplus {
            self.linger().await;
        } else if !stays {
            let _ = self.stream.shutdown().await;
        }
        is_written && stays
    }

    /// Reads a request; nothing if the connection ends before it. Leaves in `rest` what has to be read of a refused one.
    async fn receive(
        &mut self,
        allowance: &mut Allowance,
        rest: &mut Option<BodyReader>,
    ) -> Result<Option<Arrived>, Refusal> {
        let Some(head) = self.head(allowance).await? else { return Ok(None) };
        allowance.of_head = allowance.permit.bytes();
        let framing = BodyFraming::of(&head)?;
        let mut reader = BodyReader::discarding(framing, self.server.limits.discard);
        let expects = head.version == Version::Http11
            && head.elements("expect").any(|expectation| expectation.eq_ignore_ascii_case("100-continue"));
        let waits_for_us = expects && !reader.is_complete() && self.buffer.is_empty();
        let max_body = self.server.handler.max_body(&head.request(false)).unwrap_or(self.server.limits.body);
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
        if let Err(refusal) = self.body(&mut reader, allowance).await {
            *rest = Some(reader);
            return Err(refusal);
        }
        let mut body = reader.into_body();
        let has_surplus = surplus::may_follow(&head, framing) && self.surplus(&mut body, max_body, allowance).await?;
        body.shrink_to_fit();
        Ok(Some(Arrived { head, body, has_surplus }))
    }

    async fn head(&mut self, allowance: &mut Allowance) -> Result<Option<Head>, Refusal> {
        let RequestLimits { line, headers, stranger, .. } = self.server.limits;
        let is_stranger = self.server.guard.wants_credentials() && !self.is_known;
        let whole = if is_stranger { stranger } else { line + headers };
        let (mut reader, limits) = (HeadReader::default(), HeadLimits { line, headers, whole });
        loop {
            if let Some(head) = reader.read(&mut self.buffer, limits)? {
                return Ok(Some(head));
            }
            if self.buffer.len() > FREE_HEAD_BYTES {
                allowance.cover(self.buffer.capacity()).await;
            }
            match self.fill(READ_BYTES.0, allowance).await {
                // An empty line is no request.
                Err(Refusal::Cut) if self.buffer.is_empty() => return Ok(None),
                filled => filled?,
            }
        }
    }

    async fn body(&mut self, reader: &mut BodyReader, allowance: &mut Allowance) -> Result<(), Refusal> {
        loop {
            let progress = reader.read(&mut self.buffer)?;
            allowance.cover(allowance.of_head + reader.memory()).await;
            match progress {
                Progress::Working => {}
                Progress::NeedsInput => self.fill(READ_BYTES.1, allowance).await?,
                Progress::Complete => return Ok(()),
            }
        }
    }

    /// Takes what follows a form body at once and belongs to it. Whether there was any.
    async fn surplus(
        &mut self,
        body: &mut Vec<u8>,
        max_body: usize,
        allowance: &mut Allowance,
    ) -> Result<bool, Refusal> {
        let mut is_taken = false;
        if self.buffer.is_empty() {
            self.read_within(Duration::ZERO).await;
        }
        loop {
            let len = surplus::len(&self.buffer);
            if len == 0 {
                return Ok(is_taken);
            }
            if body.len() + len > max_body {
                return Err(Refusal::BodyTooLarge);
            }
            if Instant::now() > allowance.deadline() {
                return Err(Refusal::Slow);
            }
            body.extend_from_slice(&self.buffer.split_to(len));
            allowance.received += len as u64;
            allowance.cover(allowance.of_head + body.capacity()).await;
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
    async fn fill(&mut self, room: usize, allowance: &mut Allowance) -> Result<(), Refusal> {
        self.buffer.reserve(room);
        match timeout_at(allowance.deadline(), self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0) | Err(_)) => Err(Refusal::Cut),
            Ok(Ok(len)) => {
                allowance.received += len as u64;
                Ok(())
            }
            Err(_) => Err(Refusal::Slow),
        }
    }

    /// Answers a request that the handler does not see.
    async fn refuse(&mut self, refusal: Refusal, rest: Option<BodyReader>, mut allowance: Allowance) {
        self.server.handler.refused(refusal, self.peer);
        if let Some(mut rest) = rest.filter(|_| !matches!(refusal, Refusal::Slow | Refusal::Cut)) {
            rest.discard(self.server.limits.discard);
            allowance.permit.shrink(allowance.of_head);
            // Whether it ends does not change the answer.
            let _ = self.body(&mut rest, &mut allowance).await;
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

/// Whether the client would keep the connection.
fn is_persistent(head: &Head) -> bool {
    let has = |option: &str| head.elements("connection").any(|element| element.eq_ignore_ascii_case(option));
    !has("close") && (head.version == Version::Http11 || has("keep-alive"))
}

#[cfg(test)]
mod tests;
