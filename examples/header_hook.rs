//! Headers per batch: each tenant's records are sent apart, with the tenant's name and a fresh token.
//!
//! The hook is called for every attempt, just before the request, so the token is as fresh as possible, and never on
//! disk. When the hook fails, as it does here at first, the batch is retried.
//!
//! ```text
//! cargo run --example header_hook
//! ```

mod print_receiver;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLoggerProvider};
use opentelemetry_spool::{BatchContext, BoxError, HeaderMap, LogExporter};
use tokio::sync::Mutex;

/// A token and when it expires.
type Cache = Mutex<Option<(String, Instant)>>;

async fn headers_for(batch: BatchContext, mut headers: HeaderMap, cache: Arc<Cache>) -> Result<HeaderMap, BoxError> {
    println!("# headers for {} ({}), attempt {}", batch.id(), batch.partition_key(), batch.attempt());
    if batch.attempt() == 1 {
        return Err("the token server does not answer".into());
    }
    headers.insert("x-tenant", batch.partition_key())?;
    headers.insert("authorization", format!("Bearer {}", token(&cache).await))?;
    Ok(headers)
}

/// The cached token, or another if it is about to expire.
async fn token(cache: &Cache) -> String {
    let mut cache = cache.lock().await;
    match &*cache {
        Some((token, expiry)) if *expiry > Instant::now() + Duration::from_secs(30) => token.clone(),
        _ => {
            tokio::time::sleep(Duration::from_millis(50)).await; // here the token server would be asked
            let (token, lifetime) = ("secret-of-the-next-5-minutes".to_owned(), Duration::from_secs(300));
            *cache = Some((token.clone(), Instant::now() + lifetime));
            token
        }
    }
}

fn tenant_of(record: &SdkLogRecord, _scope: &InstrumentationScope) -> String {
    match record.attributes_iter().find(|(key, _)| key.as_str() == "tenant") {
        Some((_, AnyValue::String(tenant))) => tenant.to_string(),
        _ => String::new(),
    }
}

fn main() -> Result<(), BoxError> {
    let spool_dir = tempfile::tempdir()?;
    let cache = Arc::new(Cache::default());
    let exporter = LogExporter::builder()
        .with_endpoint(print_receiver::start()?)
        .with_spool_dir(spool_dir.path())
        .with_partition_key(tenant_of)
        .with_async_header_hook(move |batch, headers| headers_for(batch, headers, Arc::clone(&cache)))
        .build()?;
    let handle = exporter.handle();
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();

    let logger = provider.logger("orders");
    for tenant in ["acme", "globex", "acme"] {
        let mut record = logger.create_log_record();
        record.set_severity_number(Severity::Info);
        record.set_body("order taken".into());
        record.add_attribute("tenant", tenant);
        logger.emit(record);
    }

    provider.force_flush()?; // on disk
    handle.flush(Duration::from_secs(10))?; // delivered
    provider.shutdown()?;
    Ok(())
}
