//! Pickles as data: they are read and never run.
//!
//! Python's `SocketHandler` and `DatagramHandler` send each log record as a pickled dictionary. A pickle is a program for a small stack
//! machine, and Python's own machine imports and calls whatever it names. This one has the same stack and makes *nodes*
//! of it: a class is its name, a call is an object that notes the class and its arguments. Nothing is looked up, nothing
//! is called, and no name is unknown.
//!
//! ```text
//!  bytes -> reader.rs -> node.rs: an arena -> value.rs: what a node is as an attribute's value
//!                                             types.rs: dates, numbers, paths and others that Python sends as calls
//! ```
//!
//! Whatever comes, reading takes time and memory in proportion to the bytes that came: [`limits`] bounds the rest. Nodes refer to
//! one another by number, so that reading and dropping never recurse, and what is made of them is at most
//! [`limits::DEPTH`] deep.

mod limits;
mod node;
mod placeholder;
mod reader;
mod text;
mod types;
mod value;

pub(crate) use reader::read;
pub(crate) use value::Values;
