//! [`Service`]: what is done with a request, from its protocol to its answer.
//!
//! | its client | stored | answered |
//! |---|---|---|
//! | never sends it again | as records come, for good | 200 once they are on disk; 503 after four seconds, and they stay |
//! | sends it again | as a whole, once, under an id of its own | 200 once it is on disk; 503 after nine seconds, if it could be taken out |

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::config::values::Signal;
use crate::encode::blocks::Blocks;
use crate::observe::loss::LossReason;
use crate::relay::buffer::NotTaken;
use crate::relay::counts::{Counts, DropReason};
use crate::relay::http::handler::Incoming;
use crate::relay::intake::{Collected, Loose, Outlets, Sender};
use crate::relay::outlet::Outlet;
use crate::relay::protocol::{Answer, BadMessage, Message, OtlpRecord, Protocol, Sink};
use crate::relay::protocols;
use crate::relay::record::Record;
use crate::relay::repeats::{Begun, Outcome, Storing, id_of};
use crate::spool::LoadId;

/// How long a client waits at most that never sends a request again: theirs give up after five seconds or more.
const ONCE_PATIENCE: Duration = Duration::from_secs(4);

/// How long one waits that sends it again: theirs give up after ten seconds.
const REPEATED_PATIENCE: Duration = Duration::from_secs(9);

/// The largest body that is read by who reads from all connections.
const SMALL_BYTES: usize = 64 << 10;

/// How many larger ones are read at the same time.
const READERS: usize = 2;

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
    is_repeated: bool,
}

impl Taken {
    fn of(reply: Reply, records: u64) -> Self {
        Self { reply, records, is_repeated: false }
    }

    /// Of a request of which nothing is to be stored. Those of its records that are lost are counted already, one by one.
    fn nothing(answer: Answer, rejected: u64) -> Self {
        let reply = if rejected == 0 || answer.names_rejected {
            Reply::Stored(answer)
        } else {
            let reason = format!("none of {rejected} records can be stored: they are too large, or cannot be encoded");
            Reply::Bad(BadMessage { status: 422, ..BadMessage::new(reason) })
        };
        Self::of(reply, 0)
    }
}

/// A request on its way.
struct Job {
    outlets: Arc<Outlets>,
    incoming: Incoming,
    arrived: SystemTime,
    sender: Option<Sender>,
}

impl Job {
    /// Does something with the message that it is.
    fn with<T>(&self, act: impl FnOnce(&Message<'_>) -> T) -> T {
        let request = self.incoming.request();
        act(&Message { body: &self.incoming.body, arrived: self.arrived, request: Some(&request), file: None })
    }

    /// Adds its records to the buffers.
    fn read_loose(&self, protocol: &dyn Protocol) -> ReadLoose {
        self.with(|message| {
            let mut sink = Loose::new(&self.outlets, message, self.sender.as_ref());
            let answer = protocol.read(message, &mut sink);
            let Loose { taken, rejected, not_taken, unknown, .. } = sink;
            ReadLoose { answer, taken, rejected, not_taken, unknown }
        })
    }

    /// Collects its records.
    fn collect(&self, protocol: &dyn Protocol) -> ReadLoad {
        self.with(|message| {
            let mut sink = Collected::new(&self.outlets, message, self.sender.as_ref());
            let mut answer = protocol.read(message, &mut sink);
            let Collected { signal, blocks, rejected, unknown, is_full, .. } = sink;
            if is_full {
                answer = Err(BadMessage::too_large("the records are more than the relay stores as a whole"));
            }
            ReadLoad { answer, signal, blocks, rejected, unknown }
        })
    }
}

/// A message whose records are in the buffers.
struct ReadLoose {
    answer: Result<Answer, BadMessage>,
    taken: u64,
    rejected: u64,
    /// Why one of them was not taken.
    not_taken: Option<NotTaken>,
    /// A signal that is not relayed.
    unknown: Option<Signal>,
}

/// A message whose records are to be stored as a whole.
struct ReadLoad {
    answer: Result<Answer, BadMessage>,
    signal: Signal,
    blocks: Blocks,
    rejected: u64,
    /// A signal that is not relayed, or not with the others.
    unknown: Option<Signal>,
}

/// What the requests of a listener go through.
pub(crate) struct Service {
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) counts: Arc<Counts>,
    /// Those who may read a large request at the same time.
    readers: Arc<Semaphore>,
}

impl Service {
    pub(crate) fn new(outlets: Arc<Outlets>, counts: Arc<Counts>) -> Self {
        Self { outlets, counts, readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Stores the records of a request that came to a listener.
    pub(crate) async fn take(&self, listener: usize, incoming: Incoming, sender: Option<Sender>) -> Reply {
        let job = Job { outlets: self.outlets.clone(), incoming, arrived: SystemTime::now(), sender };
        let job = Arc::new(job);
        let named = |job: &Job| {
            job.with(|message| {
                let protocol = protocols::of(message);
                (protocol, protocol.signal(message))
            })
        };
        let Some((protocol, signal)) = self.apart(&job, named).await else { return stopped() };
        let taken = if protocol.repeats() {
            self.take_once(listener, protocol, &job).await
        } else {
            self.take_loose(protocol, &job).await
        };
        let taken = taken.unwrap_or_else(|| Taken::of(stopped(), 0));
        let (counts, kind) = (self.counts.of(listener), (protocol.name(), signal));
        let bytes = job.incoming.body.len();
        counts.take(kind, 1, taken.records, bytes as u64);
        let reason = match &taken.reply {
            Reply::Stored(_) => taken.is_repeated.then_some(DropReason::Duplicate),
            Reply::Bad(bad) if bad.status == 413 => Some(DropReason::TooLarge),
            Reply::Bad(_) => Some(DropReason::BadRequest),
            Reply::Unavailable { .. } => Some(DropReason::Unavailable),
        };
        if let Some(reason) = reason {
            counts.drop(kind, reason, 1);
        }
        if reason == Some(DropReason::TooLarge) {
            let outlet = signal.and_then(|signal| self.outlets.get(signal)).unwrap_or(&self.outlets.logs);
            outlet.lose(LossReason::TooLarge, 1, bytes);
        }
        job.with(|message| taken.reply.of_protocol(protocol, message))
    }

    /// Does what takes the longer the larger a request is: with a large one on a thread of its own, since the others have all connections
    /// to read from. `None` if the relay ends before.
    async fn apart<T: Send + 'static>(
        &self,
        job: &Arc<Job>,
        act: impl FnOnce(&Job) -> T + Send + 'static,
    ) -> Option<T> {
        if job.incoming.body.len() <= SMALL_BYTES {
            return Some(act(job));
        }
        let reader = self.readers.clone().acquire_owned().await.ok()?;
        let job = job.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = act(&job);
            drop(reader);
            done
        });
        match done.await {
            Ok(done) => Some(done),
            Err(error) => {
                let panic = error.try_into_panic().ok()?;
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// The records of a client that never sends them again.
    async fn take_loose(&self, protocol: &'static dyn Protocol, job: &Arc<Job>) -> Option<Taken> {
        let ReadLoose { answer, taken, rejected, not_taken, unknown } =
            self.apart(job, move |job| job.read_loose(protocol)).await?;
        let answer = match (answer, unknown) {
            (Err(bad), _) => return Some(Taken::of(Reply::Bad(bad), taken)),
            (Ok(_), Some(signal)) if taken == 0 => return Some(not_relayed(signal)),
            (Ok(answer), _) => answer,
        };
        if taken > 0 {
            let (ticket, failure) = (self.outlets.logs.commit_now(), self.outlets.logs.retried_failure());
            // Its client waits with the application's lock held: not for what is known to fail.
            let committed = failure.is_none() && timeout(ONCE_PATIENCE, ticket.committed()).await == Ok(true);
            if !committed {
                let why = failure.map(|failure| format!(": {failure}")).unwrap_or_default();
                let reason = format!("the records are not on disk yet, but kept until they can be written{why}");
                return Some(Taken::of(Reply::kept(reason), taken));
            }
        }
        Some(match not_taken {
            Some(reason) if taken > 0 => Taken::of(Reply::kept(words(reason)), taken),
            Some(reason) => Taken::of(Reply::unavailable(words(reason)), taken),
            None if taken == 0 => Taken::nothing(answer, rejected),
            None => Taken::of(Reply::Stored(answer), taken),
        })
    }

    /// The records of a client that sends them again until it is told that they are stored.
    async fn take_once(&self, listener: usize, protocol: &'static dyn Protocol, job: &Arc<Job>) -> Option<Taken> {
        let name = self.counts.listener(listener).to_string();
        let id = self.apart(job, move |job| job.id(&name)).await?;
        Some(match self.outlets.repeats.begin(id) {
            Begun::Stored => self.repeated(protocol, job).await?,
            // It is the same request whenever it comes again, so that it need not wait for a disk that hangs.
            Begun::Storing(mut outcome) => match stored_soon(&mut outcome).await {
                Outcome::Committed => self.repeated(protocol, job).await?,
                Outcome::TakenOut(reason) => Taken::of(Reply::unavailable(reason), 0),
                Outcome::Waiting => {
                    Taken::of(Reply::unavailable("the same request came before, and was not stored"), 0)
                }
            },
            Begun::New(storing) => self.store(storing, protocol, job).await?,
        })
    }

    /// The answer to a request that was stored before.
    async fn repeated(&self, protocol: &'static dyn Protocol, job: &Arc<Job>) -> Option<Taken> {
        let answer = self.apart(job, move |job| job.with(|message| protocol.read(message, &mut Nowhere))).await?;
        Some(Taken { is_repeated: true, ..Taken::of(answer.map_or_else(Reply::Bad, Reply::Stored), 0) })
    }

    async fn store(&self, storing: Storing, protocol: &'static dyn Protocol, job: &Arc<Job>) -> Option<Taken> {
        let ReadLoad { answer, signal, blocks, rejected, unknown } =
            self.apart(job, move |job| job.collect(protocol)).await?;
        let records = blocks.records();
        let (answer, outlet) = match (answer, unknown, self.outlets.get(signal)) {
            (Err(bad), ..) => return Some(Taken::of(Reply::Bad(bad), 0)),
            (Ok(_), Some(unknown), _) => return Some(not_relayed(unknown)),
            (Ok(_), None, None) => return Some(not_relayed(signal)),
            (Ok(answer), None, Some(outlet)) => (answer, outlet),
        };
        if records == 0 {
            return Some(Taken::nothing(answer, rejected));
        }
        let (id, mut outcome) = (storing.id(), storing.outcome());
        if let Err(reason) = outlet.submit(blocks, storing) {
            return Some(Taken::of(Reply::unavailable(words(reason)), 0));
        }
        Some(match self.committed(outlet, id, &mut outcome).await {
            Outcome::Committed => Taken::of(Reply::Stored(answer), records),
            Outcome::TakenOut(reason) => Taken::of(Reply::unavailable(reason), 0),
            Outcome::Waiting => Taken::of(Reply::unavailable(words(NotTaken::Stopped)), 0),
        })
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
}

impl Job {
    /// The id of the request, which came to this listener: what makes another one the same.
    fn id(&self, listener: &str) -> LoadId {
        self.with(|message| {
            let header =
                |name: &str| message.request.and_then(|request| request.header(name)).unwrap_or_default().as_bytes();
            let partition = self.outlets.logs.partition_header().map(header).unwrap_or_default();
            id_of([
                listener.as_bytes(),
                message.request.map(|request| request.path).unwrap_or_default(),
                message.request.and_then(|request| request.query).unwrap_or_default(),
                header("authorization"),
                header("content-type"),
                partition,
                message.body,
            ])
        })
    }
}

/// Waits for the end of a load. It is still waiting if nobody will end it.
async fn ended(outcome: &mut watch::Receiver<Outcome>) -> Outcome {
    let ended = outcome.wait_for(|outcome| *outcome != Outcome::Waiting).await.map(|outcome| outcome.clone());
    ended.unwrap_or(Outcome::Waiting)
}

/// Waits for the end of a load that another connection brought, as long as its client does.
async fn stored_soon(outcome: &mut watch::Receiver<Outcome>) -> Outcome {
    let ended = timeout(REPEATED_PATIENCE, ended(outcome)).await;
    ended.unwrap_or_else(|_| Outcome::TakenOut("the same request is still being written".into()))
}

/// The reply to a request that is not read any more.
fn stopped() -> Reply {
    Reply::unavailable(words(NotTaken::Stopped))
}

fn not_relayed(signal: Signal) -> Taken {
    let reason = format!("this relay sends log records alone, and no {signal}: its endpoint does not get OTLP");
    let reply = Reply::Bad(BadMessage { status: 404, ..BadMessage::new(reason) });
    Taken::of(reply, 0)
}

fn words(reason: NotTaken) -> String {
    match reason {
        NotTaken::Full => "the buffer is full: the disk is too slow".to_owned(),
        NotTaken::Failing(reason) => format!("records cannot be written: {reason}"),
        NotTaken::Stopped => "the relay is being stopped".to_owned(),
    }
}

/// Takes records nowhere, and wants none.
struct Nowhere;

impl Sink for Nowhere {
    fn log(&mut self, _record: &Record) {}

    fn otlp(&mut self, _record: OtlpRecord<'_>) {}

    fn is_full(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use prost::Message as _;

    use super::*;
    use crate::relay::Relay;
    use crate::relay::counts::Kind;
    use crate::relay::http::budget::Budget;
    use crate::relay::http::handler::Handler as _;
    use crate::relay::http::head::{Head, Version};
    use crate::relay::listener::Listener;
    use crate::relay::requests::Requests;
    use crate::relay::settings::RelaySettings;
    use crate::relay::start;

    /// A service whose records nobody takes, with the least memory that there may be.
    fn service(dir: &tempfile::TempDir, endpoint: &str) -> Service {
        service_with(dir, endpoint, 4 << 20)
    }

    /// The same, with another largest record.
    fn service_with(dir: &tempfile::TempDir, endpoint: &str, max_record_bytes: usize) -> Service {
        let builder = Relay::builder().with_spool_dir(dir.path()).with_endpoint(endpoint);
        let mut builder = builder.with_max_buffer_bytes(1 << 20).with_max_record_bytes(max_record_bytes);
        let outlets = start::outlets(&mut builder).unwrap();
        let listener = Listener::Otlp("127.0.0.1:0".parse().unwrap());
        Service::new(Arc::new(outlets), Arc::new(Counts::new([listener])))
    }

    fn post(path: &'static str, content_type: &str, body: impl Into<Vec<u8>>) -> Incoming {
        let body: Vec<u8> = body.into();
        let head = Head {
            method: "POST",
            version: Version::Http11,
            path: path.into(),
            query: None,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
        };
        let permit = Budget::new(body.len()).try_take(body.len()).unwrap();
        Incoming { head, body: body.into(), cut: false, permit }
    }

    /// A request with so many empty records, with a resource of this size.
    fn empty_records(records: usize, resource: usize) -> Vec<u8> {
        let scope = ScopeLogs { log_records: vec![LogRecord::default(); records], ..ScopeLogs::default() };
        let (scope_logs, schema_url) = (vec![scope], "r".repeat(resource));
        let resource = ResourceLogs { scope_logs, schema_url, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
    }

    /// Messages by the reason for which they were dropped.
    type Dropped = Vec<(DropReason, u64)>;

    /// What was counted: by protocol and signal the records, and the messages that were dropped with the reason.
    fn counted(service: &Service) -> Vec<(Kind, u64, Dropped)> {
        let tallies = service.counts.of(0).tallies().into_iter();
        let dropped = |dropped: [u64; DropReason::ALL.len()]| {
            DropReason::ALL.into_iter().zip(dropped).filter(|(_, messages)| *messages > 0).collect()
        };
        tallies.map(|(kind, tally)| (kind, tally.records, dropped(tally.dropped))).collect()
    }

    const JSON: &str = "http://127.0.0.1:9/ingest";
    const FILE: &str = if cfg!(unix) { "file:///dev/null" } else { "http://127.0.0.1:9/" };
    const OTLP: &str = "http://127.0.0.1:9/v1/logs";
    const PROTOBUF: &str = "application/x-protobuf";

    #[tokio::test]
    async fn a_request_whose_records_are_more_than_the_buffer_holds_is_refused_as_a_whole() {
        let of_loki = |labels: usize, lines: usize| {
            let lines = vec![r#"["1","l"]"#; lines].join(",");
            format!(r#"{{"streams":[{{"stream":{{"a":"{}"}},"values":[{lines}]}}]}}"#, "x".repeat(labels))
        };
        let cases = [
            ("otlp", JSON, post("/v1/logs", PROTOBUF, empty_records(100_000, 0))),
            ("loki", JSON, post("/loki/api/v1/push", "application/json", of_loki(10_000, 1_000))),
            ("loki", FILE, post("/loki/api/v1/push", "application/json", of_loki(1_000_000, 1_000))),
        ];
        for (name, endpoint, incoming) in cases {
            let dir = tempfile::tempdir().unwrap();
            let service = service(&dir, endpoint);
            let reply = service.take(0, incoming, None).await;
            let Reply::Bad(BadMessage { status: 413, .. }) = reply else { panic!("{name}: {reply:?}") };
            assert_eq!(counted(&service), [((name, Some(Signal::Logs)), 0, vec![(DropReason::TooLarge, 1)])]);
            assert_eq!(service.outlets.logs.pipeline.counters().losses.get(LossReason::TooLarge), 1);
        }
    }

    #[tokio::test]
    async fn a_request_of_which_no_record_can_be_stored_is_refused_unless_the_answer_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let service = service_with(&dir, JSON, 100_000);
        let long = "x".repeat(100_000);
        let refused = |reply: &Reply| matches!(reply, Reply::Bad(BadMessage { status: 422, .. }));
        for (content_type, body) in [
            ("text/plain", long.clone()),
            ("application/json", format!(r#"["{long}"]"#)),
            ("application/json", format!(r#"{{"streams":[{{"stream":{{}},"values":[["1","{long}"]]}}]}}"#)),
        ] {
            let reply = service.take(0, post("/", content_type, body), None).await;
            assert!(refused(&reply), "{content_type}: {reply:?}");
        }
        let losses = |service: &Service| service.outlets.logs.pipeline.counters().losses.get(LossReason::TooLarge);
        assert_eq!(losses(&service), 3, "each once");
        let reply = service.take(0, post("/", "text/plain", format!("short\n{long}")), None).await;
        assert!(matches!(reply, Reply::Stored(_)), "one of them is: {reply:?}");
        assert_eq!(losses(&service), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_first_one_is_being_written_is_told_in_the_end_to_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let service = Arc::new(service(&dir, OTLP));
        let incoming = || post("/v1/logs", PROTOBUF, empty_records(1, 0));
        let (outlets, listener) = (service.outlets.clone(), service.counts.listener(0).to_string());
        let job = Job { outlets, incoming: incoming(), arrived: SystemTime::now(), sender: None };
        let Begun::New(first) = service.outlets.repeats.begin(job.id(&listener)) else { panic!("it is new") };
        let requests = Requests::new(service.clone(), 0, &RelaySettings::default());
        let begun = tokio::time::Instant::now();
        let response = timeout(10 * REPEATED_PATIENCE, requests.handle(incoming(), "peer")).await.expect("an answer");
        assert_eq!((response.status, response.retry), (503, true), "{response:?}");
        assert_eq!(begun.elapsed().as_secs(), REPEATED_PATIENCE.as_secs(), "its client would give up soon after");
        service.outlets.repeats.stored([first.id()], Duration::ZERO);
        first.end(Outcome::Committed);
        assert_eq!(requests.handle(incoming(), "peer").await.status, 200);
        let dropped = vec![(DropReason::Unavailable, 1), (DropReason::Duplicate, 1)];
        assert_eq!(counted(&service), [(("otlp", Some(Signal::Logs)), 0, dropped)]);
    }

    #[tokio::test]
    async fn a_large_request_is_stored_and_its_repetition_counts_for_its_signal() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(&dir, OTLP);
        for _ in 0..2 {
            let body = empty_records(1_000, 100_000);
            let reply = service.take(0, post("/v1/traces", PROTOBUF, body), None).await;
            assert!(matches!(reply, Reply::Stored(_)), "{reply:?}");
        }
        assert_eq!(counted(&service), [(("otlp", Some(Signal::Traces)), 1_000, vec![(DropReason::Duplicate, 1)])]);
        let reply = service.take(0, post("/v1/metrics", PROTOBUF, "no protobuf"), None).await;
        assert!(matches!(reply, Reply::Bad(BadMessage { status: 400, .. })), "{reply:?}");
        assert!(counted(&service).contains(&(("otlp", Some(Signal::Metrics)), 0, vec![(DropReason::BadRequest, 1)])));
    }
}
