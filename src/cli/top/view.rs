//! [`View`]: what `top` shows, and how it is drawn. It touches nothing but the frame.

use std::cmp::{Ordering, Reverse};
use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row as Cells, Table, TableState, Wrap};

use super::look::{Look, Row};
use crate::cli::screen::{count, count_or_more, counted, known_bytes, printable, unknown};
use crate::cli::survey::{age, rough_age};

/// What the queues are sorted by: the most first, or the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Queue,
    Waiting,
    Lag,
    In,
    Out,
    Failed,
    Rejected,
}

impl Sort {
    const ALL: [Self; 7] = [Self::Waiting, Self::Lag, Self::In, Self::Out, Self::Failed, Self::Rejected, Self::Queue];

    /// The next one, and behind the last the first.
    pub(super) fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    fn name(self) -> &'static str {
        match self {
            Self::Queue => "QUEUE",
            Self::Waiting => "WAITING",
            Self::Lag => "LAG",
            Self::In => "IN/S",
            Self::Out => "OUT/S",
            Self::Failed => "FAILED",
            Self::Rejected => "REJECTED",
        }
    }

    fn compare(self, one: &Row, other: &Row) -> Ordering {
        let rates = |one: Option<f64>, other: Option<f64>| {
            other.unwrap_or(-1.0).partial_cmp(&one.unwrap_or(-1.0)).unwrap_or(Ordering::Equal)
        };
        // What has no time comes last.
        let times =
            |one: Option<SystemTime>, other: Option<SystemTime>| (one.is_none(), one).cmp(&(other.is_none(), other));
        let failed = |row: &Row| row.failing().map(|error| error.at);
        let by = match self {
            Self::Queue => Ordering::Equal,
            Self::Waiting => Reverse(one.waiting).cmp(&Reverse(other.waiting)),
            Self::Lag => times(one.oldest, other.oldest),
            Self::In => rates(one.rate_in, other.rate_in),
            Self::Out => rates(one.rate_out, other.rate_out),
            Self::Failed => times(failed(one), failed(other)),
            Self::Rejected => Reverse(one.rejected()).cmp(&Reverse(other.rejected())),
        };
        by.then_with(|| one.queue.cmp(&other.queue))
    }
}

/// Text in place of the queues.
pub(super) struct Page {
    pub(super) lines: Vec<String>,
    /// The first line that is shown.
    pub(super) top: usize,
}

/// What is shown.
pub(super) struct View {
    dir: String,
    has_colors: bool,
    look: Look,
    now: SystemTime,
    pub(super) sort: Sort,
    pub(super) is_paused: bool,
    /// The queue that is chosen; it stays so wherever it stands.
    chosen: Option<String>,
    pub(super) page: Option<Page>,
}

impl View {
    pub(super) fn new(dir: String, has_colors: bool) -> Self {
        Self {
            dir,
            has_colors,
            look: Look::default(),
            now: SystemTime::UNIX_EPOCH,
            sort: Sort::Waiting,
            is_paused: false,
            chosen: None,
            page: None,
        }
    }

    /// Shows what was seen.
    pub(super) fn show(&mut self, look: Look, now: SystemTime) {
        (self.look, self.now) = (look, now);
    }

    /// Chooses a queue that stands so many lines further down, or moves the page.
    pub(super) fn go(&mut self, lines: isize) {
        if let Some(page) = &mut self.page {
            page.top = page.top.saturating_add_signed(lines).min(page.lines.len().saturating_sub(1));
            return;
        }
        let rows = self.rows();
        let at = self.place(&rows).unwrap_or_default().saturating_add_signed(lines);
        self.chosen = rows.get(at.min(rows.len().saturating_sub(1))).map(|row| row.queue.clone());
    }

    fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<_> = self.look.rows.iter().collect();
        rows.sort_by(|one, other| self.sort.compare(one, other));
        rows
    }

    /// Where the chosen queue stands: the first one, if none is.
    fn place(&self, rows: &[&Row]) -> Option<usize> {
        let chosen = self.chosen.as_ref().and_then(|chosen| rows.iter().position(|row| row.queue == *chosen));
        chosen.or((!rows.is_empty()).then_some(0))
    }

    fn color(&self, color: Color) -> Style {
        if self.has_colors { Style::new().fg(color) } else { Style::new() }
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, keys] =
            Layout::vertical([Constraint::Length(3), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        if let Some(page) = &self.page {
            let lines: Vec<_> = page.lines.iter().skip(page.top).map(|line| Line::raw(printable(line))).collect();
            frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), body);
            frame.render_widget(Line::raw("r back  \u{2191}\u{2193} move  q quit"), keys);
            return;
        }
        let [queues, chosen] = Layout::vertical([Constraint::Fill(1), Constraint::Length(7)]).areas(body);
        let rows = self.rows();
        let place = self.place(&rows);
        self.draw_queues(&rows, place, queues, frame);
        if let Some(row) = place.and_then(|at| rows.get(at)) {
            self.draw_chosen(row, chosen, frame);
        }
        let help = format!(
            "q quit  space {}  s sort: {}  \u{2191}\u{2193} choose  r newest rejected",
            if self.is_paused { "go on" } else { "pause" },
            self.sort.name()
        );
        frame.render_widget(Line::raw(help), keys);
    }

    /// The spool as a whole.
    fn head(&self) -> Vec<Line<'static>> {
        let rows = &self.look.rows;
        let alive = rows.iter().filter(|row| row.is_owned).count();
        let waiting: u64 = rows.iter().filter_map(|row| row.waiting).sum();
        let is_partial = rows.iter().any(|row| row.is_partial || row.waiting.is_none());
        let rejected = self.look.rejected.map_or_else(unknown, count);
        let mut title = vec![
            Span::styled("otel-spool top", Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!("  {}", printable(&self.dir))),
        ];
        if self.is_paused {
            title.push(Span::styled("  PAUSED", self.color(Color::Yellow).add_modifier(Modifier::BOLD)));
        }
        let sums = format!(
            "{}, {alive} alive; {} waiting; {rejected} rejected; {}",
            counted(rows.len() as u64, "queue", "queues"),
            count_or_more(waiting, is_partial),
            known_bytes(self.look.disk_bytes)
        );
        vec![Line::from(title), Line::raw(sums)]
    }

    fn draw_queues(&self, rows: &[&Row], place: Option<usize>, area: Rect, frame: &mut Frame<'_>) {
        const NAMES: [&str; 9] = ["QUEUE", "SIGNAL", "OWNER", "WAITING", "LAG", "IN/S", "OUT/S", "FAILED", "REJECTED"];
        const WIDTHS: [u16; 9] = [16, 7, 7, 10, 7, 5, 6, 6, 8];
        let names = NAMES.iter().zip(0..).map(|(name, column)| {
            let is_sorted = *name == self.sort.name();
            let style = if is_sorted { Modifier::BOLD | Modifier::UNDERLINED } else { Modifier::BOLD };
            aligned(name, column).style(Style::new().add_modifier(style))
        });
        let lines = rows.iter().map(|row| {
            let owner = match (row.is_owned, &row.status) {
                (true, Some(status)) => status.process.to_string(),
                (true, None) => "alive".to_owned(),
                (false, _) => "gone".to_owned(),
            };
            let failed = row.failing().map(|error| error.at);
            let texts = [
                row.queue.clone(),
                row.signal.clone(),
                owner,
                row.waiting.map_or_else(unknown, |waiting| count_or_more(waiting, row.is_partial)),
                rough_age(row.oldest, self.now),
                rate(row.rate_in),
                rate(row.rate_out),
                age(failed, self.now),
                row.rejected().map_or_else(unknown, count),
            ];
            let style = match (row.is_owned, failed) {
                (_, Some(_)) => self.color(Color::Red),
                (false, None) => self.color(Color::Yellow),
                (true, None) => Style::new(),
            };
            Cells::new(texts.iter().zip(0..).map(|(text, column)| aligned(text, column))).style(style)
        });
        let table = Table::new(lines, WIDTHS.map(Constraint::Length))
            .header(Cells::new(names))
            .column_spacing(1)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(place));
    }

    /// What is known of the chosen queue.
    fn draw_chosen(&self, row: &Row, area: Rect, frame: &mut Frame<'_>) {
        let title = format!(" {} of {} ", row.queue, row.signal);
        let endpoint = row.endpoint.clone().unwrap_or_else(|| "unknown".to_owned());
        let status = row.status.as_ref();
        let told = match status {
            Some(status) => format!("told {} ago", age(Some(status.written_at), self.now)),
            None => "nothing told".to_owned(),
        };
        let sent = match status.and_then(|status| status.last_success) {
            Some(at) => format!("the endpoint took something {} ago", age(Some(at), self.now)),
            None => "the endpoint took nothing, as far as is known".to_owned(),
        };
        let mut lines = vec![Line::raw(printable(&format!("to {endpoint}"))), Line::raw(format!("{told}: {sent}"))];
        if let Some(error) = status.and_then(|status| status.last_error.as_ref()) {
            let style = if row.failing().is_some() { self.color(Color::Red) } else { Style::new() };
            let text = format!("failed {} ago: {}", age(Some(error.at), self.now), error.reason);
            lines.push(Line::styled(printable(&text), style));
        }
        let block = Block::new().borders(Borders::TOP).title(title);
        frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
    }
}

/// A cell of a column: names are on the left, numbers and times on the right.
fn aligned(text: &str, column: usize) -> Cell<'static> {
    let line = Line::raw(printable(text));
    Cell::from(if column < 3 { line } else { line.right_aligned() })
}

/// Records a second, in at most five columns.
fn rate(rate: Option<f64>) -> String {
    match rate {
        None => unknown(),
        Some(rate) if rate < 0.05 => "0".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}"),
        Some(rate) if rate < 99_999.5 => format!("{rate:.0}"),
        Some(rate) if rate < 9_999_500.0 => format!("{:.0}k", rate / 1e3),
        Some(rate) => format!("{:.0}M", rate / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::observe::stats::LastError;
    use crate::spool::inspect::{Counts, Status};

    fn row(queue: &str, waiting: Option<u64>, rate_in: Option<f64>) -> Row {
        Row { queue: queue.to_owned(), signal: "logs".to_owned(), waiting, rate_in, is_owned: true, ..Row::default() }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What a terminal of 80 columns shows.
    fn drawn(view: &View) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(80, 16)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..16).map(line).collect()
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_the_widest_line_fits_eighty_columns() {
        let mut view = View::new("/spool".to_owned(), true);
        let error = LastError { at: at(98), reason: "refused\u{1b}[2J".to_owned() };
        let status = Status {
            process: 4_194_303,
            written_at: at(99),
            endpoint: None,
            pending_records: None,
            oldest: None,
            counts: Some(Counts { accepted: 0, delivered: 0, rejected: 999_999, lost: 0, failed_requests: 0 }),
            last_success: None,
            last_error: Some(error),
        };
        let rows = vec![
            Row {
                status: Some(status),
                oldest: Some(at(1)),
                rate_in: Some(99_999.0),
                rate_out: Some(1.0),
                signal: "metrics".to_owned(),
                ..row("ffffffffffffffff", Some(99_999_999), None)
            },
            Row { is_owned: false, is_partial: true, ..row("0000000000000001", Some(5), None) },
            row("0000000000000002", None, None),
        ];
        view.show(Look { rows, disk_bytes: None, rejected: Some(3) }, at(100));
        let lines = drawn(&view);
        assert_eq!(lines[1], "3 queues, 2 alive; 100,000,004+ waiting; 3 rejected; an unknown size");
        let expected = [
            "QUEUE            SIGNAL  OWNER      WAITING     LAG  IN/S  OUT/S FAILED REJECTED",
            "ffffffffffffffff metrics 4194303 99,999,999  1m 39s 99999    1.0     2s  999,999",
            "0000000000000001 logs    gone            5+       -     -      -      -        -",
            "0000000000000002 logs    alive            -       -     -      -      -        -",
        ];
        assert_eq!(lines[3..7], expected, "{lines:#?}");
        assert!(lines.iter().any(|line| line == "failed 2s ago: refused\\u{1b}[2J"), "{lines:#?}");
    }

    #[test]
    fn queues_are_sorted_by_a_column_and_the_chosen_one_stays_chosen() {
        let mut view = View::new("/spool".to_owned(), false);
        let rows = vec![row("a", Some(1), Some(3.0)), row("b", Some(2), None), row("c", None, Some(5.0))];
        view.show(Look { rows, ..Look::default() }, at(0));
        let order = |view: &View| view.rows().iter().map(|row| row.queue.clone()).collect::<String>();
        assert_eq!(order(&view), "bac");
        view.go(1);
        assert_eq!(view.chosen.as_deref(), Some("a"));
        view.sort = Sort::In;
        assert_eq!(order(&view), "cab");
        view.go(100);
        assert_eq!(view.chosen.as_deref(), Some("b"));
        assert_eq!(view.place(&view.rows()), Some(2));
        view.show(Look::default(), at(1));
        assert_eq!(view.place(&view.rows()), None);
        let all: Vec<_> =
            (0..7).scan(Sort::Queue, |sort, _| Some(std::mem::replace(sort, sort.next()).name())).collect();
        assert_eq!(all, ["QUEUE", "WAITING", "LAG", "IN/S", "OUT/S", "FAILED", "REJECTED"]);
    }

    #[test]
    fn rates_have_few_columns() {
        let shown = [0.0, 0.2, 9.94, 12.3, 99_999.0, 123_456.0, 12_345_678.0].map(|of| rate(Some(of)));
        assert_eq!(shown, ["0", "0.2", "9.9", "12", "99999", "123k", "12M"]);
    }
}
