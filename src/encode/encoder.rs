//! [`Encoder`]: the trait that a wire format implements.

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::{Resource, logs::SdkLogRecord};

use crate::encode::framing::Framing;
use crate::error::BoxError;

/// Turns one record into the bytes that go over the wire.
///
/// A format is an encoder for one record plus the [`Framing`] that joins records into a body.
pub trait Encoder: Send + Sync + 'static {
    /// How the encoded records are joined. Asked once per export, or once before the first record.
    fn framing(&self) -> Framing;

    /// Appends one encoded record to `out`.
    ///
    /// # Errors
    ///
    /// The record is then not spooled but counted in [`SpoolStats::encode_failed_records`](crate::SpoolStats); what
    /// was written to `out` is taken back, and the rest of the batch goes on.
    fn encode(&self, record: &SdkLogRecord, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// The resource of the provider, told once before the first record.
    fn set_resource(&mut self, _resource: &Resource) {}
}
