//! Requests of HTTP: any bytes can be read, within the limits, and however they are cut into pieces.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use opentelemetry_spool::relay_fuzzing::http;

/// What requests are made of.
const WORDS: [&[u8]; 24] = [
    b"GET /log?a=b HTTP/1.1\r\n",
    b"POST http://a/b HTTP/1.1\r\n",
    b"PUT log HTTP/1.0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-length: 11\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Content-Encoding: ",
    b"Name: value\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" HTTP/1.1\r\n",
    b"01234",
    b"5\r\n01234\r\n",
    b"0\r\n\r\n",
    b"a;b=c\r\n",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x78\x9c\x03\x00\x00\x00\x00\x01",
    b"\x00\x00\x00\xff\xff",
    b"\xed\xc1\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee\x08\x0a",
];

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
