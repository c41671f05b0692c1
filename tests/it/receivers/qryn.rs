//! qryn, which speaks as Loki does. Its store is today's ClickHouse.

use opentelemetry_spool::LokiEncoder;

use super::*;

struct Qryn {
    _program: Program,
    _store: Program,
    _dir: TempDir,
    store_url: String,
    url: String,
}

impl Qryn {
    fn start() -> Option<Self> {
        let (program, dir, port) = (installed("qryn/node_modules/qryn/qryn_node.js")?, spool_dir(), free_port());
        let store = engine(dir.path())?;
        let (store_url, log) = (store.line(), dir.path().join("log"));
        let mut qryn = Command::new("env");
        qryn.args(["HOST=127.0.0.1", "CLICKHOUSE_SERVER=127.0.0.1", &format!("PORT={port}")]);
        qryn.arg(format!("CLICKHOUSE_PORT={}", store_url.rsplit(':').next().expect("a port")));
        let qryn = Program::keep("TERM", qryn.arg(node()).arg(program), &log);
        wait_for_port(port, &log);
        Some(Self { _program: qryn, _store: store, _dir: dir, store_url, url: format!("http://127.0.0.1:{port}") })
    }

    /// Every line with its labels, in the order of time, as soon as there are so many: it answers before it has stored them.
    /// Its API rounds times to what a number of JavaScript holds.
    fn lines(&self, query: &str, count: usize) -> Vec<(Value, String)> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC).to_string();
        let (start, end) = (nanos_ago(Duration::from_secs(86_400)), nanos_ago(Duration::ZERO));
        let path = format!("/loki/api/v1/query_range?query={query}&start={start}&end={end}&limit=5000");
        let lines = || -> Vec<(Value, u64, String)> {
            let (status, answer) = ask("GET", &format!("{}{path}", self.url), &[], &[]);
            assert_eq!(status, 200, "{answer}");
            let answer: Value = serde_json::from_str(&answer).expect("JSON");
            let streams = answer["data"]["result"].as_array().expect("streams");
            let line = |labels: &Value, value: &Value| {
                (labels.clone(), value[0].as_u64().expect("a time"), value[1].as_str().expect("a line").to_owned())
            };
            let of = |stream: &Value| -> Vec<_> {
                stream["values"]
                    .as_array()
                    .expect("values")
                    .iter()
                    .map(|value| line(&stream["stream"], value))
                    .collect()
            };
            streams.iter().flat_map(of).collect()
        };
        let mut lines = wait_for("the lines", || Some(lines()).filter(|lines| lines.len() >= count));
        lines.sort_by_key(|(_, time, _)| *time);
        lines.into_iter().map(|(labels, _, line)| (labels, line)).collect()
    }

    /// The times as it has stored them.
    fn times(&self) -> Vec<u64> {
        let query = b"SELECT timestamp_ns FROM cloki.samples_v3 ORDER BY timestamp_ns";
        let (status, times) = ask("POST", &format!("{}/", self.store_url), &[], query);
        assert_eq!(status, 200, "{times}");
        times.lines().map(|time| time.parse().expect("a time")).collect()
    }
}

fn nanos_ago(ago: Duration) -> u64 {
    let time = SystemTime::now().checked_sub(ago).expect("a time").duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(time.as_nanos()).expect("before 2554")
}

#[test]
fn qryn_has_every_line_under_its_labels_at_its_time() {
    let Some(qryn) = Qryn::start() else { return };
    let (spool, first) = (spool_dir(), nanos_ago(Duration::from_secs(600)));
    let exporter = exporter_to(&format!("{}/loki/api/v1/push", qryn.url), &spool);
    let service = shop(exporter.with_encoder(LokiEncoder::default()).with_compression(Compression::Gzip));
    let nanos = |number: usize| first + 1_000_000 * number as u64;
    for number in 1..=COUNT {
        order(&service, number, |record| record.set_timestamp(UNIX_EPOCH + Duration::from_nanos(nanos(number))));
    }
    assert_eq!(deliver(&service).failed_requests, 0);

    let lines = qryn.lines(r#"{service_name="shop"}"#, COUNT);
    let messages = lines.iter().map(|(labels, line)| {
        assert_eq!(labels["service_name"], "shop");
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        line["message"].as_str().expect("a message").to_owned()
    });
    assert_eq!(messages.collect::<Vec<_>>(), names("m", 1..=COUNT));
    assert_eq!(qryn.times(), (1..=COUNT).map(nanos).collect::<Vec<_>>());
}
