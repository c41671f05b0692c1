//! Frames of Python's `SocketHandler`: any bytes are a record, which is JSON, or none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_spool::relay_fuzzing;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let json = relay_fuzzing::frame(body);
    assert_eq!(relay_fuzzing::is_record(body), json.is_some());
    if let Some(json) = json {
        let record: Value = serde_json::from_slice(&json).expect("valid JSON");
        assert!(record.is_object());
    }
});
