//! [`Server`]: a connection, one request after the other.
//!
//! Each request is answered before the next one is read, so that answers keep the order, and a client that sends faster than
//! its records are stored waits. A refused request is read to its end if nothing speaks against it: a client that still sends
//! when the connection is closed would see a reset in place of the answer.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::body::{BodyFraming, BodyReader, Progress};
use super::budget::{Budget, Permit};
use super::guard::Guard;
use super::handler::{Handler, Incoming, Refused};
use super::head::{Head, HeadLimits, HeadReader, Version};
use super::limits::{RequestLimits, last_read};
use super::refusal::Refusal;
use super::response::{After, Response};
use super::surplus;

/// The room for what is read at once: of a head, of a body.
const READ_BYTES: (usize, usize) = (8 << 10, 64 << 10);

/// A head that is not longer takes nothing from the budget.
const FREE_HEAD_BYTES: usize = 64 << 10;

/// A request has a second more for each so many bytes of it.
const BYTES_PER_SECOND: u64 = 64 << 10;

/// Who may not send is read from for so long at most.
const FOREIGN_BYTES: u64 = 1 << 20;

/// Others have the thread after so many bytes of a body.
const BYTES_PER_TURN: usize = 1 << 20;

/// The wait for surplus that has not come together with the body: as short as a timer is.
const SURPLUS_WAIT: Duration = Duration::from_millis(1);

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
    /// What is not there by then is slow. Each byte puts it off, but no further than it was at first: who stops sends no more.
    deadline: Instant,
    slow: Duration,
    permit: Permit,
    /// The part of the memory that its head has.
    of_head: usize,
}

impl Allowance {
    /// Gives more time for bytes that came.
    fn receive(&mut self, bytes: usize) {
        let more = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / BYTES_PER_SECOND);
        self.deadline = (self.deadline + more).min(Instant::now() + self.slow);
    }

    /// Waits for memory, so much in all, which does not count as the client's time.
    async fn cover(&mut self, bytes: usize) {
        if bytes > self.permit.bytes() {
            let begun = Instant::now();
            self.permit.cover(bytes).await;
            self.deadline += begun.elapsed();
        }
    }
}

/// What is known of a request that is refused.
#[derive(Default)]
struct Begun {
    head: Option<Head>,
    /// What has to be read of it.
    rest: Option<BodyReader>,
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
        tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.buffer) => matches!(read, Ok(1..)),
            () = last_read(&mut self.shutdown) => false,
            () = sleep(self.server.limits.idle) => false,
        }
    }

    /// Reads a request and answers it. Whether the connection stays open.
    async fn exchange(&mut self) -> bool {
        let slow = self.server.limits.slow;
        let mut allowance =
            Allowance { deadline: Instant::now() + slow, slow, permit: self.server.budget.permit(), of_head: 0 };
        let mut begun = Begun::default();
        let Arrived { head, body, has_surplus } = match self.receive(&mut allowance, &mut begun).await {
            Ok(Some(arrived)) => arrived,
            Ok(None) => return false,
            Err(refusal) => {
                self.refuse(refusal, begun, allowance).await;
                return false;
            }
        };
        allowance.permit.shrink(allowance.of_head + body.len());
        let (is_head, wants_to_stay) = (head.method == "HEAD", is_persistent(&head) && !has_surplus);
        let cut = surplus::is_cut(&head);
        let incoming = Incoming { head, body: body.into(), cut, permit: allowance.permit };
        let handled = self.server.handler.handle(incoming, self.peer);
        let response = tokio::select! {
            biased;
            response = handled => response,
            () = gone(&mut self.stream, &mut self.buffer, slow) => return false,
        };
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

    /// Reads a request; nothing if the connection ends before it. Leaves in `begun` what there is of a refused one.
    async fn receive(&mut self, allowance: &mut Allowance, begun: &mut Begun) -> Result<Option<Arrived>, Refusal> {
        let Some(head) = self.head(allowance).await? else { return Ok(None) };
        match self.body_of(&head, allowance, &mut begun.rest).await {
            Ok((body, has_surplus)) => Ok(Some(Arrived { head, body, has_surplus })),
            Err(refusal) => {
                begun.head = Some(head);
                Err(refusal)
            }
        }
    }

    /// Reads the body of a request, and says whether it had surplus. Leaves in `rest` what has to be read of a refused one.
    async fn body_of(
        &mut self,
        head: &Head,
        allowance: &mut Allowance,
        rest: &mut Option<BodyReader>,
    ) -> Result<(Vec<u8>, bool), Refusal> {
        allowance.of_head = allowance.permit.bytes();
        let framing = BodyFraming::of(head)?;
        let mut reader = BodyReader::discarding(framing, self.server.limits.discard);
        let expects = head.version == Version::Http11
            && head.elements("expect").any(|expectation| expectation.eq_ignore_ascii_case("100-continue"));
        let waits_for_us = expects && !reader.is_complete() && self.buffer.is_empty();
        let max_body = self.server.handler.max_body(&head.request(false)).unwrap_or(self.server.limits.body);
        let checked = self.server.guard.check(head);
        self.is_known |= checked.is_ok();
        let checked = checked.and_then(|()| reader.keep(head, max_body));
        if let Err(refusal) = checked {
            // Who waits for a permission sends nothing after a refusal.
            *rest = (!waits_for_us).then_some(reader);
            return Err(refusal);
        }
        if waits_for_us {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        if let Err(refusal) = self.body(&mut reader, allowance).await {
            *rest = Some(reader);
            return Err(refusal);
        }
        let mut body = reader.into_body();
        let has_surplus =
            surplus::may_follow(head, framing) && self.surplus(head, &mut body, max_body, allowance).await?;
        body.shrink_to_fit();
        Ok((body, has_surplus))
    }

    /// Whether it has still to show credentials.
    fn is_stranger(&self) -> bool {
        self.server.guard.wants_credentials() && !self.is_known
    }

    async fn head(&mut self, allowance: &mut Allowance) -> Result<Option<Head>, Refusal> {
        let RequestLimits { line, headers, stranger, .. } = self.server.limits;
        let whole = if self.is_stranger() { stranger } else { line + headers };
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
        let mut turn_ends = BYTES_PER_TURN;
        loop {
            let progress = reader.read(&mut self.buffer)?;
            allowance.cover(allowance.of_head + reader.memory()).await;
            if reader.made() >= turn_ends {
                // What little is sent can decode to much, without a wait.
                turn_ends = reader.made() + BYTES_PER_TURN;
                yield_now().await;
            }
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
        head: &Head,
        body: &mut Vec<u8>,
        max_body: usize,
        allowance: &mut Allowance,
    ) -> Result<bool, Refusal> {
        let mut is_taken = false;
        if self.buffer.is_empty() && surplus::is_likely(head) {
            self.read_within(SURPLUS_WAIT).await;
        }
        loop {
            let len = surplus::len(&self.buffer);
            if len == 0 {
                return Ok(is_taken);
            }
            if body.len() + len > max_body {
                return Err(Refusal::BodyTooLarge);
            }
            if Instant::now() > allowance.deadline {
                return Err(Refusal::Slow);
            }
            body.extend_from_slice(&self.buffer.split_to(len));
            allowance.receive(len);
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
        match timeout_at(allowance.deadline, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0) | Err(_)) => Err(Refusal::Cut),
            Ok(Ok(len)) => {
                allowance.receive(len);
                Ok(())
            }
            Err(_) => Err(Refusal::Slow),
        }
    }

    /// Answers a request that the handler does not see.
    async fn refuse(&mut self, refusal: Refusal, begun: Begun, mut allowance: Allowance) {
        let request = begun.head.as_ref().map(|head| head.request(false));
        self.server.handler.refused(&Refused { refusal, is_stranger: self.is_stranger(), request });
        if let Some(mut rest) = begun.rest.filter(|_| !matches!(refusal, Refusal::Slow | Refusal::Cut)) {
            let is_foe = matches!(refusal, Refusal::Unauthorized | Refusal::CrossSite | Refusal::Loop);
            let most = if is_foe { FOREIGN_BYTES } else { u64::MAX };
            rest.discard(self.server.limits.discard.min(most));
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

/// Ends when the client is gone, and keeps what it sends meanwhile. One that has only closed its side may still read, for a time: the
/// two look the same.
async fn gone(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut, patience: Duration) {
    while buffer.len() < READ_BYTES.1 {
        buffer.reserve(READ_BYTES.0);
        match stream.read_buf(buffer).await {
            Ok(1..) => {}
            Ok(0) => return sleep(patience).await,
            Err(_) => return,
        }
    }
    std::future::pending::<()>().await;
}

/// Whether the client would keep the connection.
fn is_persistent(head: &Head) -> bool {
    let has = |option: &str| head.elements("connection").any(|element| element.eq_ignore_ascii_case(option));
    !has("close") && (head.version == Version::Http11 || has("keep-alive"))
}

#[cfg(test)]
mod tests;
