//! Frames of Python's `SocketHandler` and `DatagramHandler`: a pickled `LogRecord` each.

use crate::relay::pickle::{self, Values};
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::protocols::log_record::LogRecord;

/// The attributes of a record that are read; Python sets 21.
const ATTRIBUTES: usize = 10_000;

/// Frames, without their length: a message is one pickle, and that is one record.
pub(crate) struct Frames;

impl Protocol for Frames {
    fn name(&self) -> &'static str {
        "frames"
    }

    /// Listeners for frames take nothing else, and others take none.
    fn claims(&self, _: &Message<'_>) -> bool {
        false
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        let pickle = pickle::read(message.body).map_err(|error| BadMessage::new(error.to_string()))?;
        let mut values = Values::of(&pickle);
        let mut record = LogRecord::default();
        for (key, value) in pickle.entries().iter().take(ATTRIBUTES) {
            match values.key(*key) {
                Some(key) => record.set_with(&key, |is_standard| values.value(*value, is_standard)),
                None => record.set("[too large]", "[too large]".into()),
            }
        }
        if pickle.entries().len() > ATTRIBUTES {
            record.set("[too large]", "[too many attributes]".into());
        }
        sink.log(&record.into_record(message.arrived));
        Ok(Answer::default())
    }
}
