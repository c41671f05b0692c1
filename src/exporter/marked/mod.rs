//! The record that a probe sends, as an exporter would send it. It says that it is one, by its text and by `spool.probe`.
//!
//! Log records and metrics cannot be made outside the SDK, and a span has ids and limits of the SDK's. So each comes from a provider of its
//! own, which has the resource that providers have by default: that of the environment.

#[cfg(any(feature = "metrics", feature = "trace"))]
mod caught;
mod log;
#[cfg(feature = "metrics")]
mod metric;
mod record;
#[cfg(feature = "trace")]
mod span;

pub(crate) use log::log_record;
#[cfg(feature = "metrics")]
pub(crate) use metric::metric;
pub(crate) use record::Marked;
#[cfg(feature = "trace")]
pub(crate) use span::span;
