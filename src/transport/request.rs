//! What one request carries.

use std::time::{Duration, SystemTime};

/// What a header hook is told of the batch that it is asked for.
#[derive(Clone, Debug)]
pub struct BatchContext {
    pub(crate) id: String,
    pub(crate) partition_key: String,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) first_timestamp: SystemTime,
    pub(crate) last_timestamp: SystemTime,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
}

impl BatchContext {
    /// The id of the batch, the same on every attempt and after a restart; sent as `Idempotency-Key`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the partition key function returned for every record of the batch; empty without one.
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// How many records the batch has, at least one.
    pub fn records(&self) -> usize {
        self.records
    }

    /// The length of the request body in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The earliest timestamp among the entries that the batch touches.
    pub fn first_timestamp(&self) -> SystemTime {
        self.first_timestamp
    }

    /// The latest timestamp among the entries that the batch touches.
    pub fn last_timestamp(&self) -> SystemTime {
        self.last_timestamp
    }

    /// Which attempt this is, from 1, counted since the batch was first read by this process.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long the oldest record of the batch has been in the spool.
    pub fn age(&self) -> Duration {
        self.age
    }
}
