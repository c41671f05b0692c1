//! Links: on docs.rs and on crates.io, which show no repository, each leads somewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{files, repository, text};

const CHAPTERS: &str = "https://docs.rs/opentelemetry-spool/latest/opentelemetry_spool/docs/";
const SOURCES: &str = "https://docs.rs/crate/opentelemetry-spool/latest/source/";

/// The front page that crates.io shows is one that is read to its end.
const MOST_LINES: usize = 150;

/// The targets of a Markdown text's links, code left out.
fn targets(text: &str) -> Vec<&str> {
    let outside_code = text.split("\n```").step_by(2);
    outside_code.flat_map(|text| text.split("](").skip(1).filter_map(|rest| rest.split(')').next())).collect()
}

/// The URLs of a text that begin so.
fn urls<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    let is_end = |c: char| c.is_whitespace() || [')', '"', '`', '>', '<'].contains(&c);
    text.match_indices(begin).filter_map(|(at, _)| text[at..].split(is_end).next()).collect()
}

/// The anchor that rustdoc makes of a heading.
fn anchor(heading: &str) -> String {
    let mut anchor = String::new();
    for c in heading.trim().chars().flat_map(char::to_lowercase) {
        match c {
            ' ' => anchor.push('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => anchor.push(c),
            _ => {}
        }
    }
    anchor
}

/// The anchors of a chapter.
fn anchors(chapter: &str) -> BTreeSet<String> {
    let text = text(repository("src/docs").join(format!("{chapter}.md")));
    let outside_code = text.split("\n```").step_by(2).map(str::to_owned).collect::<Vec<_>>().join("\n");
    outside_code.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// What is wrong about a link to docs.rs.
fn wrong(url: &str) -> Option<String> {
    if let Some(path) = url.strip_prefix(SOURCES) {
        let manifest = text(repository("Cargo.toml"));
        let packaged = manifest.lines().find(|line| line.starts_with("include = ")).expect("a list of files");
        let first = path.split('/').next().unwrap_or_default();
        let is_packaged = packaged.contains(&format!("\"/{first}\""));
        return (!repository(path).exists() || !is_packaged).then(|| format!("{url}: the package has no {path}"));
    }
    let (chapter, heading) = url.strip_prefix(CHAPTERS)?.split_once('/').unwrap_or((url, ""));
    let book = text(repository("src/docs/mod.rs"));
    if !book.contains(&format!("pub mod {chapter} {{}}")) {
        return Some(format!("{url}: there is no chapter {chapter}"));
    }
    let heading = heading.strip_prefix('#').unwrap_or_default();
    let is_there = heading.is_empty() || anchors(chapter).contains(heading);
    (!is_there).then(|| format!("{url}: {chapter} has no heading {heading}"))
}

#[test]
fn the_front_page_has_no_link_that_needs_a_repository_but_its_picture() {
    let readme = text(repository("README.md"));
    let relative: Vec<_> = targets(&readme).into_iter().filter(|target| !target.starts_with("https://")).collect();
    assert_eq!(relative, ["src/docs/quickstart.svg"]);
    assert!(text(repository(relative[0])).starts_with("<svg "));
    assert!(targets(&readme).len() > 20, "{:?}", targets(&readme));
    assert!(readme.lines().count() <= MOST_LINES, "{} lines", readme.lines().count());
}

#[test]
fn every_link_to_the_documentation_leads_to_a_chapter_a_heading_or_a_packaged_file() {
    let (mut problems, mut links) = (String::new(), 0);
    let folders = ["src/docs", "examples", "ops"].map(|folder| files(&repository(folder)));
    let pages = folders.into_iter().flatten().chain([repository("README.md"), repository("src/lib.rs")]);
    for path in pages {
        let text = text(&path);
        for url in urls(&text, CHAPTERS).into_iter().chain(urls(&text, SOURCES)) {
            links += 1;
            if let Some(why) = wrong(url) {
                let _ = writeln!(problems, "{}: {why}", path.display());
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
    assert!(links > 50, "{links} links were found");
}

/// rustdoc checks that an item is there, but no anchor in it.
#[test]
fn every_link_from_one_chapter_to_a_heading_of_another_finds_it() {
    let (mut problems, mut links) = (String::new(), 0);
    for path in files(&repository("src/docs")) {
        let own = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = text(&path);
        for target in targets(&text) {
            let Some((page, heading)) = target.split_once('#') else { continue };
            let chapter = match page.strip_prefix("crate::docs::") {
                Some(chapter) => chapter,
                None if page.is_empty() => &own,
                None => continue,
            };
            links += 1;
            if !anchors(chapter).contains(heading) {
                let _ = writeln!(problems, "{}: {target}", path.display());
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
    assert!(links > 20, "{links} links were found");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    for (url, why) in [
        (format!("{CHAPTERS}relays/"), "no chapter relays"),
        (format!("{CHAPTERS}relay/#loses"), "no heading loses"),
        (format!("{SOURCES}examples/nothing.rs"), "has no examples/nothing.rs"),
        (format!("{SOURCES}tests/README.md"), "has no tests/README.md"),
    ] {
        assert!(wrong(&url).is_some_and(|found| found.contains(why)), "{url}");
    }
    assert_eq!(wrong(&format!("{CHAPTERS}relay/#losses")), None);
    assert_eq!(targets("a [b](c) and\n```\n[d](e)\n```\n[f](g)"), ["c", "g"]);
    assert_eq!(anchor(" `OTEL_SDK_DISABLED`"), "otel_sdk_disabled");
    assert_eq!(anchor(" Copies, backups and images"), "copies-backups-and-images");
}
