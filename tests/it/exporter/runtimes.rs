//! In a plain `main`, in both flavours of tokio's runtime, and across their borders: it never panics and never hangs.

use std::thread;

use common::{Receiver, Service, exporter, flush, in_time, name, names, spool_dir};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_spool::LogExporterBuilder;
use tokio::runtime::{Builder, Runtime};

/// How a service starts: with which processor.
type Start = fn(LogExporterBuilder) -> Service;

const STARTS: [Start; 2] = [Service::simple, Service::batch];

/// How a service ends.
type End = fn(Service);

const ENDS: [End; 3] = [
    |service| service.provider.shutdown().expect("an orderly end"),
    drop,
    |service| {
        service.deliver();
        service.provider.shutdown().expect("an orderly end");
    },
];

fn runtimes() -> [Runtime; 2] {
    let mut multi = Builder::new_multi_thread();
    [&mut Builder::new_current_thread(), multi.worker_threads(2)].map(|builder| builder.enable_all().build().unwrap())
}

/// Runs `work` for both processors and all ends, each with a receiver of its own, and expects all to be delivered.
fn in_every_way(work: fn(&Exporters<'_>, Start, End)) {
    in_time("a service", move || {
        for start in STARTS {
            for end in ENDS {
                let (receiver, spool) = (Receiver::start(), spool_dir());
                work(&Exporters { receiver: &receiver, spool: &spool }, start, end);
                assert_eq!(receiver.delivered(), names("m", 1..=20));
            }
        }
    });
}

/// Makes exporters to the receiver of a test.
struct Exporters<'a> {
    receiver: &'a Receiver,
    spool: &'a tempfile::TempDir,
}

impl Exporters<'_> {
    fn exporter(&self) -> LogExporterBuilder {
        exporter(self.receiver, self.spool).with_async_header_hook(|_, headers| async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            Ok(headers)
        })
    }
}

#[test]
fn a_plain_main_needs_no_runtime() {
    in_every_way(|exporters, start, end| {
        let service = start(exporters.exporter());
        service.log_all("m", 1..=20);
        end(service);
    });
}

#[test]
fn a_service_lives_and_ends_inside_a_runtime() {
    in_every_way(|exporters, start, end| {
        let [current, multi] = runtimes();
        current.block_on(async {
            let service = start(exporters.exporter());
            service.log_all("m", 1..=10);
            end(service);
        });
        multi.block_on(async {
            let service = start(exporters.exporter());
            for number in 11..=20 {
                service.log(&name("m", number));
                tokio::task::yield_now().await;
            }
            end(service);
        });
    });
}

#[test]
fn a_service_lives_and_ends_on_a_runtime_s_worker_thread() {
    in_every_way(|exporters, start, end| {
        let [_, multi] = runtimes();
        let exporter = exporters.exporter();
        let task = multi.spawn(async move {
            let service = start(exporter);
            service.log_all("m", 1..=20);
            tokio::task::yield_now().await;
            end(service);
        });
        multi.block_on(task).expect("no panic");
    });
}

#[test]
fn a_service_is_built_outside_and_ends_inside_a_runtime() {
    in_every_way(|exporters, start, end| {
        for (runtime, numbers) in runtimes().into_iter().zip([1..=10, 11..=20]) {
            let service = start(exporters.exporter());
            runtime.block_on(async move {
                service.log_all("m", numbers);
                end(service);
            });
        }
    });
}

#[test]
fn a_service_is_built_inside_and_ends_outside_a_runtime_that_is_gone() {
    in_every_way(|exporters, start, end| {
        for (runtime, numbers) in runtimes().into_iter().zip([1..=10, 11..=20]) {
            let service = runtime.block_on(async { start(exporters.exporter()) });
            drop(runtime);
            service.log_all("m", numbers);
            end(service);
        }
    });
}

#[test]
fn a_service_ends_on_a_thread_for_blocking_work() {
    in_every_way(|exporters, start, end| {
        for (runtime, numbers) in runtimes().into_iter().zip([1..=10, 11..=20]) {
            runtime.block_on(async {
                let service = start(exporters.exporter());
                service.log_all("m", numbers);
                tokio::task::spawn_blocking(move || end(service)).await.expect("no panic");
            });
        }
    });
}

#[test]
fn a_service_that_a_runtime_s_task_owns_ends_with_the_runtime() {
    in_every_way(|exporters, start, _end| {
        for (runtime, numbers) in runtimes().into_iter().zip([1..=10, 11..=20]) {
            let exporter = exporters.exporter();
            let (sender, logged) = tokio::sync::oneshot::channel();
            runtime.spawn(async move {
                let service = start(exporter);
                service.log_all("m", numbers);
                sender.send(()).expect("somebody waits");
                std::future::pending::<()>().await;
                drop(service);
            });
            runtime.block_on(logged).expect("the task logs");
            drop(runtime);
        }
    });
}

#[test]
fn flush_may_be_called_inside_a_runtime() {
    in_every_way(|exporters, start, end| {
        for (runtime, numbers) in runtimes().into_iter().zip([1..=10, 11..=20]) {
            runtime.block_on(async {
                let service = start(exporters.exporter());
                service.log_all("m", numbers.clone());
                service.deliver();
                assert_eq!(service.handle.stats().delivered_records, 10);
                end(service);
            });
        }
    });
}

#[test]
fn a_client_made_and_used_in_the_application_s_runtime_serves_the_exporter_too() {
    let [current, multi] = runtimes();
    for runtime in [current, multi] {
        let (receiver, spool) = (Receiver::start(), spool_dir());
        let client = runtime.block_on(async {
            let client = reqwest::Client::new();
            client.post(receiver.url("/warm")).body("[]").send().await.expect("an answer");
            client
        });
        let service = Service::batch(exporter(&receiver, &spool).with_http_client(client));
        service.log_all("m", 1..=20);
        service.deliver();
        drop(runtime);
        service.log("after");
        service.deliver();
        assert_eq!(receiver.delivered()[20..], ["after"]);
    }
}

#[cfg(feature = "tls")]
#[test]
fn tls_works_inside_a_runtime() {
    let (authority, spool) = (common::Authority::new(), spool_dir());
    let receiver = Receiver::start_tls(authority.server(None));
    for runtime in runtimes() {
        runtime.block_on(async {
            let exporter = exporter(&receiver, &spool).with_root_certificate_pem(authority.pem());
            let service = Service::batch(exporter);
            service.log("hello");
            service.deliver();
        });
    }
    assert_eq!(receiver.delivered(), ["hello", "hello"]);
}

#[test]
fn a_service_may_be_a_static_that_is_never_dropped() {
    static PROVIDER: std::sync::OnceLock<SdkLoggerProvider> = std::sync::OnceLock::new();
    let (receiver, spool) = (Receiver::start(), spool_dir());
    let service = Service::batch(exporter(&receiver, &spool));
    PROVIDER.set(service.provider.clone()).expect("once");
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let logger = service.logger.clone();
            thread::spawn(move || {
                use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _};
                let mut record = logger.create_log_record();
                record.set_body(AnyValue::from(format!("thread {thread}")));
                logger.emit(record);
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    let handle = service.handle.clone();
    PROVIDER.get().expect("a provider").force_flush().expect("records reach the disk");
    drop(service);
    flush(&handle);
    assert_eq!(receiver.delivered().len(), 2);
}
