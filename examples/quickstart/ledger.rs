//! The ledger: what was emitted and delivered, and the verdict on the spool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use opentelemetry_spool::BoxError;

use crate::body::entries;
use crate::report::Report;
use crate::tally::{Losses, Orders, Signal, Tally};

/// The largest age of a token: one is made for each attempt.
const OLDEST_TOKEN_MILLIS: u128 = 4_000;

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
    /// The time that the current run took to build its providers; `None` until it has.
    pub(crate) opened_millis: Option<u64>,
    /// Undelivered records and spans, by the exporters' own count.
    pub(crate) pending: u64,
    /// Records and spans that a killed process had in its journal only.
    pub(crate) replayed: u64,
    orders: Orders,
    pub(crate) logs: Tally,
    pub(crate) spans: Tally,
    /// The body of every request, by its `Idempotency-Key`.
    bodies: HashMap<String, Vec<u8>>,
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
        match report {
            Report::Opened { millis } => self.opened_millis = Some(millis),
            Report::Pending { records } => self.pending = records,
            Report::Emitted { tenant, seq } => {
                self.orders.insert((tenant, self.run), seq);
            }
            Report::Replayed { records } => self.replayed += records,
        }
    }

    /// Enters a request that the receiver takes: each batch once, however often it is sent.
    pub(crate) fn take(&mut self, signal: Signal, headers: &HeaderMap, body: &[u8]) {
        if let Err(fault) = self.try_take(signal, headers, body) {
            self.fault(fault.to_string());
        }
    }

    /// Enters a fault.
    pub(crate) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn tally(&mut self, signal: Signal) -> &mut Tally {
        match signal {
            Signal::Logs => &mut self.logs,
            Signal::Spans => &mut self.spans,
        }
    }

    fn try_take(&mut self, signal: Signal, headers: &HeaderMap, body: &[u8]) -> Result<(), BoxError> {
        let header = |name: &'static str| -> Result<&str, BoxError> {
            Ok(headers.get(name).ok_or_else(|| format!("a request without {name}"))?.to_str()?)
        };
        let key = header("idempotency-key")?.to_owned();
        let tenant = header("x-tenant")?;
        let token_is_good = header("authorization")?
            .strip_prefix("Bearer ")
            .and_then(|token| token.rsplit_once('.'))
            .is_some_and(|(for_tenant, issued)| for_tenant == tenant && is_recent(issued));
        let entries = entries(signal, body)?;

        if let Some(first) = self.bodies.get(&key) {
            if first != body {
                return Err(format!("batch {key} came again with other bytes").into());
            }
            let tally = self.tally(signal);
            tally.repeated_batches += 1;
            tally.repeated_entries += entries.len() as u64;
            return Ok(());
        }
        self.bodies.insert(key, body.to_vec());
        self.tally(signal).batches += 1;

        for (of, (run, seq)) in entries {
            self.wrong_headers += u64::from(of != tenant || !token_is_good);
            self.tally(signal).arrived.entry(of).or_default().push((run, seq));
            if signal == Signal::Logs && run < self.run && self.survivor.is_none() {
                self.survivor = Some(Request { headers: headers.clone(), body: body.to_vec() });
            }
        }
        Ok(())
    }

    /// The records that were emitted, and as many spans.
    pub(crate) fn emitted(&self) -> u64 {
        self.orders.values().sum()
    }

    /// Records and spans that are delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.logs.delivered() + self.spans.delivered()
    }

    /// Those that were emitted and are not delivered yet.
    pub(crate) fn in_spool(&self) -> u64 {
        (2 * self.emitted()).saturating_sub(self.delivered())
    }

    /// The verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict {
            logs: self.logs.losses(&self.orders),
            spans: self.spans.losses(&self.orders),
            wrong_headers: self.wrong_headers,
            faults: self.faults.clone(),
        }
    }
}

/// The figures that decide.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) logs: Losses,
    pub(crate) spans: Losses,
    /// Records and spans that arrived with the header or token of another tenant, or with a stale token.
    pub(crate) wrong_headers: u64,
    pub(crate) faults: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        let wrong = [self.logs, self.spans].map(|losses| losses.lost + losses.twice);
        // Spans may arrive in any order: several requests with them are in flight.
        wrong == [0; 2] && self.logs.out_of_order + self.wrong_headers == 0 && self.faults.is_empty()
    }
}

fn is_recent(issued: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    issued.parse().is_ok_and(|issued: u128| now.saturating_sub(issued) <= OLDEST_TOKEN_MILLIS)
}
