//! The texts that stand for what cannot be shown.

pub(super) const TOO_DEEP: &str = "[nested too deeply]";
pub(super) const RECURSIVE: &str = "[recursive]";
pub(super) const TOO_LARGE: &str = "[too large]";
pub(super) const PERSISTENT_ID: &str = "[persistent id]";
pub(super) const EXTENSION: &str = "[extension]";
pub(super) const BUFFER: &str = "[buffer]";
