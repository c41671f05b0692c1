//! OTLP in protobuf and in JSON, written from views.
//!
//! | file | |
//! |---|---|
//! | `fields` | a message that is being written, in either format |
//! | `protobuf`, `json` | the formats |
//! | `value` | attributes and their values |
//! | `envelope` | what is around a record: its resource and its scope |
//! | `log`, `span`, `metric` | the records of each signal |
//! | `pieces` | what a request is put together of |
//! | `nested` | records in the envelopes that they share: what the exporters store |

mod envelope;
mod fields;
mod json;
mod log;
#[cfg(feature = "metrics")]
mod metric;
mod nested;
mod pieces;
mod protobuf;
#[cfg(feature = "trace")]
mod span;
mod value;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::common::origin::Origin;
use super::encoder::{Encoder, NestedEncoder};
use super::view::LogView;
use crate::config::values::Protocol;
use crate::encode::framing::Framing;
use crate::error::BoxError;
use fields::{Field, Fields};
use json::Json;
use nested::LOGS;
use protobuf::Protobuf;

#[cfg(feature = "metrics")]
pub(crate) use nested::MetricEncoder;
#[cfg(feature = "trace")]
pub(crate) use nested::SpanEncoder;
#[cfg(feature = "relay")]
pub(crate) use nested::otlp_framing;

/// `ExportLogsServiceRequest.resource_logs`.
const RESOURCE_LOGS: Field = Field::new(1, "resourceLogs").long();
/// `ResourceLogs.scope_logs`.
const SCOPE_LOGS: Field = Field::new(2, "scopeLogs").long();
/// `ScopeLogs.log_records`.
const LOG_RECORDS: Field = Field::new(2, "logRecords").long();

/// Encodes records as OTLP: the encoder of [`with_protocol`](crate::LogExporterBuilder::with_protocol).
///
/// Requests are grouped by resource and scope. What `encode` appends is complete by itself, with a resource and a scope of its own: an
/// encoder that forwards to it has such requests. A partial success is counted and not retried: see
/// [`ResponseProtocol::Otlp`](crate::ResponseProtocol::Otlp). JSON has protobuf's mapping: `"NaN"`, and nothing for what is absent. Lists and maps nested deeper
/// than 30, in JSON than 13, become a string with the text of their JSON, since receivers read no more.
///
/// A record of another process ([`LogView::origin`]) has that one's resource. Unless it is complete, it gets the attributes `process.pid` and
/// `process.name`, and what it leaves open from the resource of this process. A null is a value without a field.
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{LogExporter, OtlpEncoder, Protocol};
///
/// // The same as `with_protocol(Protocol::HttpBinary)`.
/// let builder = LogExporter::builder().with_encoder(OtlpEncoder::new(Protocol::HttpBinary));
/// ```
#[derive(Clone, Debug)]
pub struct OtlpEncoder {
    protocol: Protocol,
    /// A `ResourceLogs` without its scopes: the start of every record of this process.
    outer: Vec<u8>,
    origin: Origin,
}

impl OtlpEncoder {
    /// An encoder of protobuf or JSON.
    pub fn new(protocol: Protocol) -> Self {
        let mut encoder = Self { protocol, outer: Vec::new(), origin: Origin::default() };
        encoder.set_resource(&Resource::builder_empty().build());
        encoder
    }

    /// A `ResourceLogs` with one record.
    fn write(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut impl Fields) {
        let source = self.origin.of_record(record);
        out.element(RESOURCE_LOGS, |out| {
            match source.other() {
                None => out.raw(&self.outer),
                Some(_) => envelope::write_outer_of(source, out),
            }
            out.list(SCOPE_LOGS, |scopes| {
                scopes.push(|out| {
                    envelope::write_inner(pieces::scope_name(record, scope), scope, out);
                    out.list(LOG_RECORDS, |records| records.push(|out| log::write_log(record, out)));
                });
            });
        });
    }
}

impl Encoder for OtlpEncoder {
    fn framing(&self) -> Framing {
        LOGS.flat(self.protocol)
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        match self.protocol {
            Protocol::HttpBinary => self.write(record, scope, &mut Protobuf(out)),
            Protocol::HttpJson => self.write(record, scope, &mut Json::members(out)),
        }
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
        self.outer.clear();
        pieces::write_outer(self.protocol, resource, &mut self.outer);
    }

    fn nested(&self) -> Option<&dyn NestedEncoder> {
        Some(self)
    }
}

impl NestedEncoder for OtlpEncoder {
    fn framing(&self) -> Framing {
        LOGS.nested(self.protocol)
    }

    fn outer(&self, record: &dyn LogView, out: &mut Vec<u8>) {
        let source = self.origin.of_record(record);
        pieces::write_head(self.protocol, LOGS.scopes, out, |out| match source.other() {
            None => out.extend_from_slice(&self.outer),
            Some(_) => pieces::write_outer_of(self.protocol, source, out),
        });
    }

    fn inner(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let name = pieces::scope_name(record, scope);
        pieces::write_head(self.protocol, LOGS.records, out, |out| {
            pieces::write_inner(self.protocol, name, scope, out);
        });
        Ok(())
    }

    fn record(&self, record: &dyn LogView, out: &mut Vec<u8>) -> Result<(), BoxError> {
        pieces::write_element(self.protocol, out, |out| pieces::write_log(self.protocol, record, out));
        Ok(())
    }
}
