//! The output: tables for people, JSON for programs, notes on standard error.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, IsTerminal, Write};

use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;

use super::outcome::Failure;

/// Standard output, or a file in its place.
pub(super) struct Screen {
    out: BufWriter<Box<dyn Write>>,
    pub(super) json: bool,
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        Self { is_terminal: stdout.is_terminal(), out: BufWriter::new(Box::new(stdout)), json }
    }

    pub(super) fn of_file(file: File, json: bool) -> Self {
        Self { is_terminal: false, out: BufWriter::new(Box::new(file)), json }
    }

    /// A line as it is.
    pub(super) fn raw(&mut self, line: &[u8]) -> io::Result<()> {
        self.out.write_all(line)?;
        self.out.write_all(b"\n")
    }

    /// A line of text. Text from records must not steer a terminal, so control characters are escaped there.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        if self.is_terminal { self.raw(printable(text).as_bytes()) } else { self.raw(text.as_bytes()) }
    }

    /// A JSON document on a line of its own.
    pub(super) fn document(&mut self, value: &Value) -> io::Result<()> {
        self.raw(value.to_string().as_bytes())
    }

    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        self.out.write_all(table.to_string().as_bytes())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Text without control characters.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && char != '\t' {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// A line on standard error.
pub(super) fn note(text: &str) {
    // A closed standard error cannot be reported anywhere.
    let _ = writeln!(io::stderr(), "otel-spool: {}", printable(text));
}

/// Asks before something irreversible. Without a terminal, `--yes` has to be given.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Refused(format!("{question}: give --yes, since there is no terminal to ask at")));
    }
    let _ = write!(io::stderr(), "{}? [y/N] ", printable(question));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(Failure::Refused("nothing was done".to_owned())),
    }
}

pub(super) fn count(count: u64) -> String {
    HumanCount(count).to_string()
}

pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Bytes, or `?` where they are not known.
pub(super) fn known_bytes(known: Option<u64>) -> String {
    known.map_or_else(|| "?".to_owned(), bytes)
}

/// A number of things, and what they are.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

pub(super) fn records(number: u64) -> String {
    counted(number, "record", "records")
}

/// The name of a partition; `(none)` for the empty key.
pub(super) fn partition(key: &str) -> String {
    if key.is_empty() { "(none)".to_owned() } else { key.to_owned() }
}

/// A table with columns as wide as their contents.
pub(super) struct Table {
    /// A column whose name begins with `>` is aligned right.
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        let lines = || std::iter::once(&names).chain(&self.rows);
        let width_of = |cell: &String| cell.chars().count();
        let widths: Vec<_> = (0..names.len())
            .map(|column| lines().filter_map(|line| line.get(column)).map(width_of).max().unwrap_or_default())
            .collect();
        for line in lines() {
            let mut text = String::new();
            for ((cell, width), name) in line.iter().zip(&widths).zip(self.columns) {
                if !text.is_empty() {
                    text.push_str("  ");
                }
                if name.starts_with('>') {
                    write!(text, "{cell:>width$}")?;
                } else {
                    write!(text, "{cell:<width$}")?;
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", ">RECORDS", "AGE"]);
        table.row(["ä".to_owned(), count(1_234_567), String::new()]);
        table.row(["longer".to_owned(), "1".to_owned(), "2h".to_owned()]);
        let expected = "NAME      RECORDS  AGE\nä       1,234,567\nlonger          1  2h\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn what_is_shown_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\tü\n"), "a\\u{1b}[2Jb\tü\\n");
    }
}
