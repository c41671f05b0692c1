//! mock-collector as a program: takes OTLP over HTTP, and says what it has understood.
//!
//! Built by `install.sh` in a place of its own: the crate brings a gRPC server along. The argument is `json` or `protobuf`.
//! Its first line is its address; then it reads `logs`, `spans` or `metrics`, and says every one that it has as JSON in one line.
//! It ends with its input.

use std::io::Write;

use mock_collector::{MockServer, Protocol, TestLogRecord, TestMetric, TestSpan};
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
    for asked in std::io::stdin().lines() {
        let asked = asked?;
        let understood: Vec<Value> = server
            .with_collector(|collector| match &*asked {
                "logs" => collector.logs().iter().map(log).collect(),
                "spans" => collector.spans().iter().map(span).collect(),
                _ => collector.metrics().iter().map(metric).collect(),
            })
            .await;
        say(&serde_json::to_string(&understood)?)?;
    }
    Ok(())
}

fn log(log: &TestLogRecord) -> Value {
    json!({"resource": log.resource_attrs(), "scope": log.scope_attrs(), "record": log.log_record()})
}

fn span(span: &TestSpan) -> Value {
    json!({"resource": span.resource_attrs(), "scope": span.scope_attrs(), "record": span.span()})
}

fn metric(metric: &TestMetric) -> Value {
    json!({"resource": metric.resource_attrs(), "scope": metric.scope_attrs(), "record": metric.metric()})
}

fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
