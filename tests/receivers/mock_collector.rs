//! mock-collector as a program: takes OTLP over HTTP, and says what it has understood.
//!
//! Built by `install.sh` in a place of its own: the crate brings a gRPC server along. The argument is `json` or `protobuf`.
//! Its first line is its address; then, for each line that it reads, it says every log record as JSON in one line. It ends with
//! its input.

use std::io::Write;

use mock_collector::{MockServer, Protocol};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protocol = match std::env::args().nth(1).as_deref() {
        Some("json") => Protocol::HttpJson,
        Some("protobuf") => Protocol::HttpBinary,
        other => return Err(format!("json or protobuf, not {other:?}").into()),
    };
    let server = MockServer::builder().protocol(protocol).start().await?;
    say(&format!("http://{}", server.addr()))?;
    for _asked in std::io::stdin().lines() {
        let logs: Vec<Value> = server
            .with_collector(|collector| {
                let log = |log: &mock_collector::TestLogRecord| {
                    json!({
                        "resource": log.resource_attrs(),
                        "scope": log.scope_attrs(),
                        "record": log.log_record(),
                    })
                };
                collector.logs().iter().map(log).collect()
            })
            .await;
        say(&serde_json::to_string(&logs)?)?;
    }
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
