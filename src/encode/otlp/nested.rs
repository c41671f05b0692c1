//! OTLP whose records share their resource and scope: what the exporter stores. A request is grouped by both when it is put
//! together.

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1 as proto;
use opentelemetry_proto::tonic::logs::v1::ScopeLogs;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::{OtlpEncoder, json};
use crate::config::values::Protocol;
use crate::encode::common::any_value::from_resource;
use crate::encode::common::object::Object;
use crate::encode::encoder::{Encoder, NestedEncoder};
use crate::encode::framing::{Framing, Nesting};
use crate::encode::view::LogView;
use crate::error::BoxError;

/// The number of the field `ScopeLogs.log_records`.
const LOG_RECORDS: u32 = 2;

/// Writes an object up to the bracket that begins the list of its last member; the list is closed with the body.
fn open_list(
    key: &'static str,
    out: &mut Vec<u8>,
    members: impl FnOnce(&mut Object<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    Object::write(out, |json| {
        members(json)?;
        json.raw(key, b"[");
        Ok(())
    })?;
    // The brace that closes the object.
    out.pop();
    Ok(())
}

impl NestedEncoder for OtlpEncoder {
    fn framing(&self) -> Framing {
        Encoder::framing(self).nested(match self.protocol {
            Protocol::HttpBinary => Nesting::Protobuf,
            Protocol::HttpJson => Nesting::Json,
        })
    }

    fn outer(&self, out: &mut Vec<u8>) {
        match self.protocol {
            Protocol::HttpBinary => out.extend_from_slice(&self.resource),
            Protocol::HttpJson => {
                // What is written into memory is no error.
                let _ = open_list("scopeLogs", out, |json| {
                    json.out.extend_from_slice(&self.resource);
                    json.is_empty = self.resource.is_empty();
                    Ok(())
                });
            }
        }
    }

    fn inner(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let logs = ScopeLogs {
            scope: Some(proto::InstrumentationScope {
                // As in `opentelemetry-otlp`: the target is the name of the scope.
                name: record.target().unwrap_or_else(|| scope.name()).to_owned(),
                version: scope.version().unwrap_or_default().to_owned(),
                attributes: scope.attributes().map(|kv| self.attribute(&kv.key, &from_resource(&kv.value))).collect(),
                dropped_attributes_count: 0,
            }),
            log_records: Vec::new(),
            schema_url: scope.schema_url().unwrap_or_default().to_owned(),
        };
        match self.protocol {
            Protocol::HttpBinary => Ok(logs.encode(out)?),
            Protocol::HttpJson => open_list("logRecords", out, |json| json::write_scope_members(&logs, json)),
        }
    }

    fn record(&self, record: &dyn LogView, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let record = self.record(record);
        match self.protocol {
            Protocol::HttpBinary => {
                encode_key(LOG_RECORDS, WireType::LengthDelimited, out);
                encode_varint(record.encoded_len() as u64, out);
                Ok(record.encode(out)?)
            }
            Protocol::HttpJson => Object::write(out, |json| json::write_record(&record, json)),
        }
    }
}
