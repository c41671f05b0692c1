//! The tables, as text and for the page.

use std::fmt::Write;

use super::figures::{Better, FIGURES, Figure, ROWS};
use super::format::{markup, number, value};
use super::run::{Load, Run, System};

pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

/// A median, and the least and the most of the rounds where they differ.
struct Cell {
    median: String,
    spread: Option<String>,
}

/// What stands where there is nothing to be said.
const NOTHING: &str = "–";

/// The README's table.
pub(super) fn summary(run: &Run, load: &Load) -> Table {
    table(&run.systems, ROWS.iter().map(|row| (row.name.to_owned(), row.figures)), |figures, system| match figures {
        [figure] => cell(figure, load, system),
        figures => {
            let medians: Option<Vec<_>> =
                figures.iter().map(|figure| Some(value(figure.median(load, system)?, figure.unit))).collect();
            Cell::single(medians.map(|medians| medians.join(", ")))
        }
    })
}

/// Every figure of every system.
pub(super) fn figures(run: &Run, load: &Load) -> Table {
    table(
        &run.systems,
        FIGURES.iter().map(|figure| (format!("{}, {}", figure.name, figure.unit), figure)),
        |figure, system| cell(figure, load, system),
    )
}

/// Each system divided by the exporter that is replaced, where there is anything to divide.
pub(super) fn ratios(run: &Run, load: &Load) -> Option<Table> {
    let base = run.base()?;
    let others: Vec<_> = run.systems.iter().filter(|system| system.name != base.name).cloned().collect();
    let rows = FIGURES.iter().filter_map(|figure| {
        let better = match figure.better {
            Better::More => "more",
            Better::Less => "less",
            Better::Neither => return None,
        };
        let divisor = figure.median(load, base).filter(|value| *value > 0.0)?;
        Some((format!("{}; better is {better}", figure.name), (figure, divisor)))
    });
    let table = table(&others, rows, |(figure, divisor), system| {
        Cell::single(figure.median(load, system).map(|value| number(value / divisor) + "×"))
    });
    (!others.is_empty() && !table.rows.is_empty()).then_some(table)
}

fn table<T: Copy>(
    systems: &[System],
    rows: impl Iterator<Item = (String, T)>,
    cell: impl Fn(T, &System) -> Cell,
) -> Table {
    Table {
        head: systems.iter().map(|system| system.title.clone()).collect(),
        rows: rows.map(|(name, of)| (name, systems.iter().map(|system| cell(of, system)).collect())).collect(),
    }
}

fn cell(figure: &Figure, load: &Load, system: &System) -> Cell {
    let text = |amount| value(amount, figure.unit);
    let spread = figure.spread(load, system).map(|(least, most)| (text(least), text(most)));
    Cell {
        median: figure.median(load, system).map_or(NOTHING.to_owned(), text),
        spread: spread.filter(|(least, most)| least != most).map(|(least, most)| format!("{least} to {most}")),
    }
}

impl Cell {
    fn single(median: Option<String>) -> Self {
        Self { median: median.unwrap_or(NOTHING.to_owned()), spread: None }
    }

    fn text(&self) -> String {
        self.spread.as_ref().map_or(self.median.clone(), |spread| format!("{} ({spread})", self.median))
    }
}

impl Table {
    /// Aligned, to be read in a terminal too.
    pub(super) fn markdown(&self) -> String {
        let head = std::iter::once(String::new()).chain(self.head.iter().cloned()).collect();
        let body = self
            .rows
            .iter()
            .map(|(name, cells)| std::iter::once(name.clone()).chain(cells.iter().map(Cell::text)).collect::<Vec<_>>());
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<_> = (0..=self.head.len()).map(width).collect();
        let mut out = String::new();
        for (at, row) in rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column == 0 { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
            }
            out.push_str("|\n");
            if at == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let _ = write!(out, "|{}{}", "-".repeat(width + 1), if column == 0 { "-" } else { ":" });
                }
                out.push_str("|\n");
            }
        }
        out
    }

    /// On a narrow page each row becomes a block in which a cell stands behind the name of its system.
    pub(super) fn html(&self) -> String {
        let mut out = String::from("<table><thead><tr><td></td>");
        for system in &self.head {
            let _ = write!(out, "<th scope=col>{}</th>", markup(system));
        }
        out.push_str("</tr></thead><tbody>");
        for (name, cells) in &self.rows {
            let _ = write!(out, "<tr><th scope=row>{}</th>", markup(name));
            for (system, Cell { median, spread }) in self.head.iter().zip(cells) {
                let _ = write!(out, "<td><span>{}</span>{median}", markup(system));
                if let Some(spread) = spread {
                    let _ = write!(out, "<small>{spread}</small>");
                }
                out.push_str("</td>");
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table>");
        out
    }
}
