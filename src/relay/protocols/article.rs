//! A text in a field of a query or a form, such as `log=..`: what small handlers made with `aiohttp` or `requests` send.
//!
//! The text of a form's only field is the message, whatever its name. Of several fields, `log`, `message` or `msg` is the message, and
//! the others are attributes. The time is that of the arrival.
//!
//! aiohttp from 3.12 on cuts the body to the length that such a handler computes from the text before it is encoded. The rest cannot be
//! had; the attribute `relay_cut` says so.

use super::form::Form;
use crate::relay::protocol::{Answer, BadMessage, Message, Protocol, Sink};
use crate::relay::record::Record;

pub(crate) struct Article;

/// The names of a field that has the message.
const NAMES: [&str; 3] = ["log", "message", "msg"];

impl Protocol for Article {
    fn name(&self) -> &'static str {
        "article"
    }

    fn claims(&self, message: &Message<'_>) -> bool {
        Form::of(message).is_some_and(|form| form.0.len() == 1 || NAMES.iter().any(|name| form.get(name).is_some()))
    }

    fn read(&self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<Answer, BadMessage> {
        let mut fields = Form::of(message).map(|form| form.0).unwrap_or_default();
        let named = NAMES.iter().find_map(|name| fields.iter().rposition(|(known, _)| known == name));
        if fields.is_empty() {
            return Err(BadMessage::new("the form has no fields"));
        }
        let (name, value) = fields.remove(named.unwrap_or_default());
        // A body that is no form at all, which `curl -d` sends as one, is a name without a value.
        let text = if named.is_none() && value.is_empty() { name } else { value };
        let mut record = Record::plain(text.into_owned(), message.arrived);
        record.attributes =
            fields.into_iter().map(|(name, value)| (name.into_owned().into(), value.into_owned().into())).collect();
        if message.request.is_some_and(|request| request.cut) {
            record.attributes.push(("relay_cut".into(), true.into()));
        }
        sink.log(&record);
        Ok(Answer::default())
    }
}

#[cfg(test)]
mod tests {
    use crate::relay::protocols::testing::{Sent, get, post};

    #[test]
    fn the_text_of_a_field_is_a_message() {
        let cases = [
            ("log=a+b%26c%0Ad%C3%A9", "a b&c\ndé"),
            ("anything=at+all", "at all"),
            ("something+happened", "something happened"),
            ("log=", ""),
            ("log=x&app=shop&n=1", "x; app=shop; n=1"),
            ("message=x&level=info", "x; level=info"),
            ("msg=x", "x"),
        ];
        for (fields, expected) in cases {
            let expected = format!("article\n{expected}");
            assert_eq!(get(fields).shown(), expected, "{fields}");
            assert_eq!(post("application/x-www-form-urlencoded; charset=utf-8", fields).shown(), expected, "{fields}");
        }
    }

    #[test]
    fn a_text_that_the_client_has_cut_says_so() {
        let sent = Sent { cut: true, ..post("application/x-www-form-urlencoded", "log=half+of+%D0") };
        assert_eq!(sent.shown(), "article\nhalf of \u{fffd}; relay_cut=true");
    }
}
