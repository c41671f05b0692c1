//! The ledger: records that were emitted, accepted and delivered, and the verdict on the spool.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use opentelemetry_spool::BoxError;
use serde_json::Value;

use crate::report::Report;

/// The largest age of a token: one is made for each attempt.
const OLDEST_TOKEN_MILLIS: u128 = 4_000;

/// The run of the service, and the record's number in it.
type Number = (u64, u64);

pub(crate) type SharedLedger = Arc<Mutex<Ledger>>;

/// The ledger, locked.
pub(crate) fn books(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Everything that was observed.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    run: u64,
    /// The time that the current run took to build its exporter; `None` until it has.
    pub(crate) opened_millis: Option<u64>,
    /// Undelivered records, by the exporter's own count.
    pub(crate) pending: u64,
    /// The last number that each tenant's thread emitted in each run.
    emitted: BTreeMap<(String, u64), u64>,
    accepted: BTreeMap<String, Vec<Number>>,
    /// Delivered records in the order of arrival, without recognised duplicates.
    arrived: BTreeMap<String, Vec<Number>>,
    /// The body of every request, by its `Idempotency-Key`.
    bodies: HashMap<String, Vec<u8>>,
    /// Batches that were taken, without duplicates.
    pub(crate) batches: u64,
    pub(crate) repeated_batches: u64,
    pub(crate) repeated_records: u64,
    /// Requests that got a 503.
    pub(crate) refused: u64,
    /// Requests that were taken without a response.
    pub(crate) unanswered: u64,
    wrong_headers: u64,
    /// Faults, in words.
    faults: Vec<String>,
    /// A request with records whose process was killed before it could deliver them.
    pub(crate) survivor: Option<Request>,
}

impl Ledger {
    /// Notes that a new process starts.
    pub(crate) fn begin_run(&mut self, run: u64) {
        self.run = run;
        self.opened_millis = None;
        self.pending = 0;
    }

    /// Enters a report of the service.
    pub(crate) fn note(&mut self, report: Report) {
        let run = self.run;
        match report {
            Report::Opened { millis } => self.opened_millis = Some(millis),
            Report::Pending { records } => self.pending = records,
            Report::Emitted { tenant, seq } => {
                self.emitted.insert((tenant, run), seq);
            }
            Report::Accepted { tenant, first, last } => {
                self.accepted.entry(tenant).or_default().extend((first..=last).map(|seq| (run, seq)));
            }
        }
    }

    /// Enters a request that the receiver takes: each batch once, however often it is sent.
    pub(crate) fn take(&mut self, headers: &HeaderMap, body: &[u8]) {
        if let Err(fault) = self.try_take(headers, body) {
            self.fault(fault.to_string());
        }
    }

    /// Enters a fault.
    pub(crate) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn try_take(&mut self, headers: &HeaderMap, body: &[u8]) -> Result<(), BoxError> {
        let header = |name: &'static str| -> Result<&str, BoxError> {
            Ok(headers.get(name).ok_or_else(|| format!("a request without {name}"))?.to_str()?)
        };
        let key = header("idempotency-key")?.to_owned();
        let tenant = header("x-tenant")?;
        let token_is_good = header("authorization")?
            .strip_prefix("Bearer ")
            .and_then(|token| token.rsplit_once('.'))
            .is_some_and(|(for_tenant, issued)| for_tenant == tenant && is_recent(issued));
        let records: Vec<Value> = serde_json::from_slice(body)?;

        if let Some(first) = self.bodies.get(&key) {
            if first != body {
                return Err(format!("batch {key} came again with other bytes").into());
            }
            self.repeated_batches += 1;
            self.repeated_records += records.len() as u64;
            return Ok(());
        }
        self.bodies.insert(key, body.to_vec());
        self.batches += 1;

        for record in &records {
            let extra = &record["extra"];
            let (Some(of), Some(run), Some(seq)) =
                (extra["tenant"].as_str(), extra["run"].as_u64(), extra["seq"].as_u64())
            else {
                return Err(format!("a record without tenant, run or seq: {record}").into());
            };
            self.wrong_headers += u64::from(of != tenant || !token_is_good);
            self.arrived.entry(of.to_owned()).or_default().push((run, seq));
            if run < self.run && self.survivor.is_none() {
                self.survivor = Some(Request { headers: headers.clone(), body: body.to_vec() });
            }
        }
        Ok(())
    }

    pub(crate) fn emitted(&self) -> u64 {
        self.emitted.values().sum()
    }

    pub(crate) fn accepted(&self) -> u64 {
        count(&self.accepted)
    }

    pub(crate) fn delivered(&self) -> u64 {
        count(&self.arrived)
    }

    /// Records that are accepted and not delivered yet.
    pub(crate) fn on_disk(&self) -> u64 {
        self.accepted().saturating_sub(self.delivered())
    }

    /// Records that were emitted, but `export` had not returned.
    pub(crate) fn not_written(&self) -> u64 {
        self.emitted().saturating_sub(self.accepted())
    }

    /// The verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        let (mut lost, mut unannounced, mut out_of_order) = (0, 0, 0);
        for tenant in self.accepted.keys().chain(self.arrived.keys()).collect::<HashSet<_>>() {
            let accepted: HashSet<_> = self.accepted.get(tenant).into_iter().flatten().collect();
            let in_order: Vec<_> = self.arrived.get(tenant).into_iter().flatten().collect();
            let arrived: HashSet<_> = in_order.iter().copied().collect();
            lost += accepted.difference(&arrived).count() as u64;
            unannounced += arrived.difference(&accepted).count() as u64;
            out_of_order += in_order.windows(2).filter(|pair| pair[1] <= pair[0]).count() as u64;
        }
        Verdict {
            lost,
            unannounced,
            in_memory: self.not_written().saturating_sub(unannounced),
            out_of_order,
            wrong_headers: self.wrong_headers,
            faults: self.faults.clone(),
        }
    }
}

/// The figures that decide.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Records that were accepted and never arrived.
    pub(crate) lost: u64,
    /// Records that arrived although `export` was killed before it could return `Ok`: written, but not promised.
    pub(crate) unannounced: u64,
    /// Records that were emitted and still in the SDK's queue at the kill.
    pub(crate) in_memory: u64,
    /// Records that arrived after a later one of their tenant, or a second time under another key.
    pub(crate) out_of_order: u64,
    /// Records that arrived with the header or token of another tenant, or with a stale token.
    pub(crate) wrong_headers: u64,
    pub(crate) faults: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.lost == 0 && self.out_of_order == 0 && self.wrong_headers == 0 && self.faults.is_empty()
    }
}

fn count(numbers: &BTreeMap<String, Vec<Number>>) -> u64 {
    numbers.values().map(|numbers| numbers.len() as u64).sum()
}

fn is_recent(issued: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    issued.parse().is_ok_and(|issued: u128| now.saturating_sub(issued) <= OLDEST_TOKEN_MILLIS)
}
