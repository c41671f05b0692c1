//! Records that are compressed, on the wire and in the spool, arrive as they were logged.

use common::{Receiver, Service, exporter, name, names, spool_dir};
use opentelemetry::logs::LogRecord as _;
use opentelemetry_spool::{Durability, SpoolCompression};

fn log(service: &Service, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        service.log_with(&name("m", number), |record| record.add_attribute("padding", "padding ".repeat(20)));
        // Or the SDK's queue of 2,048 overflows.
        if number % 1_000 == 0 {
            service.sync();
        }
    }
}

#[test]
fn what_was_stored_in_one_way_is_delivered_by_an_exporter_that_stores_in_another() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let ways = [SpoolCompression::None, SpoolCompression::Lz4, SpoolCompression::None, SpoolCompression::Lz4];
    for (first, way) in [1, 201, 401, 601].into_iter().zip(ways) {
        let service = Service::batch(exporter(&receiver, &spool).with_spool_compression(way));
        log(&service, first..=first + 199);
        let _ = service.provider.shutdown();
    }
    receiver.come_up();
    let service = Service::batch(exporter(&receiver, &spool));
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=800));
    assert!(receiver.requests().iter().all(|request| request.header("content-encoding").is_none()));
}

#[test]
fn the_spool_takes_a_fraction_of_the_disk() {
    let (receiver, compressed, plain) = (Receiver::start_down(), spool_dir(), spool_dir());
    let ways = [(&compressed, SpoolCompression::default()), (&plain, SpoolCompression::None)];
    let [compressed, plain] = ways.map(|(spool, way)| {
        // Or disk that is taken ahead counts.
        let exporter = exporter(&receiver, spool).with_durability(Durability::Process);
        let service = Service::batch(exporter.with_spool_compression(way));
        log(&service, 1..=20_000);
        service.sync();
        service.handle.stats().disk_bytes.expect("a directory that can be read")
    });
    assert!(compressed * 3 < plain, "{compressed} bytes compressed, {plain} plain");
}

#[cfg(not(feature = "gzip-http"))]
#[test]
fn gzip_without_its_feature_is_an_error_in_words() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = exporter(&receiver, &spool).with_compression(opentelemetry_spool::Compression::Gzip);
    let error = builder.build().expect_err("no gzip");
    assert!(
        matches!(&error, opentelemetry_spool::ExporterBuildError::Invalid { setting, .. } if setting == "with_compression"),
        "{error:?}"
    );
    assert!(error.to_string().contains("`gzip-http`"), "{error}");
}

#[cfg(feature = "gzip-http")]
mod gzip {
    use common::Answer;
    use opentelemetry_spool::Compression;

    use super::*;

    #[test]
    fn a_body_is_compressed_and_says_so() {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let service = Service::batch(exporter(&receiver, &spool).with_compression(Compression::Gzip));
        service.handle.pause();
        log(&service, 1..=2_000);
        service.sync();
        service.handle.resume();
        service.deliver();

        assert_eq!(receiver.delivered(), names("m", 1..=2_000));
        let requests = receiver.requests();
        assert!(requests.iter().all(|request| request.header("content-encoding") == Some("gzip")));
        let (sent, plain): (Vec<_>, Vec<_>) =
            requests.iter().map(|request| (request.body.len(), request.plain().len())).unzip();
        let (sent, plain): (usize, usize) = (sent.iter().sum(), plain.iter().sum());
        assert!(sent * 10 < plain, "{sent} bytes for {plain}");
    }

    #[test]
    fn what_was_compressed_and_is_rejected_is_split_and_stored_readable() {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_by(|request| {
            let bad = request.messages.iter().any(|message| *message == name("m", 77));
            if bad { Answer::status(400) } else { Answer::ok() }
        });
        let service = Service::batch(exporter(&receiver, &spool).with_compression(Compression::Gzip));
        service.handle.pause();
        log(&service, 1..=300);
        service.sync();
        service.handle.resume();
        service.wait_for_rejected(1);
        service.deliver();

        let mut delivered = receiver.delivered();
        delivered.retain(|message| !message.starts_with("live"));
        delivered.sort();
        assert_eq!(delivered, [names("m", 1..=76), names("m", 78..=300)].concat());
        let rejected = service.handle.rejected().expect("the rejected store");
        let body: serde_json::Value = serde_json::from_slice(&rejected[0].body).expect("JSON");
        assert_eq!((rejected.len(), &body[0]["message"]), (1, &name("m", 77).into()));
    }

    #[test]
    fn after_a_restart_without_compression_what_was_compressed_is_sent_as_it_was() {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        receiver.answer_always(Answer::status(503));
        let service = Service::batch(exporter(&receiver, &spool).with_compression(Compression::Gzip));
        log(&service, 1..=700);
        service.sync();
        receiver.wait_for_requests(1);
        let _ = service.provider.shutdown();
        receiver.answer_always(Answer::ok());
        let service = Service::batch(exporter(&receiver, &spool));
        log(&service, 701..=800);
        service.deliver();

        assert_eq!(receiver.delivered(), names("m", 1..=800));
        // What failed was also tried without its coding.
        let taken = receiver.requests().into_iter().filter(|request| request.answered == Some(200));
        let encodings: Vec<_> = taken.map(|request| request.header("content-encoding").is_some()).collect();
        assert!(encodings.is_sorted_by(|before, after| before >= after) && encodings.contains(&false), "{encodings:?}");
    }
}
