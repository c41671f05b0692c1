//! The book: one module for each chapter. It exists in the documentation only, and its code is tested.

#[cfg(any(doc, feature = "config-file"))]
#[doc = include_str!("configuration.md")]
pub mod configuration {}
#[doc = include_str!("cost.md")]
pub mod cost {}
#[doc = include_str!("delivery.md")]
pub mod delivery {}
#[doc = include_str!("formats.md")]
pub mod formats {}
#[doc = include_str!("guarantees.md")]
pub mod guarantees {}
#[doc = include_str!("headers.md")]
pub mod headers {}
#[doc = include_str!("limits.md")]
pub mod limits {}
#[cfg(any(doc, feature = "self-metrics"))]
#[doc = include_str!("metrics.md")]
pub mod metrics {}
#[doc = include_str!("migration.md")]
pub mod migration {}
#[doc = include_str!("operations.md")]
#[doc = ""]
#[doc = include_str!("herd.svg")]
pub mod operations {}
#[doc = include_str!("receivers.md")]
pub mod receivers {}
#[cfg(any(doc, feature = "relay"))]
#[doc = include_str!("relay.md")]
pub mod relay {}
#[doc = include_str!("relay_clients.md")]
pub mod relay_clients {}
#[doc = include_str!("tool.md")]
pub mod tool {}
#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
