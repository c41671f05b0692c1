//! What an exporter says of its settings when it is built.

use std::sync::mpsc::channel;

use opentelemetry_spool::{LogExporter, LogExporterBuilder, SpoolEvent};

use crate::child::say;

/// The first line of the error with which a build ends, or its warnings.
pub fn said(builder: LogExporterBuilder) -> Vec<String> {
    let (sender, reported) = channel();
    let builder = builder.with_on_event(move |event| drop(sender.send(event.clone())));
    match builder.build() {
        Err(error) => vec![error.to_string().lines().next().unwrap_or_default().to_owned()],
        Ok(exporter) => {
            drop(exporter);
            let text = |event| match event {
                SpoolEvent::SettingSuspicious { setting, reason } => format!("warning: `{setting}`: {reason}"),
                other => other.to_string(),
            };
            reported.iter().map(text).collect()
        }
    }
}

/// Builds an exporter by the variables of the process alone.
pub(crate) fn main() {
    for line in said(LogExporter::builder()) {
        say(&line);
    }
}
