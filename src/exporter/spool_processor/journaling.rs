//! [`Journaling`]: which bytes of a buffer's journal are written, and who writes the next ones. It is a part of what the buffer's lock
//! protects, and touches memory only.
//!
//! Whoever adds a record waits until it is written, and writes it if nobody else is writing: one thread has the *turn*, with all that
//! came before it. So the records stand in the file as they stand in the buffer, and a kill takes only the last ones, of which no `emit`
//! has returned.

use std::io;
use std::time::{Duration, Instant};

use crate::encode::blocks::{Encoded, RunAt};
use crate::encode::framing::Framing;
use crate::error::error_chain;
use crate::spool::{Generation, Journal, LoadId};

/// A write to the page cache that takes longer than this is slow.
pub(super) const SLOW: Duration = Duration::from_millis(5);

/// Slow writes come on every disk, and a thread can be kept from running as well: the third one is too much, unless so many that are not slow
/// lie between them.
const FORGIVEN_BY: u32 = 16;
const TOO_SLOW: u32 = 3 * FORGIVEN_BY - FORGIVEN_BY / 2;

/// The most of a buffer of bytes that is kept.
const MAX_KEPT_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Journaling {
    /// The generation of the records in the buffer, unless none of them is journaled.
    generation: Option<Generation>,
    /// The file that it is in.
    file: usize,
    /// The number of generations so far.
    sequence: u64,
    /// The bytes that come next, and the buffer for those after them.
    pending: Vec<u8>,
    spare: Vec<u8>,
    /// Up to where the generation is written, and the one before it.
    written: [u64; 2],
    /// The file that somebody writes to, who has the turn.
    writing: Option<usize>,
    /// The next turn is that of the thread which commits.
    is_rotating: bool,
    /// The file that is to be reset when that write has ended.
    reset_after: Option<usize>,
    mode: Mode,
    /// What slow writes have added, and others have taken from it.
    slowness: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Each record is written.
    On,
    /// Nothing is written until a commit has succeeded, and the next one begins.
    Suspended { has_committed: bool },
    /// Nothing is written any more.
    Over,
}

/// The journal of a commit: what of it is there is stored under this number, in this file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journaled {
    pub(crate) load: LoadId,
    pub(crate) file: usize,
}

/// A place in a generation: the number of that, and the place in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    sequence: u64,
    end: u64,
}

/// The bytes that the thread which has the turn writes.
#[derive(Debug)]
pub(super) struct Turn {
    bytes: Vec<u8>,
    file: usize,
    at: u64,
    sequence: u64,
}

impl Turn {
    /// Writes the bytes. Returns how long the disk took.
    pub(super) fn write(&self, journal: &Journal) -> io::Result<Duration> {
        let begun = Instant::now();
        journal.write(self.file, &self.bytes, self.at).map(|()| begun.elapsed())
    }
}

/// What comes of the end of a turn.
#[derive(Debug)]
pub(super) struct Ended {
    /// The cause, if nothing is written from now on.
    pub(super) suspended: Option<String>,
    /// The file that is to be reset now.
    pub(super) reset: Option<usize>,
}

impl Journaling {
    pub(super) fn new(journal: &Journal, least_segment: u64, framing: &Framing) -> Self {
        let mut journaling = Self {
            generation: None,
            file: 0,
            sequence: 0,
            pending: Vec::new(),
            spare: Vec::new(),
            written: [0; 2],
            writing: None,
            is_rotating: false,
            reset_after: None,
            mode: Mode::On,
            slowness: 0,
        };
        journaling.begin(journal, least_segment, framing);
        journaling
    }

    /// Begins a generation in a file that has none.
    fn begin(&mut self, journal: &Journal, least_segment: u64, framing: &Framing) {
        self.generation = journal.begin(self.file, self.sequence, least_segment, framing, &mut self.pending);
        self.mode = if self.generation.is_some() { Mode::On } else { Mode::Suspended { has_committed: true } };
    }

    /// Adds a record of the buffer. Returns the place up to which is to be written; `None` if it is not journaled.
    pub(super) fn add(&mut self, key: &str, run: RunAt, record: Encoded<'_>) -> Option<Ticket> {
        let generation = self.generation.as_mut().filter(|_| self.mode == Mode::On)?;
        generation.add(key, run, record, &mut self.pending);
        Some(Ticket { sequence: self.sequence, end: generation.end() })
    }

    /// Whether it is written up to a place; `None` if that is not known yet.
    pub(super) fn is_written(&self, ticket: Ticket) -> Option<bool> {
        let age = self.sequence - ticket.sequence;
        let written = usize::try_from(age).ok().and_then(|age| self.written.get(age));
        if written.is_some_and(|written| *written >= ticket.end) {
            return Some(true);
        }
        // What was left of the generation before is being written.
        let may_come = if age == 0 { self.mode == Mode::On } else { age == 1 && self.writing.is_some() };
        if may_come { None } else { Some(false) }
    }

    /// Takes the turn, unless somebody has it or is next.
    pub(super) fn begin_turn(&mut self) -> Option<Turn> {
        if self.is_rotating { None } else { self.take_pending() }
    }

    fn take_pending(&mut self) -> Option<Turn> {
        let generation = self.generation.as_ref().filter(|_| self.writing.is_none())?;
        self.writing = Some(self.file);
        let bytes = std::mem::replace(&mut self.pending, std::mem::take(&mut self.spare));
        Some(Turn { at: generation.end() - bytes.len() as u64, bytes, file: self.file, sequence: self.sequence })
    }

    pub(super) fn end_turn(&mut self, turn: Turn, result: io::Result<Duration>) -> Ended {
        let Turn { mut bytes, at, sequence, .. } = turn;
        let end = at + bytes.len() as u64;
        bytes.clear();
        bytes.shrink_to(MAX_KEPT_BYTES);
        self.spare = bytes;
        self.writing = None;
        let slow = match result {
            Ok(took) => {
                let age = usize::try_from(self.sequence - sequence).unwrap_or(usize::MAX);
                if let Some(written) = self.written.get_mut(age) {
                    *written = end;
                }
                self.slowness = if took > SLOW { self.slowness + FORGIVEN_BY } else { self.slowness.saturating_sub(1) };
                (self.slowness > TOO_SLOW).then(|| format!("writes take long, the last one {} ms", took.as_millis()))
            }
            Err(error) => Some(error_chain(&error)),
        };
        Ended { suspended: slow.and_then(|cause| self.suspend(cause)), reset: self.reset_after.take() }
    }

    /// Writes nothing until a commit succeeds. Returns the cause if it is news.
    pub(super) fn suspend(&mut self, cause: String) -> Option<String> {
        self.pending.clear();
        let before = self.mode;
        if before != Mode::Over {
            self.mode = Mode::Suspended { has_committed: false };
        }
        (before == Mode::On).then_some(cause)
    }

    /// Writes nothing any more: the spool is closed, and its files are somebody else's.
    pub(super) fn end(&mut self) {
        self.pending.clear();
        self.mode = Mode::Over;
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Has the next turn be that of the thread which commits, or ends that.
    pub(super) fn set_rotating(&mut self, is_rotating: bool) {
        self.is_rotating = is_rotating;
    }

    /// Whether a file may be reset now; otherwise it is to be reset when the write that hangs there has ended.
    pub(super) fn may_reset(&mut self, file: usize) -> bool {
        let is_free = self.writing != Some(file);
        if !is_free {
            self.reset_after = Some(file);
        }
        is_free
    }

    pub(super) fn note_committed(&mut self) {
        if let Mode::Suspended { has_committed } = &mut self.mode {
            *has_committed = true;
        }
    }

    /// Has another framing from now on. Nothing is written yet.
    pub(super) fn set_framing(&mut self, journal: &Journal, framing: &Framing) {
        if let Some(generation) = self.generation.take() {
            self.pending.clear();
            self.begin(journal, generation.least_segment(), framing);
        }
    }

    /// Ends the generation, whose records are taken for a commit, and begins the next one. What is still to be written of it is written
    /// by whoever calls this, if anything. Returns as well whether it was suspended and is not any more.
    pub(super) fn rotate(
        &mut self,
        journal: &Journal,
        least_segment: u64,
        framing: &Framing,
    ) -> (Option<Journaled>, Option<Turn>, bool) {
        let rest = if self.pending.is_empty() { None } else { self.take_pending() };
        let load = self.generation.take().map(|generation| generation.load);
        let journaled = load.map(|load| Journaled { load, file: self.file });
        let before = self.mode;
        self.sequence += 1;
        self.written = [0, self.written[0]];
        // A write that hangs may still go to the file which would be next but one.
        let may_begin = match before {
            Mode::On => true,
            Mode::Suspended { has_committed } => has_committed && self.writing.is_none(),
            Mode::Over => false,
        };
        if may_begin {
            self.slowness = if before == Mode::On { self.slowness } else { 0 };
            self.file = 1 - self.file;
            self.begin(journal, least_segment, framing);
        }
        (journaled, rest, before != Mode::On && self.mode == Mode::On)
    }
}
