//! Records for benchmarks: only a logger makes them.

use std::sync::{Arc, Mutex};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::LoggerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider};

pub(crate) type Record = (SdkLogRecord, InstrumentationScope);

/// Keeps what is logged.
#[derive(Clone, Debug, Default)]
struct Keep(Arc<Mutex<Vec<Record>>>);

impl LogProcessor for Keep {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.lock().unwrap().push((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
}

/// The records that `log` emits.
pub(crate) fn logged(log: impl FnOnce(&SdkLogger)) -> Vec<Record> {
    let keep = Keep::default();
    let provider = SdkLoggerProvider::builder().with_log_processor(keep.clone()).build();
    log(&provider.logger("checkout"));
    std::mem::take(&mut *keep.0.lock().unwrap())
}
