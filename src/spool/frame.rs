//! [`Frame`]: one value of a segment's database. It is bytes in memory; [`scan`] reads a file that it is given.
//!
//! The storage engine does not report damage, so every value carries what is needed to recognise it anywhere in a raw
//! file: a magic number, the frame's number, its length and a checksum that also covers the segment's id. An entry
//! that is larger than a frame takes several, one after the other.
//!
//! ```text
//! magic 4 | version 2 | 0 2 | number 8 | part 4 | parts 4 | length 4 | crc32 4 | payload
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::bytes::{Fields, index, len32};
use super::fault::is_damage;
use super::position::SegmentId;

const MAGIC: [u8; 4] = *b"\xf5OSf";
const VERSION: u16 = 1;
const CRC_AT: usize = 28;
pub(super) const HEADER_BYTES: usize = 32;

/// The payload of each frame of an entry but the last one.
///
/// The engine keeps a page inline up to a quarter of its 1 MiB log segments and makes a blob file of a larger one, which
/// is never synced: a whole leaf of nine such frames stays below that, and one of ten would. Nor does it let a value cross the end of a
/// log segment, so that on average half a value is left empty there: 1.2 % with values of this size.
pub(super) const FULL_PAYLOAD_BYTES: usize = 24 << 10;

/// The largest payload of a frame that is read. Earlier builds wrote such ones.
const MAX_PAYLOAD_BYTES: usize = 64 << 10;

/// A frame that was read and whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Counted from zero in each segment, without holes.
    pub(super) number: u64,
    /// Which part of its entry this is, from zero.
    pub(super) part: u32,
    /// How many parts its entry has.
    pub(super) parts: u32,
    pub(super) payload: &'a [u8],
}

fn checksum(segment: SegmentId, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.random.to_le_bytes());
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// Calls `write` with each frame of an entry, and its number; `framed` is the entry behind room for a header. Returns how many there
/// are. A header takes the place of what was written before.
pub(super) fn write_entry<E>(
    segment: SegmentId,
    first_number: u64,
    framed: &mut [u8],
    write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let len = framed.len() - HEADER_BYTES;
    let parts = len32(len.div_ceil(FULL_PAYLOAD_BYTES));
    write_parts(segment, first_number, framed, parts, FULL_PAYLOAD_BYTES, write)?;
    Ok(parts.into())
}

/// The same in so many frames, of which the last ones may be empty; false, and nothing, if they do not hold it without one whose payload
/// is longer than `most`.
#[cfg(feature = "cli")]
pub(super) fn write_entry_in<E>(
    parts: u32,
    most: usize,
    segment: SegmentId,
    first_number: u64,
    framed: &mut [u8],
    write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<bool, E> {
    let part_bytes = (framed.len() - HEADER_BYTES).div_ceil(parts.max(1) as usize);
    if part_bytes > most {
        return Ok(false);
    }
    write_parts(segment, first_number, framed, parts, part_bytes, write)?;
    Ok(true)
}

fn write_parts<E>(
    segment: SegmentId,
    first_number: u64,
    framed: &mut [u8],
    parts: u32,
    part_bytes: usize,
    mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let len = framed.len() - HEADER_BYTES;
    for part in 0..parts {
        let start = len.min(part as usize * part_bytes);
        let end = len.min(start + part_bytes) + HEADER_BYTES;
        let number = first_number + u64::from(part);
        write_header(segment, number, part, parts, &mut framed[start..end]);
        write(number, &framed[start..end])?;
    }
    Ok(())
}

/// Writes the header of a frame before its payload.
fn write_header(segment: SegmentId, number: u64, part: u32, parts: u32, framed: &mut [u8]) {
    let (header, payload) = framed.split_at_mut(HEADER_BYTES);
    header[..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[6..8].fill(0);
    header[8..16].copy_from_slice(&number.to_le_bytes());
    header[16..20].copy_from_slice(&part.to_le_bytes());
    header[20..24].copy_from_slice(&parts.to_le_bytes());
    header[24..28].copy_from_slice(&len32(payload.len()).to_le_bytes());
    let crc = checksum(segment, &header[..CRC_AT], payload);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

impl<'a> Frame<'a> {
    /// The bytes of this frame.
    #[cfg(any(test, fuzzing))]
    pub(super) fn to_bytes(self, segment: SegmentId) -> Vec<u8> {
        let mut framed = [&[0; HEADER_BYTES], self.payload].concat();
        write_header(segment, self.number, self.part, self.parts, &mut framed);
        framed
    }

    /// The frame at the start of `bytes`, if there is a whole one of this segment.
    pub(super) fn read(segment: SegmentId, bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.take(4)? != MAGIC || fields.u16()? != VERSION {
            return None;
        }
        let _reserved = fields.u16()?;
        let number = fields.u64()?;
        let (part, parts) = (fields.u32()?, fields.u32()?);
        let len = fields.u32()? as usize;
        let crc = fields.u32()?;
        let payload = fields.take(len)?;
        (part < parts && checksum(segment, &bytes[..CRC_AT], payload) == crc).then_some(Self {
            number,
            part,
            parts,
            payload,
        })
    }
}

/// The location of a frame in a raw file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// Finds every whole frame of the segment in a database's file, by number, whatever lies between them, and what `read`
/// makes of it.
pub(super) fn scan<T>(
    segment: SegmentId,
    mut file: impl Read,
    read: impl Fn(Frame<'_>) -> T,
) -> io::Result<Vec<(Location, T)>> {
    // Two frames long, and refilled while less than one is left: every frame is once whole in it.
    let mut window = vec![0; 2 * (HEADER_BYTES + MAX_PAYLOAD_BYTES)];
    let (mut filled, mut window_at, mut found) = (0, 0, Vec::new());
    loop {
        let ended = fill(&mut file, &mut window, &mut filled)?;
        let bytes = &window[..filled];
        let keep = if ended { 0 } else { HEADER_BYTES + MAX_PAYLOAD_BYTES };
        let mut at = 0;
        while bytes.len() - at > keep {
            let Some(magic) = find_magic(&bytes[at..]) else {
                // The start of a magic number may be all that is in the window of it.
                at = at.max(bytes.len().saturating_sub(MAGIC.len() - 1));
                break;
            };
            at += magic;
            if bytes.len() - at <= keep {
                break;
            }
            match Frame::read(segment, &bytes[at..]) {
                Some(frame) => {
                    let len = HEADER_BYTES + frame.payload.len();
                    found.push((Location { number: frame.number, offset: window_at + at as u64, len }, read(frame)));
                    at += len;
                }
                None => at += 1,
            }
        }
        if ended {
            break;
        }
        window.copy_within(at..filled, 0);
        filled -= at;
        window_at += at as u64;
    }
    // The engine may have rewritten a value; either copy is whole and the same.
    found.sort_by_key(|(location, _)| location.number);
    found.dedup_by_key(|(location, _)| location.number);
    Ok(found)
}

/// The choice for a block that the disk does not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadErrors {
    /// It may yet.
    Fail,
    /// The disk was asked often enough: the block costs what is in it, and nothing else.
    Skip,
}

/// A file in which blocks that cannot be read may be read as zeros.
#[derive(Debug)]
pub(super) struct Patched<'a> {
    file: &'a mut File,
    at: u64,
    errors: ReadErrors,
}

impl<'a> Patched<'a> {
    /// Reads from the start of a file.
    pub(super) fn new(file: &'a mut File, errors: ReadErrors) -> Self {
        Self { file, at: 0, errors }
    }
}

impl Read for Patched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const BLOCK: u64 = 4096;
        let read = match self.file.read(buffer) {
            Err(error) if self.errors == ReadErrors::Skip && is_damage(&error) => {
                let left_in_block = (BLOCK - self.at % BLOCK).min(self.file.metadata()?.len().saturating_sub(self.at));
                let len = buffer.len().min(index(left_in_block));
                buffer[..len].fill(0);
                self.file.seek(SeekFrom::Start(self.at + len as u64))?;
                len
            }
            read => read?,
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads until the window is full; true at the end of the file.
fn fill(file: &mut impl Read, window: &mut [u8], filled: &mut usize) -> io::Result<bool> {
    while *filled < window.len() {
        match file.read(&mut window[*filled..]) {
            Ok(0) => return Ok(true),
            Ok(read) => *filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether there is the beginning of a frame of any number from `number` on: one that was not written to its end, or is
/// damaged.
#[cfg(feature = "cli")]
pub(super) fn begins_after(number: u64, bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = find_magic(&bytes[at..]) {
        at += found;
        let mut fields = Fields(&bytes[at + MAGIC.len()..]);
        let (version, _reserved, found) = (fields.u16(), fields.u16(), fields.u64());
        if version == Some(VERSION) && found.is_some_and(|found| found >= number) {
            return true;
        }
        at += 1;
    }
    false
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        // The first byte occurs in no UTF-8 text, so this walks over payload quickly.
        let at = from + bytes[from..].iter().position(|&byte| byte == MAGIC[0])?;
        if bytes[at..].starts_with(&MAGIC) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentId = SegmentId { random: 7, number: 3 };

    fn bytes_of(number: u64, payload: &[u8]) -> Vec<u8> {
        Frame { number, part: 0, parts: 1, payload }.to_bytes(SEGMENT)
    }

    fn locations(file: impl Read) -> Vec<Location> {
        scan(SEGMENT, file, |_| ()).unwrap().into_iter().map(|(location, ())| location).collect()
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let bytes = bytes_of(5, b"hello");
        let frame = Frame::read(SEGMENT, &bytes).unwrap();
        assert_eq!(frame, Frame { number: 5, part: 0, parts: 1, payload: b"hello" });
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_is_read() {
        let bytes = bytes_of(5, b"hello");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Two bytes are reserved; the checksum covers them as well.
            assert_eq!(Frame::read(SEGMENT, &damaged), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Frame::read(SEGMENT, &bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_frame_of_another_segment_is_not_read() {
        let bytes = bytes_of(5, b"hello");
        assert!(Frame::read(SegmentId { random: 7, number: 4 }, &bytes).is_some());
        assert_eq!(Frame::read(SegmentId { random: 8, number: 3 }, &bytes), None);
    }

    #[test]
    fn a_scan_finds_every_whole_frame_between_garbage() {
        let mut file = b"garbage \xf5OS \xf5OSf more".to_vec();
        for number in [2, 0, 1, 1] {
            let at = file.len() as u64;
            file.extend(bytes_of(number, format!("payload {number}").as_bytes()));
            file.extend(b"\xf5\xf5OSf");
            assert!(locations(&file[..]).iter().any(|frame| frame.number == number && frame.offset <= at));
        }
        let damaged = file.len() + 40;
        file.extend(bytes_of(3, &[b'x'; 100]));
        file.extend(bytes_of(4, b"after"));
        file[damaged] ^= 1;
        let numbers: Vec<_> = locations(&file[..]).iter().map(|frame| frame.number).collect();
        assert_eq!(numbers, [0, 1, 2, 4]);
    }

    /// Hands out a file in pieces that end anywhere.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(buffer.len());
            self.0.read(&mut buffer[..len])
        }
    }

    #[test]
    fn a_scan_finds_frames_wherever_they_lie_in_a_long_file() {
        let mut file = Vec::new();
        for (number, nth) in (0..60).zip(0_usize..) {
            let len = [0, 1, 100, 7000, MAX_PAYLOAD_BYTES][nth % 5];
            file.extend(bytes_of(number, &vec![b'x'; len]));
            file.extend(vec![0xf5; (nth * 7919) % 200_000]);
        }
        for piece in [997, 64 << 10, usize::MAX] {
            let locations = locations(Pieces(&file, piece));
            assert!(locations.iter().map(|frame| frame.number).eq(0..60), "pieces of {piece} bytes");
            for frame in locations {
                let at = usize::try_from(frame.offset).unwrap();
                assert_eq!(Frame::read(SEGMENT, &file[at..at + frame.len]).unwrap().number, frame.number);
            }
        }
    }
}
