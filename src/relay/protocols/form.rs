//! The fields of a form or of a query: names and values, percent-decoded.

use std::borrow::Cow;

use crate::relay::protocol::Message;

/// A form with more fields was not made by a logger, and would take a hundred times its size in memory.
const MAX_FIELDS: usize = 1000;

/// The fields, in their order.
pub(super) struct Form<'a>(pub(super) Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// The fields of the body if it is a form, else of the query where there is no body.
    ///
    /// A form is told by its media type; without one it has no white space, and an equals sign. `+` is a space, and what is no UTF-8 becomes
    /// U+FFFD.
    pub(super) fn of(message: &Message<'a>) -> Option<Self> {
        let request = message.request?;
        let fields = if message.body.is_empty() { request.query? } else { message.body.trim_ascii() };
        let is_form = message.body.is_empty()
            || match request.media_type().as_str() {
                "application/x-www-form-urlencoded" => true,
                "" => fields.contains(&b'=') && fields.iter().all(u8::is_ascii_graphic),
                _ => false,
            };
        let few = fields.split(|byte| *byte == b'&').nth(MAX_FIELDS).is_none();
        let form = (is_form && few).then(|| Self(form_urlencoded::parse(fields).collect()))?;
        (!form.0.is_empty()).then_some(form)
    }

    /// The last value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}
