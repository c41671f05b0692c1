//! Python's `logging.handlers.HTTPHandler`: the attributes of a log record as a query or as a form. Every value is a text.
//!
//! The handler sends `msg` and the text of `args` without having merged them, which is done here. Where that fails, the message is `msg`,
//! and `args` an attribute. It sends no traceback, but the text of `exc_info`, in whose middle the exception is.

use super::form::Form;
use super::log_record::LogRecord;
use super::{percent_format, python_literal};
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};

pub(crate) struct HttpHandler;

impl Protocol for HttpHandler {
    fn name(&self) -> &'static str {
        "http-handler"
    }

    fn claims(&self, message: &Message<'_>) -> bool {
        Form::of(message).is_some_and(|form| {
            form.get("msg").is_some() && ["levelname", "levelno", "created"].iter().any(|name| form.get(name).is_some())
        })
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        let form = Form::of(message).ok_or_else(|| BadMessage::new("the form has no fields"))?;
        let given = |name: &str| form.get(name).filter(|text| !is_none(text));
        let mut record = LogRecord::default();
        for (name, value) in form.0.iter().filter(|(name, value)| !is_left_out(name, value)) {
            record.set(name, value.clone().into_owned().into());
        }
        if let Some(merged) = form.get("message").map(str::to_owned).or_else(|| merge(form.get("msg")?, given("args")?))
        {
            record.set("msg", merged.into());
            record.set("args", crate::encode::null());
        }
        if given("exc_text").is_none() {
            if let Some(exception) = given("exc_info").map(exception) {
                record.set("exc_text", exception.to_owned().into());
            }
        }
        sink.log(&record.into_record(message.arrived));
        Ok(Answer::default())
    }
}

/// The message of `msg` and the `repr` of its arguments; `None` if Python would fail as well, or the arguments are no literals.
pub(super) fn merge(msg: &str, arguments: &str) -> Option<String> {
    percent_format::format(msg, &python_literal::parse(arguments)?)
}

/// The text of no value, or of no arguments.
fn is_none(text: &str) -> bool {
    matches!(text, "" | "None" | "()")
}

/// Whether an attribute that Python sets itself has no value. Another one is what the application has said.
fn is_left_out(name: &str, value: &str) -> bool {
    const MAY_BE_NONE: [&str; 9] =
        ["args", "exc_info", "exc_text", "stack_info", "taskName", "process", "processName", "thread", "threadName"];
    MAY_BE_NONE.contains(&name) && is_none(value)
}

/// The exception in `(<class 'ValueError'>, ValueError('no'), <traceback object at 0x7f>)`; any other text as it is.
fn exception(exc_info: &str) -> &str {
    let middle = || {
        let (_, behind) = exc_info.strip_prefix("(<")?.split_once("'>, ")?;
        Some(behind.rsplit_once(", <traceback object at").or_else(|| behind.rsplit_once(", None)"))?.0)
    };
    middle().unwrap_or(exc_info)
}
