//! The parts that several formats share: values, attributes, levels, objects, places in the code, templates.

pub(super) mod any_value;
pub(super) mod attributes;
pub(super) mod depth;
pub(super) mod level;
pub(super) mod object;
pub(super) mod origin;
pub(super) mod template;
pub(crate) mod time;
