//! Frames and entries: any bytes can be read, and what was written is read as it was.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use opentelemetry_spool::{Framing, fuzzing};

const SEGMENT: (u64, u64) = (7, 3);
const FRAMINGS: [Framing; 4] = [
    Framing::json_array(),
    Framing::ndjson(),
    Framing::new("", "", "", ""),
    Framing::new("text/plain; charset=utf-8", "<<", "--separator--", ">>"),
];

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Bytes that are neither a frame nor an entry, most of the time.
    Any(&'a [u8]),
    /// An entry, and what is changed in it.
    Entry {
        first_record: u64,
        key: &'a str,
        framing: u8,
        /// Each with its outer and its inner envelope.
        records: Vec<fuzzing::Nested>,
        compressed: bool,
        changes: Vec<(u16, u8)>,
        cut: Option<u16>,
    },
    /// A file of frames and other things.
    File(Vec<Piece<'a>>),
}

#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Frame { number: u8, part: u8, parts: u8, payload: &'a [u8], repeat: u16, damage: Option<(u32, u8)> },
    Garbage(&'a [u8]),
    Magic,
    Zeros(u16),
}

fn read_any(bytes: &[u8]) {
    let _ = fuzzing::read_entry(bytes, 20);
    let _ = fuzzing::read_frame(SEGMENT, bytes);
    let _ = fuzzing::scan(SEGMENT, bytes);
}

fn check_file(pieces: &[Piece<'_>]) {
    let mut file = Vec::new();
    let mut whole = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Frame { number, part, parts, payload, repeat, damage } => {
                let times = usize::from(*repeat % 1500) + 1;
                let payload = payload.repeat(times.min(65_536 / payload.len().max(1)).max(1));
                let parts = u32::from(*parts) + 1;
                let frame =
                    (u64::from(*number), u32::from(*part) % parts, parts, &payload[..payload.len().min(65_536)]);
                let mut bytes = fuzzing::write_frame(SEGMENT, frame);
                assert_eq!(fuzzing::read_frame(SEGMENT, &bytes), Some(frame));
                if let Some((at, by)) = damage.filter(|(_, by)| *by != 0) {
                    let at = at as usize % bytes.len();
                    bytes[at] ^= by;
                    assert_eq!(fuzzing::read_frame(SEGMENT, &bytes), None, "one byte that differs is noticed");
                } else {
                    whole.push((frame.0, file.len() as u64, bytes.len()));
                }
                file.extend(bytes);
            }
            Piece::Garbage(bytes) => file.extend(*bytes),
            Piece::Magic => file.extend(b"\xf5OSf\x01\x00\x00\x00"),
            Piece::Zeros(len) => file.resize(file.len() + usize::from(*len), 0),
        }
    }
    // The first of those with the same number counts.
    whole.sort_by_key(|(number, ..)| *number);
    whole.dedup_by_key(|(number, ..)| *number);
    assert_eq!(fuzzing::scan(SEGMENT, &file), whole);
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Any(bytes) => read_any(bytes),
    Input::Entry { first_record, key, framing, records, compressed, changes, cut } => {
        if records.is_empty() {
            return;
        }
        let framing = match usize::from(framing) % (FRAMINGS.len() + 2) {
            nested @ (0 | 1) => fuzzing::nested(nested == 1),
            flat => FRAMINGS[flat - 2].clone(),
        };
        let mut bytes = fuzzing::write_entry(first_record % (1 << 60), key, &framing, &records, compressed);
        let read = fuzzing::read_entry(&bytes, u64::MAX).expect("what was written is an entry");
        let expected = fuzzing::stored_order(&framing, records);
        assert_eq!((&*read.0, &read.1, &read.2), (key, &framing, &expected));
        for (at, by) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= by;
        }
        bytes.truncate(cut.map_or(usize::MAX, usize::from));
        read_any(&bytes);
    }
    Input::File(pieces) => check_file(&pieces),
});
