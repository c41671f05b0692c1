//! The end of it all: the tables, a page, and everything as JSON.

mod chart;
mod collected;
mod format;
mod html;
mod machine;
mod table;

use std::io::Write;

use opentelemetry_spool::BoxError;

use crate::args::Args;
pub(crate) use collected::Report;
pub(crate) use machine::Machine;

/// Writes the files and prints the tables.
pub(crate) fn publish(report: &Report<'_>, args: &Args) -> Result<(), BoxError> {
    let (json, page) = (args.out.join("harness.json"), args.out.join("harness.html"));
    let text = serde_json::to_string(report)?;
    std::fs::write(&json, &text)?;
    let printed = if args.json {
        text
    } else {
        std::fs::write(&page, html::page(report))?;
        format!("{}\n{}\n{}\n", markdown(report), page.display(), json.display())
    };
    Ok(std::io::stdout().write_all(printed.as_bytes())?)
}

fn markdown(report: &Report<'_>) -> String {
    let tables = std::iter::once(table::figures(report)).chain(table::ratios(report)).map(|table| table.markdown());
    let guarantees = report.systems.iter().map(|system| format!("- `{}`: {}", system.name, system.guarantee));
    let parts = std::iter::once(report.caption() + "\n").chain(tables).chain(guarantees);
    parts.collect::<Vec<_>>().join("\n") + "\n"
}
