//! [`Outlook`]: what delivery does with a batch that meets a given outcome, in words. It runs the code that
//! a batch of a spool runs, on a record that is in no spool, so that nothing here repeats the rules.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::values::Pace;
use crate::delivery::attempt::{Sender, Step};
use crate::delivery::failure::{Failure, Retry};
use crate::delivery::source::Fate;
use crate::delivery::tries::{Tries, UNCONFIRMED_ATTEMPTS};
use crate::error::SpoolError;
use crate::observe::items::CountItems;
use crate::spool::Rejection;
use crate::transport::contract::{SendError, Transport};
use crate::transport::verdict::Judgement;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    pub(crate) text: String,
    /// The records are the endpoint's.
    pub(crate) is_delivered: bool,
    /// The endpoint refuses the record itself.
    pub(crate) is_refused: bool,
    /// A compressed one is tried plain next.
    pub(crate) is_tried_plain: bool,
}

impl Outlook {
    /// That of a record which lies in no spool and met this outcome at the first attempt.
    pub(crate) fn of(
        outcome: Result<Judgement, SendError>,
        transport: Arc<dyn Transport>,
        pace: &Pace,
        count_items: Option<CountItems>,
    ) -> Self {
        let Pace { timeouts, strict_order, .. } = *pace;
        let sender = Sender { transport, counters: Arc::default(), timeouts, count_items, strict_order };
        let tries = Tries::default();
        match sender.conclude(&Unstored, 1, outcome, &tries, SystemTime::now()) {
            Step::Failed(failure) => {
                let failed = failure.failed.as_ref();
                let is_tried_plain = failed.is_some_and(|failed| failed.may_be_compression(tries.attempt));
                Self { is_tried_plain, ..of_failure(&failure, pace) }
            }
            Step::DeliveredPartially(_) => {
                Self::refused("the record is rejected for good, and those that are taken are delivered")
            }
            Step::Unconfirmed(_) | Step::Delivered | Step::Skipped | Step::Empty | Step::Linger(_) => Self {
                text: "records that are answered like this are delivered".to_owned(),
                is_delivered: true,
                is_refused: false,
                is_tried_plain: false,
            },
        }
    }

    fn refused(text: &str) -> Self {
        Self { text: text.to_owned(), is_delivered: false, is_refused: true, is_tried_plain: false }
    }

    fn waiting(text: String) -> Self {
        Self { text, is_delivered: false, is_refused: false, is_tried_plain: false }
    }
}

fn of_failure(failure: &Failure, pace: &Pace) -> Outlook {
    let max = pace.retry.max_delay;
    let is_refused = failure.failed.as_ref().is_some_and(|failed| failed.is_refusal());
    if is_refused {
        return Outlook::refused(if pace.strict_order {
            "it would wait in the spool, and everything behind it, since the order is strict; nothing is rejected"
        } else {
            "it would wait in the spool until another record is taken; then it is rejected, and the others are delivered. If all \
             are refused, all wait"
        });
    }
    let retried = format!("records wait in the spool, and are tried again after up to {max:?}");
    Outlook::waiting(match failure.retry {
        Retry::Hold => format!(
            "records are held: they wait in the spool, and are tried again every {:?} to {:?}, until this is mended",
            pace.retry.slow(0.0),
            pace.retry.slow(1.0)
        ),
        Retry::After(delay) => format!("records wait in the spool for at least {delay:?}, as it asks"),
        Retry::Unconfirmed => {
            format!("a batch is sent {UNCONFIRMED_ATTEMPTS} times under the same id, and then counts as delivered")
        }
        Retry::Unreachable | Retry::NotSent => format!("{retried}, until they are sent"),
        Retry::Backoff | Retry::Interrupted if pace.strict_order => retried,
        Retry::Backoff | Retry::Interrupted => format!(
            "{retried}; one that fails like this while others are taken is deferred for {}, and then rejected",
            hours(pace.defer_for)
        ),
    })
}

fn hours(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds > 0 && seconds.is_multiple_of(3600) { format!("{} h", seconds / 3600) } else { format!("{duration:?}") }
}

/// A record that lies in no spool, so that nothing becomes of it.
#[derive(Debug)]
struct Unstored;

impl Fate for Unstored {
    fn id(&self) -> &'static str {
        ""
    }

    fn records(&self) -> u64 {
        1
    }

    fn items(&self, _count: CountItems) -> Option<u64> {
        Some(1)
    }

    fn ack(&self) {}

    fn ack_up_to(&self, _records: u64) -> Result<bool, SpoolError> {
        Ok(true)
    }

    fn reject_inferred(&self, _status: u16, _response: &str, _now: SystemTime) -> Result<(), SpoolError> {
        Ok(())
    }

    fn reject(&self, _status: u16, _response: &str, _now: SystemTime) -> Result<(), SpoolError> {
        Ok(())
    }

    fn reject_some(&self, _rejections: &[Rejection<'_>], _status: u16, _now: SystemTime) -> Result<bool, SpoolError> {
        Ok(true)
    }
}
