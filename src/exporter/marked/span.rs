//! The marked span.

use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};

use super::caught::Caught;
use super::record::{MARK, Marked, NAME, TEXT};
use crate::encode::SpanEncoder;
use crate::error::BoxError;
use crate::exporter::intake::key_by;
use crate::exporter::span_exporter::SpanPartitionKey;

impl SpanProcessor for Caught<SpanData> {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.set(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A span.
pub(crate) fn span(mut encoder: SpanEncoder, key: Option<&SpanPartitionKey>) -> Result<Marked, BoxError> {
    let (processor, caught) = Caught::new();
    {
        // Where telemetry is suppressed the SDK makes none.
        let _not_suppressed = Context::new().attach();
        let provider =
            SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_span_processor(processor).build();
        let mut span = provider.tracer(NAME).start(TEXT);
        span.set_attribute(KeyValue::new(MARK, true));
        span.end();
    }
    let span = caught.take()?;
    encoder.set_resource(&Resource::builder().build());
    let key = key_by(key, |key| key(&span))?;
    Marked::new(key, encoder.framing(), |out| Ok(encoder.write(&span, out)))
}
