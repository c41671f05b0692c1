//! Numbers that no other process draws, also not one that was forked from this one.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

/// A number unlike any other.
pub(crate) fn unique_number() -> u64 {
    // What a process has drawn before, its children would draw again.
    RandomState::new().hash_one((std::process::id(), SystemTime::now()))
}
