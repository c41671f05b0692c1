//! How deeply lists and maps of one value are nested in each format: no deeper than its receivers read.
//!
//! What is nested deeper becomes the text of its JSON, so that nothing is lost.

/// JSON: many parsers read 64 levels in all, such as the one of .NET. Three are around an attribute: a batch, a record and `extra`.
pub(in crate::encode) const JSON: usize = 60;

/// The most that can be asked for in JSON: deep enough for any data, shallow enough for any stack.
pub(in crate::encode) const JSON_AT_MOST: usize = 256;

/// `_bulk`: Elasticsearch and OpenSearch refuse a document with an object at depth 21 (`index.mapping.depth.limit`). `extra` and the
/// document take two, and each dot in a name is a level as well.
pub(in crate::encode) const BULK: usize = 16;

/// OTLP in protobuf: decoders read 100 messages inside one another. An attribute is the sixth, and a map takes three. The specification
/// recommends 64 levels, which are up to 198 messages.
#[cfg(feature = "otlp")]
pub(in crate::encode) const PROTOBUF: usize = 30;

/// OTLP in JSON: the 64 levels of JSON. An attribute's value is the tenth, and a map takes four.
#[cfg(feature = "otlp")]
pub(in crate::encode) const OTLP_JSON: usize = 13;
