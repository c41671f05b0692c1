//! The output: tables for people, JSON for programs, notes on standard error.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::outcome::Failure;
use crate::config::values::without_query;
use crate::transport::http::public_url;

/// The columns that output has where there is no terminal to ask.
const COLUMNS: usize = 80;

/// The fewest columns that are left to a column of a table that is cut.
const LEAST: usize = 8;

/// Standard output, or a file in its place.
pub(super) struct Screen {
    out: BufWriter<Box<dyn Write>>,
    pub(super) json: bool,
    is_terminal: bool,
    has_colors: bool,
    columns: usize,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let of_terminal = || ratatui::crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns));
        Self {
            is_terminal,
            has_colors: AutoStream::choice(&stdout) != ColorChoice::Never,
            columns: is_terminal.then(of_terminal).flatten().unwrap_or(COLUMNS),
            out: BufWriter::new(Box::new(stdout)),
            json,
        }
    }

    pub(super) fn of_file(file: File, json: bool) -> Self {
        Self { is_terminal: false, has_colors: false, columns: COLUMNS, out: BufWriter::new(Box::new(file)), json }
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
        self.out.write_all(table.render(self.columns, self.has_colors).as_bytes())
    }

    /// Text in lines that are not longer than the others, those behind the first one indented.
    pub(super) fn paragraph(&mut self, text: &str, tone: Tone) -> io::Result<()> {
        for line in wrap(&printable(text), self.columns, "  ") {
            self.raw(tone.paint(&line, self.has_colors).as_bytes())?;
        }
        Ok(())
    }

    /// Text behind cells of so many columns, of which the first has this tone; its lines are not longer than the others, and stand
    /// below one another.
    pub(super) fn entry(&mut self, cells: &[(&str, usize)], tone: Tone, text: &str) -> io::Result<()> {
        let before: usize = cells.iter().map(|(_, columns)| columns).sum();
        let mut head = String::new();
        for (at, (cell, columns)) in cells.iter().enumerate() {
            let tone = if at == 0 { tone } else { Tone::Plain };
            head.push_str(&tone.paint(cell, self.has_colors));
            head.push_str(&" ".repeat(columns.saturating_sub(cell.width())));
        }
        for line in entry_lines(&printable(text), self.columns.saturating_sub(before)) {
            let line = std::mem::replace(&mut head, " ".repeat(before)) + &line;
            self.raw(line.trim_end().as_bytes())?;
        }
        Ok(())
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

/// Bytes, or that they are not known.
pub(super) fn known_bytes(known: Option<u64>) -> String {
    known.map_or_else(|| "an unknown size".to_owned(), bytes)
}

/// A number of things, and what they are.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

pub(super) fn records(number: u64) -> String {
    counted(number, "record", "records")
}

/// A URL without the parts that can hold a secret.
pub(super) fn shown(url: &str) -> String {
    public_url(url).as_deref().map_or_else(|| "an invalid URL".to_owned(), without_query)
}

/// The name of a partition; `(none)` for the empty key.
pub(super) fn partition(key: &str) -> String {
    if key.is_empty() { "(none)".to_owned() } else { key.to_owned() }
}

/// What is not known.
pub(super) fn unknown() -> String {
    "-".to_owned()
}

/// Bytes in few columns, or that they are not known.
pub(super) fn short_bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(unknown, crate::config::values::short_bytes)
}

/// A count, with a sign behind it if there may be more.
pub(super) fn count_or_more(number: u64, is_partial: bool) -> String {
    format!("{}{}", count(number), if is_partial { "+" } else { "" })
}

/// How something is shown where there are colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
}

impl Tone {
    /// That of a word in a column that says how something is.
    fn of(column: &str, word: &str) -> Self {
        match (column, word) {
            ("OWNER" | "STATE" | "RESULT", "alive" | "intact") => Self::Good,
            ("OWNER" | "STATE" | "RESULT", "gone" | "stranded" | "journal") => Self::Warning,
            ("OWNER" | "STATE" | "RESULT", "damaged" | "unreadable") => Self::Bad,
            _ => Self::Plain,
        }
    }

    fn paint(self, text: &str, has_colors: bool) -> String {
        let style = match self {
            Self::Plain => Style::new(),
            Self::Heading => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        };
        if has_colors { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// A table with columns as wide as their contents, but not wider than the screen.
pub(super) struct Table {
    /// A column whose name begins with `>` is aligned right. One whose name begins with `~` is cut where the table would be too wide.
    columns: &'static [&'static str],
    rows: Vec<Row>,
}

struct Row {
    cells: Vec<String>,
    /// Stands below it.
    note: Option<String>,
}

impl Table {
    pub(super) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| printable(&cell)).collect();
        self.rows.push(Row { cells, note: None });
    }

    /// Adds a line below the last row, which is cut where it is too long.
    pub(super) fn note(&mut self, text: &str) {
        if let Some(row) = self.rows.last_mut().filter(|_| !text.is_empty()) {
            row.note = Some(printable(text));
        }
    }

    /// The width of each column.
    fn widths(&self, names: &[String], columns: usize) -> Vec<usize> {
        let cells = |column| self.rows.iter().filter_map(move |row| row.cells.get(column));
        let widest =
            |(column, name): (usize, &String)| cells(column).map(|cell| cell.width()).fold(name.width(), usize::max);
        let mut widths: Vec<_> = names.iter().enumerate().map(widest).collect();
        let all = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let mut excess = all.saturating_sub(columns);
        for (width, name) in widths.iter_mut().zip(self.columns).filter(|(_, name)| name.starts_with('~')) {
            let less = width.saturating_sub(LEAST.max(name.width() - 1)).min(excess);
            *width -= less;
            excess -= less;
        }
        widths
    }

    /// Its lines as they are in a file.
    pub(super) fn plain(&self) -> String {
        self.render(COLUMNS, false)
    }

    /// Its lines, for so many columns.
    fn render(&self, columns: usize, has_colors: bool) -> String {
        let names: Vec<_> = self.columns.iter().map(|name| name.trim_start_matches(['>', '~']).to_owned()).collect();
        let widths = self.widths(&names, columns);
        let mut text = String::new();
        let line = |cells: &[String], tone: &dyn Fn(&str, &str) -> Tone| {
            let mut line = String::new();
            for (at, cell) in cells.iter().enumerate().take(widths.len()) {
                let cell = cut(cell, widths[at]);
                let painted = tone(&names[at], &cell).paint(&cell, has_colors);
                let space = " ".repeat(widths[at].saturating_sub(cell.width()));
                let is_right = self.columns[at].starts_with('>');
                let (before, behind) = if is_right { (&*space, "") } else { ("", &*space) };
                line.push_str(if at > 0 { "  " } else { "" });
                line.extend([before, &*painted, behind]);
            }
            line.trim_end().to_owned() + "\n"
        };
        text.push_str(&line(&names, &|_, _| Tone::Heading));
        for row in &self.rows {
            text.push_str(&line(&row.cells, &Tone::of));
            if let Some(note) = &row.note {
                text.extend(["  ", &*cut(note, columns.saturating_sub(2)), "\n"]);
            }
        }
        text
    }
}

/// The beginning of a text that has no more than so many columns, with a sign that something is cut.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (mut shown, mut width) = (String::new(), 1);
    for char in text.chars() {
        width += char.width().unwrap_or_default();
        if width > columns {
            break;
        }
        shown.push(char);
    }
    shown + "\u{2026}"
}

/// Lines of at most so many columns, broken between words; all but the first begin with `indent`.
pub(super) fn wrap(text: &str, columns: usize, indent: &str) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let is_first = line.is_empty() || line == indent;
        if !is_first && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        } else if !is_first {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// The lines of an entry, in which a word that is longer than a line is broken.
fn entry_lines(text: &str, columns: usize) -> Vec<String> {
    let words: Vec<_> = text.split_whitespace().flat_map(|word| pieces(word, columns)).collect();
    wrap(&words.join(" "), columns, "")
}

/// A word in pieces that are not longer than a line.
fn pieces(word: &str, columns: usize) -> Vec<&str> {
    let (mut pieces, mut start, mut taken) = (Vec::new(), 0, 0);
    for (at, char) in word.char_indices() {
        let width = char.width().unwrap_or(0);
        if taken + width > columns && at > start {
            pieces.push(&word[start..at]);
            (start, taken) = (at, 0);
        }
        taken += width;
    }
    pieces.push(&word[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_an_entry_that_is_longer_than_a_line_is_broken() {
        let lines = entry_lines("to http://collector:4318/v1/logs now", 10);
        assert_eq!(lines, ["to", "http://col", "lector:431", "8/v1/logs", "now"]);
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", ">RECORDS", "AGE"]);
        table.row(["ä".to_owned(), count(1_234_567), String::new()]);
        table.row(["longer".to_owned(), "1".to_owned(), "2h".to_owned()]);
        let expected = "NAME      RECORDS  AGE\nä       1,234,567\nlonger          1  2h\n";
        assert_eq!(table.render(80, false), expected);
    }

    #[test]
    fn a_table_that_is_too_wide_is_cut_where_it_may_be_and_a_character_can_take_two_columns() {
        let mut table = Table::new(&["ID", "~PARTITION", ">N"]);
        table.row(["0123456789".to_owned(), "顧客の名前がとても長い".to_owned(), "1".to_owned()]);
        table.note("a note that is longer than the table may be");
        let expected = "ID          PARTITION   N\n0123456789  顧客の名…   1\n  a note that is longer …\n";
        assert_eq!(table.render(25, false), expected);
        assert!(table.render(25, false).lines().all(|line| line.width() <= 25));
        assert!(table.render(80, false).contains("とても長い  1\n"));
        // What may not be cut is not.
        assert!(table.render(5, false).contains("0123456789"));
    }

    #[test]
    fn only_words_that_say_how_something_is_have_colors_and_only_where_there_are_any() {
        let mut table = Table::new(&["PARTITION", "OWNER"]);
        table.row(["gone".to_owned(), "gone".to_owned()]);
        let colored = "\u{1b}[1mPARTITION\u{1b}[0m  \u{1b}[1mOWNER\u{1b}[0m\ngone       \u{1b}[33mgone\u{1b}[0m\n";
        assert_eq!(table.render(80, true), colored);
        assert_eq!(table.render(80, false), "PARTITION  OWNER\ngone       gone\n");
    }

    #[test]
    fn a_paragraph_is_broken_between_words() {
        let lines = wrap("one two  three averylongword four", 9, "  ");
        assert_eq!(lines, ["one two", "  three", "  averylongword", "  four"]);
        assert_eq!(wrap("", 9, "  "), [""]);
    }

    #[test]
    fn bytes_have_few_columns() {
        let shown = [0, 1023, 1024, 94_208, 1_048_576, 1_150_000, 1 << 40].map(|bytes| short_bytes(Some(bytes)));
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "92 KiB", "1.0 MiB", "1.1 MiB", "1.0 TiB"]);
        assert!((0..64).all(|bit| short_bytes(Some((1 << bit) - 1)).len() <= 8 || bit > 50));
        assert_eq!(short_bytes(None), "-");
    }

    #[test]
    fn what_is_shown_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[2Jb\tü\n"), "a\\u{1b}[2Jb\tü\\n");
    }
}
