//! [`ProbeReport`]: what is found where an exporter's settings are tried, step by step. Plain data.

use std::fmt;

/// How far [`probe`](crate::LogExporterBuilder::probe) goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeMode {
    /// What is on this machine alone: settings, directory and space. Nothing is looked up, and nobody is connected to.
    Local,
    /// Everything short of a request: settings, directory, name, connection and TLS. The endpoint gets no record.
    Connect,
    /// The same, and then one marked record is sent, a second time without gzip if it is refused with it. It says that it is a probe, and
    /// is never spooled.
    Send,
}

/// The subject of a step of a probe, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProbeStage {
    /// The settings, wherever they are given.
    Settings,
    /// The directory of the spool: what is there, and on Unix with the feature `relay` whether this process may write to it.
    Directory,
    /// The space on its disk.
    Space,
    /// The name of the host that a connection is made to: the endpoint's, or the proxy's.
    Name,
    /// The connection, with the proxy and TLS.
    Connection,
    /// The response to the marked record.
    Response,
    /// This machine's clock, beside that of the server.
    Clock,
    /// What delivery does with records that get such a response, or none.
    Delivery,
}

impl ProbeStage {
    /// Its name, as [`ProbeReport`] and `otel-spool check` show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Directory => "directory",
            Self::Space => "space",
            Self::Name => "name",
            Self::Connection => "connection",
            Self::Response => "response",
            Self::Clock => "clock",
            Self::Delivery => "delivery",
        }
    }
}

impl fmt::Display for ProbeStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The result of a step of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProbeResult {
    /// It is as it should be.
    Passed,
    /// It is allowed, and probably not meant so.
    Warned,
    /// Records would not be stored, or not be delivered.
    Failed,
    /// It was not looked at; the text says why.
    Skipped,
}

impl ProbeResult {
    /// Its name, as [`ProbeReport`] and `otel-spool check` show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Warned => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for ProbeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A step of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeStep {
    /// The subject.
    pub stage: ProbeStage,
    /// How it is.
    pub result: ProbeResult,
    /// What was found, in words. There are no credentials, no values of headers and none of a query in it.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl ProbeStep {
    pub(crate) fn new(stage: ProbeStage, result: ProbeResult, text: impl Into<String>) -> Self {
        Self { stage, result, text: text.into(), remedy: None }
    }

    pub(crate) fn passed(stage: ProbeStage, text: impl Into<String>) -> Self {
        Self::new(stage, ProbeResult::Passed, text)
    }

    pub(crate) fn warned(stage: ProbeStage, text: impl Into<String>) -> Self {
        Self::new(stage, ProbeResult::Warned, text)
    }

    pub(crate) fn failed(stage: ProbeStage, text: impl Into<String>) -> Self {
        Self::new(stage, ProbeResult::Failed, text)
    }

    pub(crate) fn skipped(stage: ProbeStage, text: impl Into<String>) -> Self {
        Self::new(stage, ProbeResult::Skipped, text)
    }

    /// The same with what to do about it.
    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl fmt::Display for ProbeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<11} {}", self.result, self.stage, self.text)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

/// What a probe has found: its steps in their order. As text, it is a line for each.
///
/// # Examples
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use opentelemetry_spool::{LogExporter, ProbeMode, ProbeStage};
///
/// let report = LogExporter::builder()
///     .with_endpoint("http://127.0.0.1:9/ingest") // nobody listens there
///     .with_spool_dir(dir.path().join("spool"))
///     .probe(ProbeMode::Connect);
/// println!("{report}");
/// assert_eq!(report.failure().map(|step| step.stage), Some(ProbeStage::Connection));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says what is wrong"]
pub struct ProbeReport {
    pub(crate) steps: Vec<ProbeStep>,
    /// The marked record was refused for its own sake.
    pub(crate) refused: bool,
}

impl ProbeReport {
    /// The steps in their order. Behind a failure that the rest depends on there are none.
    pub fn steps(&self) -> &[ProbeStep] {
        &self.steps
    }

    /// The first step that failed, which explains those behind it.
    pub fn failure(&self) -> Option<&ProbeStep> {
        self.steps.iter().find(|step| step.result == ProbeResult::Failed)
    }

    /// Whether no step failed. There may be warnings.
    pub fn is_ok(&self) -> bool {
        self.failure().is_none()
    }

    /// Whether the endpoint refused the marked record for its own sake, as with 400 or 413 or in a partial success, and not for the
    /// address, the credentials or the load.
    pub fn is_refused(&self) -> bool {
        self.refused
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            write!(f, "{}{step}", if at > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_line_for_each_step_and_its_failure_is_the_first_one() {
        let steps = vec![
            ProbeStep::passed(ProbeStage::Settings, "logs to http://host/in"),
            ProbeStep::failed(ProbeStage::Connection, "it is refused").with_remedy("start it"),
            ProbeStep::failed(ProbeStage::Delivery, "it waits"),
        ];
        let report = ProbeReport { steps, refused: false };
        let lines = "ok       settings    logs to http://host/in\n\
                     failed   connection  it is refused; start it\n\
                     failed   delivery    it waits";
        assert_eq!(report.to_string(), lines);
        assert_eq!(report.failure(), Some(&report.steps()[1]));
        assert!(!report.is_ok());
    }
}
