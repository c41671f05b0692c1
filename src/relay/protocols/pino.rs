//! pino and bunyan: JSON whose records have their level as a number and their time.
//!
//! It is read as any other JSON. It is a protocol of its own because `pino-http-send` sends a body again that was not answered, and since
//! its records carry times, a body that comes twice is known for the same.

use super::json::{self, Json, Members};
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};

pub(crate) struct Pino;

impl Protocol for Pino {
    fn name(&self) -> &'static str {
        "pino"
    }

    fn claims(&self, message: &Message<'_>) -> bool {
        let has_number = |members: &Members<'_>, name| members.get(name).is_some_and(|value| value.number().is_some());
        json::first(message.body).is_some_and(|members| has_number(&members, "level") && members.get("time").is_some())
    }

    fn repeats(&self) -> bool {
        true
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        Json.read(message, sink)
    }
}
