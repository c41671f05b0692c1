//! Headers per batch: each tenant's records travel alone, with the tenant's name and a token that is fresh.
//!
//! The hook is asked on every attempt, just before the request, so the token is as young as it can be, and never
//! on disk. When the hook fails, as on its first call here, the batch waits and is tried again.
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
use opentelemetry_spool::{BoxError, LogExporter};
use tokio::sync::Mutex;

/// A token that is fetched when it is first needed, and again when it is about to expire.
#[derive(Default)]
struct Token {
    fetches: u32,
    cached: Option<(String, Instant)>,
}

impl Token {
    async fn get(&mut self) -> Result<String, BoxError> {
        match &self.cached {
            Some((token, expiry)) if *expiry > Instant::now() + Duration::from_secs(30) => Ok(token.clone()),
            _ => {
                self.fetches += 1;
                tokio::time::sleep(Duration::from_millis(50)).await; // here the token server would be asked
                if self.fetches == 1 {
                    return Err("the token server is starting".into());
                }
                let token = format!("token-{}", self.fetches);
                self.cached = Some((token.clone(), Instant::now() + Duration::from_secs(300)));
                Ok(token)
            }
        }
    }
}

fn tenant(record: &SdkLogRecord, _scope: &InstrumentationScope) -> String {
    let tenant = record.attributes_iter().find(|(key, _)| key.as_str() == "tenant");
    tenant.map_or(String::new(), |(_, value)| match value {
        AnyValue::String(name) => name.to_string(),
        _ => String::new(),
    })
}

fn main() -> Result<(), BoxError> {
    let spool_dir = tempfile::tempdir()?;
    let token = Arc::new(Mutex::new(Token::default()));
    let exporter = LogExporter::builder()
        .with_endpoint(print_receiver::start()?)
        .with_spool_dir(spool_dir.path())
        .with_partition_key(tenant)
        .with_async_header_hook(move |batch, mut headers| {
            let token = Arc::clone(&token);
            async move {
                println!("# headers for {} ({}), attempt {}", batch.id(), batch.partition_key(), batch.attempt());
                headers.insert("x-tenant", batch.partition_key())?;
                headers.insert("authorization", format!("Bearer {}", token.lock().await.get().await?))?;
                Ok(headers)
            }
        })
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
