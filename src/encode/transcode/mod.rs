//! OTLP from one encoding to the other, without anything built in between: a walk over a message that a table of OTLP's messages leads.
//!
//! | file | |
//! |---|---|
//! | `messages` | the table |
//! | `wire` | protobuf's wire format |
//! | `to_json` | protobuf as JSON |
//!
//! The table is apart from the one by which records are encoded: here is read what any program sends and what an exporter of any version
//! has spooled, and tests compare both. JSON as protobuf is in the relay, since nobody else reads JSON.

#[cfg(test)]
pub(crate) mod draw;
pub(crate) mod messages;
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "the tool alone prints whole requests"))]
mod to_json;
pub(crate) mod wire;

#[cfg(any(feature = "cli", test))]
pub(crate) use to_json::request;
pub(crate) use to_json::{Unreadable, write_object};
