//! The relay: what other processes of the host send goes through the same spool as the records of an exporter.
//!
//! ```text
//!  listener   what is read                protocols/       intake, outlet              as with an exporter
//!  tcp, unix  streams  ─ decoder ──┐      a message's      a record's bytes,
//!  udp, ...   datagrams ─ decoder ─┼───>  bytes to     ──> buffer ─ committer ──────>  spool ─> delivery ─> transport
//!  http, otlp http/ ─ requests ────┘      records          │
//!                        ^── answer ── service ── repeats ─┘ committed
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `running`, `settings`, `builder`, `format` | the relay as an application sees it, its settings, and what they suggest |
//! | `plan`, `start` | what is checked before it takes records, and what is made of it |
//! | `listener`, `inherited`, `own`, `server` | sockets; no endpoint is one of them; the tasks that accept and serve |
//! | `streams`, `datagrams`, `decoder` | frames, and the threads that read them as records |
//! | `http/`, `requests` | the HTTP server, and what a listener does with its requests |
//! | `service`, `repeats`, `remembered` | stored before it is answered, and once |
//! | `protocol`, `protocols/`, `pickle/`, `json/`, `record` | from the bytes of a message to records |
//! | `intake`, `partition`, `outlet` | from a record to the buffer of its signal |
//! | `buffer`, `committer` | group commit |
//! | `counts`, `watched`, `status/` | what is seen from outside |

mod buffer;
mod builder;
mod committer;
mod counts;
mod datagrams;
mod decoder;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod inherited;
mod intake;
mod json;
mod listener;
mod outlet;
mod own;
mod partition;
mod pickle;
mod plan;
mod protocol;
mod protocols;
mod record;
mod remembered;
mod repeats;
mod requests;
mod running;
mod server;
mod service;
mod settings;
mod start;
mod status;
mod streams;
#[cfg(test)]
mod testing;
mod watched;

pub use counts::{DropReason, ListenerStats, RelayStats};
pub use listener::Listener;
pub use partition::{ParsePartitionByError, PartitionBy};
#[cfg(feature = "cli")]
pub(crate) use plan::Plan;
pub use running::Relay;
pub use settings::{RelayBuilder, RelaySettings};
