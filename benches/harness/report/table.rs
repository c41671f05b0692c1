//! The tables, as text and for the page.

use std::fmt::Write;

use super::collected::Report;
use super::format::{number, text};
use crate::figures::{Better, FIGURES};
use crate::systems::System;

pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Every figure of every system.
pub(super) fn figures(report: &Report<'_>) -> Table {
    let head = ["", "unit"].into_iter().chain(report.systems.iter().map(|system| system.name));
    let rows = FIGURES.iter().map(|figure| {
        let cells = report.systems.iter().map(|system| {
            let median = figure.median(&report.measurements, system).map_or("–".to_owned(), number);
            match figure.spread(&report.measurements, system) {
                Some((least, most)) => format!("{median} ({} to {})", number(least), number(most)),
                None => median,
            }
        });
        [figure.name.to_owned(), figure.unit.to_owned()].into_iter().chain(cells).collect()
    });
    Table { head: head.map(str::to_owned).collect(), rows: rows.collect() }
}

/// Ours divided by each of the others, where there is anything to divide.
pub(super) fn ratios(report: &Report<'_>) -> Option<Table> {
    let (ours, others): (Vec<&System>, Vec<&System>) = report.systems.iter().copied().partition(|system| system.ours);
    let pairs: Vec<_> = ours.iter().flat_map(|ours| others.iter().map(move |other| (*ours, *other))).collect();
    if pairs.is_empty() {
        return None;
    }
    let mut head = vec!["ratio".to_owned(), "better is".to_owned()];
    head.extend(pairs.iter().map(|(ours, other)| format!("{} / {}", ours.name, other.name)));
    let rows = FIGURES.iter().filter_map(|figure| {
        let better = match figure.better {
            Better::More => "more",
            Better::Less => "less",
            Better::Neither => return None,
        };
        let of = |system| figure.median(&report.measurements, system).filter(|value| *value > 0.0);
        let ratios: Vec<_> = pairs.iter().map(|(ours, other)| Some(of(ours)? / of(other)?)).collect();
        if ratios.iter().all(Option::is_none) {
            return None;
        }
        let cells = ratios.into_iter().map(|ratio| ratio.map_or("–".to_owned(), |ratio| number(ratio) + "×"));
        Some([figure.name.to_owned(), better.to_owned()].into_iter().chain(cells).collect())
    });
    Some(Table { head, rows: rows.collect() })
}

impl Table {
    /// Aligned, to be read in a terminal too.
    pub(super) fn markdown(&self) -> String {
        let rows = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        for (at, row) in rows().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column < 2 { write!(out, "| {cell:<width$} ") } else { write!(out, "| {cell:>width$} ") };
            }
            out.push_str("|\n");
            if at == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + usize::from(column < 2));
                    let _ = if column < 2 { write!(out, "|{dashes}-") } else { write!(out, "|{dashes}-:") };
                }
                out.push_str("|\n");
            }
        }
        out
    }

    pub(super) fn html(&self) -> String {
        let mut out = String::from("<div class=wide><table><thead><tr>");
        for cell in &self.head {
            let _ = write!(out, "<th scope=col>{}</th>", text(cell));
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let cell = text(cell);
                let _ = if column == 0 {
                    write!(out, "<tr><th scope=row>{cell}</th>")
                } else {
                    write!(out, "<td>{cell}</td>")
                };
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
        out
    }
}
