//! The relay, through `Relay::builder()` and as the command `otel-spool relay` in a process of its own, which is killed.
//!
//! Its clients are written byte by byte, as those that they stand for send: `client.rs`. The endpoint counts what it is sent.

mod answers;
mod check;
mod client;
#[cfg(unix)]
mod clients;
mod exactly_once;
#[cfg(unix)]
mod inherited;
mod message;
mod process;
mod record_filter;
mod refusals;
#[cfg(unix)]
mod shutdown;
mod stalled_disk;
mod status;
mod stored_before_answer;

use std::path::Path;

use common::Receiver;
use opentelemetry_spool::{Listener, Relay, RelayBuilder};

use client::Http;

/// Any port of the loopback address.
fn any_port() -> std::net::SocketAddr {
    std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0))
}

/// A relay within this process, which sends JSON and listens on what is added.
fn builder(receiver: &Receiver, spool: &Path) -> RelayBuilder {
    Relay::builder().with_spool_dir(spool).with_endpoint(receiver.url("/ingest"))
}

/// The same with a listener of HTTP.
fn http_relay(receiver: &Receiver, spool: &Path) -> Relay {
    builder(receiver, spool).with_listener(Listener::Http(any_port())).build().expect("a relay")
}

/// A connection to the first listener of a relay.
fn http_of(relay: &Relay) -> Http {
    Http::connect(relay.addresses()[0]).expect("the relay listens")
}
