//! What is sent when.

pub(crate) mod attempt;
pub(crate) mod concurrency;
pub(crate) mod retry;
pub(crate) mod worker;

#[cfg(test)]
mod model;
