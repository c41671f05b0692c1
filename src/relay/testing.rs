//! What the tests of the relay's parts share.

use std::panic::panic_any;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::AnyValue;

use crate::encode::framing::Framing;
use crate::encode::{Encoder, LogView, TextEncoder};
use crate::error::BoxError;
use crate::relay::counts::Counts;
use crate::relay::decoder::{Decoder, Source};
use crate::relay::http::budget::Budget;
use crate::relay::intake::Outlets;
use crate::relay::listener::Listener;
use crate::relay::{Relay, start};

/// The message of a record that [`outlets`] panic over.
pub(crate) const PANIC: &str = "panic";

/// The ways out of a relay, as text, to where nobody is. Loose records wait for as long as nobody asks for their commit.
pub(crate) fn outlets(dir: &Path) -> Outlets {
    let mut builder = Relay::builder()
        .with_spool_dir(dir)
        .with_endpoint("http://127.0.0.1:9/")
        .with_encoder(Fussy(TextEncoder::new("{message}").unwrap()))
        .with_commit_delay(Duration::from_secs(3600))
        .with_max_buffer_bytes(1 << 20);
    start::outlets(&mut builder).unwrap()
}

/// The decode threads, and what they work with.
pub(crate) struct Decoding {
    pub(crate) decoder: Decoder,
    pub(crate) counts: Arc<Counts>,
    ended: mpsc::Receiver<()>,
}

impl Decoding {
    pub(crate) fn start(dir: &Path, budget: Budget) -> Self {
        let counts = Arc::new(Counts::new([Listener::Tcp("127.0.0.1:0".parse().unwrap())]));
        let (decoder, ended) = Decoder::start(Arc::new(outlets(dir)), counts.clone(), budget).unwrap();
        Self { decoder, counts, ended }
    }

    /// Waits until all is decoded that was handed over, and gives the counts.
    pub(crate) fn end(self) -> crate::relay::ListenerStats {
        drop(self.decoder);
        assert!(self.ended.recv().is_err(), "it ends with the threads");
        self.counts.snapshot().listeners.remove(0)
    }
}

/// The source of what comes to the first listener.
pub(crate) fn source() -> Source {
    Source { listener: 0, file: None, sender: None }
}

/// The pickle of a record with this message.
pub(crate) fn pickle(message: &str) -> Vec<u8> {
    let text = |text: &str| [b"X", &u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat();
    [b"}(", &text("msg")[..], &text(message), b"u."].concat()
}

/// The encoder of an application: where it panics, nothing of an encoder's own contains it.
struct Fussy(TextEncoder);

impl Encoder for Fussy {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn framing_of(&self, record: &dyn LogView) -> Option<Framing> {
        if record.body() == Some(&AnyValue::from(PANIC)) {
            panic_any("a record that the encoder does not like");
        }
        None
    }

    fn encode(&self, record: &dyn LogView, scope: &InstrumentationScope, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.0.encode(record, scope, out)
    }
}
