//! From a message to the buffers: the sinks that protocols give records to.

use std::sync::Arc;

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;

use crate::config::values::Signal;
use crate::encode::blocks::{Blocks, Encoded};
use crate::encode::framing::Framing;
use crate::relay::buffer::NotTaken;
use crate::relay::listener::Listener;
use crate::relay::outlet::{Add, Outlet, Scratch};
use crate::relay::protocol::{Message, OtlpRecord, Sink};
use crate::relay::record::Record;
use crate::relay::repeats::Repeats;

/// The ways out of the relay, by signal.
pub(crate) struct Outlets {
    pub(crate) logs: Outlet,
    pub(crate) traces: Option<Outlet>,
    pub(crate) metrics: Option<Outlet>,
    pub(crate) repeats: Arc<Repeats>,
}

impl Outlets {
    pub(crate) fn get(&self, signal: Signal) -> Option<&Outlet> {
        match signal {
            Signal::Logs => Some(&self.logs),
            Signal::Traces => self.traces.as_ref(),
            Signal::Metrics => self.metrics.as_ref(),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Outlet> {
        Signal::ALL.into_iter().filter_map(|signal| self.get(signal))
    }
}

/// Who sent a message, as the attribute `relay` of its records says it.
pub(crate) type Sender = Vec<(Key, AnyValue)>;

/// Who sends, as an attribute.
pub(crate) fn sender(listener: &Listener, peer: Option<&str>, ids: Option<(u32, Option<i32>)>) -> Sender {
    let text = |text: &str| AnyValue::from(text.to_owned());
    let mut sender = vec![("listener".into(), text(listener.name()))];
    sender.extend(peer.map(|peer| ("peer".into(), text(peer))));
    if let Some((uid, pid)) = ids {
        sender.push(("uid".into(), AnyValue::Int(uid.into())));
        sender.extend(pid.map(|pid| ("pid".into(), AnyValue::Int(pid.into()))));
    }
    sender
}

/// The record with its sender.
fn sent_by(record: &Record, sender: &Sender) -> Record {
    let mut record = record.clone();
    record.attributes.push((Key::from_static_str("relay"), AnyValue::Map(Box::new(sender.iter().cloned().collect()))));
    record
}

/// Adds records to the buffers as they come. They stay there whatever their client is answered.
pub(crate) struct Loose<'a> {
    outlets: &'a Outlets,
    message: &'a Message<'a>,
    sender: Option<&'a Sender>,
    scratch: Scratch,
    pub(crate) taken: u64,
    pub(crate) rejected: u64,
    /// Why one of them was not taken.
    pub(crate) not_taken: Option<NotTaken>,
    /// A signal that is not relayed.
    pub(crate) unknown: Option<Signal>,
}

impl<'a> Loose<'a> {
    pub(crate) fn new(outlets: &'a Outlets, message: &'a Message<'a>, sender: Option<&'a Sender>) -> Self {
        let scratch = Scratch::default();
        Self { outlets, message, sender, scratch, taken: 0, rejected: 0, not_taken: None, unknown: None }
    }

    fn add(&mut self, outlet: &Outlet, encode: impl FnOnce(&mut Scratch, &mut Add<'_>) -> bool) {
        let Self { scratch, taken, not_taken, .. } = self;
        let mut add = |key: &str, framing: Option<&Framing>, record: Encoded<'_>| match outlet.add(key, framing, record)
        {
            Ok(()) => *taken += 1,
            Err(reason) => *not_taken = Some(reason),
        };
        if !encode(scratch, &mut add) {
            self.rejected += 1;
        }
    }
}

impl Sink for Loose<'_> {
    fn log(&mut self, record: &Record) {
        let (outlet, message) = (&self.outlets.logs, self.message);
        let tagged = self.sender.map(|sender| sent_by(record, sender));
        let record = tagged.as_ref().unwrap_or(record);
        self.add(outlet, |scratch, add| outlet.encode_log(message, record, scratch, add));
    }

    fn otlp(&mut self, record: OtlpRecord<'_>) {
        let message = self.message;
        match self.outlets.get(record.signal) {
            Some(outlet) => self.add(outlet, |scratch, add| outlet.encode_otlp(message, &record, scratch, add)),
            None => self.unknown = Some(record.signal),
        }
    }

    fn rejected(&self) -> u64 {
        self.rejected
    }
}

/// How many times as much as may be stored is encoded of records that are too large.
const MAX_WASTE: usize = 4;

/// Collects the records of a message, to be stored as a whole.
pub(crate) struct Collected<'a> {
    outlets: &'a Outlets,
    message: &'a Message<'a>,
    sender: Option<&'a Sender>,
    scratch: Scratch,
    pub(crate) rejected: u64,
    /// They are more than may be stored as a whole.
    pub(crate) is_full: bool,
    /// The signal that they are of.
    pub(crate) signal: Signal,
    pub(crate) blocks: Blocks,
    /// A signal that is not relayed, or not with the others.
    pub(crate) unknown: Option<Signal>,
}

impl<'a> Collected<'a> {
    pub(crate) fn new(outlets: &'a Outlets, message: &'a Message<'a>, sender: Option<&'a Sender>) -> Self {
        let (scratch, blocks) = (Scratch::default(), Blocks::default());
        let (rejected, is_full, signal, unknown) = (0, false, Signal::Logs, None);
        Self { outlets, message, sender, scratch, rejected, is_full, signal, blocks, unknown }
    }

    /// Adds a record, unless its signal is not relayed with those before.
    fn add(&mut self, signal: Signal, encode: impl FnOnce(&Outlet, &mut Scratch, &mut Add<'_>) -> bool) {
        if self.is_full {
            return;
        }
        if self.blocks.records() == 0 {
            self.signal = signal;
        }
        let Some(outlet) = self.outlets.get(signal).filter(|_| signal == self.signal) else {
            self.unknown = Some(signal);
            return;
        };
        let Self { blocks, scratch, .. } = self;
        let mut add =
            |key: &str, framing: Option<&Framing>, record: Encoded<'_>| outlet.push(blocks, key, framing, record);
        if !encode(outlet, scratch, &mut add) {
            self.rejected += 1;
        }
        let max = outlet.max_load_bytes;
        self.is_full = blocks.bytes() > max || scratch.wasted > max.saturating_mul(MAX_WASTE);
    }
}

impl Sink for Collected<'_> {
    fn log(&mut self, record: &Record) {
        if self.is_full() {
            return;
        }
        let message = self.message;
        self.blocks.set_envelope(None);
        let tagged = self.sender.map(|sender| sent_by(record, sender));
        let record = tagged.as_ref().unwrap_or(record);
        self.add(Signal::Logs, |outlet, scratch, add| outlet.encode_log(message, record, scratch, add));
    }

    fn otlp(&mut self, record: OtlpRecord<'_>) {
        let message = self.message;
        self.blocks.set_envelope(Some(record.id));
        self.add(record.signal, |outlet, scratch, add| outlet.encode_otlp(message, &record, scratch, add));
    }

    fn is_full(&self) -> bool {
        self.is_full || self.unknown.is_some()
    }

    fn rejected(&self) -> u64 {
        self.rejected
    }
}
