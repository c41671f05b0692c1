//! The public API is what `tests/public-api.txt` says, line by line. An item that changes or goes breaks the programs of users, and
//! nothing else in the tests would notice: they are changed along with it. Here it is a difference that a review sees.
//!
//! The listing is that of `cargo public-api`, of all features, without the implementations that the compiler adds by itself. It is
//! made of rustdoc's JSON, whose format belongs to the compiler: with another one nothing can be compared, and the test says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::skip;
use public_api::Builder;
use serde_json::Value;

/// The format of the JSON that this version of `public-api` reads.
const FORMAT: u64 = 57;

/// The chapters of the documentation are modules, of rustdoc alone.
const CHAPTERS: &str = "pub mod opentelemetry_spool::docs";

/// Documents the library as JSON, with what the build of the tests or `just doc` has left.
fn document() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO"))
        .args(["rustdoc", "--locked", "--all-features", "--package", "opentelemetry-spool", "--lib", "--target-dir"])
        .arg(target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .env("RUSTDOC", here.join("rustdoc.sh"))
        .current_dir(here)
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("doc/opentelemetry_spool.json")
}

#[test]
fn the_public_api_is_the_one_that_is_listed() {
    let json = document();
    let document: Value = serde_json::from_slice(&fs::read(&json).expect("rustdoc's JSON")).expect("JSON");
    let format = document["format_version"].as_u64().expect("the number of a format");
    if format != FORMAT {
        return skip(&format!("a rustdoc whose JSON has format {FORMAT}; this one writes {format}"));
    }
    let api = Builder::from_rustdoc_json(json).omit_blanket_impls(true).omit_auto_trait_impls(true).build();
    let items = api.expect("rustdoc's JSON").into_items().map(|item| item.to_string());
    let api: Vec<_> = items.filter(|item| !item.starts_with(CHAPTERS)).collect();

    let listing = Path::new(env!("CARGO_MANIFEST_DIR")).join("public-api.txt");
    if std::env::var_os("SPOOL_TEST_WRITE_API").is_some() {
        fs::write(&listing, api.join("\n") + "\n").expect("the listing is written");
    }
    let listed = fs::read_to_string(&listing).expect("the listing");
    let (listed, api): (BTreeSet<_>, BTreeSet<_>) =
        (listed.lines().collect(), api.iter().map(String::as_str).collect());
    let gone = listed.difference(&api).map(|item| format!("- {item}\n"));
    let new = api.difference(&listed).map(|item| format!("+ {item}\n"));
    let differences: String = gone.chain(new).collect();
    assert!(
        differences.is_empty(),
        "the public API is not that of {}; if that is meant, `just public-api` writes it anew:\n{differences}",
        listing.display()
    );
}
