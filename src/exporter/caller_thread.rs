//! [`CallerThreadProcessor`]: notes which thread logged.

use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use opentelemetry::logs::{AnyValue, LogRecord as _};
use opentelemetry::{InstrumentationScope, Key, StringValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};

const THREAD_ID: Key = Key::from_static_str("thread.id");
const THREAD_NAME: Key = Key::from_static_str("thread.name");

/// A log processor that adds the attributes `thread.id` (a number) and `thread.name` of the thread that logs.
///
/// An exporter behind a batch processor runs on the processor's thread, so it cannot know. Add this processor before the
/// one that exports: processors see a record in the order in which they were added. A record that has a `thread.id` is
/// left as it is; a thread without a name gets no `thread.name`.
///
/// # Examples
///
/// ```
/// use opentelemetry_sdk::logs::SdkLoggerProvider;
/// use opentelemetry_spool::CallerThreadProcessor;
///
/// let provider = SdkLoggerProvider::builder()
///     .with_log_processor(CallerThreadProcessor::new())
///     // .with_batch_exporter(exporter)
///     .build();
/// ```
#[derive(Debug, Default)]
pub struct CallerThreadProcessor(());

impl CallerThreadProcessor {
    /// Makes the processor. It has no settings.
    pub const fn new() -> Self {
        Self(())
    }
}

thread_local! {
    static CALLER: (i64, Option<Arc<str>>) = {
        let current = thread::current();
        (number(current.id()), current.name().map(Arc::from))
    };
}

/// The number in a thread's id, which the standard library shows in `Debug` only.
fn number(id: ThreadId) -> i64 {
    let text = format!("{id:?}");
    text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

impl LogProcessor for CallerThreadProcessor {
    fn emit(&self, record: &mut SdkLogRecord, _scope: &InstrumentationScope) {
        if record.attributes_iter().any(|(key, _)| *key == THREAD_ID) {
            return;
        }
        // While the thread's own storage is being torn down, its name is gone.
        let _ = CALLER.try_with(|(id, name)| {
            record.add_attribute(THREAD_ID, *id);
            if let Some(name) = name {
                record.add_attribute(THREAD_NAME, AnyValue::String(StringValue::from(name.clone())));
            }
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_a_number_of_its_own() {
        let here = number(thread::current().id());
        let there = thread::spawn(|| number(thread::current().id())).join().unwrap();
        assert!(here > 0 && there > 0 && here != there);
    }
}
