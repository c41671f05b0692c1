//! The headers of each request: static ones, then the hook's, asked anew on every attempt.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use common::{Answer, Receiver, Service, by_tenant, exporter, exporter_to, in_words, names, patient, spool_dir};
use opentelemetry::logs::{AnyValue, LogRecord as _};
use opentelemetry_spool::{BatchContext, BoxError, ExporterBuildError, LogExporter, LogExporterBuilder};

/// The batches that the hook was called with, call by call.
type Calls = Arc<Mutex<Vec<BatchContext>>>;

fn watch(exporter: LogExporterBuilder) -> (LogExporterBuilder, Calls) {
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    let exporter = exporter.with_header_hook(move |batch, _| {
        seen.lock().unwrap().push(batch.clone());
        Ok(())
    });
    (exporter, calls)
}

#[test]
fn static_headers_go_out_with_every_request() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::status(503));
    let headers = [("x-tenant", "acme"), ("Authorization", "Bearer s3cret"), ("x-tab", "a\tb"), ("x-latin", "ü")];
    let service = Service::simple(exporter(&receiver, &spool).with_headers(headers).with_max_batch_records(1));

    service.log_all("m", 1..=3);
    service.deliver();

    let requests = receiver.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert_eq!(request.header("x-tenant"), Some("acme"));
        assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
        assert_eq!(request.header("x-tab"), Some("a\tb"));
        assert_eq!(request.headers["x-latin"].as_bytes(), "ü".as_bytes());
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
}

#[test]
fn headers_may_come_from_a_hash_map() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let headers = std::collections::HashMap::from([("x-tenant".to_owned(), "acme".to_owned())]);
    let service = Service::simple(exporter(&receiver, &spool).with_headers(headers));

    service.log("hello");

    assert_eq!(receiver.wait_for_requests(1)[0].header("x-tenant"), Some("acme"));
}

#[test]
fn the_hook_is_called_on_every_attempt_and_sees_the_batch() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for failure in [Answer::status(503), Answer::Reset, Answer::status(401), Answer::status(429)] {
        receiver.answer_next(failure);
    }
    let (exporter, calls) = watch(exporter(&receiver, &spool).with_partition_key(by_tenant));
    let service = Service::batch(exporter);
    let time = |number: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123 + number);

    let before = SystemTime::now();
    service.handle.pause();
    for number in [5, 3, 9, 4] {
        service.log_with("hello", |record| {
            record.set_timestamp(time(number));
            record.add_attribute("tenant", "acme");
        });
    }
    service.sync();
    service.handle.resume();
    service.deliver();

    let (calls, requests) = (calls.lock().unwrap(), receiver.requests());
    assert_eq!((calls.len(), requests.len()), (5, 5));
    for (attempt, (call, request)) in (1..).zip(calls.iter().zip(&requests)) {
        assert_eq!(call.id(), request.key());
        assert_eq!(call.partition_key(), "acme");
        assert_eq!((call.records(), call.bytes()), (4, request.body.len()));
        assert_eq!((call.first_timestamp(), call.last_timestamp()), (time(3), time(9)));
        assert_eq!(call.attempt(), attempt);
        // How long it was in the spool, not how old its records claim to be.
        assert!(call.age() <= before.elapsed().expect("a clock that goes forward"), "{:?}", call.age());
    }
    assert!(calls.is_sorted_by_key(BatchContext::age));
}

#[test]
fn attempts_are_counted_batch_by_batch() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (exporter, calls) = watch(exporter(&receiver, &spool));
    let service = Service::simple(exporter);
    for failures in 0..4 {
        (0..failures).for_each(|_| receiver.answer_next(Answer::status(500)));
        service.log("hello");
        service.deliver();
    }
    let attempts: Vec<_> = calls.lock().unwrap().iter().map(BatchContext::attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 1, 2, 3, 1, 2, 3, 4]);
}

#[test]
fn the_id_and_the_age_go_on_after_a_restart_and_attempts_begin_anew() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(503));
    let (first, before) = watch(exporter(&receiver, &spool));
    let service = Service::careless(first);
    service.log("hello");
    receiver.wait_for_requests(3);
    drop(service);
    receiver.answer_always(Answer::ok());
    let (second, after) = watch(exporter(&receiver, &spool));
    Service::careless(second).deliver();

    let (before, after) = (before.lock().unwrap(), after.lock().unwrap());
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].id(), before[0].id());
    assert_eq!(after[0].attempt(), 1);
    assert_eq!(after[0].first_timestamp(), before[0].first_timestamp());
    assert!(after[0].age() >= before.last().expect("a call").age());
}

#[test]
fn a_record_without_a_timestamp_has_the_time_at_which_it_was_observed() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (exporter, calls) = watch(exporter(&receiver, &spool));
    let service = Service::simple(exporter);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);

    let mut record = opentelemetry::logs::Logger::create_log_record(&service.logger);
    record.set_observed_timestamp(time);
    record.set_body(AnyValue::from("hello"));
    opentelemetry::logs::Logger::emit(&service.logger, record);
    service.deliver();

    assert_eq!(calls.lock().unwrap()[0].first_timestamp(), time);
    assert_eq!(calls.lock().unwrap()[0].last_timestamp(), time);
}

#[test]
fn the_hook_sees_the_partition_that_the_request_is_for() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service =
        Service::batch(exporter(&receiver, &spool).with_partition_key(by_tenant).with_header_hook(|batch, headers| {
            headers.insert("x-tenant", batch.partition_key())?;
            Ok(())
        }));
    for number in 1..=100 {
        for tenant in ["acme", "globex", "initech"] {
            service.log_of(tenant, number..=number);
        }
    }
    service.deliver();

    for request in receiver.requests() {
        let tenant = request.header("x-tenant").expect("a tenant");
        assert!(request.messages.iter().all(|message| message.starts_with(tenant)));
        for record in request.records() {
            assert_eq!(record["extra"]["tenant"], tenant);
        }
    }
    assert_eq!(receiver.delivered().len(), 300);
}

#[test]
fn a_secret_is_fetched_anew_for_each_attempt_and_never_stored() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| {
        let fresh = request.header("authorization") == Some("Bearer s3cret-4");
        Answer::status(if fresh { 200 } else { 401 })
    });
    let calls = AtomicUsize::new(0);
    let service = Service::simple(exporter(&receiver, &spool).with_header_hook(move |_, headers| {
        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
        headers.insert("authorization", format!("Bearer s3cret-{call}"))?;
        Ok(())
    }));

    service.log("hello");
    service.deliver();
    drop(service);

    let sent: Vec<_> =
        receiver.requests().iter().map(|request| request.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer s3cret-1", "Bearer s3cret-2", "Bearer s3cret-3", "Bearer s3cret-4"]);
    let mut files = vec![spool.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"s3cret"), "a secret in {}", path.display());
        }
    }
}

#[test]
fn the_hook_has_the_last_word_on_every_header() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let exporter = exporter(&receiver, &spool).with_headers([("x-a", "static"), ("x-b", "static"), ("x-c", "static")]);
    let service = Service::simple(exporter.with_header_hook(|batch, headers| {
        assert_eq!(headers.get("content-type"), Some("application/json"));
        assert_eq!(headers.get("idempotency-key"), Some(batch.id()));
        assert_eq!(headers.get("X-A"), Some("static"));
        headers.insert("X-A", "hook")?;
        assert!(headers.remove("x-b"));
        headers.insert("content-type", "application/vnd.acme+json")?;
        assert!(headers.remove("idempotency-key"));
        Ok(())
    }));

    service.log("hello");

    let request = receiver.wait_for_requests(1).remove(0);
    assert_eq!(request.header("x-a"), Some("hook"));
    assert_eq!(request.header("x-b"), None);
    assert_eq!(request.header("x-c"), Some("static"));
    assert_eq!(request.header("content-type"), Some("application/vnd.acme+json"));
    assert_eq!(request.header("idempotency-key"), None);
}

#[test]
fn what_the_hook_sets_once_is_gone_on_the_next_attempt() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_next(Answer::status(503));
    let service = Service::simple(exporter(&receiver, &spool).with_header_hook(|batch, headers| {
        if batch.attempt() == 1 {
            headers.insert("x-first", "yes")?;
            headers.remove("content-type");
        }
        Ok(())
    }));

    service.log("hello");
    service.deliver();

    let requests = receiver.requests();
    assert_eq!((requests[0].header("x-first"), requests[0].header("content-type")), (Some("yes"), None));
    assert_eq!((requests[1].header("x-first"), requests[1].header("content-type")), (None, Some("application/json")));
}

#[test]
fn an_async_hook_may_ask_another_server_for_a_token_and_take_its_time() {
    let (receiver, tokens, spool) = (Receiver::start(), Receiver::start(), spool_dir());
    let count = AtomicUsize::new(0);
    tokens.answer_by(move |_| {
        let token = format!("token-{}", count.fetch_add(1, Ordering::Relaxed) + 1);
        Answer::ok().body(&token)
    });
    receiver.answer_next(Answer::status(401));
    let (url, client) = (tokens.url("/token"), reqwest::Client::new());
    let service =
        Service::batch(exporter(&receiver, &spool).with_headers([("x-static", "kept")]).with_async_header_hook(
            move |batch, mut headers| {
                let request = client.post(format!("{url}?batch={}", batch.id()));
                async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let token = request.send().await?.text().await?;
                    headers.insert("authorization", format!("Bearer {token}"))?;
                    Ok(headers)
                }
            },
        ));

    service.log_all("m", 1..=10);
    service.deliver();

    let requests = receiver.requests();
    let sent: Vec<_> = requests.iter().map(|request| request.header("authorization")).collect();
    assert_eq!(sent, [Some("Bearer token-1"), Some("Bearer token-2")]);
    assert!(requests.iter().all(|request| request.header("x-static") == Some("kept")));
    assert_eq!(tokens.requests()[0].target, format!("/token?batch={}", requests[0].key()));
    assert_eq!(receiver.delivered(), names("m", 1..=10));
}

#[test]
fn a_hook_that_fails_holds_the_batch_until_it_succeeds() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (exporter, failing) = (exporter(&receiver, &spool), Arc::new(AtomicUsize::new(0)));
    let (works, calls) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), Arc::clone(&failing));
    let switch = Arc::clone(&works);
    let service = Service::simple(exporter.with_header_hook(move |_, headers| {
        calls.fetch_add(1, Ordering::Relaxed);
        if !switch.load(Ordering::Relaxed) {
            return Err("the vault is sealed".into());
        }
        headers.insert("authorization", "Bearer token")?;
        Ok(())
    }));

    service.log_all("m", 1..=5);
    let stats =
        service.wait_for_stats("a failed hook", |stats| stats.last_error.is_some() && stats.pending_records == 5);
    let error = stats.last_error.expect("an error");
    assert!(error.contains("the vault is sealed"), "{error}");
    service.wait_for_stats("the hook to be asked again", |_| failing.load(Ordering::Relaxed) > 3);
    assert_eq!(receiver.requests().len(), 0);
    assert_eq!(receiver.look(|log| log.connections), 0);

    works.store(true, Ordering::Relaxed);
    service.deliver();
    assert_eq!(receiver.delivered(), names("m", 1..=5));
    assert!(receiver.requests().iter().all(|request| request.header("authorization") == Some("Bearer token")));
}

#[test]
fn an_async_hook_that_fails_holds_the_batch_until_it_succeeds() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(exporter(&receiver, &spool).with_async_header_hook(|batch, headers| async move {
        tokio::task::yield_now().await;
        if batch.attempt() < 4 { Err::<_, BoxError>("no token".into()) } else { Ok(headers) }
    }));

    service.log_all("m", 1..=5);
    service.deliver();

    assert_eq!(receiver.delivered(), names("m", 1..=5));
}

#[test]
fn a_hook_that_fails_for_one_partition_does_not_hold_the_others() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service =
        Service::simple(exporter(&receiver, &spool).with_partition_key(by_tenant).with_header_hook(|batch, _| {
            if batch.partition_key() == "bad" { Err("no token for bad".into()) } else { Ok(()) }
        }));

    service.log_of("bad", 1..=3);
    service.log_of("good", 1..=10);

    assert_eq!(receiver.wait_for_records(10), names("good", 1..=10));
    service.wait_for_stats("only the bad ones to be left", |stats| stats.pending_records == 3);
}

#[test]
fn an_async_hook_that_never_ends_for_one_partition_does_not_hold_the_others_for_ever() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::simple(
        exporter(&receiver, &spool)
            .with_partition_key(by_tenant)
            .with_timeout(Duration::from_millis(100))
            .with_async_header_hook(|batch, headers| async move {
                if batch.partition_key() == "hung" {
                    std::future::pending::<()>().await;
                }
                Ok(headers)
            }),
    );

    service.log_of("hung", 1..=1);
    service.log_of("good", 1..=10);

    assert_eq!(receiver.wait_for_records(10), names("good", 1..=10));
}

#[test]
fn an_illegal_static_header_is_an_error_from_build_that_names_it_and_not_its_value() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    for (name, value, word) in [
        ("x-tenant", "s3cret\r\nx-admin: 1", "control character"),
        ("x-tenant", "s3cret\0", "control character"),
        ("x-tenant", "s3cret\u{7f}", "control character"),
        ("x tenant", "s3cret", "character at byte 1"),
        ("x-tenant\r\nx-admin", "s3cret", "character at byte 8"),
        ("", "s3cret", "or none"),
        // A value that went astray.
        ("authorization: Basic s3cret", "", "character at byte 13"),
        ("content-length", "s3cret", "frames the request"),
        ("Transfer-Encoding", "s3cret", "frames the request"),
    ] {
        let exporter = exporter(&receiver, &spool).with_headers([("x-fine", "s3cret"), (name, value)]);
        let error = exporter.build().expect_err(name);
        assert!(
            matches!(&error, ExporterBuildError::Invalid { setting, .. } if setting == "with_headers"),
            "{error:?}"
        );
        let text = in_words(&error);
        assert!(text.contains("with_headers") && text.contains(word), "{text}");
        assert!(text.contains(name) || text.contains("character at byte"), "{text}");
        assert!(!format!("{text} {error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn an_illegal_value_from_the_hook_holds_the_batch_and_is_reported_in_words() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let tenant = Arc::new(Mutex::new("s3cret\r\nx-admin: 1"));
    let value = Arc::clone(&tenant);
    let service = Service::simple(exporter(&receiver, &spool).with_header_hook(move |_, headers| {
        headers.insert("x-tenant", *value.lock().unwrap())?;
        Ok(())
    }));

    service.log("hello");
    let stats = service.wait_for_stats("a refused header", |stats| stats.last_error.is_some());
    let error = stats.last_error.expect("an error");
    assert!(error.contains("x-tenant") && error.contains("control character"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    assert_eq!(receiver.requests().len(), 0);

    *tenant.lock().unwrap() = "acme";
    service.deliver();
    assert_eq!(receiver.delivered(), ["hello"]);
    assert_eq!(receiver.requests()[0].header("x-tenant"), Some("acme"));
    assert_eq!(receiver.requests()[0].header("x-admin"), None);
}

#[test]
fn the_hook_is_not_asked_when_there_is_nothing_to_send() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (exporter, calls) = watch(exporter(&receiver, &spool).with_retry_policy(patient()));
    let service = Service::batch(exporter);
    service.deliver();
    service.log("hello");
    service.deliver();
    service.deliver();
    service.provider.shutdown().expect("an orderly end");

    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[test]
fn debug_shows_no_secret() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let endpoint = receiver.url("/ingest").replace("http://", "http://user:s3cret-1@");
    let exporter = || {
        exporter_to(&endpoint, &spool)
            .with_headers([("authorization", "s3cret-2")])
            .with_proxy("http://user:s3cret-3@127.0.0.1:9/")
            .with_header_hook(|_, headers| {
                headers.insert("x-key", "s3cret-4")?;
                assert_eq!(format!("{headers:?}").matches("s3cret").count(), 0, "{headers:?}");
                Err("not yet".into())
            })
    };
    let identity = exporter().with_client_identity_pem("s3cret-5");
    assert!(!format!("{identity:?}").contains("s3cret"), "{identity:?}");
    let error = identity.build().expect_err("no identity");
    assert!(!format!("{error:?} {}", in_words(&error)).contains("s3cret"), "{error:?}");
    assert!(!format!("{:?}", exporter()).contains("s3cret"), "{:?}", exporter());
    {
        let built: LogExporter = exporter().build().expect("an exporter");
        assert!(!format!("{built:?}").contains("s3cret"), "{built:?}");
        assert!(!format!("{:#?}", built.handle()).contains("s3cret"), "{:?}", built.handle());
    }
    let service = Service::simple(exporter());
    assert!(!format!("{:?}", service.provider).contains("s3cret"), "{:?}", service.provider);
}

#[test]
fn what_the_exporter_says_of_a_failed_request_shows_no_credentials() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let endpoint = receiver.url("/ingest?token=s3cret").replace("http://", "http://user:s3cret@");
    let service = Service::simple(exporter_to(&endpoint, &spool).with_headers([("x-key", "s3cret")]));
    service.log("hello");
    let refused = service.wait_for_stats("a refused request", |stats| stats.last_error.is_some());
    assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");

    receiver.answer_always(Answer::status(403).body("s3cret"));
    receiver.come_up();
    let denied = service.wait_for_stats("a denied request", |stats| {
        stats.last_error.as_ref().is_some_and(|error| error.contains("403"))
    });
    assert!(!format!("{denied:?}").contains("user:s3cret"), "{denied:?}");
    receiver.answer_always(Answer::ok());
    service.flush();
}
