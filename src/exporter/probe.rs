//! [`probe`]: tries settings step by step as an exporter would use them. It opens no spool and changes nothing on disk, so that a
//! living owner is not disturbed; what would fail to be opened is found by looking.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::config::directory;
use crate::config::resolve::ResolvedConfig;
use crate::config::values::{Pace, Signal, Sourced, SpoolLimits, Warning, short_bytes};
use crate::delivery::outlook::Outlook;
use crate::delivery::start::format_of;
use crate::encode::framing::Framing;
use crate::encode::points::items_of;
use crate::error::{BoxError, ExporterBuildError, error_chain};
use crate::exporter::marked::Marked;
use crate::observe::probe::{ProbeMode, ProbeReport, ProbeResult, ProbeStage, ProbeStep};
use crate::process;
use crate::spool::{Coding, Look, Loose, SpoolConfig};
use crate::transport::contract::Transport;
use crate::transport::request::{BatchContext, Request};
use crate::transport::settings::TransportSettings;

/// The longest time of the request of a probe: in a file `timeout: 0` means that there is no limit.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// The settings of an exporter that could not be resolved, with what was noticed of them.
pub(crate) type Unresolved = (ExporterBuildError, Vec<Warning>);

/// Tries settings; `mark` makes the marked record by the encoder. Blocks until it is known how they are.
pub(crate) fn probe<E>(
    mode: ProbeMode,
    resolved: Result<ResolvedConfig<E>, Unresolved>,
    mark: impl FnOnce(E) -> Result<Marked, BoxError>,
) -> ProbeReport {
    let mut report = ProbeReport { steps: Vec::new(), refused: false };
    let steps = &mut report.steps;
    let ResolvedConfig { encoder, spool, dir, transport, pace, warnings, .. } = match resolved {
        Ok(resolved) => resolved,
        Err((error, warnings)) => {
            steps.push(wrong(&error));
            warn(&warnings, steps);
            return report;
        }
    };
    let marked = match catch_unwind(AssertUnwindSafe(|| mark(encoder))).unwrap_or_else(|_| Err("it panicked".into())) {
        Ok(marked) => marked,
        Err(error) => {
            let text = format!("a record cannot be encoded: {}", error_chain(&*error));
            steps.push(ProbeStep::failed(ProbeStage::Settings, text));
            return report;
        }
    };
    let summary = |way: &str, source: &str| {
        format!("{} go to {way} as {}, by {source}", spool.signal, format_of(&marked.framing))
    };
    let source = transport.endpoint.source.clone();
    let request = |coding| request(&marked, coding, &pace);
    let first = (mode == ProbeMode::Send).then(|| request(spool.coding));
    let is_compressed = first.as_ref().is_some_and(|first| first.content_encoding.is_some());
    let plain = is_compressed.then(|| request(Coding::Identity));
    let found = OnTheWay { transport, mode, first, plain, pace, signal: spool.signal }.look();
    match &found {
        Ok(Found { way, .. }) => {
            let text = summary(way, &source);
            steps.push(ProbeStep::passed(ProbeStage::Settings, text));
        }
        Err(error) => steps.push(wrong(error)),
    }
    warn(&warnings, steps);
    directory(&dir, &spool, steps);
    let Ok(Found { steps: found, outlook, .. }) = found else { return report };
    steps.extend(found);
    if let Some(Outlook { text, is_delivered, is_refused, .. }) = outlook {
        report.refused = is_refused;
        let step = if is_delivered { ProbeStep::passed } else { ProbeStep::warned };
        report.steps.push(step(ProbeStage::Delivery, text));
    } else if report.is_ok() {
        report
            .steps
            .push(ProbeStep::skipped(ProbeStage::Response, "no record was sent: what is said to one is not known"));
    }
    report
}

fn wrong(error: &ExporterBuildError) -> ProbeStep {
    ProbeStep::failed(ProbeStage::Settings, error_chain(error))
}

fn warn(warnings: &[Warning], steps: &mut Vec<ProbeStep>) {
    steps.extend(warnings.iter().map(|warning| ProbeStep::warned(ProbeStage::Settings, warning.to_string())));
}

/// Looks at the directory and at the space on its disk.
fn directory(dir: &Sourced<PathBuf>, spool: &SpoolConfig, steps: &mut Vec<ProbeStep>) {
    let stage = ProbeStage::Directory;
    let found = directory::check_access(dir).and_then(|(text, theirs)| {
        let look = Look::at(&dir.value).map_err(|error| directory::refused(error.into(), dir))?;
        Ok((text, theirs, look))
    });
    let (text, theirs, look) = match found {
        Ok(found) => found,
        Err(error) => return steps.push(ProbeStep::failed(stage, error_chain(&error))),
    };
    let is_spool = if look.is_spool { format!(", with a spool of {}", short_bytes(look.bytes)) } else { String::new() };
    steps.push(match directory::other_owner(&dir.value) {
        Some(why) => ProbeStep::warned(stage, why).with_remedy("run this as the user of the service"),
        None => ProbeStep::passed(stage, text + &is_spool),
    });
    steps.extend(theirs.map(|why| ProbeStep::warned(stage, why)));
    steps.push(space(dir, spool, look.bytes));
}

fn space(dir: &Sourced<PathBuf>, spool: &SpoolConfig, used: u64) -> ProbeStep {
    match directory::free_bytes(&dir.value) {
        Some(free) => space_of(free, &spool.limits, used),
        None => ProbeStep::skipped(ProbeStage::Space, "how much is free is not known here"),
    }
}

/// The same of a disk with so many bytes free and a spool that has used some.
fn space_of(free: u64, limits: &SpoolLimits, used: u64) -> ProbeStep {
    let stage = ProbeStage::Space;
    let kept = if limits.min_free_bytes > 0 {
        format!(", of which {} are to stay free", short_bytes(limits.min_free_bytes))
    } else {
        String::new()
    };
    let text = format!("{} are free{kept}; the spool may take {}", short_bytes(free), short_bytes(limits.max_bytes));
    let room = free.saturating_sub(limits.min_free_bytes);
    if room == 0 {
        // Of a disk without a free byte none can be given up.
        let remedy = if free == 0 {
            "make room"
        } else {
            "make room, or set OTEL_EXPORTER_SPOOL_MIN_FREE_BYTES, `min_free_bytes` in a file or `with_min_free_bytes` to less"
        };
        ProbeStep::failed(stage, format!("{text}: no record can be stored")).with_remedy(remedy)
    } else if room < limits.max_bytes.saturating_sub(used) {
        ProbeStep::warned(stage, format!("{text}: the disk is full before the spool is")).with_remedy(
            "make room, or set OTEL_EXPORTER_SPOOL_MAX_BYTES, `max_spool_bytes` in a file or `with_max_spool_bytes` to less",
        )
    } else {
        ProbeStep::passed(stage, text)
    }
}

/// The request with the marked record, as it would be sent from a spool.
fn request(marked: &Marked, coding: Coding, pace: &Pace) -> Request {
    let Loose { bytes, content_encoding, records } = Loose::of(&marked.block, &marked.framing, coding);
    let framing: &Framing = &marked.framing;
    let id = format!("probe-{:016x}", process::unique_number());
    Request {
        context: BatchContext { bytes: bytes.len(), ..BatchContext::new(id, marked.key.as_str()) },
        content_type: framing.content_type().to_owned(),
        content_encoding,
        response_protocol: framing.response_protocol(),
        body: bytes.into(),
        places: records.into_iter().collect(),
        timeout: pace.timeouts.first.min(MAX_TIMEOUT),
        counters: Arc::default(),
    }
}

/// What is looked at on a thread of its own: the caller's may be one of a runtime, and its telemetry is not to see this. What was opened
/// for it ends there as well, which lasts as long as a header hook that does not return.
struct OnTheWay {
    transport: TransportSettings,
    mode: ProbeMode,
    /// With the marked record, if that is sent.
    first: Option<Request>,
    /// The same without compression, for an endpoint that takes nothing compressed.
    plain: Option<Request>,
    pace: Pace,
    signal: Signal,
}

struct Found {
    /// The way to the endpoint in words.
    way: String,
    steps: Vec<ProbeStep>,
    outlook: Option<Outlook>,
}

impl OnTheWay {
    fn look(self) -> Result<Found, ExporterBuildError> {
        let (sender, found) = sync_channel(1);
        process::spawn("probe", move || {
            let (found, still_open) = match self.run() {
                Ok((found, transport)) => (Ok(found), Some(transport)),
                Err(error) => (Err(error), None),
            };
            // Nobody waits where the receiver is gone.
            let _ = sender.send(found);
            drop(still_open);
        })
        .map_err(ExporterBuildError::Thread)?;
        let panicked = || ExporterBuildError::Thread(io::Error::other("a panic while it was looking"));
        found.recv().map_err(|_| panicked())?
    }

    /// What is found, and the transport, which is still open.
    fn run(mut self) -> Result<(Found, Arc<dyn Transport>), ExporterBuildError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ExporterBuildError::Thread)?;
        let timeout = &mut self.transport.timeout.value;
        *timeout = (*timeout).min(MAX_TIMEOUT);
        let found = runtime.block_on(async {
            let transport = crate::transport::open(self.transport)?;
            let way = transport.way().unwrap_or_default();
            if self.mode == ProbeMode::Local {
                let step = ProbeStep::skipped(ProbeStage::Connection, "nobody was connected to");
                return Ok((Found { way, steps: vec![step], outlook: None }, transport));
            }
            let mut probed = transport.probe(self.first).await;
            let of = |outcome| Outlook::of(outcome, transport.clone(), &self.pace, items_of(self.signal));
            let mut outlook = probed.outcome.take().map(of);
            if let Some(plain) = self.plain.filter(|_| outlook.as_ref().is_some_and(|outlook| outlook.is_tried_plain)) {
                let limit = plain.timeout.saturating_mul(2);
                let outcome = tokio::time::timeout(limit, transport.deliver(plain)).await;
                let of_plain = outcome.ok().map(of).filter(|outlook| outlook.is_delivered);
                if let (Some(of_plain), Some(response)) = (of_plain, probed.response()) {
                    response.result = ProbeResult::Warned;
                    response.text.push_str("; without gzip it is taken: it reads no gzip");
                    response.remedy = Some("leave out the compression: each batch is sent twice".to_owned());
                    outlook = Some(of_plain);
                }
            } else if outlook.as_ref().is_some_and(|outlook| outlook.is_delivered)
                && let Some(response) = probed.response()
            {
                (response.result, response.remedy) = (ProbeResult::Passed, None);
            }
            Ok((Found { way, steps: probed.steps, outlook }, transport))
        });
        // A resolver cannot be interrupted.
        runtime.shutdown_background();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_the_bytes_that_stay_free_named_only_where_less_of_them_helps() {
        let remedy = |free: u64, min_free_bytes: u64| {
            let step = space_of(free, &SpoolLimits { min_free_bytes, ..SpoolLimits::default() }, 0);
            assert_eq!((step.stage, step.result), (ProbeStage::Space, ProbeResult::Failed), "{step}");
            step.remedy.expect("a remedy")
        };
        assert_eq!(remedy(0, 0), "make room");
        assert_eq!(remedy(0, 100), "make room", "there is none to give up");
        assert!(remedy(100, 100).starts_with("make room, or set OTEL_EXPORTER_SPOOL_MIN_FREE_BYTES"));
    }
}
