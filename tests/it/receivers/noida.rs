//! noida-db, which has `_bulk`, written anew.

use super::*;

/// The program and its data.
fn noida() -> Option<(Search, TempDir)> {
    let (package, dir, port) = (installed("noida/lib")?, spool_dir(), free_port());
    // The script beside it starts it and does not end with it.
    let python = fs::read_dir(package).expect("a directory").next().expect("a Python").expect("a directory").path();
    let mut noida = Command::new(python.join("site-packages/noida_db/noida-db"));
    noida.args(["start", "--only", "elasticsearch", "--elasticsearch-port", &port.to_string(), "--data-dir"]);
    noida.arg(dir.path().join("data"));
    let log = dir.path().join("log");
    let program = Program::keep("TERM", &noida, &log);
    wait_for_port(port, &log);
    Some((Search { _program: program, url: format!("http://127.0.0.1:{port}") }, dir))
}

#[test]
fn noidas_bulk_has_every_document_once_and_refuses_the_one_that_does_not_fit() {
    let Some((search, _dir)) = noida() else { return };
    // A list of several types fits no field.
    let unindexed = json!({"type": "object", "enabled": false});
    let extra = json!({"properties": {"amount": {"type": "long"}, "list": unindexed, "map": unindexed}});
    let properties = json!({"@timestamp": {"type": "date"}, "message": {"type": "keyword"}, "extra": extra});
    search.ask("PUT", "/logs", &json!({"mappings": {"properties": properties}}));
    let (front, spool) = (front(&search.url), spool_dir());
    let exporter = exporter_to(&front.url("/logs/_bulk"), &spool);
    let service = shop(exporter.with_encoder(BulkEncoder::default()).with_compression(Compression::Gzip));
    let expected = orders_of_which_one_has_no_number(&service);
    service.deliver();

    assert_eq!(messages(&search.documents()), expected);
    check_retry(&front);
    let rejected = service.handle.rejected().expect("a rejected store");
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].response.contains("amount"), "{}", rejected[0].response);
}
