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
        if let (None, Some(exc_info)) = (given("exc_text"), given("exc_info")) {
            record.set("exc_text", exception(exc_info).to_owned().into());
        }
        sink.log(&record.into_record(message.arrived));
        Ok(Answer::default())
    }
}

/// The message of `msg` and the `repr` of its arguments; `None` if Python would fail as well, or the arguments are no literals.
pub(super) fn merge(msg: &str, arguments: &str) -> Option<String> {
    percent_format::format(msg, &python_literal::parse(arguments)?)
}

/// The text of no value, of no arguments, or of no exception.
fn is_none(text: &str) -> bool {
    matches!(text, "" | "None" | "()" | "(None, None, None)")
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

#[cfg(test)]
mod tests {
    use crate::relay::protocols::testing::{get, post};

    const FORM: &str = "application/x-www-form-urlencoded";

    /// Requests as Python's `HTTPHandler` sent them: the version, the query or form, the record.
    #[test]
    #[rustfmt::skip]
    fn log_records_of_every_python_are_read_from_queries_and_forms() {
        let cases = [
            ("2.7", "user=a%26b%3Dc+d&threadName=MainThread&name=shop.orders&thread=140346549672832&created=1795890785.4&process=25215&processName=MainProcess&args=%28%27caf%5Cxc3%5Cxa9%27%2C+7%29&module=cap&filename=cap.py&levelno=20&exc_text=None&n=None&pathname=cap.py&lineno=21&msg=order+%25s+of+%25d%3A+100%25%25&exc_info=None&funcName=%3Cmodule%3E&relativeCreated=38.7909412384&levelname=INFO&msecs=396.550893784",
             "order café of 7: 100%; time=1795890785.4; severity=INFO; level=INFO; number=20; relative=38.7909412384; logger=shop.orders; pid=25215; process=MainProcess; resource.process.pid=25215; code.file.path=cap.py; code.function.name=<module>; code.line.number=21; thread.id=140346549672832; thread.name=MainThread; user=a&b=c d; n=None"),
            ("2.7, a dict", "threadName=MainThread&name=shop&created=1795890785.5&args=%7B%27a%27%3A+u%27x%5Cxe9%27%2C+%27b%27%3A+1.5%7D&levelno=30&exc_text=None&msg=%25%28a%29s+%26+%25%28b%29.2f&exc_info=None&levelname=WARNING",
             "xé & 1.50; time=1795890785.5; severity=WARN; level=WARNING; number=30; logger=shop; thread.name=MainThread"),
            ("2.7, an exception", "name=shop&created=1795890785.5&args=%28%27x%27%2C%29&levelno=40&exc_text=None&msg=failed%3A+%25s&exc_info=%28%3Ctype+%27exceptions.ValueError%27%3E%2C+ValueError%28%27no%5Cnway%27%2C%29%2C+%3Ctraceback+object+at+0x7fa4f9ecadc0%3E%29&levelname=ERROR",
             "failed: x; time=1795890785.5; severity=ERROR; level=ERROR; number=40; logger=shop; exception.stacktrace=ValueError('no\\nway',)"),
            ("3.6", "name=shop.orders&msg=order+%25s+of+%25d%3A+100%25%25&args=%28%27caf%C3%A9%27%2C+7%29&levelname=INFO&levelno=20&pathname=cap.py&filename=cap.py&module=cap&exc_info=None&exc_text=None&stack_info=None&lineno=21&funcName=%3Cmodule%3E&created=1795890785.9746718&msecs=974.6718406677246&relativeCreated=45.06683349609375&thread=139781144533888&threadName=MainThread&processName=MainProcess&process=25249&user=a%26b%3Dc+d&n=None",
             "order café of 7: 100%; time=1795890785.974672; severity=INFO; level=INFO; number=20; relative=45.06683349609375; logger=shop.orders; pid=25249; process=MainProcess; resource.process.pid=25249; code.file.path=cap.py; code.function.name=<module>; code.line.number=21; thread.id=139781144533888; thread.name=MainThread; user=a&b=c d; n=None"),
            ("3.13, a class within a function", "name=shop&msg=failed%3A+%25s&args=%28%27x%27%2C%29&levelname=ERROR&levelno=40&exc_info=%28%3Cclass+%27app.f.%3Clocals%3E.E%27%3E%2C+E%28%27no%5Cnway%27%29%2C+%3Ctraceback+object+at+0x7fd51a3771c0%3E%29&exc_text=None&stack_info=None&created=1795890786.566728&taskName=None",
             "failed: x; time=1795890786.566728; severity=ERROR; level=ERROR; number=40; logger=shop; exception.stacktrace=E('no\\nway')"),
            ("3.13, the text of an exception", "msg=m&levelno=40&levelname=ERROR&args=%28%29&exc_text=Traceback%0A++x&exc_info=%28%3Cclass+%27E%27%3E%2C+E%28%29%2C+None%29&stack_info=Stack&taskName=Task-1",
             "m; severity=ERROR; level=ERROR; number=40; exception.stacktrace=Traceback\n  x\nStack; taskName=Task-1"),
            ("3.13, no literal", "name=shop&msg=of+%25s&args=%28%3Cobject+object+at+0x7fd51a4c0470%3E%2C%29&levelname=ERROR&levelno=40&exc_info=None",
             "of %s; severity=ERROR; level=ERROR; number=40; logger=shop; args=(<object object at 0x7fd51a4c0470>,)"),
            ("3.13, too few arguments", "msg=%25s+%25s&args=%281%2C%29&levelno=20", "%s %s; severity=INFO; number=20; args=(1,)"),
            ("3.13, another level", "name=shop.orders&msg=plain&args=%28%29&levelname=Level+17&levelno=17&exc_text=None&taskName=None",
             "plain; severity=DEBUG; level=Level 17; number=17; logger=shop.orders"),
            ("a message that a formatter has merged", "msg=a+%25s&args=%28%27b%27%2C%29&message=a+b&levelno=20", "a b; severity=INFO; number=20"),
            ("a percent sign without arguments", "msg=100%25&args=%28%29&levelno=20&exc_info=%28None%2C+None%2C+None%29", "100%; severity=INFO; number=20"),
            ("no UTF-8, no escape", "msg=%ff%zz%&levelname=x", "\u{fffd}%zz%; level=x"),
            ("a field twice", "msg=a&msg=b&levelno=10&levelno=20", "b; severity=INFO; number=20"),
            ("no values for what logging was told to leave out", "msg=m&levelno=20&process=None&processName=None&thread=None&threadName=None", "m; severity=INFO; number=20"),
        ];
        for (what, fields, expected) in cases {
            let expected = format!("http-handler\n{expected}");
            assert_eq!(get(fields).shown(), expected, "GET, {what}");
            assert_eq!(post(FORM, fields).shown(), expected, "POST, {what}");
            assert_eq!(post("", fields).shown(), expected, "POST without a content type, {what}");
        }
        // The url of the handler had a query already.
        assert_eq!(get("token=x&msg=m&created=1.5").shown(), "http-handler\nm; time=1.5; token=x");
    }

    #[test]
    fn fields_without_a_message_and_a_level_are_no_log_record() {
        for fields in ["msg=m", "levelno=20&created=1", "message=m&levelno=20"] {
            assert!(!get(fields).shown().starts_with("http-handler"), "{fields}");
        }
        let many = "a=b&".repeat(5000) + "msg=m&levelno=20";
        assert!(!post(FORM, &many).shown().starts_with("http-handler"));
    }
}
