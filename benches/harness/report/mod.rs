//! The end of it all: a verdict, tables, a page, and everything as JSON. All of it is made of a [`Run`] and of nothing else, so it
//! can be made again of a `harness.json`.

mod chart;
mod figures;
mod format;
mod html;
pub(crate) mod run;
mod table;
mod verdict;

use run::{Load, Run};

/// The page: one file.
pub(crate) fn page(run: &Run) -> String {
    html::page(run)
}

/// The same for a terminal, and to be copied into a README.
pub(crate) fn markdown(run: &Run) -> String {
    let loads = run.loads.iter().map(|load| of_load(run, load));
    let guarantees = run.systems.iter().map(|system| format!("- {}: {}\n", system.title, system.guarantee));
    loads.chain([verdict::spread(run) + "\n\n"]).chain(guarantees).collect()
}

fn of_load(run: &Run, load: &Load) -> String {
    let Load { title, caption, .. } = load;
    let verdict = verdict::of_load(run, load).join(" ");
    let tables = [Some(table::summary(run, load)), Some(table::figures(run, load)), table::ratios(run, load)];
    let tables: Vec<_> = tables.into_iter().flatten().map(|table| table.markdown()).collect();
    format!("## {title}\n\n{verdict}\n\n{caption}\n\n{}\n", tables.join("\n"))
}
