//! The decode threads: frames that were read become records in the buffer.
//!
//! Who reads from a client of frames does nothing else, since the client never waits: a second, and it drops the record.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use crate::config::values::Signal;
use crate::error::ExporterBuildError;
use crate::observe::loss::LossReason;
use crate::process;
use crate::relay::buffer::NotTaken;
use crate::relay::counts::{Counts, DropReason};
use crate::relay::http::budget::{Budget, Permit};
use crate::relay::intake::{Loose, Outlets, Sender};
use crate::relay::protocol::{Message, Protocol as _};
use crate::relay::protocols::frames::Frames;

/// The threads that decode. Each has clients of its own, whose records keep their order.
const THREADS: usize = 2;

/// Where frames come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The place of the listener.
    pub(crate) listener: usize,
    /// The name of the file that a client of logserv asks for.
    pub(crate) file: Option<Arc<str>>,
    /// What is added to each record of it.
    pub(crate) sender: Option<Arc<Sender>>,
}

/// Frames that were read together.
struct Read {
    source: Source,
    bytes: Vec<u8>,
    frames: Vec<Range<usize>>,
    arrived: SystemTime,
    _permit: Permit,
}

/// Takes frames to a decode thread. A clone takes them to the same one; all of them end with the last clone.
#[derive(Clone)]
pub(crate) struct Decoder {
    queues: Arc<[mpsc::Sender<Read>]>,
    /// The place of its thread's queue.
    thread: usize,
    /// The clients so far.
    clients: Arc<AtomicUsize>,
    outlets: Arc<Outlets>,
    counts: Arc<Counts>,
    budget: Budget,
}

impl Decoder {
    /// Starts the threads, and gives what ends with the last of them.
    ///
    /// # Errors
    ///
    /// If one cannot be started.
    pub(crate) fn start(
        outlets: Arc<Outlets>,
        counts: Arc<Counts>,
        budget: Budget,
    ) -> Result<(Self, mpsc::Receiver<()>), ExporterBuildError> {
        let (end, ended) = mpsc::sync_channel::<()>(0);
        let mut queues = Vec::with_capacity(THREADS);
        for _ in 0..THREADS {
            let (queue, reads) = mpsc::channel();
            let (outlets, counts, end) = (outlets.clone(), counts.clone(), end.clone());
            process::spawn("decode", move || {
                for read in reads {
                    decode(&read, &outlets, &counts);
                }
                drop(end);
            })
            .map_err(ExporterBuildError::Thread)?;
            queues.push(queue);
        }
        Ok((Self { queues: queues.into(), thread: 0, clients: Arc::default(), outlets, counts, budget }, ended))
    }

    /// The same for another client.
    pub(crate) fn of_client(self) -> Self {
        Self { thread: self.clients.fetch_add(1, Ordering::Relaxed) % THREADS, ..self }
    }

    /// Hands frames over, each of which is a part of `bytes`. They are lost where too many wait already.
    pub(crate) fn hand_over(&self, source: &Source, bytes: Vec<u8>, frames: Vec<Range<usize>>) {
        if frames.is_empty() {
            return;
        }
        let Some(permit) = self.budget.try_take(size_of_read(&bytes, &frames)) else {
            return self.lose(source, LossReason::BufferFull, frames.len() as u64, bytes.len());
        };
        let read = Read { source: source.clone(), bytes, frames, arrived: SystemTime::now(), _permit: permit };
        if let Err(mpsc::SendError(read)) = self.queues[self.thread].send(read) {
            self.lose(source, LossReason::NotWritten, read.frames.len() as u64, read.bytes.len());
        }
    }

    /// The memory for what is half read.
    pub(crate) fn permit(&self) -> Permit {
        self.budget.permit()
    }

    /// Counts what a client lost before it was a frame.
    pub(crate) fn lose(&self, source: &Source, reason: LossReason, records: u64, bytes: usize) {
        let dropped = match reason {
            LossReason::Cut => DropReason::Cut,
            LossReason::TooLarge => DropReason::TooLarge,
            LossReason::BufferFull => DropReason::BufferFull,
            LossReason::NotWritten => DropReason::Unavailable,
            _ => DropReason::BadFrame,
        };
        self.counts.of(source.listener).drop((Frames.name(), None), dropped, records);
        self.outlets.logs.lose(reason, records, bytes);
    }
}

/// The memory of frames that wait: also that of many which are empty.
fn size_of_read(bytes: &Vec<u8>, frames: &Vec<Range<usize>>) -> usize {
    bytes.capacity() + frames.capacity() * size_of::<Range<usize>>() + size_of::<Read>()
}

fn decode(read: &Read, outlets: &Outlets, counts: &Counts) {
    let (mut bad, mut full, mut unavailable) = (0, 0, 0);
    let all = Message { body: &read.bytes, arrived: read.arrived, request: None, file: read.source.file.as_deref() };
    let mut sink = Loose::new(outlets, &all, read.source.sender.as_deref());
    for frame in &read.frames {
        let body = read.bytes.get(frame.clone()).unwrap_or_default();
        let message = Message { body, ..all };
        // Those behind it do not end with a frame that cannot be read.
        let is_read = catch_unwind(AssertUnwindSafe(|| Frames.read(&message, &mut sink).is_ok()));
        match sink.not_taken.take() {
            Some(NotTaken::Full) => full += 1,
            Some(NotTaken::Failing(_) | NotTaken::Stopped) => unavailable += 1,
            None => {}
        }
        if !is_read.unwrap_or(false) {
            bad += 1;
            outlets.logs.lose(LossReason::BadFrame, 1, body.len());
        }
    }
    let counts = counts.of(read.source.listener);
    let kind = (Frames.name(), Some(Signal::Logs));
    counts.take(kind, read.frames.len() as u64, sink.taken, read.bytes.len() as u64);
    for (reason, frames) in
        [(DropReason::BadFrame, bad), (DropReason::BufferFull, full), (DropReason::Unavailable, unavailable)]
    {
        if frames > 0 {
            counts.drop(kind, reason, frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::relay::listener::Listener;
    use crate::relay::testing::{Decoding, PANIC, outlets, pickle, source};

    #[test]
    fn clients_share_the_threads_and_each_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let decoding = Decoding::start(dir.path(), Budget::new(1 << 20));
        let clients = [(); 2 * THREADS].map(|()| decoding.decoder.clone().of_client());
        let source = source();
        for client in &clients {
            for _ in 0..10 {
                let bytes = pickle("m");
                let frame = 0..bytes.len();
                client.hand_over(&source, bytes, vec![frame]);
            }
        }
        let threads = clients.each_ref().map(|client| client.thread);
        assert_eq!(threads, std::array::from_fn(|at| at % THREADS));
        drop(clients);
        assert_eq!(decoding.end().records, 20 * THREADS as u64);
    }

    #[test]
    fn every_frame_that_is_not_taken_is_counted_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let outlets = outlets(dir.path());
        let counts = Counts::new([Listener::Tcp("127.0.0.1:0".parse().unwrap())]);
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        let of = |length| pickle(&"m".repeat(length));
        for frame in [of(400_000), of(400_000), b"no pickle".to_vec(), of(1), of(300_000)] {
            let start = bytes.len();
            bytes.extend_from_slice(&frame);
            frames.push(start..bytes.len());
        }
        let source = source();
        let permit = Budget::new(1).permit();
        let read = Read { source, bytes, frames, arrived: SystemTime::now(), _permit: permit };
        decode(&read, &outlets, &counts);
        outlets.logs.stop(Duration::from_secs(3600));
        decode(&read, &outlets, &counts);
        let stats = &counts.snapshot().listeners[0];
        let dropped =
            [DropReason::BadFrame, DropReason::BufferFull, DropReason::Unavailable].map(|reason| stats.dropped(reason));
        assert_eq!((stats.messages, stats.records, dropped), (10, 2, [2, 2, 4]));
    }

    #[test]
    fn a_panic_over_a_frame_costs_that_frame_alone() {
        let dir = tempfile::tempdir().unwrap();
        let decoding = Decoding::start(dir.path(), Budget::new(1 << 20));
        for _ in 0..2 {
            let (mut bytes, mut frames) = (Vec::new(), Vec::new());
            for message in ["before", PANIC, "behind"] {
                let start = bytes.len();
                bytes.extend(pickle(message));
                frames.push(start..bytes.len());
            }
            decoding.decoder.hand_over(&source(), bytes, frames);
        }
        let stats = decoding.end();
        assert_eq!((stats.messages, stats.records, stats.dropped(DropReason::BadFrame)), (6, 4, 2));
    }

    #[test]
    fn frames_without_a_payload_take_memory_while_they_wait() {
        assert!(size_of_read(&Vec::new(), &vec![0..0; 1_000]) > 16_000);
    }
}
