//! `OAuth2` client credentials: a bearer token that is fetched when a batch needs one, and again before it expires.
//!
//! The hook is called before every attempt, and waits without blocking anybody. While no token is to be had, batches wait in the
//! spool. The secret and the tokens are in memory only.
//!
//! ```text
//! cargo run --example oauth
//! ```

mod print_receiver;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_spool::{BoxError, LogExporter, LogExporterBuilder};
use tokio::sync::Mutex;

/// The account of this service at its token server.
pub(crate) struct Account {
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// The tokens of an account: the one in use, and until when.
struct Tokens {
    account: Account,
    client: reqwest::Client,
    current: Mutex<Option<(String, Instant)>>,
}

impl Tokens {
    /// The current token, or another one: before it expires, and where an attempt with it may have been refused.
    async fn bearer(&self, is_retry: bool) -> Result<String, BoxError> {
        let mut current = self.current.lock().await; // one batch asks, and the others wait for its token
        if let Some((token, expiry)) = current.take().filter(|(_, expiry)| !is_retry && Instant::now() < *expiry) {
            *current = Some((token.clone(), expiry));
            return Ok(token);
        }
        let request = self.client.post(&self.account.token_url);
        let request = request.basic_auth(&self.account.client_id, Some(&self.account.client_secret));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.body("grant_type=client_credentials").send().await?.error_for_status()?;
        let response: serde_json::Value = serde_json::from_slice(&response.bytes().await?)?;
        let token = response["access_token"].as_str().ok_or("the token server gave no access_token")?.to_owned();
        let lifetime = Duration::from_secs(response["expires_in"].as_u64().unwrap_or(300));
        *current = Some((token.clone(), Instant::now() + lifetime * 9 / 10));
        Ok(token)
    }
}

/// An exporter whose requests carry the account's token.
pub(crate) fn exporter(endpoint: &str, account: Account, spool_dir: &Path) -> LogExporterBuilder {
    let tokens = Arc::new(Tokens { account, client: reqwest::Client::new(), current: Mutex::default() });
    LogExporter::builder().with_endpoint(endpoint).with_spool_dir(spool_dir).with_async_header_hook(
        move |batch, mut headers| {
            let tokens = Arc::clone(&tokens);
            async move {
                headers.insert("authorization", format!("Bearer {}", tokens.bearer(batch.attempt() > 1).await?))?;
                Ok(headers)
            }
        },
    )
}

fn main() -> Result<(), BoxError> {
    use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
    use opentelemetry_sdk::logs::SdkLoggerProvider;

    let token_server = print_receiver::answering(r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":300}"#)?;
    let account = Account { token_url: token_server, client_id: "checkout".into(), client_secret: "s3cret".into() };
    let spool_dir = tempfile::tempdir()?;
    let exporter = exporter(&print_receiver::start()?, account, spool_dir.path()).build()?;
    let provider = SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
    let logger = provider.logger("checkout");
    let mut record = logger.create_log_record();
    record.set_body("order taken".into());
    logger.emit(record);
    provider.shutdown()?;
    Ok(())
}
