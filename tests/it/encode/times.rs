//! Extreme times, in every format: a device without a clock logs in 1970, a broken one in any year that there is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{
    BulkEncoder, ClickHouseEncoder, Encoder, JsonEncoder, LokiEncoder, SplunkEncoder, TextEncoder,
};
#[cfg(feature = "otlp")]
use opentelemetry_spool::{OtlpEncoder, Protocol};
use proptest::prelude::*;
use serde_json::Value;

/// A record of this time as it is in a request by itself.
fn body(encoder: &dyn Encoder, time: SystemTime) -> Vec<u8> {
    let provider = SdkLoggerProvider::builder().build();
    let mut record = provider.logger("").create_log_record();
    record.set_timestamp(time);
    record.set_body("text".into());
    let (framing, mut record_bytes) = (encoder.framing(), Vec::new());
    encoder.encode(&record, &InstrumentationScope::default(), &mut record_bytes).unwrap();
    [framing.open(), &record_bytes, framing.close()].concat()
}

fn json(encoder: &dyn Encoder, time: SystemTime) -> Value {
    serde_json::from_slice(&body(encoder, time)).unwrap()
}

fn text(template: &str, time: SystemTime) -> String {
    String::from_utf8(body(&TextEncoder::new(template).unwrap(), time)).unwrap()
}

/// So many seconds and nanoseconds after 1970, or before.
fn at(seconds: i64, nanos: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    whole.and_then(|time| time.checked_add(Duration::from_nanos(nanos.into()))).unwrap()
}

/// A time, and what each format makes of it.
struct Row {
    time: (i64, u32),
    /// JSON: any time, to the microsecond.
    created: &'static str,
    /// A template: the years 1 to 9999.
    date: &'static str,
    /// Loki, ClickHouse and OTLP: nanoseconds.
    nanos: u64,
    /// Splunk: seconds.
    seconds: &'static str,
    /// `_bulk`: milliseconds.
    millis: u64,
    /// Beside nanoseconds, and beside seconds.
    exact: [Option<&'static str>; 2],
}

const LATEST: u64 = i64::MAX as u64;
const END: (&str, u64) = ("253402300799.999999", 253_402_300_799_999);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    #[cfg(unix)]
    Row { time: (-62_135_596_801, 0), created: "-62135596801.0", date: "0001-01-01T00:00:00.000000Z", nanos: 0, seconds: "0.0",
          millis: 0, exact: [Some("-62135596801.000000000"); 2] },
    #[cfg(unix)]
    Row { time: (-62_135_596_800, 0), created: "-62135596800.0", date: "0001-01-01T00:00:00.000000Z", nanos: 0, seconds: "0.0",
          millis: 0, exact: [Some("-62135596800.000000000"); 2] },
    Row { time: (-1, 500_000_000), created: "-0.5", date: "1969-12-31T23:59:59.500000Z", nanos: 0, seconds: "0.0",
          millis: 0, exact: [Some("-0.500000000"); 2] },
    #[cfg(unix)]
    Row { time: (0, 1), created: "0.0", date: "1970-01-01T00:00:00.000000Z", nanos: 1, seconds: "0.0",
          millis: 0, exact: [None; 2] },
    Row { time: (0, 1_500_000), created: "0.0015", date: "1970-01-01T00:00:00.001500Z", nanos: 1_500_000, seconds: "0.0015",
          millis: 1, exact: [None; 2] },
    Row { time: (99_999_999, 0), created: "99999999.0", date: "1973-03-03T09:46:39.000000Z", nanos: 99_999_999_000_000_000,
          seconds: "99999999.0", millis: 99_999_999_000, exact: [None; 2] },
    Row { time: (2_147_483_648, 0), created: "2147483648.0", date: "2038-01-19T03:14:08.000000Z",
          nanos: 2_147_483_648_000_000_000, seconds: "2147483648.0", millis: 2_147_483_648_000, exact: [None; 2] },
    #[cfg(unix)]
    Row { time: (9_223_372_036, 854_775_807), created: "9223372036.854775", date: "2262-04-11T23:47:16.854775Z",
          nanos: LATEST, seconds: "9223372036.854775", millis: 9_223_372_036_854, exact: [None; 2] },
    Row { time: (9_223_372_036, 854_775_900), created: "9223372036.854775", date: "2262-04-11T23:47:16.854775Z",
          nanos: LATEST, seconds: "9223372036.854775", millis: 9_223_372_036_854,
          exact: [Some("9223372036.854775900"), None] },
    Row { time: (253_402_300_799, 0), created: "253402300799.0", date: "9999-12-31T23:59:59.000000Z", nanos: LATEST,
          seconds: "253402300799.0", millis: 253_402_300_799_000, exact: [Some("253402300799.000000000"), None] },
    Row { time: (292_000_000_000, 0), created: "292000000000.0", date: "9999-12-31T23:59:59.999999Z", nanos: LATEST,
          seconds: END.0, millis: END.1, exact: [Some("292000000000.000000000"); 2] },
    #[cfg(unix)]
    Row { time: (i64::MAX, 0), created: "9223372036854775807.0", date: "9999-12-31T23:59:59.999999Z", nanos: LATEST,
          seconds: END.0, millis: END.1, exact: [Some("9223372036854775807.000000000"); 2] },
];

#[test]
fn every_format_has_the_nearest_time_that_it_holds_and_the_exact_one_beside_it() {
    for row in ROWS {
        let time = at(row.time.0, row.time.1);
        let raw = String::from_utf8(body(&JsonEncoder::default(), time)).unwrap();
        assert!(raw.contains(&format!("\"created\":{},", row.created)), "{raw}");
        assert_eq!(text("{timestamp}", time), row.date);
        let created: f64 = row.created.parse().unwrap();
        assert!((text("{created}", time).parse::<f64>().unwrap() - created).abs() < 1e-5, "{created}");

        let loki = json(&LokiEncoder::default(), time);
        let value = &loki["streams"][0]["values"][0];
        assert_eq!(value[0], row.nanos.to_string(), "Loki");
        assert_eq!(value[2]["spool_timestamp"].as_str(), row.exact[0], "Loki");

        let clickhouse = json(&ClickHouseEncoder::default(), time);
        let digits = format!("{:010}.{:09}", row.nanos / 1_000_000_000, row.nanos % 1_000_000_000);
        assert_eq!((&clickhouse["Timestamp"], digits.len()), (&Value::from(digits.as_str()), 20), "ClickHouse");
        assert_eq!(clickhouse["LogAttributes"]["spool.timestamp"].as_str(), row.exact[0], "ClickHouse");

        let splunk = String::from_utf8(body(&SplunkEncoder::default(), time)).unwrap();
        assert!(splunk.starts_with(&format!("{{\"time\":{},", row.seconds)), "{splunk}");
        let splunk: Value = serde_json::from_str(&splunk).unwrap();
        assert_eq!(splunk["fields"]["spool.timestamp"].as_str(), row.exact[1], "Splunk");

        let bulk = String::from_utf8(body(&BulkEncoder::default(), time)).unwrap();
        let document: Value = serde_json::from_str(bulk.lines().last().unwrap()).unwrap();
        assert_eq!(document["@timestamp"], row.millis, "_bulk");
    }
}

#[cfg(feature = "otlp")]
#[test]
fn otlp_has_the_nearest_time_that_it_holds_and_the_exact_one_as_an_attribute() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use prost::Message;

    for row in ROWS {
        let time = at(row.time.0, row.time.1);
        // 0 says that there is no time.
        let nanos = row.nanos.max(1);
        let binary = body(&OtlpEncoder::new(Protocol::HttpBinary), time);
        let binary = ExportLogsServiceRequest::decode(&*binary).unwrap();
        let record = &binary.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(record.time_unix_nano, nanos);
        let json = json(&OtlpEncoder::new(Protocol::HttpJson), time);
        let record = &json["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["timeUnixNano"], nanos.to_string());
        let beside = record["attributes"].as_array().into_iter().flatten().find(|kv| kv["key"] == "spool.timestamp");
        assert_eq!(beside.and_then(|kv| kv["value"]["stringValue"].as_str()), row.exact[0]);
    }
}

proptest! {
    #![proptest_config(common::proptest_config())]

    #[test]
    fn dates_are_those_of_the_calendar(seconds in jiff_seconds()) {
        let date = text("{timestamp}", at(seconds, 0));
        let expected = jiff::Timestamp::from_second(seconds).unwrap();
        prop_assert_eq!(date, expected.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string());
    }
}

/// Any time of the years 1 to 9999, and often one at the turn of a month; for Windows, time begins in 1601.
fn jiff_seconds() -> impl Strategy<Value = i64> {
    let first: i64 = if cfg!(windows) { 1601 } else { 1 };
    let first_second = (first - 1970) * 366 * 86_400;
    let month = (first + 1..=9998_i64, 1..=12_i8, -1..=1_i64).prop_map(|(year, month, around)| {
        let date = jiff::civil::date(i16::try_from(year).unwrap(), month, 1);
        date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second() + around
    });
    let any = (first_second..253_402_300_800)
        .prop_filter("after year 1", |second| *second >= -62_135_596_800)
        .prop_filter("as Windows has it", |second| cfg!(unix) || *second > -11_644_473_600);
    prop_oneof![any, month]
}
