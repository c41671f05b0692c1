//! [`Groups`]: runs of records, grouped by the envelopes that they stand in, in memory. Records are copied, and nothing is
//! decoded: lengths follow from those of the parts.
//!
//! ```text
//! protobuf   0x0a length [ outer   0x12 length [ inner   records ]... ]...
//! JSON       outer  inner records ]} , inner records ]}  ]} , outer ...
//! ```
//!
//! Outer and inner envelope, and records, are bytes that the encoder made: what they say, and of which signal it is, is not
//! known here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use crate::encode::blocks::Envelope;
use crate::encode::framing::{Framing, Nesting};

/// The tags of the two messages, as protobuf has them: the fields 1 and 2, each with a length.
const OUTER_TAG: u8 = 0x0a;
const INNER_TAG: u8 = 0x12;

/// The end of both texts in JSON: of the list and of the object that an envelope begins.
const CLOSE: &[u8] = b"]}";

/// Records of one envelope that follow one another, joined by the separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub(super) envelope: Envelope<'a>,
    pub(super) records: &'a [u8],
}

/// The envelope of a run, by its place in the bytes that were written. The records follow the inner one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) outer: Range<usize>,
    pub(super) inner: Range<usize>,
}

/// Runs by outer and inner envelope, each in the order in which they first appeared.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    nesting: Nesting,
    separator: &'a [u8],
    runs: &'a [Run<'a>],
    outers: Vec<Group<'a>>,
    inners: Vec<Group<'a>>,
    len: usize,
}

#[derive(Debug)]
struct Group<'a> {
    text: &'a [u8],
    /// The numbers of inner groups, or of runs.
    members: Vec<usize>,
    /// How many bytes it has, without what stands around it.
    len: usize,
}

/// Appends runs as they stand in a body. Those without envelopes are one.
pub(super) fn write_runs(framing: &Framing, runs: &[Run<'_>], out: &mut Vec<u8>) {
    match framing.nesting() {
        Nesting::Flat => runs.iter().for_each(|run| out.extend_from_slice(run.records)),
        Nesting::Protobuf | Nesting::Json => Groups::new(framing, runs).write(out, |_, _| ()),
    }
}

/// The most that stands around an envelope and the records in it.
pub(super) fn overhead(framing: &Framing) -> usize {
    match framing.nesting() {
        Nesting::Flat => 0,
        // The tag, and a length below 2^35.
        Nesting::Protobuf => 1 + 5 + framing.separator().len(),
        Nesting::Json => CLOSE.len() + framing.separator().len(),
    }
}

impl<'a> Groups<'a> {
    pub(super) fn new(framing: &'a Framing, runs: &'a [Run<'a>]) -> Self {
        let (nesting, separator) = (framing.nesting(), framing.separator());
        let (mut outers, mut inners) = (Vec::<Group<'_>>::new(), Vec::<Group<'_>>::new());
        let (mut outer_of, mut inner_of) = (HashMap::new(), HashMap::new());
        let mut latest: Option<(usize, usize)> = None;
        for (number, run) in runs.iter().enumerate() {
            let Envelope { outer, inner } = run.envelope;
            let at = match latest {
                Some((at, _)) if outers[at].text == outer => at,
                _ => find(&mut outer_of, outer, outer, &mut outers).0,
            };
            let (inner_at, is_new) = match latest {
                Some((outer_at, inner_at)) if outer_at == at && inners[inner_at].text == inner => (inner_at, false),
                _ => find(&mut inner_of, (at, inner), inner, &mut inners),
            };
            if is_new {
                outers[at].members.push(inner_at);
            }
            inners[inner_at].members.push(number);
            latest = Some((at, inner_at));
        }
        let mut groups = Self { nesting, separator, runs, outers, inners, len: 0 };
        groups.measure();
        groups
    }

    /// Lengths, from the inside outwards.
    fn measure(&mut self) {
        let (nesting, separator) = (self.nesting, self.separator.len());
        for inner in &mut self.inners {
            let records: usize = inner.members.iter().map(|run| self.runs[*run].records.len()).sum();
            inner.len = inner.text.len() + records + separator * (inner.members.len() - 1) + closing(nesting).len();
        }
        for outer in &mut self.outers {
            let inners: usize = outer.members.iter().map(|inner| around(nesting, self.inners[*inner].len)).sum();
            outer.len = outer.text.len() + inners + separator * (outer.members.len() - 1) + closing(nesting).len();
        }
        let outers: usize = self.outers.iter().map(|outer| around(nesting, outer.len)).sum();
        self.len = outers + separator * self.outers.len().saturating_sub(1);
    }

    /// How many bytes it all has.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether the records are in the order in which they were given.
    pub(super) fn is_in_order(&self) -> bool {
        let inners = self.outers.iter().flat_map(|outer| &outer.members);
        inners.flat_map(|inner| &self.inners[*inner].members).is_sorted()
    }

    /// Appends it all to `out`, and says of each run, by its number and in the order in which they are written, where its
    /// envelope is from the start of that.
    pub(super) fn write(&self, out: &mut Vec<u8>, mut written: impl FnMut(usize, &Placed)) {
        out.reserve(self.len);
        let start = out.len();
        for (nth, outer) in self.outers.iter().enumerate() {
            let outer_range = self.open(OUTER_TAG, nth, outer, start, out);
            for (nth, inner) in outer.members.iter().map(|inner| &self.inners[*inner]).enumerate() {
                let inner_range = self.open(INNER_TAG, nth, inner, start, out);
                for (nth, number) in inner.members.iter().enumerate() {
                    if nth > 0 {
                        out.extend_from_slice(self.separator);
                    }
                    written(*number, &Placed { outer: outer_range.clone(), inner: inner_range.clone() });
                    out.extend_from_slice(self.runs[*number].records);
                }
                out.extend_from_slice(closing(self.nesting));
            }
            out.extend_from_slice(closing(self.nesting));
        }
        debug_assert_eq!(out.len() - start, self.len, "lengths stand before what they are of");
    }

    /// Begins a group, the `nth` of those beside it; returns where its envelope is.
    fn open(&self, tag: u8, nth: usize, group: &Group<'_>, start: usize, out: &mut Vec<u8>) -> Range<usize> {
        if nth > 0 {
            out.extend_from_slice(self.separator);
        }
        if self.nesting == Nesting::Protobuf {
            out.push(tag);
            write_varint(group.len, out);
        }
        let at = out.len() - start;
        out.extend_from_slice(group.text);
        at..at + group.text.len()
    }
}

/// The number of the group of `key`, and whether it was just added.
fn find<'a, K: std::hash::Hash + Eq>(
    of: &mut HashMap<K, usize>,
    key: K,
    text: &'a [u8],
    groups: &mut Vec<Group<'a>>,
) -> (usize, bool) {
    match of.entry(key) {
        Entry::Occupied(found) => (*found.get(), false),
        Entry::Vacant(place) => {
            groups.push(Group { text, members: Vec::new(), len: 0 });
            (*place.insert(groups.len() - 1), true)
        }
    }
}

fn closing(nesting: Nesting) -> &'static [u8] {
    if nesting == Nesting::Json { CLOSE } else { &[] }
}

/// The length of a group with what stands before it.
fn around(nesting: Nesting, len: usize) -> usize {
    if nesting == Nesting::Protobuf { 1 + varint_len(len) + len } else { len }
}

fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn write_varint(mut value: usize, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(outer: &'a str, inner: &'a str, records: &'a str) -> Run<'a> {
        let envelope = Envelope { outer: outer.as_bytes(), inner: inner.as_bytes() };
        Run { envelope, records: records.as_bytes() }
    }

    fn written(framing: &Framing, runs: &[Run<'_>]) -> (String, Vec<(usize, Placed)>) {
        let (mut out, mut placed) = (b"before".to_vec(), Vec::new());
        let groups = Groups::new(framing, runs);
        groups.write(&mut out, |number, at| placed.push((number, at.clone())));
        assert_eq!(out.len() - 6, groups.len());
        (String::from_utf8(out.split_off(6)).unwrap(), placed)
    }

    #[test]
    fn runs_are_grouped_by_outer_and_inner_envelope_in_the_order_of_their_first_ones() {
        let runs = [
            run("{R[", "{a[", "1,2"),
            run("{S[", "{a[", "3"),
            run("{R[", "{b[", "4"),
            run("{S[", "{a[", "5"),
            run("{R[", "{a[", "6"),
        ];
        let json = Framing::json_array().nested(Nesting::Json);
        let (text, placed) = written(&json, &runs);
        assert_eq!(text, "{R[{a[1,2,6]},{b[4]}]},{S[{a[3,5]}]}");
        let texts: Vec<_> =
            placed.iter().map(|(run, at)| (*run, &text[at.outer.clone()], &text[at.inner.clone()])).collect();
        let expected = [(0, "{R[", "{a["), (4, "{R[", "{a["), (2, "{R[", "{b["), (1, "{S[", "{a["), (3, "{S[", "{a[")];
        assert_eq!(texts, expected);
        assert!(!Groups::new(&json, &runs).is_in_order() && Groups::new(&json, &runs[..2]).is_in_order());
        let protobuf = Framing::new("", "", "", "").nested(Nesting::Protobuf);
        let (text, _) = written(&protobuf, &[run("R", "a", "12"), run("", "", "3"), run("R", "b", "4")]);
        assert_eq!(text, "\n\nR\u{12}\u{3}a12\u{12}\u{2}b4\n\u{3}\u{12}\u{1}3");
    }

    #[test]
    fn a_length_of_any_size_is_a_varint() {
        for (value, expected) in
            [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (300, &[172, 2]), (1 << 31, &[128, 128, 128, 128, 8])]
        {
            let mut out = Vec::new();
            write_varint(value, &mut out);
            assert_eq!((&*out, varint_len(value)), (expected, expected.len()));
        }
    }
}
