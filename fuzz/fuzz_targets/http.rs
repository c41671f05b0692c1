//! Requests of HTTP: any bytes can be read, within the limits, and however they are cut into pieces.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use opentelemetry_spool::relay_fuzzing::{WORDS, http};

#[derive(Arbitrary, Debug)]
enum Part<'a> {
    Any(&'a [u8]),
    Word(u8),
    Repeated(u8, u8),
}

fuzz_target!(|input: (Vec<Part<'_>>, &[u8])| {
    let (parts, lengths) = input;
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Any(any) => bytes.extend(any),
            Part::Word(word) => bytes.extend(WORDS[usize::from(word) % WORDS.len()]),
            Part::Repeated(byte, times) => bytes.resize(bytes.len() + usize::from(times), byte),
        }
    }
    http(&bytes, lengths);
});
