//! [`Load`]: records that are stored together or not at all, so that a request of which nobody heard an answer can come again.
//! This file finds in the entries of a segment which loads are whole. It is memory only.
//!
//! An append writes its loads one after the other and syncs them together. A kill can leave a part of that, and a power cut any
//! part, of the last append only: the one before it was synced when it began. So what is not whole of the last append was never
//! acknowledged, and what is not whole of an earlier one is damaged.

use std::ops::Range;
use std::time::SystemTime;

use super::entry::system_time;
use super::entry::{EntryHead, LoadId, LoadMark, Summary};
use crate::encode::blocks::Block;

/// Records that are appended together. With an id they are a load: after a kill or a power cut all of them are there, or none.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) id: Option<LoadId>,
    /// Blocks with their partition keys.
    pub(crate) blocks: Vec<(&'a str, &'a Block)>,
}

/// A load that is whole, and when it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecentLoad {
    pub(crate) id: LoadId,
    pub(crate) appended_at: SystemTime,
}

/// An entry as a scan found it: its frames, and what it says if all of them are there.
#[derive(Debug)]
pub(super) struct FoundEntry {
    pub(super) frames: Range<u64>,
    pub(super) summary: Option<Summary>,
}

/// The entries that are whole, in the order in which they were written.
fn whole(found: &[FoundEntry]) -> impl Iterator<Item = (&Range<u64>, &EntryHead)> {
    found.iter().filter_map(|entry| Some((&entry.frames, &entry.summary.as_ref()?.head)))
}

/// The end of the frames that count in a segment without a seal, which has `frames` of them: if the last append has a load, they end
/// before the first load of which anything is missing.
pub(super) fn end_of_whole_loads(found: &[FoundEntry], frames: u64) -> u64 {
    let whole: Vec<_> = whole(found).collect();
    let Some((_, last)) = whole.last() else { return frames };
    let is_earlier = |(_, head): &(_, &EntryHead)| head.appended_at != last.appended_at;
    let (earlier, append) = whole.split_at(whole.iter().rposition(is_earlier).map_or(0, |at| at + 1));
    if append.iter().all(|(_, head)| head.load == LoadMark::NONE) {
        return frames;
    }
    let (first, head) = append[0];
    // Frames that are missing before its first entry are of an earlier append, and damaged.
    let mut end =
        if head.load.begins_append { first.start } else { earlier.last().map_or(0, |(frames, _)| frames.end) };
    let mut next = end;
    for (frames, head) in append {
        if frames.start != next {
            break;
        }
        next = frames.end;
        if head.load.is_last {
            end = next;
        }
    }
    end
}

/// The loads that are whole. One of which it cannot be said, since frames are missing before what is found of it, is none.
pub(super) fn whole_loads(found: &[FoundEntry]) -> Vec<RecentLoad> {
    let (mut next, mut is_whole, mut loads) = (0, true, Vec::new());
    for (frames, head) in whole(found) {
        is_whole = head.load.begins_append || (is_whole && frames.start == next);
        next = frames.end;
        match head.load.id {
            Some(id) if head.load.is_last => {
                loads.extend(is_whole.then_some(RecentLoad { id, appended_at: system_time(head.appended_at) }));
                is_whole = true;
            }
            Some(_) => {}
            None => is_whole = true,
        }
    }
    loads
}
