//! [`Marked`]: a record as it would be spooled.

use std::time::SystemTime;

use crate::encode::blocks::{Block, EnvelopeEnds};
use crate::encode::framing::Framing;
use crate::error::BoxError;
use crate::exporter::intake::checked;

/// The scope, and the name of a metric or a span.
pub(super) const NAME: &str = "opentelemetry-spool";
pub(super) const MARK: &str = "spool.probe";

/// The text, and the name of a span.
pub(super) const TEXT: &str = "probe of opentelemetry-spool: it shows that records arrive, and says nothing else";

/// A record in the form in which it would be spooled.
pub(crate) struct Marked {
    pub(crate) key: String,
    pub(crate) block: Block,
    pub(crate) framing: Framing,
}

impl Marked {
    /// A record with the key of its partition; `write` appends it behind its envelope.
    pub(super) fn new(
        key: String,
        framing: Framing,
        write: impl FnOnce(&mut Vec<u8>) -> Result<EnvelopeEnds, BoxError>,
    ) -> Result<Self, BoxError> {
        let (mut out, mut block) = (Vec::new(), Block::default());
        block.push(checked(Some(SystemTime::now()), write, &mut out)?, framing.separator());
        Ok(Self { key, block, framing })
    }
}
