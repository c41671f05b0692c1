//! What a killed process has left in its journal alone: each command says that it is there.

use super::*;

#[test]
fn records_in_a_journal_alone_are_counted_and_what_is_damaged_there_is_named() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let journal = left_in_a_journal(&receiver.url("/ingest"), spool.path());
    let (code, out, _) = run(spool.path(), ["verify"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("500 records: everything is intact\n500 records in journals: "), "{out}");
    let (code, out, error) = run(spool.path(), ["cat"]);
    assert_eq!((code, out.lines().count()), (0, 500), "{error}");
    assert!(error.contains("not printed: 500 records in its journal alone"), "{error}");

    let mut bytes = fs::read(&journal).unwrap();
    let at = bytes.windows(8).position(|bytes| bytes == b"b-000250").unwrap();
    bytes[at] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let (code, out, _) = run(spool.path(), ["verify"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("bytes between the records of its journal cannot be read"), "{out}");
    assert!(out.contains("499 records in journals"), "{out}");
    receiver.come_up();
    Service::batch(exporter(&receiver, &spool)).deliver();
    let expected = [names("a", 1..=500), names("b", 1..=249), names("b", 251..=500)].concat();
    assert_eq!(receiver.delivered(), expected);
}
