//! The service as a child process: started, killed and ended.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry_spool::BoxError;

use crate::ledger::{SharedLedger, books};
use crate::report::Report;
use crate::wait::wait_until;

/// A running service and the thread that reads what it reports.
pub(crate) struct Service {
    child: Child,
    reader: JoinHandle<()>,
}

impl Service {
    /// Starts this program as the service; returns when its providers are built.
    pub(crate) fn start(run: u64, url: &str, spool_dir: &Path, ledger: &SharedLedger) -> Result<Self, BoxError> {
        books(ledger).begin_run(run);
        let mut child = Command::new(std::env::current_exe()?)
            .arg("service")
            .args([run.to_string().as_str(), url])
            .arg(spool_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let reports = child.stdout.take().ok_or("the service has no standard output")?;
        let pages = Arc::clone(ledger);
        let reader = std::thread::spawn(move || read_reports(reports, &pages));
        let service = Self { child, reader };
        if wait_until(Duration::from_secs(10), || books(ledger).opened_millis.is_some() || service.reader.is_finished())
            && books(ledger).opened_millis.is_some()
        {
            return Ok(service);
        }
        service.kill()?;
        Err("the service did not start".into())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL; returns when the process is gone and all its reports are in the ledger.
    pub(crate) fn kill(mut self) -> Result<(), BoxError> {
        self.child.kill()?;
        self.wait()?;
        Ok(())
    }

    /// Asks the service to end by closing its standard input, and waits for it.
    pub(crate) fn end(mut self) -> Result<(), BoxError> {
        drop(self.child.stdin.take());
        let status = self.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the service ended with {status}").into()) }
    }

    fn wait(mut self) -> Result<ExitStatus, BoxError> {
        let status = self.child.wait()?;
        self.reader.join().map_err(|_| "the thread that reads the service's reports panicked")?;
        Ok(status)
    }
}

fn read_reports(reports: impl Read, ledger: &SharedLedger) {
    let mut reports = BufReader::new(reports);
    let mut line = String::new();
    while reports.read_line(&mut line).is_ok_and(|length| length > 0) {
        if let Some(report) = line.strip_suffix('\n').and_then(Report::parse) {
            books(ledger).note(report);
        }
        line.clear();
    }
}
