//! What several formats have in common.

pub(super) mod any_value;
pub(super) mod attributes;
pub(super) mod level;
pub(super) mod object;
pub(super) mod origin;
pub(super) mod template;
pub(crate) mod time;
