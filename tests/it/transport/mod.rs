mod client;
mod headers;
