//! The transport: it passes each batch to a thread that appends it, and judges how that went.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use super::lines::{self, FORMATS, Lines};
use super::names::Names;
use super::options::{Options, Rotation};
use super::rotating::{FileError, RotatingFile, Unfinished};
use crate::config::values::Sourced;
use crate::error::ExporterBuildError;
use crate::process;
use crate::transport::contract::{Delivery, Peer, SendError, Transport};
use crate::transport::request::Request;
use crate::transport::settings::TransportSettings;
use crate::transport::verdict::{Judgement, Verdict};

struct FileTransport {
    /// The thread ends when it has done what it was given, and this is dropped.
    appends: Sender<Append>,
    path: PathBuf,
}

/// A batch for the thread.
struct Append {
    partition: String,
    lines: Lines,
    result: oneshot::Sender<Result<(), Unfinished>>,
}

/// Opens files at an endpoint. No file is opened before there is a record for it.
///
/// # Errors
///
/// If a setting is not allowed.
#[expect(clippy::needless_pass_by_value, reason = "every transport is opened so")]
pub(crate) fn open(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let options = Options::of(&settings.endpoint)?;
    settings.check_without_http("a file")?;
    if settings.framing.as_ref().is_some_and(|framing| !lines::takes(framing)) {
        return Err(Sourced::new((), "with_encoder").invalid(FORMATS));
    }
    let path = options.path.clone();
    let (appends, received) = channel();
    process::spawn("file", move || run(Files::new(options), &received)).map_err(ExporterBuildError::Thread)?;
    Ok(Arc::new(FileTransport { appends, path }))
}

fn run(mut files: Files, received: &Receiver<Append>) {
    for Append { partition, lines, result } in received {
        // Nobody waits for an attempt that was broken off.
        if !result.is_closed() {
            let append = || files.append(&partition, &lines);
            // After a panic, the channel that is dropped says so.
            if let Ok(appended) = catch_unwind(AssertUnwindSafe(append)) {
                files.tell(&partition, appended, result);
            }
        }
    }
}

/// The files that are open.
enum Files {
    One(RotatingFile),
    /// One for each partition, in a directory.
    Directory {
        dir: PathBuf,
        rotation: Rotation,
        names: Option<Names>,
        open: HashMap<String, RotatingFile>,
    },
}

impl Files {
    fn new(options: Options) -> Self {
        let Options { path, is_directory, rotation } = options;
        if is_directory {
            Self::Directory { dir: path, rotation, names: None, open: HashMap::new() }
        } else {
            Self::One(RotatingFile::new(path, rotation))
        }
    }

    fn append(&mut self, partition: &str, lines: &Lines) -> Result<(), Unfinished> {
        self.of(partition)?.append(lines)
    }

    /// Tells who waits for a batch how its append went. A batch that nobody waits for any more will come again, so it is taken back.
    fn tell(
        &mut self,
        partition: &str,
        appended: Result<(), Unfinished>,
        result: oneshot::Sender<Result<(), Unfinished>>,
    ) {
        if let Err(Ok(())) = result.send(appended)
            && let Ok(file) = self.of(partition)
        {
            file.take_back();
        }
    }

    /// The file of a partition.
    fn of(&mut self, partition: &str) -> Result<&mut RotatingFile, Unfinished> {
        match self {
            Self::One(file) => Ok(file),
            Self::Directory { dir, rotation, names, open } => {
                let names = match names {
                    Some(names) => names,
                    None => names.insert(Names::read(dir, *rotation).map_err(|error| {
                        let reason = format!("the directory `{}` cannot be read: {error}", dir.display());
                        Unfinished { records: 0, error: FileError { reason, is_lasting: true } }
                    })?),
                };
                let name = names.of(partition);
                Ok(open.entry(name.to_owned()).or_insert_with(|| RotatingFile::new(dir.join(name), *rotation)))
            }
        }
    }
}

impl FileTransport {
    async fn append(&self, request: &Request, lines: Lines) -> Result<Judgement, SendError> {
        let (result, appended) = oneshot::channel();
        // Without a thread, `appended` says so.
        let _ = self.appends.send(Append { partition: request.context.partition_key.clone(), lines, result });
        let Ok(appended) = tokio::time::timeout(request.timeout, appended).await else {
            let timeout = request.timeout;
            return Err(SendError::TimedOut(format!("the disk did not take the batch within {timeout:?}")));
        };
        let appended =
            appended.map_err(|_| SendError::NotSent("the thread that writes files has failed".to_owned()))?;
        match appended {
            Ok(()) => Ok(Judgement::without_response(Verdict::Delivered, String::new())),
            Err(Unfinished { records, error }) if records > 0 => {
                let verdict = Verdict::DeliveredUpTo { records: records as u64, rejection: None };
                Ok(Judgement::without_response(verdict, error.reason))
            }
            Err(Unfinished { error: FileError { reason, is_lasting: true }, .. }) => {
                Ok(Judgement::without_response(Verdict::Hold, reason))
            }
            Err(Unfinished { error, .. }) => Err(SendError::Unreachable(error.reason)),
        }
    }
}

impl Transport for FileTransport {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            let Some(lines) = Lines::of(&request) else {
                let reason = format!("the spool holds records of another format: {FORMATS}");
                return Ok(Judgement::without_response(Verdict::Hold, reason));
            };
            let in_flight = request.begin();
            let result = self.append(&request, lines).await;
            in_flight.end(match &result {
                Ok(judgement) => judgement.outcome,
                Err(error) => error.outcome(),
            });
            result
        })
    }

    fn takes_gzip(&self) -> bool {
        false
    }

    fn peer(&self) -> Peer {
        Peer { address: self.path.display().to_string(), ..Peer::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::values::Method;
    use crate::encode::framing::{Framing, Nesting};
    use crate::transport::http::settings::HttpSettings;
    use crate::transport::request::tests::request;

    fn settings(url: &str) -> TransportSettings {
        TransportSettings::new(Sourced::new(url.to_owned(), "with_endpoint"))
    }

    fn transport(path: &Path, rest: &str) -> Arc<dyn Transport> {
        open(settings(&format!("file://{}{rest}", path.display()))).ok().unwrap()
    }

    fn deliver(transport: &dyn Transport, partition: &str, record: &str) -> Result<Judgement, SendError> {
        let mut request = request("text/plain", [""; 3], &[record]);
        partition.clone_into(&mut request.context.partition_key);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(transport.deliver(request))
    }

    fn verdict(result: Result<Judgement, SendError>) -> Verdict {
        result.unwrap().verdict
    }

    #[test]
    fn a_partition_has_a_file_of_its_own_in_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let transport = transport(dir.path(), "/?max_bytes=4&backups=1");
        for (partition, body) in [("a.log", "1"), ("", "2"), ("../b", "3"), ("a.log", "4"), ("a.log.1", "5")] {
            assert_eq!(verdict(deliver(&*transport, partition, body)), Verdict::Delivered);
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!([read("a.log"), read("a.log.1")], ["4\n", "1\n"]);
        assert_eq!([read("default.log"), read("default.log.1")], ["5\n", "3\n"]);
    }

    #[test]
    fn a_directory_that_is_missing_holds_the_batch_until_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for (of, rest, file) in [("one", "/app.log", "app.log"), ("many", "/", "default.log")] {
            let missing = dir.path().join(of);
            let transport = transport(&missing, rest);
            let judgement = deliver(&*transport, "", "record").unwrap();
            assert_eq!(judgement.verdict, Verdict::Hold);
            assert!(judgement.reason.contains(missing.to_str().unwrap()), "{}", judgement.reason);
            std::fs::create_dir(&missing).unwrap();
            assert_eq!(verdict(deliver(&*transport, "", "record")), Verdict::Delivered);
            assert_eq!(std::fs::read_to_string(missing.join(file)).unwrap(), "record\n");
        }
    }

    #[test]
    fn a_batch_whose_time_ran_out_while_it_was_written_is_not_in_its_file_twice() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}/", dir.path().display());
        let mut files = Files::new(Options::of(&Sourced::new(url, "with_endpoint")).unwrap());
        let lines = Lines::of(&request("text/plain", [""; 3], &["record"])).unwrap();
        for (partition, is_waited_for) in [("a.log", false), ("a.log", true), ("b.log", false)] {
            let (result, waiting) = oneshot::channel();
            let waiting = is_waited_for.then_some(waiting);
            let appended = files.append(partition, &lines);
            files.tell(partition, appended, result);
            assert!(waiting.is_none_or(|mut waiting| matches!(waiting.try_recv(), Ok(Ok(())))));
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!([read("a.log"), read("b.log")], ["record\n", ""]);
    }

    #[test]
    fn records_of_a_format_that_a_file_does_not_take_are_held_with_those_that_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        let transport = transport(dir.path(), "/app.log");
        let request = request("application/json", ["{\"streams\":[", ",", "]}"], &["record"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let judgement = runtime.block_on(transport.deliver(request)).unwrap();
        assert_eq!(judgement.verdict, Verdict::Hold);
        assert!(judgement.reason.contains("text, ndjson"), "{}", judgement.reason);
    }

    #[test]
    fn a_setting_that_a_file_has_no_use_for_is_an_error_that_names_it() {
        let mut headers = crate::transport::http::headers::HeaderMap::new();
        headers.insert("a", "b").unwrap();
        let http = |http| TransportSettings { http, ..settings("file:///app.log") };
        let nested = Framing::json_array().nested(Nesting::Json);
        for (settings, name) in [
            (http(HttpSettings { headers, ..HttpSettings::default() }), "`with_headers`"),
            (http(HttpSettings { method: Method::Get, ..HttpSettings::default() }), "`with_method`"),
            (
                TransportSettings { gzip: Some(Sourced::new((), "with_compression")), ..settings("file:///app.log") },
                "`with_compression`",
            ),
            (TransportSettings { framing: Some(nested), ..settings("file:///app.log") }, "`with_encoder`"),
        ] {
            let error = open(settings).err().expect("an error").to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
