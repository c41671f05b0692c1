//! Files that are rotated as Python's `RotatingFileHandler` rotates them: `file:///var/log/app.log?max_bytes=10MiB&backups=5`.
//!
//! A batch is delivered when its records are appended and synced. Records are never cut: [`lines`] has what is written of a
//! batch, [`rotating`] one file and its backups, [`names`] which file a partition has. All of it happens on a thread of its
//! own, since a disk may take its time.
//!
//! **At least once:** a batch whose append was interrupted by a kill, or whose delivery was not noted before one, comes again,
//! so the file can have its records twice. What an error leaves of a batch is taken back.

mod lines;
mod names;
mod options;
mod rotating;
mod transport;

pub(crate) use transport::open;
