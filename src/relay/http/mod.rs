//! The relay's HTTP/1 server.
