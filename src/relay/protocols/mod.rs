//! The protocols: a file each, and the table in which an HTTP request looks for its own.

pub(crate) mod frames;
mod framing;
mod log_record;
mod logserv;
