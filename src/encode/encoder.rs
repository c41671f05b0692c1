//! [`Encoder`]: the trait that a wire format implements.

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::{Resource, logs::SdkLogRecord};

use crate::encode::framing::Framing;
use crate::encode::view::LogView;
use crate::error::BoxError;

/// Turns one record into the bytes that go over the wire.
///
/// A format is an encoder for one record plus the [`Framing`] that joins records into a body.
pub trait Encoder: Send + Sync + 'static {
    /// Returns the framing that joins the encoded records. It is read once per export, or once before the first record.
    fn framing(&self) -> Framing;

    /// Returns the framing of a record for which [`framing`](Self::framing) does not hold. Default: none.
    ///
    /// A format that says in its framing from which process records are, such as Loki, has another one for a record of another
    /// process. Records are in one request only with others of the same framing. An encoder that forwards `encode` forwards this as well.
    fn framing_of(&self, _record: &dyn LogView) -> Option<Framing> {
        None
    }

    /// Appends one encoded record to `out`.
    ///
    /// # Errors
    ///
    /// The record is then lost and counted in
    /// [`SpoolStats::encode_failed_records`](crate::SpoolStats::encode_failed_records); what was written to `out` is taken
    /// back, and the rest of the batch goes on.
    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// Sets the resource of the provider, once before the first record.
    fn set_resource(&mut self, _resource: &Resource) {}

    /// The encoder of records that stand in envelopes, if the format has those. The exporter asks it first; who forwards the
    /// other methods alone has complete records all the same.
    #[doc(hidden)]
    fn nested(&self) -> Option<&dyn NestedEncoder> {
        None
    }
}

/// An encoder of records that share the messages around them.
///
/// A record's *envelope* is two texts: `outer`, the message of its resource without its scopes, and `inner`, the message of its
/// scope without its records. Requests are grouped by both when they are put together. In protobuf they are the fields of
/// the messages, and a record has its own tag and length; in JSON they begin with the brace of the object and end with the
/// bracket of the list that follows, and are closed by `]}`.
#[doc(hidden)]
pub trait NestedEncoder {
    /// See [`Encoder::framing`]: it says as well how envelopes nest.
    fn framing(&self) -> Framing;

    /// Appends the outer envelope of a record: the same for all records of this process.
    fn outer(&self, record: &dyn LogView, out: &mut Vec<u8>);

    /// Appends the inner envelope of a record.
    ///
    /// # Errors
    ///
    /// See [`Encoder::encode`].
    fn inner(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// Appends a record as it stands inside its envelope.
    ///
    /// # Errors
    ///
    /// See [`Encoder::encode`].
    fn record(&self, record: &dyn LogView, out: &mut Vec<u8>) -> Result<(), BoxError>;
}

/// An encoder that is written against the SDK's record in place of a [`LogView`].
///
/// [`FromSdk`] makes an [`Encoder`] of it. The methods are those of [`Encoder`].
pub trait SdkEncoder: Send + Sync + 'static {
    /// See [`Encoder::framing`].
    fn framing(&self) -> Framing;

    /// See [`Encoder::encode`].
    ///
    /// # Errors
    ///
    /// See [`Encoder::encode`].
    fn encode(&self, record: &SdkLogRecord, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError>;

    /// See [`Encoder::set_resource`].
    fn set_resource(&mut self, _resource: &Resource) {}
}

/// The [`Encoder`] that an [`SdkEncoder`] is. A record that is not the SDK's is an error for it.
///
/// # Examples
///
/// ```
/// use opentelemetry::InstrumentationScope;
/// use opentelemetry_sdk::logs::SdkLogRecord;
/// use opentelemetry_spool::{BoxError, Framing, FromSdk, LogExporter, SdkEncoder};
///
/// struct Targets;
///
/// impl SdkEncoder for Targets {
///     fn framing(&self) -> Framing {
///         Framing::new("text/plain", "", "\n", "")
///     }
///
///     fn encode(&self, record: &SdkLogRecord, _: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
///         out.extend_from_slice(record.target().map_or("-", |target| target).as_bytes());
///         Ok(())
///     }
/// }
///
/// let builder = LogExporter::builder().with_encoder(FromSdk(Targets));
/// ```
#[derive(Clone, Debug)]
pub struct FromSdk<E>(pub E);

impl<E: SdkEncoder> Encoder for FromSdk<E> {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        let record = record.as_sdk_record().ok_or("the encoder takes the SDK's records alone")?;
        self.0.encode(record, scope, out)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
