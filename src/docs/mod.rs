//! The book: one module for each chapter. It exists in the documentation only, and its code is tested.
//!
//! A run of the example `quickstart`, whose endpoint goes down and whose service is killed meanwhile; drawn by `just picture`:
//!
#![doc = include_str!("quickstart.svg")]

#[doc = include_str!("comparison.md")]
pub mod comparison {}
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
#[doc = include_str!("recipes.md")]
pub mod recipes {}
#[cfg(any(doc, feature = "relay"))]
#[doc = include_str!("relay.md")]
pub mod relay {}
#[doc = include_str!("relay_clients.md")]
pub mod relay_clients {}
#[doc = include_str!("short_lived.md")]
pub mod short_lived {}
#[doc = include_str!("stability.md")]
pub mod stability {}
#[doc = include_str!("tool.md")]
pub mod tool {}
#[doc = include_str!("tool_json.md")]
pub mod tool_json {}
#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
