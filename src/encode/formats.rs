//! The registry of wire formats that settings can name: a row for each.
//!
//! A new format is a file of its own with its [`Encoder`], its `mod` line in `encode/mod.rs`, and a row here. OTLP is named
//! by its protocol and has no row.

use std::fmt;

use crate::encode::bulk::BulkEncoder;
use crate::encode::clickhouse::ClickHouseEncoder;
use crate::encode::common::template::Template;
use crate::encode::encoder::Encoder;
use crate::encode::form::FormEncoder;
use crate::encode::framing::Framing;
use crate::encode::json::JsonEncoder;
use crate::encode::loki::LokiEncoder;
use crate::encode::pickle::PickleEncoder;
use crate::encode::splunk::SplunkEncoder;
use crate::encode::text::TextEncoder;

pub(crate) static FORMATS: &[Format] = &[
    plain("json", || Box::new(JsonEncoder::default())),
    plain("http_logging_2", || Box::new(JsonEncoder::http_logging_2())),
    plain("ndjson", || Box::new(JsonEncoder::default().with_framing(Framing::ndjson()))),
    templated("text", |template| Box::new(TextEncoder::of(template.unwrap_or_else(Template::message)))),
    templated("form", |template| match template {
        Some(template) => Box::new(FormEncoder::of("message", template)),
        None => Box::new(FormEncoder::http_handler()),
    }),
    plain("bulk", || Box::new(BulkEncoder::default())),
    templated("loki", |template| match template {
        Some(template) => Box::new(LokiEncoder::new(TextEncoder::of(template))),
        None => Box::new(LokiEncoder::default()),
    }),
    plain("splunk", || Box::new(SplunkEncoder::default())),
    plain("clickhouse", || Box::new(ClickHouseEncoder::default())),
    plain("pickle", || Box::new(PickleEncoder::default())),
];

/// A wire format that has a name.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    make: Make,
}

enum Make {
    Plain(fn() -> Box<dyn Encoder>),
    /// The text of a record is made from a template, for which the format has a default.
    Templated(fn(Option<Template>) -> Box<dyn Encoder>),
}

const fn plain(name: &'static str, make: fn() -> Box<dyn Encoder>) -> Format {
    Format { name, make: Make::Plain(make) }
}

const fn templated(name: &'static str, make: fn(Option<Template>) -> Box<dyn Encoder>) -> Format {
    Format { name, make: Make::Templated(make) }
}

impl Format {
    pub(crate) fn takes_template(&self) -> bool {
        matches!(self.make, Make::Templated(_))
    }

    /// The encoder of the format. One that takes no template ignores it: see [`Self::takes_template`].
    pub(crate) fn encoder(&self, template: Option<Template>) -> Box<dyn Encoder> {
        match &self.make {
            Make::Plain(make) => make(),
            Make::Templated(make) => make(template),
        }
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
