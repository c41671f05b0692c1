//! [`Counts`]: what comes into the relay, by listener, and what is refused; [`RelayStats`] shows it.

use crate::observe::counter::Counter;
use crate::relay::listener::Listener;

/// Counts of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounts {
    pub(crate) connections: Counter,
    pub(crate) open_connections: Counter,
    pub(crate) messages: Counter,
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
}

/// The reason why a request was refused. No record of it is stored, and its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A page of another site asked for it, or a name that is not the relay's.
    CrossSite,
    /// Its credentials are missing or wrong.
    Unauthorized,
    /// The relay itself has sent it.
    Loop,
    /// It is none of HTTP, or none of its protocol.
    Malformed,
    /// It took too long to come.
    Slow,
    /// There was no room, or commits fail: a client that sends it again was told so.
    Unavailable,
}

/// Counts of a relay.
#[derive(Debug)]
pub(crate) struct Counts {
    listeners: Vec<(Listener, ListenerCounts)>,
    /// Requests that were stored before.
    pub(crate) duplicates: Counter,
    refused: [Counter; 6],
}

impl Counts {
    pub(crate) fn new(listeners: impl IntoIterator<Item = Listener>) -> Self {
        let listeners = listeners.into_iter().map(|listener| (listener, ListenerCounts::default())).collect();
        Self { listeners, duplicates: Counter::default(), refused: Default::default() }
    }

    /// A listener, by its place.
    pub(crate) fn listener(&self, at: usize) -> &Listener {
        &self.listeners[at].0
    }

    /// The counts of a listener, by its place.
    pub(crate) fn of(&self, listener: usize) -> &ListenerCounts {
        &self.listeners[listener].1
    }

    pub(crate) fn refuse(&self, reason: Refused) {
        self.refused[reason as usize].add(1);
    }

    pub(crate) fn snapshot(&self) -> RelayStats {
        let refused = |reason: Refused| self.refused[reason as usize].get();
        let of = |(listener, counts): &(Listener, ListenerCounts)| ListenerStats {
            listener: listener.clone(),
            connections: counts.connections.get(),
            open_connections: counts.open_connections.get(),
            messages: counts.messages.get(),
            records: counts.records.get(),
            bytes: counts.bytes.get(),
        };
        RelayStats {
            listeners: self.listeners.iter().map(of).collect(),
            duplicate_requests: self.duplicates.get(),
            cross_site_requests: refused(Refused::CrossSite),
            unauthorized_requests: refused(Refused::Unauthorized),
            looping_requests: refused(Refused::Loop),
            malformed_requests: refused(Refused::Malformed),
            slow_requests: refused(Refused::Slow),
            unavailable_requests: refused(Refused::Unavailable),
        }
    }
}

/// Counts of a relay since it was built. The records' further way is in the [`SpoolStats`](crate::SpoolStats) of their signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// The listeners, in the order in which they were given.
    pub listeners: Vec<ListenerStats>,
    /// Requests that had been stored before, and were answered with success.
    pub duplicate_requests: u64,
    /// Requests of a page of another site, or to a name that is not the relay's.
    pub cross_site_requests: u64,
    /// Requests without credentials, or with wrong ones.
    pub unauthorized_requests: u64,
    /// Requests that the relay itself had sent.
    pub looping_requests: u64,
    /// Requests that are none of HTTP or none of their protocol.
    pub malformed_requests: u64,
    /// Requests that took too long to come.
    pub slow_requests: u64,
    /// Requests that were answered 503: there was no room, or records could not be committed in time.
    pub unavailable_requests: u64,
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
}
