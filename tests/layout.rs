//! The layout of the source: which folder may use which, and no circle between files.
//!
//! ARCHITECTURE.md describes the folders as the way of a record. A description that no test holds is wrong after a year: an
//! import against the direction compiles, and the next one is easier. This test reads the paths that begin with `crate`,
//! `super` or `self` in every file of `src`, `benches` and `examples`, outside of code that is compiled for tests alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A place in the source: a folder of `src`, or a file in it where files of one folder differ.
struct Rule {
    /// The modules that it is about: those that begin so, but for those that an earlier rule is about.
    of: &'static str,
    /// The modules that they may use, besides their own folder where that is in the list.
    may_use: &'static [&'static str],
}

/// The directions. The first rule that fits a module counts.
const RULES: &[Rule] = &[
    Rule { of: "error", may_use: &[] },
    Rule { of: "process", may_use: &["error"] },
    Rule { of: "observe", may_use: &["error", "process", "observe"] },
    Rule { of: "config::values", may_use: &["error"] },
    Rule { of: "encode", may_use: &["error", "process", "observe", "config::values", "encode"] },
    Rule {
        of: "spool",
        may_use: &["error", "process", "observe", "config::values", "encode::blocks", "encode::framing", "spool"],
    },
    Rule {
        of: "transport",
        may_use: &["error", "process", "observe", "config::values", "encode::framing", "transport"],
    },
    // The code that resolves settings knows what they are for.
    Rule { of: "config", may_use: &["error", "config", "encode", "spool", "transport"] },
    Rule {
        of: "delivery",
        may_use: &["error", "process", "observe", "config", "encode::framing", "spool", "transport", "delivery"],
    },
    Rule {
        of: "exporter",
        may_use: &["error", "process", "observe", "config", "encode", "spool", "transport", "delivery", "exporter"],
    },
    Rule {
        of: "relay",
        may_use: &[
            "error",
            "process",
            "observe",
            "config",
            "encode",
            "spool",
            "transport",
            "delivery",
            "exporter",
            "relay",
        ],
    },
    Rule {
        of: "cli",
        may_use: &[
            "error",
            "process",
            "observe",
            "config",
            "encode",
            "spool",
            "transport",
            "delivery",
            "exporter",
            "relay",
            "cli",
        ],
    },
];

/// Crates that only some files may name.
const NAMED_IN: &[(&str, &[&str])] = &[
    ("sled", &["src/spool/store.rs", "src/spool/sled_threads.rs"]),
    ("reqwest", &["src/transport/http/", "src/exporter/builder.rs"]),
    ("hyper_util", &["src/transport/http/"]),
    ("opentelemetry_sdk", &["src/encode/", "src/exporter/", "src/relay/", "src/lib.rs"]),
    ("clap", &["src/cli/", "src/bin/"]),
    ("ratatui", &["src/cli/"]),
];

/// The files of one crate, by the path of their module.
struct Source {
    files: BTreeMap<String, File>,
}

struct File {
    path: PathBuf,
    /// The modules that it names, each as the longest path that is a file.
    uses: BTreeSet<String>,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// Every Rust file below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether an attribute has the next item compiled for tests alone.
fn is_for_tests(line: &str) -> bool {
    ["#[cfg(test)]", "#[cfg(all(test,"].iter().any(|attribute| line.trim().starts_with(attribute))
}

/// The code of a file: without comments, and without what is compiled for tests alone.
fn code(text: &str) -> String {
    // A visibility is no use.
    let text = text.split("pub(in ").enumerate().map(|(at, part)| match part.split_once(')') {
        Some((_, rest)) if at > 0 => rest,
        _ => part,
    });
    let text: String = text.collect();
    let mut code = String::new();
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    while let Some(line) = lines.next() {
        if !is_for_tests(line) {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        // The item behind it: to its semicolon, or to the brace that closes it.
        let mut depth = 0_i32;
        for line in lines.by_ref() {
            depth += line.chars().map(|c| i32::from(c == '{') - i32::from(c == '}')).sum::<i32>();
            let ends = line.trim_end().ends_with([';', '}', ',']);
            if depth <= 0 && ends && !line.trim_start().starts_with('#') {
                break;
            }
        }
    }
    code
}

/// The modules that a file declares for tests alone.
fn test_modules(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| is_for_tests(pair[0]));
    let name = |line: &str| Some(line.rsplit_once("mod ")?.1.strip_suffix(';')?.to_owned());
    declared.filter_map(|pair| name(pair[1])).collect()
}

/// The file that a `path` attribute gives a module.
fn path_of(text: &str, module: &str) -> Option<String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).find(|pair| pair[1].ends_with(&format!("mod {module};")))?;
    Some(declared[0].strip_prefix("#[path = \"")?.strip_suffix("\"]")?.to_owned())
}

/// The paths in a piece of code that begin with one of these, with their braces multiplied out.
fn paths(code: &str, begins: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for begin in begins {
        for (at, _) in code.match_indices(&format!("{begin}::")) {
            if code[..at].chars().next_back().is_some_and(is_word) {
                continue;
            }
            found.extend(expand(&code[at..]));
        }
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    let Some(list) = rest.strip_prefix('{') else { return vec![head.trim_end_matches(':').to_owned()] };
    let (mut depth, mut items, mut item) = (0_u32, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            c => {
                depth = if c == '{' { depth + 1 } else { depth - u32::from(c == '}') };
                item.push(c);
            }
        }
    }
    items.push(item);
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items.flat_map(|item| expand(item).into_iter().map(|item| format!("{head}{item}"))).collect()
}

impl Source {
    /// Reads the crate whose root is this file.
    fn read(root: &Path) -> Self {
        let folder = root.parent().expect("a file in a folder");
        let module_of = |path: &Path| {
            let path = path.strip_prefix(folder).expect("below the root").with_extension("");
            let names: Vec<_> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            let names = match names.last().map(String::as_str) {
                Some("mod") => &names[..names.len() - 1],
                _ => &names[..],
            };
            names.join("::")
        };
        // Where one folder has several roots, each has the modules that it declares.
        let mut texts = BTreeMap::new();
        let mut waiting = vec![(String::new(), root.to_owned())];
        let candidates: BTreeMap<_, _> =
            rust_files(folder).into_iter().filter(|path| path != root).map(|path| (module_of(&path), path)).collect();
        while let Some((module, path)) = waiting.pop() {
            let text = fs::read_to_string(&path).expect("a file that can be read");
            let for_tests = test_modules(&text);
            for name in code(&text).lines().filter_map(|line| line.trim().rsplit_once("mod ")?.1.strip_suffix(';')) {
                let child = if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
                let elsewhere = path_of(&text, name).and_then(|other| Some(path.parent()?.join(other)));
                let file = elsewhere.or_else(|| candidates.get(&child).cloned());
                if let Some(file) = file.filter(|_| !for_tests.iter().any(|other| other == name)) {
                    waiting.push((child, file));
                }
            }
            texts.insert(module, (path, code(&text)));
        }
        let names: BTreeSet<String> = texts.keys().cloned().collect();
        let file = |(module, (path, code)): (String, (PathBuf, String))| {
            let uses = uses(&module, &code, &names);
            (module, File { path, uses })
        };
        Self { files: texts.into_iter().map(file).collect() }
    }

    /// A circle of files, if there is one: each uses the next.
    fn circle(&self) -> Option<Vec<String>> {
        let mut done = BTreeSet::new();
        self.files.keys().find_map(|module| self.circle_from(module, &mut Vec::new(), &mut done))
    }

    fn circle_from(&self, module: &str, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        if let Some(at) = way.iter().position(|other| other == module) {
            return Some(way[at..].iter().chain([&module.to_owned()]).cloned().collect());
        }
        if !done.contains(module) {
            way.push(module.to_owned());
            for used in &self.files[module].uses {
                if let Some(circle) = self.circle_from(used, way, done) {
                    return Some(circle);
                }
            }
            way.pop();
            done.insert(module.to_owned());
        }
        None
    }
}

/// The modules of `names` that the code of a module names.
fn uses(module: &str, code: &str, names: &BTreeSet<String>) -> BTreeSet<String> {
    let parent = |module: &str| module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned());
    let is_child = |name: &&String| parent(name) == module && !name.is_empty();
    let children: Vec<_> = names.iter().filter(is_child).map(|name| name.rsplit("::").next().unwrap_or(name)).collect();
    let mut begins: Vec<_> = ["crate", "super", "self"].map(str::to_owned).into();
    begins.extend(children.iter().map(|child| (*child).to_owned()));
    let mut found = BTreeSet::new();
    for path in paths(code, &begins) {
        let mut parts = path.split("::").peekable();
        let mut at = match parts.peek() {
            Some(&"crate") => {
                parts.next();
                String::new()
            }
            _ => module.to_owned(),
        };
        for part in parts {
            at = match part {
                "self" => at,
                "super" => parent(&at),
                part if at.is_empty() => part.to_owned(),
                part => format!("{at}::{part}"),
            };
        }
        // The longest part of it that is a file.
        while !names.contains(&at) {
            at = parent(&at);
        }
        found.insert(at);
    }
    found.remove(module);
    found
}

/// Whether a module is one of those that begin so.
fn begins_with(module: &str, prefix: &str) -> bool {
    module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The places in a source that are against the rules.
fn against_the_rules(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for (module, file) in &source.files {
        let Some(rule) = RULES.iter().find(|rule| begins_with(module, rule.of)) else { continue };
        for used in &file.uses {
            if used.is_empty() || !rule.may_use.iter().any(|allowed| begins_with(used, allowed)) {
                let used = if used.is_empty() { "the root" } else { used };
                wrong.push(format!("{} uses {used}", file.path.display()));
            }
        }
    }
    wrong
}

/// The root of each crate: the library, each benchmark, each example.
fn roots() -> Vec<PathBuf> {
    let repository = repository();
    let mut roots = vec![repository.join("src/lib.rs")];
    for folder in ["benches", "examples"] {
        for entry in fs::read_dir(repository.join(folder)).expect("a folder").flatten() {
            let path = entry.path();
            let main = path.join("main.rs");
            if main.exists() {
                roots.push(main);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                roots.push(path);
            }
        }
    }
    roots
}

#[test]
fn each_folder_uses_only_those_that_it_may() {
    let source = Source::read(&repository().join("src/lib.rs"));
    assert!(source.files.len() > 80, "{} files were found", source.files.len());
    let wrong = against_the_rules(&source);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_folder_has_a_rule() {
    let without = ["", "docs"];
    let source = Source::read(&repository().join("src/lib.rs"));
    for module in source.files.keys() {
        let has_one = RULES.iter().any(|rule| begins_with(module, rule.of));
        assert!(has_one || without.iter().any(|other| module == other), "{module} has no rule");
    }
}

#[test]
fn no_file_uses_itself_by_a_detour() {
    for root in roots() {
        let circle = Source::read(&root).circle();
        assert!(circle.is_none(), "{}: {}", root.display(), circle.unwrap_or_default().join(" -> "));
    }
}

#[test]
fn a_crate_is_named_only_where_it_may_be() {
    let (repository, mut wrong) = (repository(), Vec::new());
    for path in rust_files(&repository.join("src")) {
        let text = code(&fs::read_to_string(&path).expect("a file that can be read"));
        let path = path.strip_prefix(&repository).expect("below the repository").to_string_lossy().into_owned();
        for (name, places) in NAMED_IN {
            let is_named = !paths(&text, &[(*name).to_owned()]).is_empty();
            if is_named && !path.contains("tests") && !places.iter().any(|place| path.starts_with(place)) {
                wrong.push(format!("{path} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_read_as_the_compiler_reads_them() {
    let names: BTreeSet<_> = ["", "a", "a::b", "a::b::c", "d"].map(str::to_owned).into();
    let used = |module: &str, text: &str| uses(module, &code(text), &names).into_iter().collect::<Vec<_>>();
    assert_eq!(used("a::b", "use crate::a::{self, Thing, b::{c::X, Y}};"), ["a", "a::b::c"]);
    assert_eq!(used("a::b::c", "use super::super::Thing;\npub use self::Own;"), ["a"]);
    assert_eq!(used("a", "mod b;\npub use b::c::Thing;"), ["a::b::c"]);
    assert_eq!(used("a", "fn f() { crate::d::run() } // crate::a::b::no"), ["d"]);
    assert_eq!(used("a", "use crate::Root;"), [""]);
    assert_eq!(used("a", "#[cfg(test)]\nmod tests {\n    use crate::d::X;\n}\nuse crate::a::b::Y;"), ["a::b"]);
    assert_eq!(used("a", "#[cfg(test)]\nuse crate::d::X;\nuse other_crate::a::b;"), Vec::<String>::new());
}

#[test]
fn a_circle_and_a_wrong_direction_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write("lib.rs", "mod delivery;\nmod spool;\n");
    write("spool/mod.rs", "mod disk;\nmod index;\nuse crate::delivery::Verdict;\n");
    write("spool/disk.rs", "use super::index::Index;\n");
    write("spool/index.rs", "#[cfg(test)]\nmod tests {\n    use super::super::disk::Disk;\n}\n");
    write("delivery/mod.rs", "");
    let source = Source::read(&folder.path().join("lib.rs"));
    let wrong = against_the_rules(&source);
    assert!(matches!(&wrong[..], [wrong] if wrong.ends_with("spool/mod.rs uses delivery")), "{wrong:?}");
    assert_eq!(source.circle(), None, "what only tests use is no circle");
    write("spool/index.rs", "use super::disk::Disk;\n");
    let circle = Source::read(&folder.path().join("lib.rs")).circle();
    assert_eq!(circle.expect("a circle"), ["spool::disk", "spool::index", "spool::disk"]);
}
