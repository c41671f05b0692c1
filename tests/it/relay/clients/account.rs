//! What became of the records of a client.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use common::{Receiver, Request};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message as _;
use serde_json::Value;

use super::process::Said;

/// The records that an endpoint has answered with success, each `Idempotency-Key` once, in order.
pub(super) fn delivered(receiver: &Receiver) -> Vec<Value> {
    let mut keys = HashSet::new();
    let mut is_new = |request: &Request| {
        let is_success = request.answered.is_some_and(|status| (200..300).contains(&status));
        is_success && keys.insert(request.key().to_owned())
    };
    receiver.requests().into_iter().filter(|request| is_new(request)).flat_map(|request| records(&request)).collect()
}

/// The records of a request, whatever it is.
fn records(request: &Request) -> Vec<Value> {
    let body = request.plain();
    match request.target.as_str() {
        "/v1/logs" => {
            let logs = ExportLogsServiceRequest::decode(&*body).expect("OTLP");
            let scopes = logs.resource_logs.iter().flat_map(|of| &of.scope_logs);
            scopes.flat_map(|of| &of.log_records).map(json).collect()
        }
        "/v1/traces" => {
            let spans = ExportTraceServiceRequest::decode(&*body).expect("OTLP");
            let scopes = spans.resource_spans.iter().flat_map(|of| &of.scope_spans);
            scopes.flat_map(|of| &of.spans).map(json).collect()
        }
        "/v1/metrics" => {
            let metrics = ExportMetricsServiceRequest::decode(&*body).expect("OTLP");
            let scopes = metrics.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
            scopes.flat_map(|of| &of.metrics).map(json).collect()
        }
        _ => request.records(),
    }
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("JSON")
}

/// The greatest value that a sum of this name has in these requests, and how many points it has.
pub(super) fn sum(receiver: &Receiver, name: &str) -> (i64, usize) {
    let bodies = receiver.requests().into_iter().filter(|request| request.target == "/v1/metrics");
    let metrics: Vec<_> =
        bodies.map(|request| ExportMetricsServiceRequest::decode(&*request.plain()).expect("OTLP")).collect();
    let of_scopes = metrics.iter().flat_map(|of| &of.resource_metrics).flat_map(|of| &of.scope_metrics);
    let points = of_scopes.flat_map(|of| &of.metrics).filter(|metric| metric.name == name).flat_map(|metric| {
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{metric:?} is no sum") };
        sum.data_points.iter().map(|point| match point.value {
            Some(number_data_point::Value::AsInt(value)) => (value, point.time_unix_nano),
            _ => panic!("{point:?} has no integer"),
        })
    });
    let points: HashSet<_> = points.collect();
    (points.iter().map(|(value, _)| *value).max().unwrap_or_default(), points.len())
}

/// The name and the number in an id `NAME-000123`, which is in a record's message, body or name.
fn id_of(record: &Value) -> Option<(&str, usize)> {
    let texts = [&record["message"], &record["body"]["stringValue"], &record["name"]];
    let text = texts.into_iter().find_map(Value::as_str)?;
    let ids = text.match_indices('-').filter_map(|(at, _)| {
        let digits = text.get(at + 1..at + 7).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        let goes_on = text[at + 7..].starts_with(|next: char| next.is_ascii_digit());
        let name = text[..at].rsplit(|of: char| !(of.is_ascii_alphanumeric() || "-.".contains(of))).next()?;
        (!goes_on && !name.is_empty()).then(|| Some((name, digits.parse().ok()?)))?
    });
    ids.into_iter().next()
}

/// What was delivered, by client: numbers in order of arrival, each with its record.
pub(super) type Arrived<'a> = HashMap<&'a str, Vec<(usize, &'a Value)>>;

pub(super) fn by_client(delivered: &[Value]) -> Arrived<'_> {
    let mut arrived = Arrived::new();
    for record in delivered {
        if let Some((name, number)) = id_of(record) {
            arrived.entry(name).or_default().push((number, record));
        }
    }
    arrived
}

/// The account of a client.
pub(super) struct Account {
    pub(super) name: String,
    pub(super) sent: usize,
    /// Those that it was told are stored.
    pub(super) told: BTreeSet<usize>,
    /// Those that arrived, in order.
    pub(super) arrived: Vec<usize>,
    pub(super) missing: Vec<usize>,
    pub(super) repeated: usize,
    pub(super) out_of_order: usize,
    /// The newest record, as it was delivered.
    pub(super) newest: Value,
}

impl Account {
    pub(super) fn of(name: &str, said: &Said, arrived: &Arrived<'_>) -> Self {
        let records: &[(usize, &Value)] = arrived.get(name).map_or(&[], Vec::as_slice);
        let arrived: Vec<_> = records.iter().map(|(number, _)| *number).collect();
        let numbers: HashSet<_> = arrived.iter().copied().collect();
        let newest = records.iter().max_by_key(|(number, _)| *number);
        Self {
            name: name.to_owned(),
            sent: said.sent,
            told: said.told.clone(),
            missing: (0..said.sent).filter(|number| !numbers.contains(number)).collect(),
            repeated: arrived.len() - numbers.len(),
            out_of_order: arrived.windows(2).filter(|pair| pair[0] > pair[1]).count(),
            newest: newest.map(|(_, record)| (*record).clone()).unwrap_or_default(),
            arrived,
        }
    }

    /// Nothing came twice, nothing out of order but what was sent early to find out whose fault a failure is, and what the client was
    /// told is stored has arrived.
    pub(super) fn check(&self, probed: usize) {
        let displaced: Vec<_> = self.arrived.windows(2).filter(|pair| pair[0] > pair[1]).collect();
        assert_eq!(self.repeated, 0, "{self}");
        assert!(displaced.len() <= probed, "{self}: {displaced:?}");
        let broken: Vec<_> = self.missing.iter().filter(|number| self.told.contains(number)).collect();
        assert!(broken.is_empty(), "{self}: {broken:?} are gone, which it was told are stored");
    }

    /// Nothing is missing of the records in `range`, but for so many.
    pub(super) fn check_loss(&self, range: std::ops::Range<usize>, at_most: usize) {
        let missing: Vec<_> = self.missing.iter().filter(|number| range.contains(number)).collect();
        assert!(missing.len() <= at_most, "{self}: {missing:?} of {range:?} are missing");
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sent, told, arrived, missing, repeated, out_of_order, .. } = self;
        let (told, arrived, gone) = (told.len(), arrived.len(), missing.len());
        write!(f, "| {name} | {sent} | {told} | {arrived} | {gone} | {repeated} | {out_of_order} |")?;
        match (missing.first(), missing.last()) {
            (Some(first), Some(last)) => write!(f, " {first} to {last} |"),
            _ => write!(f, " |"),
        }
    }
}
