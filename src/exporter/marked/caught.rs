//! [`Caught`]: what an SDK's processor is handed, for the one who ended the span or recorded the metric.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::BoxError;

/// What an SDK's processor is handed; the SDK owns one half.
#[derive(Debug)]
pub(super) struct Caught<T>(Arc<Mutex<Option<T>>>);

impl<T> Caught<T> {
    pub(super) fn new() -> (Self, Self) {
        let shared = Arc::default();
        (Self(Arc::clone(&shared)), Self(shared))
    }

    pub(super) fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    pub(super) fn take(&self) -> Result<T, BoxError> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| "the SDK gave no record".into())
    }
}
