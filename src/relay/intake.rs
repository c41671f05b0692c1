//! From a message to the buffers: the sinks that protocols give records to.

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;

use crate::config::values::Signal;
use crate::encode::blocks::{Blocks, Encoded};
use crate::relay::buffer::NotTaken;
use crate::relay::outlet::Outlet;
use crate::relay::protocol::{Message, OtlpRecord, Sink};
use crate::relay::protocols::otlp::Pieces;
use crate::relay::record::Record;
use crate::relay::repeats::Repeats;

/// The ways out of the relay, by signal.
pub(crate) struct Outlets {
    pub(crate) logs: Outlet,
    pub(crate) traces: Option<Outlet>,
    pub(crate) metrics: Option<Outlet>,
    pub(crate) repeats: Repeats,
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
    pub(crate) taken: u64,
    /// Why one of them was not taken.
    pub(crate) not_taken: Option<NotTaken>,
    /// A signal that is not relayed.
    pub(crate) unknown: Option<Signal>,
}

impl<'a> Loose<'a> {
    pub(crate) fn new(outlets: &'a Outlets, message: &'a Message<'a>, sender: Option<&'a Sender>) -> Self {
        Self { outlets, message, sender, taken: 0, not_taken: None, unknown: None }
    }

    fn add(&mut self, outlet: &Outlet, encode: impl FnOnce(&mut dyn FnMut(&str, Encoded<'_>))) {
        encode(&mut |key, encoded| match outlet.add(key, encoded) {
            Ok(()) => self.taken += 1,
            Err(reason) => self.not_taken = Some(reason),
        });
    }
}

impl Sink for Loose<'_> {
    fn log(&mut self, record: &Record) {
        let (outlet, message) = (&self.outlets.logs, self.message);
        match self.sender {
            Some(sender) => self.add(outlet, |add| outlet.encode_log(message, &sent_by(record, sender), add)),
            None => self.add(outlet, |add| outlet.encode_log(message, record, add)),
        }
    }

    fn otlp(&mut self, record: OtlpRecord<'_>) {
        let message = self.message;
        let Some(outlet) = self.outlets.get(record.signal) else {
            self.unknown = Some(record.signal);
            return;
        };
        let mut pieces = outlet.pieces();
        self.add(outlet, |add| outlet.encode_otlp(message, &record, &mut pieces, add));
    }
}

/// Collects the records of a message, to be stored as a whole.
pub(crate) struct Collected<'a> {
    outlets: &'a Outlets,
    message: &'a Message<'a>,
    sender: Option<&'a Sender>,
    /// The signal that they are of.
    pub(crate) signal: Signal,
    pub(crate) blocks: Blocks,
    /// The form in which OTLP is passed on, once there was some.
    pieces: Option<Option<Pieces>>,
    /// A signal that is not relayed, or not with the others.
    pub(crate) unknown: Option<Signal>,
}

impl<'a> Collected<'a> {
    pub(crate) fn new(outlets: &'a Outlets, message: &'a Message<'a>, sender: Option<&'a Sender>) -> Self {
        Self { outlets, message, sender, signal: Signal::Logs, blocks: Blocks::default(), pieces: None, unknown: None }
    }

    /// The outlet of a record; `None` if it is not relayed with those before.
    fn outlet(&mut self, signal: Signal) -> Option<&'a Outlet> {
        if self.blocks.records() == 0 {
            self.signal = signal;
        }
        let outlet = self.outlets.get(signal).filter(|_| signal == self.signal);
        if outlet.is_none() {
            self.unknown = Some(signal);
        }
        outlet
    }
}

impl Sink for Collected<'_> {
    fn log(&mut self, record: &Record) {
        let Some(outlet) = self.outlet(Signal::Logs) else { return };
        let Self { blocks, message, .. } = self;
        let mut add = |key: &str, encoded: Encoded<'_>| blocks.push(key, encoded, outlet.separator());
        match self.sender {
            Some(sender) => outlet.encode_log(message, &sent_by(record, sender), &mut add),
            None => outlet.encode_log(message, record, &mut add),
        }
    }

    fn otlp(&mut self, record: OtlpRecord<'_>) {
        let Some(outlet) = self.outlet(record.signal) else { return };
        let Self { blocks, message, pieces, .. } = self;
        let pieces = pieces.get_or_insert_with(|| outlet.pieces());
        outlet.encode_otlp(message, &record, pieces, &mut |key, encoded| blocks.push(key, encoded, outlet.separator()));
    }
}
