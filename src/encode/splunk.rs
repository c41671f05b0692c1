//! The HTTP Event Collector of Splunk.

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::common::any_value::{JsonText, is_null};
use super::common::object::Object;
use super::common::origin::Origin;
use super::common::string::write_text;
use super::common::time::{EXACT, Span, time_of};
use super::encoder::Encoder;
use super::json::JsonEncoder;
use super::view::LogView;
use crate::encode::framing::{Framing, ResponseProtocol};
use crate::error::BoxError;

/// Encodes records for Splunk's HTTP Event Collector, `/services/collector/event`.
///
/// Another encoder writes the event, by default [`JsonEncoder`]: JSON as an object, anything else as a string. Splunk refuses an event
/// that is empty, and everything behind it in the request; so a record of which the encoder makes an empty text becomes the
/// [`JsonEncoder`]'s object, which has all that the record has. `host` is the resource's `host.name` and `source` its `service.name`, unless they are set;
/// the resource of a record of another process is its own. The token goes into a header. Responses are
/// read as [`ResponseProtocol::SplunkHec`].
///
/// # Examples
///
/// ```
/// use opentelemetry_spool::{LogExporter, SplunkEncoder};
///
/// let builder = LogExporter::builder()
///     .with_endpoint("https://splunk.example.com:8088/services/collector/event")
///     .with_headers([("authorization", "Splunk 00000000-0000-0000-0000-000000000000")])
///     .with_encoder(SplunkEncoder::default().with_index("main").with_source_type("checkout"));
/// ```
#[derive(Clone, Debug)]
pub struct SplunkEncoder<E = JsonEncoder> {
    event: E,
    /// For a record of which `event` makes nothing.
    whole: JsonEncoder,
    host: Option<String>,
    source: Option<String>,
    source_type: Option<String>,
    index: Option<String>,
    origin: Origin,
}

impl Default for SplunkEncoder {
    fn default() -> Self {
        Self::new(JsonEncoder::default())
    }
}

impl<E: Encoder> SplunkEncoder<E> {
    /// An encoder whose events `event` writes.
    pub fn new(event: E) -> Self {
        let (whole, origin) = (JsonEncoder::default(), Origin::default());
        Self { event, whole, host: None, source: None, source_type: None, index: None, origin }
    }

    /// Sets `host`. Default: the resource's `host.name`, or none.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::SplunkEncoder;
    ///
    /// let encoder = SplunkEncoder::default().with_host("web-1");
    /// ```
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets `source`. Default: the resource's `service.name`, or none.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::SplunkEncoder;
    ///
    /// let encoder = SplunkEncoder::default().with_source("checkout");
    /// ```
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets `sourcetype`. Default: none, the token's own applies.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::SplunkEncoder;
    ///
    /// let encoder = SplunkEncoder::default().with_source_type("_json");
    /// ```
    pub fn with_source_type(mut self, source_type: impl Into<String>) -> Self {
        self.source_type = Some(source_type.into());
        self
    }

    /// Sets `index`. Default: none, the token's own applies.
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::SplunkEncoder;
    ///
    /// let encoder = SplunkEncoder::default().with_index("main");
    /// ```
    pub fn with_index(mut self, index: impl Into<String>) -> Self {
        self.index = Some(index.into());
        self
    }
}

impl<E: Encoder> Encoder for SplunkEncoder<E> {
    fn framing(&self) -> Framing {
        Framing::new("application/json", "", "\n", "").with_response_protocol(ResponseProtocol::SplunkHec)
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let of_resource = [("host", &self.host, "host.name"), ("source", &self.source, "service.name")];
        let source = self.origin.of_record(record);
        Object::write(out, |json| {
            let mut exact = None;
            // Without one it is when Splunk receives the event.
            if let Some(time) = time_of(record) {
                let (nearest, beside) = Span::YEARS.nearest(time);
                json.millionths("time", nearest / 1000);
                exact = beside;
            }
            for (key, given, attribute) in of_resource {
                match (given, source.get(attribute).filter(|value| !is_null(value))) {
                    (Some(given), _) => json.text(key, given),
                    (None, Some(value)) => json.member(key, JsonText(value))?,
                    (None, None) => {}
                }
            }
            for (key, given) in [("sourcetype", &self.source_type), ("index", &self.index)] {
                if let Some(given) = given {
                    json.text(key, given);
                }
            }
            if let Some(exact) = &exact {
                json.object("fields", |fields| fields.member(EXACT, JsonText(exact)))?;
            }
            json.key("event");
            let start = json.out.len();
            if self.event.framing().content_type().contains("json") {
                self.event.encode(record, scope, json.out)?;
            } else {
                let mut event = Vec::new();
                self.event.encode(record, scope, &mut event)?;
                write_text(json.out, &String::from_utf8_lossy(&event));
            }
            if is_blank(&json.out[start..]) {
                json.out.truncate(start);
                self.whole.encode(record, scope, json.out)?;
            }
            Ok(())
        })
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.origin = Origin::of(resource);
        self.event.set_resource(resource);
        self.whole.set_resource(resource);
    }
}

/// Whether Splunk takes this JSON for no event: nothing, null or a string of white space.
fn is_blank(json: &[u8]) -> bool {
    match json.trim_ascii() {
        b"" | b"null" => true,
        // Most texts begin with something else.
        [b'"', b'"' | b' ' | b'\\' | 0x80.., ..] => {
            serde_json::from_slice::<String>(json).is_ok_and(|text| text.trim().is_empty())
        }
        _ => false,
    }
}
