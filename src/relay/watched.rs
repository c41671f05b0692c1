//! [`Watched`]: how the delivery of a signal is, by its last events.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::event::SpoolEvent;
use crate::relay::status::snapshot::Delivery;

/// How the delivery of a signal is, by its last events.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    delivery: Delivery,
    failed_at: Option<Instant>,
}

impl Watched {
    pub(crate) fn note(&self, event: &SpoolEvent) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let delivery = match event {
            SpoolEvent::DeliveryFailing { reason, .. } => Delivery::Failing(reason.clone()),
            SpoolEvent::BatchHeld { reason, .. } => Delivery::Held(reason.clone()),
            SpoolEvent::DeliveryResumed => Delivery::Working,
            _ => return,
        };
        if delivery != Delivery::Working {
            state.failed_at = Some(Instant::now());
        }
        state.delivery = delivery;
    }

    /// How it is, and how long ago it began to fail last.
    pub(crate) fn state(&self) -> (Delivery, Option<Duration>) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.delivery.clone(), state.failed_at.map(|at| at.elapsed()))
    }
}
