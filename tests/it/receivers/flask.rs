//! A Flask application that reads `request.get_json()`, as those do that http-logging's users have.

use super::application::{Application, MAX_BYTES};
use super::*;

fn flask() -> Option<Application> {
    let python = installed("applications/bin/python")?.display().to_string();
    Some(Application::start(|port| {
        let port = port.to_string();
        let flask = ["-m", "flask", "--app", "application:flask_application", "run", "--port", &port];
        std::iter::once(python).chain(flask.map(str::to_owned)).collect()
    }))
}

#[test]
fn a_flask_application_has_every_record() {
    for encoder in [JsonEncoder::default(), JsonEncoder::http_logging_2()] {
        let Some(flask) = flask() else { return };
        let spool = spool_dir();
        let service = shop(exporter_to(&flask.url(), &spool).with_encoder(encoder).with_max_batch_bytes(MAX_BYTES));
        orders(&service, 1..=COUNT);
        assert_eq!(deliver(&service).failed_requests, 0);
        assert_eq!(flask.stored(), names("m", 1..=COUNT));
    }
}

#[test]
fn a_flask_application_that_takes_no_gzip_has_every_record_without() {
    let Some(flask) = flask() else { return };
    let spool = spool_dir();
    let exporter = exporter_to(&flask.url(), &spool).with_max_batch_bytes(MAX_BYTES);
    let service = shop(exporter.with_compression(Compression::Gzip));
    orders(&service, 1..=COUNT);
    deliver(&service);
    assert_eq!(flask.stored(), names("m", 1..=COUNT));
}

#[test]
fn a_flask_application_with_a_limit_has_every_record_but_the_one_above_it() {
    let Some(flask) = flask() else { return };
    let spool = spool_dir();
    let service = shop(exporter_to(&flask.url(), &spool));
    orders(&service, 1..=41);
    order(&service, 42, |record| record.set_body(AnyValue::from(noise(MAX_BYTES))));
    orders(&service, 42..=COUNT);
    service.wait_for_rejected(1);
    service.deliver();
    check_order(flask.stored(), &names("m", 1..=COUNT), &service);
    let rejected = service.handle.rejected().expect("a rejected store");
    assert_eq!(rejected.iter().map(|record| record.status).collect::<Vec<_>>(), [413]);
}
