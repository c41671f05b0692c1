//! [`OriginTag`]: the origin of an endpoint, as short as the name of a directory needs it. It touches nothing.
//!
//! A queue's directory names in this way whom its records are for. It does so from the moment that it exists: no kill and no power
//! cut leaves records without it.

use std::fmt;

use super::position::parse_hex;
use crate::config::values::Origin;

/// A number that two different origins do not share: the FNV-1a hash of the text, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OriginTag(u64);

impl OriginTag {
    pub(super) fn of(origin: &Origin) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        Self(origin.as_str().bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
    }

    /// The tag that a part of a name spells.
    pub(super) fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for OriginTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tags are a part of the format.
    #[test]
    fn a_tag_is_the_same_for_ever() {
        for (origin, tag) in [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")] {
            assert_eq!(OriginTag::of(&Origin::new(origin)).to_string(), tag, "{origin}");
        }
    }
}
