//! A change of state is reported to the application, once, and logged under the same name.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver as Reported};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{
    Answer, PATIENCE, Receiver, Service, by_tenant, exporter, exporter_to, in_time, noise, segments, spool_dir,
};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::{FullPolicy, LogExporterBuilder, LossReason, SpoolEvent, SpoolHandle, SpoolProcessor};
use tracing_subscriber::filter::{FilterExt, FilterFn, LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Keeps the names and the fields of what is logged, of all tests together.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Debug)]
struct Line {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut line = Line { name: event.metadata().name(), fields: BTreeMap::new() };
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
}

/// What a filter lets through that the chapter on operations recommends, and the lines below it that report no trouble.
fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let all = Lines::default();
        let lines = all.clone();
        let target = |level| Targets::new().with_target("opentelemetry-spool", level);
        let is_news = FilterFn::new(|metadata| ["Spool.Started", "Spool.QueueAdopted"].contains(&metadata.name()));
        let news = lines.clone().with_filter(target(LevelFilter::INFO).and(is_news));
        let bridge = Bridge.with_filter(Targets::new().with_target(APPLICATION, LevelFilter::INFO));
        let lines = lines.clone().with_filter(target(LevelFilter::WARN));
        tracing_subscriber::registry().with(bridge).with(lines).with(news).init();
        all
    })
}

/// The target of what the application logs.
const APPLICATION: &str = "application";

thread_local! {
    /// What a bridge does with what is logged on this thread.
    static BRIDGED: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// A layer that logs through the SDK, as the bridge of `opentelemetry-appender-tracing`.
struct Bridge;

impl<S: tracing::Subscriber> Layer<S> for Bridge {
    fn on_event(&self, _event: &tracing::Event<'_>, _context: Context<'_, S>) {
        BRIDGED.with_borrow(|bridged| bridged.iter().for_each(|log| log()));
    }
}

/// The lines of this name about the spool in a directory.
fn lines_of(name: &str, spool: &std::path::Path) -> Vec<Line> {
    let is_it = |line: &&Line| line.name == name && line.fields["directory"] == spool.display().to_string();
    lines().0.lock().unwrap().iter().filter(is_it).cloned().collect()
}

/// An exporter whose events come out here.
fn reporting(exporter: LogExporterBuilder) -> (LogExporterBuilder, Reported<SpoolEvent>) {
    lines();
    let (sender, reported) = mpsc::channel();
    (exporter.with_on_event(move |event| drop(sender.send(event.clone()))), reported)
}

/// The next event, which was logged as well.
fn next(reported: &Reported<SpoolEvent>) -> SpoolEvent {
    let event = reported.recv_timeout(PATIENCE).expect("an event");
    let logged: Vec<_> = lines().0.lock().unwrap().iter().map(|line| line.name).collect();
    assert!(logged.contains(&event.name()), "{} in {logged:?}", event.name());
    event
}

/// Fails if anything more is reported until the exporter is gone.
fn is_all(service: Service, reported: &Reported<SpoolEvent>) {
    service.provider.shutdown().expect("a shutdown");
    drop(service);
    assert_eq!(reported.iter().collect::<Vec<_>>(), []);
}

#[test]
fn every_event_has_its_name_in_the_log_and_in_the_chapter() {
    let (source, chapter) = (include_str!("../../src/observe/event.rs"), include_str!("../../src/docs/metrics.md"));
    let between = |text: &'static str, from: &str, to: &str| {
        text.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect::<Vec<_>>()
    };
    let variants = between(source, "name_of! {", "}")[0].split_whitespace().map(|variant| format!("Spool.{variant}"));
    let variants: BTreeSet<_> = variants.collect();
    assert!(variants.len() >= 20, "{variants:?}");
    let logged = between(source, "name: \"", "\"").into_iter().map(str::to_owned).collect();
    assert_eq!(variants, logged);
    let reported = between(chapter, "| `Spool.", "`").into_iter().map(|name| format!("Spool.{name}")).collect();
    assert_eq!(variants, reported);
}

#[test]
fn an_outage_is_reported_when_it_begins_and_when_it_ends() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let (exporter, reported) = reporting(exporter(&receiver, &spool));
    let service = Service::simple(exporter);
    service.log("one");
    let event = next(&reported);
    let SpoolEvent::DeliveryFailing { batch, reason } = &event else { panic!("{event:?}") };
    let (url, address) = (receiver.url("/ingest"), receiver.url(""));
    let expected = format!("{url}: no connection to {}: ", address.trim_start_matches("http://"));
    assert!(!batch.is_empty() && reason.starts_with(&expected), "{event:?}");
    service.wait_for_stats("further attempts", |stats| stats.retries > 3);
    receiver.come_up();
    service.deliver();
    assert_eq!(next(&reported), SpoolEvent::DeliveryResumed);
    is_all(service, &reported);
}

#[test]
fn a_start_is_one_line_with_the_directory_the_endpoint_the_format_and_the_backlog() {
    lines();
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let endpoint = receiver.url("/ingest?token=s3cret").replace("://", "://me:pa55word@");
    let start = || Service::simple(exporter(&receiver, &spool).with_endpoint(&endpoint));
    let service = start();
    service.log_all("m", 1..=3);
    service.provider.shutdown().expect("a shutdown");
    receiver.come_up();
    let service = start();
    service.log("of the second");
    service.deliver();
    service.provider.shutdown().expect("a shutdown");

    let lines = lines_of("Spool.Started", spool.path());
    let backlogs: Vec<_> = lines.iter().map(|line| &*line.fields["backlog"]).collect();
    assert_eq!(backlogs, ["0", "3"]);
    for line in &lines {
        assert_eq!(line.fields["endpoint"], format!("{}?...", receiver.url("/ingest")));
        assert_eq!((&*line.fields["format"], &*line.fields["signal"]), ("application/json", "logs"));
    }
}

#[test]
fn what_an_operator_has_to_fix_is_reported_once_however_many_partitions_it_holds() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(401));
    let (exporter, reported) = reporting(exporter(&receiver, &spool).with_partition_key(by_tenant));
    let service = Service::simple(exporter);
    for tenant in ["acme", "globex"] {
        service.log_of(tenant, 1..=1);
    }
    let event = next(&reported);
    let SpoolEvent::BatchHeld { reason, .. } = &event else { panic!("{event:?}") };
    assert_eq!(*reason, format!("{}: the server responded with 401", receiver.url("/ingest")));
    service.wait_for_stats("further attempts", |stats| stats.retries > 3);
    receiver.answer_always(Answer::ok());
    service.deliver();
    assert_eq!(next(&reported), SpoolEvent::DeliveryResumed);
    is_all(service, &reported);
}

#[test]
fn the_first_rejection_is_reported_and_no_other_one() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| {
        let bad = request.messages.iter().any(|message| message.starts_with("bad"));
        if bad { Answer::status(422).body("no") } else { Answer::ok() }
    });
    let (exporter, reported) = reporting(exporter(&receiver, &spool).with_max_batch_records(1));
    let service = Service::simple(exporter);
    service.log("good");
    service.log_all("bad", 1..=3);
    service.wait_for_rejected(3);
    service.deliver();
    let events: Vec<_> = std::iter::from_fn(|| reported.try_recv().ok()).collect();
    let rejections = events.iter().filter(|event| matches!(event, SpoolEvent::RecordsRejected { .. })).count();
    assert_eq!(rejections, 1, "{events:?}");
    is_all(service, &reported);
}

#[test]
fn that_the_endpoint_refuses_everything_is_reported_once_as_held() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_always(Answer::status(422).body("no"));
    let (exporter, reported) = reporting(exporter(&receiver, &spool).with_max_batch_records(1));
    let service = Service::simple(exporter);
    service.log_all("bad", 1..=40);
    service.sync();
    let held = std::iter::from_fn(|| Some(next(&reported))).find(|event| matches!(event, SpoolEvent::BatchHeld { .. }));
    assert!(held.is_some());
    service.wait_for_stats("further attempts", |stats| stats.retries > 3);
    receiver.answer_always(Answer::ok());
    service.deliver();
    assert_eq!(next(&reported), SpoolEvent::DeliveryResumed);
    is_all(service, &reported);
}

#[test]
fn a_batch_that_is_only_too_large_is_no_rejection_of_records() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    receiver.answer_by(|request| Answer::status(if request.messages.len() > 1 { 413 } else { 200 }));
    let (exporter, reported) = reporting(exporter(&receiver, &spool));
    let service = Service::batch(exporter);
    service.handle.pause();
    service.log_all("m", 1..=4);
    service.sync();
    service.handle.resume();
    service.deliver();
    assert_eq!(receiver.wait_for_records(4).len(), 4);
    is_all(service, &reported);
}

#[test]
fn a_limit_that_is_reached_is_reported_with_its_reason() {
    for (policy, expected) in
        [(FullPolicy::EvictOldest, LossReason::Evicted), (FullPolicy::RejectNew, LossReason::NotWritten)]
    {
        let (receiver, spool) = (Receiver::start_down(), spool_dir());
        let (exporter, reported) = reporting(
            exporter(&receiver, &spool)
                .with_retry_policy(common::patient())
                .with_max_spool_bytes(8 << 20)
                .with_full_policy(policy),
        );
        let service = Service::simple(exporter);
        while service.handle.stats().lost_records == 0 {
            service.log(&noise(200_000));
        }
        assert!(matches!(next(&reported), SpoolEvent::DeliveryFailing { .. }));
        let event = next(&reported);
        assert!(
            matches!(event, SpoolEvent::RecordsLost { reason, records: 1.., .. } if reason == expected),
            "{event:?}"
        );
        let stats = service.handle.stats();
        let part = if expected == LossReason::Evicted { stats.evicted_records } else { stats.not_written_records };
        assert_eq!((part, stats.buffer_full_records), (stats.lost_records, 0), "{stats:?}");
    }
}

#[test]
fn a_record_that_cannot_be_encoded_is_reported_once() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = exporter(&receiver, &spool).with_partition_key(|_, _| panic!("on purpose"));
    let (exporter, reported) = reporting(builder);
    let service = Service::simple(exporter);
    service.log_all("bad", 1..=3);
    assert_eq!(next(&reported), SpoolEvent::EncodeFailed { reason: "the partition key function panicked".to_owned() });
    is_all(service, &reported);
}

/// A layer's filter takes an event of `tracing` that begins within another one for a part of that.
#[test]
fn what_is_reported_on_a_thread_that_logs_through_a_bridge_is_logged_and_what_is_logged_goes_nowhere_else() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let builder = exporter(&receiver, &spool).with_partition_key(|_, _| panic!("on purpose"));
    let (exporter, reported) = reporting(builder);
    let service = Arc::new(Service::simple(exporter));
    let bridged = service.clone();
    BRIDGED.set(Some(Box::new(move || bridged.log("bad"))));
    tracing::info!(name: "of the application", target: APPLICATION, "order taken");
    BRIDGED.take();
    assert!(matches!(next(&reported), SpoolEvent::EncodeFailed { .. }));
    assert!(lines().0.lock().unwrap().iter().all(|line| line.name != "of the application"));
    is_all(Arc::into_inner(service).expect("the bridge is gone"), &reported);
}

#[test]
fn damage_is_reported_when_it_is_found() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let before = Service::simple(exporter(&receiver, &spool));
    before.handle.pause();
    for _ in 0..20 {
        before.log(&noise(2_000));
    }
    before.provider.shutdown().expect("a shutdown");
    drop(before);
    for file in databases(spool.path()) {
        let mut bytes = std::fs::read(&file).expect("a segment");
        let middle = bytes.iter().rposition(|byte| *byte != 0).expect("something in it") / 2;
        bytes[middle..middle + 4_000].fill(0x55);
        std::fs::write(&file, bytes).expect("a file that can be written");
    }
    let (exporter, reported) = reporting(exporter(&receiver, &spool));
    let service = Service::simple(exporter);
    let mut events = [(); 3].map(|()| next(&reported));
    events.sort_by_key(SpoolEvent::name);
    let [adopted, lost, damaged] = &events;
    assert!(matches!(adopted, SpoolEvent::QueueAdopted { records: 20, .. }), "{adopted:?}");
    assert!(matches!(lost, SpoolEvent::RecordsLost { reason: LossReason::Corrupt, .. }), "{lost:?}");
    assert!(matches!(damaged, SpoolEvent::SegmentDamaged { .. }), "{damaged:?}");
    service.deliver();
    is_all(service, &reported);
}

#[test]
fn what_is_taken_over_and_what_is_for_another_endpoint_is_reported_once_at_each_start() {
    let (one, two, spool) = (Receiver::start_down(), Receiver::start(), spool_dir());
    let before = Service::careless(exporter_to(&one.url("/ingest?key=s3cret"), &spool));
    before.handle.pause();
    for _ in 0..5 {
        before.log("one");
    }
    drop(before);
    let (was, now) = (one.url("/ingest"), two.url("/ingest"));
    for _ in 0..2 {
        let (exporter, reported) = reporting(exporter(&two, &spool));
        let service = Service::simple(exporter);
        let event = next(&reported);
        assert_eq!(event, SpoolEvent::QueueStranded { records: 5, was: was.clone(), now: now.clone() });
        assert_eq!(event.to_string(), format!("Spool.QueueStranded: 5 (spooled for {was}, now {now})"));
        is_all(service, &reported);
    }
    let (exporter, reported) = reporting(exporter(&two, &spool).with_adopt_from([&was]));
    let service = Service::simple(exporter);
    assert_eq!(next(&reported), SpoolEvent::QueueAdopted { records: 5, was, now });
    two.wait_for_records(5);
    is_all(service, &reported);
}

/// The files of the segments' databases.
fn databases(spool: &std::path::Path) -> Vec<std::path::PathBuf> {
    let segments = segments(spool).into_iter();
    segments.map(|segment| segment.join("db")).filter(|db| db.exists()).collect()
}

#[test]
fn a_processor_that_loses_records_reports_it() {
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let (exporter, reported) = reporting(exporter(&receiver, &spool));
    let exporter = exporter.build().expect("an exporter");
    let handle = exporter.handle();
    let processor = SpoolProcessor::builder(exporter)
        .with_max_buffer_bytes(1)
        .with_commit_delay(Duration::from_secs(3_600))
        .with_max_wait(Duration::ZERO)
        .build()
        .expect("a processor");
    let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
    let logger = opentelemetry::logs::LoggerProvider::logger(&provider, "test");
    while handle.stats().buffer_full_records == 0 {
        let mut record = opentelemetry::logs::Logger::create_log_record(&logger);
        opentelemetry::logs::LogRecord::set_body(&mut record, "one of many".into());
        opentelemetry::logs::Logger::emit(&logger, record);
    }
    assert_eq!(next(&reported), SpoolEvent::BufferFull);
}

#[test]
fn a_callback_may_ask_the_handle() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let (handle, (sender, reported)) = (Arc::new(OnceLock::<SpoolHandle>::new()), mpsc::channel());
    let for_callback = handle.clone();
    let builder = exporter(&receiver, &spool).with_max_spool_bytes(8 << 20).with_on_event(move |event| {
        if let (SpoolEvent::RecordsLost { .. }, Some(handle)) = (event, for_callback.get()) {
            let _ = sender.send(handle.stats().lost_records);
        }
    });
    let service = Service::simple(builder);
    assert!(handle.set(service.handle.clone()).is_ok());
    in_time("logging while a callback asks", move || {
        // Reported with the locks of an append held.
        while service.handle.stats().lost_records == 0 {
            service.log(&noise(200_000));
        }
        assert!(reported.recv_timeout(PATIENCE).expect("what the callback was reported") > 0);
    });
}

#[test]
fn a_callback_that_hangs_or_panics_holds_up_neither_delivery_nor_shutdown() {
    let (receiver, spool) = (Receiver::start_down(), spool_dir());
    let (release, hanging) = mpsc::channel::<()>();
    let hanging = Mutex::new(hanging);
    let service = Service::simple(exporter(&receiver, &spool).with_on_event(move |_| {
        let _ = hanging.lock().unwrap().recv();
        panic!("on purpose");
    }));
    service.log("one");
    service.wait_for_stats("an attempt", |stats| stats.failed_requests > 0);
    receiver.come_up();
    service.deliver();
    service.provider.shutdown().expect("a shutdown");
    assert_eq!(receiver.delivered(), ["one"]);
    drop(release);
}
