//! The messages around a record: its resource and its scope. Logs, spans and metrics have them alike.

use opentelemetry::{InstrumentationScope, Key, Value};
use opentelemetry_sdk::Resource;

use super::fields::{Field, Fields};
use super::value::{push_attribute, write_attributes};
use crate::encode::common::origin::Source;
use crate::encode::view::AttributeValue;

/// `ResourceLogs`, `ResourceSpans`, `ResourceMetrics`. Their repeated field has the number 2.
const RESOURCE: Field = Field::new(1, "resource");
/// `ScopeLogs`, `ScopeSpans`, `ScopeMetrics`. Their repeated field has the number 2.
const SCOPE: Field = Field::new(1, "scope");
/// Both.
const SCHEMA_URL: Field = Field::new(3, "schemaUrl");

const RESOURCE_ATTRIBUTES: Field = Field::new(1, "attributes");

/// `InstrumentationScope`.
const NAME: Field = Field::new(1, "name");
const VERSION: Field = Field::new(2, "version");
const SCOPE_ATTRIBUTES: Field = Field::new(3, "attributes");

/// The fields of the message of a resource, but for its scopes.
pub(super) fn write_outer(resource: &Resource, out: &mut impl Fields) {
    let mut attributes: Vec<(&Key, &Value)> = resource.iter().collect();
    // A resource is a hash map; equal ones should be equal bytes.
    attributes.sort_by_key(|(key, _)| key.as_str());
    out.message(RESOURCE, |out| {
        out.list(RESOURCE_ATTRIBUTES, |list| {
            for (key, value) in attributes {
                push_attribute(key, AttributeValue::Plain(value), list);
            }
        });
    });
    out.text(SCHEMA_URL, resource.schema_url().unwrap_or_default());
}

/// The same for the process of a record. A resource of another process has no schema that is known.
pub(super) fn write_outer_of(source: Source<'_>, out: &mut impl Fields) {
    out.message(RESOURCE, |out| {
        out.list(RESOURCE_ATTRIBUTES, |list| {
            for (key, value) in source.resource() {
                push_attribute(key, AttributeValue::Any(value), list);
            }
            for (key, value) in source.process_attributes() {
                push_attribute(&key, AttributeValue::Any(&value), list);
            }
        });
    });
}

/// The fields of the message of a scope of this name, but for its records.
#[inline]
pub(super) fn write_inner(name: &str, scope: &InstrumentationScope, out: &mut impl Fields) {
    out.message(SCOPE, |out| {
        out.text(NAME, name);
        out.text(VERSION, scope.version().unwrap_or_default());
        write_attributes(SCOPE_ATTRIBUTES, scope, out);
    });
    out.text(SCHEMA_URL, scope.schema_url().unwrap_or_default());
}
