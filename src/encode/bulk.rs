//! The `_bulk` API of Elasticsearch and OpenSearch.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::common::depth;
use super::common::string::write_text;
use super::common::time::{Span, time_or_now};
use super::encoder::Encoder;
use super::json::JsonEncoder;
use super::view::LogView;
use crate::encode::framing::{Framing, ResponseProtocol};
use crate::error::BoxError;
use crate::process::unique_number;

/// Encodes records for the `_bulk` API of Elasticsearch and OpenSearch, into an index or a data stream.
///
/// A document is the object of a [`JsonEncoder`] with an `@timestamp` in milliseconds. It gets its id when it is logged and
/// keeps it in the spool: a document that is sent again, also in another batch or after a restart, exists already, and the
/// endpoint stores it once. (A data stream stores it once for each backing index: a retry right after a rollover is a second
/// document.) Lists and maps nested deeper than 16 become the text of their JSON, since an index takes no object at depth 21. The
/// status of every document is read: see [`ResponseProtocol::Bulk`].
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{BulkEncoder, JsonEncoder, LogExporter};
///
/// let builder = LogExporter::builder()
///     .with_endpoint("https://search.example.com/logs-checkout/_bulk")
///     .with_headers([("authorization", "ApiKey bm90IGEga2V5")])
///     .with_encoder(BulkEncoder::new(JsonEncoder::default().with_resource(true)));
/// ```
#[derive(Debug)]
pub struct BulkEncoder {
    document: JsonEncoder,
    index: Option<String>,
    /// Drawn with the first record, so that no two exporters assign the same ids, also after a fork.
    id: OnceLock<u64>,
    next: AtomicU64,
}

impl Default for BulkEncoder {
    fn default() -> Self {
        Self::new(JsonEncoder::default())
    }
}

impl BulkEncoder {
    /// An encoder whose documents are the objects of `document`.
    pub fn new(document: JsonEncoder) -> Self {
        let document = document.no_deeper_than(depth::BULK);
        Self { document, index: None, id: OnceLock::new(), next: AtomicU64::new(0) }
    }

    /// Names the index or data stream in every action. Default: the one in the endpoint's path.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::BulkEncoder;
    ///
    /// let encoder = BulkEncoder::default().with_index("logs-checkout");
    /// ```
    pub fn with_index(mut self, index: impl Into<String>) -> Self {
        self.index = Some(index.into());
        self
    }
}

impl Encoder for BulkEncoder {
    fn framing(&self) -> Framing {
        Framing::ndjson().with_response_protocol(ResponseProtocol::Bulk)
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.extend_from_slice(b"{\"create\":{");
        if let Some(index) = &self.index {
            out.extend_from_slice(b"\"_index\":");
            write_text(out, index);
            out.push(b',');
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // The exact time is the document's `created`.
        let millis = Span::YEARS.nearest(time_or_now(record)).0 / 1_000_000;
        let id = self.id.get_or_init(unique_number);
        write!(out, "\"_id\":\"{id:016x}-{number:x}\"}}}}\n{{\"@timestamp\":{millis}")?;
        let document = out.len();
        self.document.encode(record, scope, out)?;
        // The rest of an object that has begun; it is never empty.
        out[document] = b',';
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.document.set_resource(resource);
    }
}
