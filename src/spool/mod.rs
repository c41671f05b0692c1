//! The durable queue: a directory of small databases, *segments*, written one after the other. `FORMAT.md` beside
//! this file draws every byte of it.
//!
//! This file is the facade: nothing in this folder imports it. A file imports only those of rows above its own and files of
//! its row.
//!
//! | file | level |
//! |---|---|
//! | `bytes`, `position`, `origin`, `lock`, `fault` | little-endian fields; positions; whom records are for; locks and their order; errors of a disk |
//! | `files`, `mount` | the calls that change files; the file system that a path lies on |
//! | `dir` | which files there are, and who owns them |
//! | `sled_threads`, `store` | the engine's threads; one database |
//! | `frame`, `coding`, `nested`, `entry` | what one value holds; records made smaller; records in the envelopes that they share |
//! | `cursor`, `cursor_file`, `cursor_store` | what is delivered: in memory, in a file, in the files of a queue |
//! | `journal` | records that are logged and not in a segment yet |
//! | `load`, `body`, `segment`, `seal` | which records are stored together or not at all; a request body; a database as a run of entries; what should be in it |
//! | `gap`, `rejected`, `status` | what is missing; what is rejected; what others are told |
//! | `lane`, `index`, `read_cache`, `active`, `jobs` | what waits, of one partition in a segment and of all; what is open; what is written; what is to be done |
//! | `queue` | all of that with its locks |
//! | `partition`, `neighbors` | what the delivery holds of a queue; the queues of one directory, which report losses for each other |
//! | `writer`, `space`, `stranded`, `loss`, `reader`, `withdraw`, `replay`, `hold`, `housekeeper` | the verbs: append; make room; count what is for another origin; report; next, ack, cut, park, try, reject; withdraw; take over a journal; go on without; the rest |
//! | `open`, `adoption` | a spool: one's own queue and the one that is adopted |
//! | `inspect`, `recent_loads`, `look` | all of this read by who does not own it; what a process before this one has stored; whether a spool can be here |
//! | `purge` | records are taken out of the files of a stopped spool |

mod active;
mod adoption;
mod body;
mod bytes;
mod coding;
mod cursor;
mod cursor_file;
mod cursor_store;
mod dir;
mod entry;
mod fault;
pub(crate) mod files;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gap;
mod hold;
mod housekeeper;
mod index;
#[cfg(feature = "cli")]
pub(crate) mod inspect;
mod jobs;
mod journal;
mod lane;
mod load;
mod lock;
mod look;
mod loss;
mod mark;
mod mount;
mod neighbors;
mod nested;
mod open;
mod origin;
mod overwrite;
mod partition;
mod position;
#[cfg(feature = "cli")]
pub(crate) mod purge;
mod queue;
mod read_cache;
mod reader;
#[cfg(feature = "relay")]
mod recent_loads;
mod rejected;
mod replay;
mod seal;
mod segment;
mod sled_threads;
mod space;
mod status;
mod store;
mod stranded;
#[cfg(test)]
mod tests;
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "only metrics are withdrawn"))]
mod withdraw;
mod writer;

pub(crate) use body::Loose;
#[cfg(feature = "relay")]
pub(crate) use bytes::start_of;
pub(crate) use coding::Coding;
#[cfg(feature = "cli")]
pub(crate) use dir::FORMAT;
pub(crate) use dir::Place;
pub(crate) use entry::{LoadId, MAX_RECORD_BYTES};
pub(crate) use gap::{Gap, GapEncoder, Unreported};
pub(crate) use journal::{Generation, Journal};
#[cfg(feature = "relay")]
pub(crate) use load::{Load, RecentLoad};
pub(crate) use look::Look;
#[cfg(any(unix, feature = "cli"))]
pub(crate) use mount::Mount;
pub(crate) use open::Spool;
pub(crate) use partition::{Batch, Partition};
pub(crate) use position::BatchStart;
pub(crate) use queue::{SpoolConfig, SpoolHooks, Wake};
pub(crate) use reader::Next;
#[cfg(feature = "relay")]
pub(crate) use recent_loads::recent_loads;
pub use rejected::RejectedRecord;
pub(crate) use rejected::Rejection;
pub(crate) use withdraw::Appended;
