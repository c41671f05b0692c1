//! The decode thread: frames that were read become records in the buffer.
//!
//! Who reads from a client of frames does nothing else, since the client never waits: a second, and it drops the record.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use crate::config::values::Signal;
use crate::error::ExporterBuildError;
use crate::observe::loss::LossReason;
use crate::process;
use crate::relay::counts::{Counts, DropReason};
use crate::relay::http::budget::{Budget, Permit};
use crate::relay::intake::{Loose, Outlets, Sender};
use crate::relay::protocol::{Message, Protocol as _};
use crate::relay::protocols::frames::Frames;

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

/// Takes frames to the decode thread. A clone takes them to the same one, which ends with the last of them.
#[derive(Clone)]
pub(crate) struct Decoder {
    queue: mpsc::Sender<Read>,
    outlets: Arc<Outlets>,
    counts: Arc<Counts>,
    budget: Budget,
}

impl Decoder {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn start(
        outlets: Arc<Outlets>,
        counts: Arc<Counts>,
        budget: Budget,
    ) -> Result<(Self, JoinHandle<()>), ExporterBuildError> {
        let (queue, reads) = mpsc::channel();
        let (for_thread, counts_of_thread) = (outlets.clone(), counts.clone());
        let thread = process::spawn("decode", move || {
            for read in reads {
                decode(&read, &for_thread, &counts_of_thread);
            }
        });
        Ok((Self { queue, outlets, counts, budget }, thread.map_err(ExporterBuildError::Thread)?))
    }

    /// Hands frames over, each of which is a part of `bytes`. They are lost where too many wait already.
    pub(crate) fn hand_over(&self, source: &Source, bytes: Vec<u8>, frames: Vec<Range<usize>>) {
        if frames.is_empty() {
            return;
        }
        let Some(permit) = self.budget.try_take(bytes.len()) else {
            return self.lose(source, LossReason::BufferFull, frames.len() as u64, bytes.len());
        };
        let read = Read { source: source.clone(), bytes, frames, arrived: SystemTime::now(), _permit: permit };
        // The thread ends after all of its clients.
        let _ = self.queue.send(read);
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
            _ => DropReason::BadFrame,
        };
        self.counts.of(source.listener).drop((Frames.name(), None), dropped, records);
        self.outlets.logs.lose(reason, records, bytes);
    }
}

fn decode(read: &Read, outlets: &Outlets, counts: &Counts) {
    let (mut records, mut bad) = (0, 0);
    for frame in &read.frames {
        let body = read.bytes.get(frame.clone()).unwrap_or_default();
        let message = Message { body, arrived: read.arrived, request: None, file: read.source.file.as_deref() };
        let mut sink = Loose::new(outlets, &message, read.source.sender.as_deref());
        if Frames.read(&message, &mut sink).is_ok() {
            records += sink.taken;
        } else {
            bad += 1;
            outlets.logs.lose(LossReason::BadFrame, 1, body.len());
        }
    }
    let counts = counts.of(read.source.listener);
    let kind = (Frames.name(), Some(Signal::Logs));
    counts.take(kind, read.frames.len() as u64, records, read.bytes.len() as u64);
    if bad > 0 {
        counts.drop(kind, DropReason::BadFrame, bad);
    }
}
