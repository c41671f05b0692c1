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

mod node;
mod reader;
mod text;
mod types;
mod value;

pub(crate) use reader::read;
pub(crate) use value::Values;

/// The budgets. A pickle that exceeds one of the first five is refused; what exceeds one of the others becomes a text.
mod limits {
    /// The nodes of a pickle.
    pub(super) const NODES: usize = 100_000;
    /// The marks that are open at once.
    pub(super) const MARKS: usize = 1_000;
    /// The values on the stack at once.
    pub(super) const STACK: usize = 2 * NODES;
    /// The values in the memo.
    pub(super) const MEMO: usize = 100_000;
    /// The bytes of a line: of a name, or of a text or number in protocol 0.
    pub(super) const LINE: usize = 64 << 10;
    /// The digits of an integer.
    pub(super) const DIGITS: usize = 4_096;
    /// The lists and maps of one value inside one another.
    pub(super) const DEPTH: usize = 64;
    /// The bytes of all values of a record together, roughly as JSON has them. A pickle of a few bytes can name one text many times.
    pub(super) const OUTPUT: usize = 1 << 20;
}

/// The texts that stand for what cannot be shown.
mod placeholder {
    pub(super) const TOO_DEEP: &str = "[nested too deeply]";
    pub(super) const RECURSIVE: &str = "[recursive]";
    pub(super) const TOO_LARGE: &str = "[too large]";
    pub(super) const PERSISTENT_ID: &str = "[persistent id]";
    pub(super) const EXTENSION: &str = "[extension]";
    pub(super) const BUFFER: &str = "[buffer]";
}
