//! [`Tries`]: the attempts at a batch so far. Plain data.

use std::time::{Duration, Instant};

use crate::delivery::failure::{Failed, Failure};

/// A success that cannot be confirmed counts as one at the third attempt.
pub(crate) const UNCONFIRMED_ATTEMPTS: u32 = 3;

/// Whether it was tried if a batch that fails compressed is taken plain.
#[derive(Clone, Debug)]
pub(crate) enum Compressed {
    Untried,
    /// It is being tried; the failure of the compressed batch.
    Trying(Box<(Failure, Box<Failed>)>),
    Tried,
}

/// The attempts at a batch so far, and how the next one is made.
#[derive(Clone, Debug)]
pub(crate) struct Tries {
    /// The number of the next attempt, from 1, since the process first read the batch.
    pub(crate) attempt: u32,
    /// The time of the first attempt.
    pub(crate) since: Option<Instant>,
    /// The time that the next request may take; as long as the first one where there is none.
    pub(crate) timeout: Option<Duration>,
    /// Requests are not compressed.
    pub(crate) plain: bool,
    /// The batch failed compressed, and that was not put down to the compression yet.
    pub(crate) compressed: Compressed,
    /// An attempt was repeated at once.
    pub(crate) repeated: bool,
    /// How many successes could not be confirmed.
    pub(crate) unconfirmed: u32,
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            attempt: 1,
            since: None,
            timeout: None,
            plain: false,
            compressed: Compressed::Untried,
            repeated: false,
            unconfirmed: 0,
        }
    }
}

impl Tries {
    /// The only attempt at a control: plain, since that the endpoint reads no gzip is not to be found out with it.
    pub(crate) fn of_control() -> Self {
        Self { plain: true, unconfirmed: UNCONFIRMED_ATTEMPTS - 1, ..Self::default() }
    }
}
