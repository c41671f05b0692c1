//! Attributes as encoders see them.

use opentelemetry::logs::AnyValue;
use opentelemetry::{InstrumentationScope, Key, KeyValue, Value};

/// Whatever has attributes.
pub trait AttributesView {
    /// Calls `visit` with each attribute, in order.
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>));
}

/// The value of an attribute, borrowed from whoever has it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue<'a> {
    /// A value of a span, a metric point, a scope or a resource of the SDK.
    Plain(&'a Value),
    /// A value of a log record, in which lists and maps are nested.
    Any(&'a AnyValue),
}

impl AttributesView for InstrumentationScope {
    #[inline]
    fn visit_attributes<'a>(&'a self, visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>)) {
        visit_plain(self.attributes(), visit);
    }
}

/// Visits attributes of the SDK.
#[inline]
pub(super) fn visit_plain<'a>(
    attributes: impl Iterator<Item = &'a KeyValue>,
    visit: &mut dyn FnMut(&'a Key, AttributeValue<'a>),
) {
    attributes.for_each(|attribute| visit(&attribute.key, AttributeValue::Plain(&attribute.value)));
}
