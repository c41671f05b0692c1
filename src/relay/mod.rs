//! The relay: what other processes of the host send goes through the same spool as the records of an exporter.
//!
//! ```text
//!  listeners/            protocols/               intake                      as with an exporter
//!  sockets, frames,  ->  a message's bytes    ->  encode, buffer, commit,  -> spool -> delivery -> transport
//!  http/                 to records               answer
//! ```

#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod json;
mod pickle;
mod protocol;
mod protocols;
mod record;
