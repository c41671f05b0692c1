//! [`Counts`]: what comes into the relay, by listener, protocol and signal, and what of it is dropped; [`RelayStats`] shows it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::config::values::Signal;
use crate::observe::counter::Counter;
use crate::relay::listener::Listener;

/// The reason why a relay did not take a message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The bytes of a frame or a datagram are none of the protocol.
    BadFrame,
    /// A request is none of HTTP, or none of its protocol: it was answered with a status from 400 on.
    BadRequest,
    /// The connection ended within it.
    Cut,
    /// It took too long to come.
    Slow,
    /// It is larger than a limit.
    TooLarge,
    /// The buffer had no room for it.
    BufferFull,
    /// It could not be written in time, or not at all: a client that sends it again was told so.
    Unavailable,
    /// It is the repetition of one that is stored.
    Duplicate,
    /// Its credentials are missing or wrong.
    Unauthorized,
    /// A page of another site had a browser send it.
    CrossSite,
    /// The relay had sent it itself.
    Loop,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub(crate) const ALL: [Self; 11] = [
        Self::BadFrame,
        Self::BadRequest,
        Self::Cut,
        Self::Slow,
        Self::TooLarge,
        Self::BufferFull,
        Self::Unavailable,
        Self::Duplicate,
        Self::Unauthorized,
        Self::CrossSite,
        Self::Loop,
    ];

    /// Whether records are lost by it that their sender believes to be safe, or could not send again.
    pub(crate) fn loses(self) -> bool {
        matches!(self, Self::BadFrame | Self::Cut | Self::TooLarge | Self::BufferFull)
    }

    /// The reason as text, the same everywhere: the variant's name in lower case, such as `bad_frame`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadFrame => "bad_frame",
            Self::BadRequest => "bad_request",
            Self::Cut => "cut",
            Self::Slow => "slow",
            Self::TooLarge => "too_large",
            Self::BufferFull => "buffer_full",
            Self::Unavailable => "unavailable",
            Self::Duplicate => "duplicate",
            Self::Unauthorized => "unauthorized",
            Self::CrossSite => "cross_site",
            Self::Loop => "loop",
        }
    }
}

/// Messages of one protocol and signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) records: u64,
    /// The size of the messages, as they came.
    pub(crate) bytes: u64,
    /// In the order of [`DropReason::ALL`].
    pub(crate) dropped: [u64; DropReason::ALL.len()],
}

/// A protocol, and the signal where it is known.
pub(crate) type Kind = (&'static str, Option<Signal>);

/// Counts of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounts {
    pub(crate) connections: Counter,
    pub(crate) open_connections: Counter,
    tallies: Mutex<BTreeMap<Kind, Tally>>,
}

impl ListenerCounts {
    /// Counts messages, with the records that were taken from them.
    pub(crate) fn take(&self, kind: Kind, messages: u64, records: u64, bytes: u64) {
        self.tally(kind, |tally| {
            tally.messages += messages;
            tally.records += records;
            tally.bytes += bytes;
        });
    }

    /// Counts messages that were dropped.
    pub(crate) fn drop(&self, kind: Kind, reason: DropReason, messages: u64) {
        self.tally(kind, |tally| tally.dropped[reason as usize] += messages);
    }

    fn tally(&self, kind: Kind, count: impl FnOnce(&mut Tally)) {
        count(self.tallies.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default());
    }

    /// What was counted so far, by kind.
    pub(crate) fn tallies(&self) -> Vec<(Kind, Tally)> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().map(|(kind, tally)| (*kind, *tally)).collect()
    }
}

/// Counts of a relay.
#[derive(Debug)]
pub(crate) struct Counts {
    listeners: Vec<(Listener, ListenerCounts)>,
}

impl Counts {
    pub(crate) fn new(listeners: impl IntoIterator<Item = Listener>) -> Self {
        Self { listeners: listeners.into_iter().map(|listener| (listener, ListenerCounts::default())).collect() }
    }

    /// The listeners with their counts, in their order.
    pub(crate) fn listeners(&self) -> &[(Listener, ListenerCounts)] {
        &self.listeners
    }

    /// A listener, by its place.
    pub(crate) fn listener(&self, at: usize) -> &Listener {
        &self.listeners[at].0
    }

    /// The counts of a listener, by its place.
    pub(crate) fn of(&self, listener: usize) -> &ListenerCounts {
        &self.listeners[listener].1
    }

    pub(crate) fn snapshot(&self) -> RelayStats {
        let of = |(listener, counts): &(Listener, ListenerCounts)| {
            let mut all = Tally::default();
            for (_, tally) in counts.tallies() {
                all.messages += tally.messages;
                all.records += tally.records;
                all.bytes += tally.bytes;
                all.dropped.iter_mut().zip(tally.dropped).for_each(|(all, of_kind)| *all += of_kind);
            }
            ListenerStats {
                listener: listener.clone(),
                connections: counts.connections.get(),
                open_connections: counts.open_connections.get(),
                messages: all.messages,
                records: all.records,
                bytes: all.bytes,
                dropped: all.dropped,
            }
        };
        RelayStats { listeners: self.listeners.iter().map(of).collect() }
    }
}

/// Counts of a relay since it was built. The records' further way is in the [`SpoolStats`](crate::SpoolStats) of their signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// The listeners, in the order in which they were given.
    pub listeners: Vec<ListenerStats>,
}

impl RelayStats {
    /// The messages that were dropped for this reason, at all listeners.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.listeners.iter().map(|listener| listener.dropped(reason)).sum()
    }

    /// The records that were taken, at all listeners.
    pub fn records(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.records).sum()
    }
}

/// Counts of one listener of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// The listener, with the port that it has.
    pub listener: Listener,
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that are open.
    pub open_connections: u64,
    /// Frames, datagrams and requests with records.
    pub messages: u64,
    /// Records that were taken.
    pub records: u64,
    /// The size of the messages, in bytes.
    pub bytes: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl ListenerStats {
    /// The messages that were dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}
