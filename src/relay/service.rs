//! [`Service`]: what is done with a request, from its protocol to its answer.
//!
//! | its client | stored | answered |
//! |---|---|---|
//! | never sends it again | as records come, for good | 200 once they are on disk; 503 after four seconds, and they stay |
//! | sends it again | as a whole, once, under an id of its own | 200 once it is on disk; 503 after nine seconds, if it could be taken out |

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::values::Signal;
use crate::relay::buffer::NotTaken;
use crate::relay::counts::{Counts, DropReason};
use crate::relay::intake::{Collected, Loose, Outlets, Sender};
use crate::relay::outlet::Outlet;
use crate::relay::protocol::{Answer, BadMessage, Message, OtlpRecord, Protocol, Request, Sink};
use crate::relay::protocols;
use crate::relay::record::Record;
use crate::relay::repeats::{Begun, Outcome, Storing, id_of};
use crate::spool::LoadId;

/// How long a client waits at most that never sends a request again: theirs give up after five seconds or more.
const ONCE_PATIENCE: Duration = Duration::from_secs(4);

/// How long one waits that sends it again: theirs give up after ten seconds.
const REPEATED_PATIENCE: Duration = Duration::from_secs(9);

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Its records are on disk.
    Stored(Answer),
    /// There are none, and could not be any.
    Bad(BadMessage),
    /// They are not on disk, for this reason.
    Unavailable {
        reason: BadMessage,
        /// Nothing of them is kept: a client may send them again.
        may_repeat: bool,
    },
}

impl Reply {
    /// The same, in the form that a protocol has for refusals.
    fn of_protocol(self, protocol: &dyn Protocol, message: &Message<'_>) -> Self {
        match self {
            Self::Bad(bad) if bad.answer.is_none() => {
                let answer = protocol.refusal(message, bad.status, &bad.reason);
                Self::Bad(BadMessage { answer, ..bad })
            }
            Self::Unavailable { reason: bad, may_repeat } if bad.answer.is_none() => {
                let answer = protocol.refusal(message, bad.status, &bad.reason);
                Self::Unavailable { reason: BadMessage { answer, ..bad }, may_repeat }
            }
            reply => reply,
        }
    }

    /// The same where records stay, so that they would be stored twice if they came again.
    fn kept(reason: impl Into<String>) -> Self {
        let reason = BadMessage { status: 503, ..BadMessage::new(reason) };
        Self::Unavailable { reason, may_repeat: false }
    }

    fn unavailable(reason: impl Into<String>) -> Self {
        let reason = BadMessage { status: 503, ..BadMessage::new(reason) };
        Self::Unavailable { reason, may_repeat: true }
    }
}

/// What has become of a request.
struct Taken {
    reply: Reply,
    records: u64,
    signal: Option<Signal>,
    is_repeated: bool,
}

impl Taken {
    /// Of log records, unless it is said.
    fn of(reply: Reply, records: u64) -> Self {
        Self { reply, records, signal: Some(Signal::Logs), is_repeated: false }
    }
}

/// What the requests of a listener go through.
pub(crate) struct Service {
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) counts: Arc<Counts>,
}

impl Service {
    /// Stores the records of a request that came to a listener.
    pub(crate) async fn take(
        &self,
        listener: usize,
        request: &Request<'_>,
        body: &[u8],
        sender: Option<&Sender>,
    ) -> Reply {
        let message = Message { body, arrived: SystemTime::now(), request: Some(request), file: None };
        let protocol = protocols::of(&message);
        let taken = if protocol.repeats() {
            self.take_once(listener, protocol, &message, request, sender).await
        } else {
            self.take_loose(protocol, &message, sender).await
        };
        let (counts, kind) = (self.counts.of(listener), (protocol.name(), taken.signal));
        counts.take(kind, 1, taken.records, body.len() as u64);
        let reason = match &taken.reply {
            Reply::Stored(_) => taken.is_repeated.then_some(DropReason::Duplicate),
            Reply::Bad(BadMessage { status: 413, .. }) => Some(DropReason::TooLarge),
            Reply::Bad(_) => Some(DropReason::BadRequest),
            Reply::Unavailable { .. } => Some(DropReason::Unavailable),
        };
        if let Some(reason) = reason {
            counts.drop(kind, reason, 1);
        }
        taken.reply.of_protocol(protocol, &message)
    }

    /// The records of a client that never sends them again.
    async fn take_loose(&self, protocol: &dyn Protocol, message: &Message<'_>, sender: Option<&Sender>) -> Taken {
        let mut sink = Loose::new(&self.outlets, message, sender);
        let read = protocol.read(message, &mut sink);
        let Loose { taken, not_taken, unknown, .. } = sink;
        let answer = match (read, unknown) {
            (Err(bad), _) => return Taken::of(Reply::Bad(bad), taken),
            (Ok(_), Some(signal)) if taken == 0 => return not_relayed(signal),
            (Ok(answer), _) => answer,
        };
        if taken > 0 {
            let (ticket, failure) = (self.outlets.logs.commit_now(), self.outlets.logs.retried_failure());
            // Its client waits with the application's lock held: not for what is known to fail.
            let committed = failure.is_none() && timeout(ONCE_PATIENCE, ticket.committed()).await == Ok(true);
            if !committed {
                let why = failure.map(|failure| format!(": {failure}")).unwrap_or_default();
                let reason = format!("the records are not on disk yet, but kept until they can be written{why}");
                return Taken::of(Reply::kept(reason), taken);
            }
        }
        match not_taken {
            Some(reason) if taken > 0 => Taken::of(Reply::kept(words(reason)), taken),
            Some(reason) => Taken::of(Reply::unavailable(words(reason)), taken),
            None => Taken::of(Reply::Stored(answer), taken),
        }
    }

    /// The records of a client that sends them again until it is told that they are stored.
    async fn take_once(
        &self,
        listener: usize,
        protocol: &dyn Protocol,
        message: &Message<'_>,
        request: &Request<'_>,
        sender: Option<&Sender>,
    ) -> Taken {
        let id = self.id(listener, request, message.body);
        match self.outlets.repeats.begin(id) {
            Begun::Stored => repeated(protocol, message),
            Begun::Storing(mut outcome) => match ended(&mut outcome).await {
                Outcome::Committed => repeated(protocol, message),
                Outcome::TakenOut(reason) => Taken::of(Reply::unavailable(reason), 0),
                Outcome::Waiting => Taken::of(Reply::unavailable(words(NotTaken::Stopped)), 0),
            },
            Begun::New(storing) => self.store(storing, protocol, message, sender).await,
        }
    }

    async fn store(
        &self,
        storing: Storing,
        protocol: &dyn Protocol,
        message: &Message<'_>,
        sender: Option<&Sender>,
    ) -> Taken {
        let mut sink = Collected::new(&self.outlets, message, sender);
        let read = protocol.read(message, &mut sink);
        let Collected { signal, blocks, unknown, .. } = sink;
        let records = blocks.records();
        let (answer, outlet) = match (read, unknown, self.outlets.get(signal)) {
            (Err(bad), ..) => return Taken::of(Reply::Bad(bad), 0),
            (Ok(_), Some(unknown), _) => return not_relayed(unknown),
            (Ok(_), None, None) => return not_relayed(signal),
            (Ok(answer), None, Some(outlet)) => (answer, outlet),
        };
        let taken = |reply, records| Taken { signal: Some(signal), ..Taken::of(reply, records) };
        if records == 0 {
            return taken(Reply::Stored(answer), 0);
        }
        let (id, mut outcome) = (storing.id(), storing.outcome());
        match outlet.submit(blocks, storing) {
            Ok(()) => {}
            Err(reason @ NotTaken::TooLarge { .. }) => {
                return taken(Reply::Bad(BadMessage { status: 413, ..BadMessage::new(words(reason)) }), 0);
            }
            Err(reason) => return taken(Reply::unavailable(words(reason)), 0),
        }
        match self.committed(outlet, id, &mut outcome).await {
            Outcome::Committed => taken(Reply::Stored(answer), records),
            Outcome::TakenOut(reason) => taken(Reply::unavailable(reason), 0),
            Outcome::Waiting => taken(Reply::unavailable(words(NotTaken::Stopped)), 0),
        }
    }

    /// What becomes of a load. One that takes too long is taken out; where that is too late, its client has to wait: a 503 would have it
    /// stored twice.
    async fn committed(&self, outlet: &Outlet, id: LoadId, outcome: &mut watch::Receiver<Outcome>) -> Outcome {
        if let Ok(ended) = timeout(REPEATED_PATIENCE, ended(outcome)).await {
            return ended;
        }
        outlet.take_out(id, "the disk did not take the records in time");
        ended(outcome).await
    }

    /// The id of a request: what makes another one the same.
    fn id(&self, listener: usize, request: &Request<'_>, body: &[u8]) -> LoadId {
        let header = |name: &str| request.header(name).unwrap_or_default().as_bytes();
        let partition = self.outlets.logs.partition_header().map(header).unwrap_or_default();
        let listener = self.counts.listener(listener).to_string();
        let query = request.query.unwrap_or_default();
        id_of([
            listener.as_bytes(),
            request.path,
            query,
            header("authorization"),
            header("content-type"),
            partition,
            body,
        ])
    }
}

/// Waits for the end of a load. It is still waiting if nobody will end it.
async fn ended(outcome: &mut watch::Receiver<Outcome>) -> Outcome {
    let ended = outcome.wait_for(|outcome| *outcome != Outcome::Waiting).await.map(|outcome| outcome.clone());
    ended.unwrap_or(Outcome::Waiting)
}

/// The answer to a request that was stored before.
fn repeated(protocol: &dyn Protocol, message: &Message<'_>) -> Taken {
    let reply = protocol.read(message, &mut Nowhere).map_or_else(Reply::Bad, Reply::Stored);
    Taken { is_repeated: true, ..Taken::of(reply, 0) }
}

fn not_relayed(signal: Signal) -> Taken {
    let reason = format!("this relay sends log records alone, and no {signal}: its endpoint does not get OTLP");
    let reply = Reply::Bad(BadMessage { status: 404, ..BadMessage::new(reason) });
    Taken { signal: Some(signal), ..Taken::of(reply, 0) }
}

fn words(reason: NotTaken) -> String {
    match reason {
        NotTaken::Full => "the buffer is full: the disk is too slow".to_owned(),
        NotTaken::TooLarge { bytes, max } => {
            format!("the request takes {bytes} bytes of the buffer, which has {max} for all of them")
        }
        NotTaken::Failing(reason) => format!("records cannot be written: {reason}"),
        NotTaken::Stopped => "the relay is being stopped".to_owned(),
    }
}

/// Takes records nowhere.
struct Nowhere;

impl Sink for Nowhere {
    fn log(&mut self, _record: &Record) {}

    fn otlp(&mut self, _record: OtlpRecord<'_>) {}
}
