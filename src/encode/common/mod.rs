//! The parts that several formats share: values, strings, numbers, attributes, levels, objects, places in the code, templates.

pub(super) mod any_value;
pub(super) mod attributes;
pub(super) mod depth;
pub(super) mod level;
pub(super) mod number;
pub(super) mod object;
pub(super) mod origin;
pub(super) mod string;
pub(super) mod template;
pub(crate) mod time;
