//! The files for running a service, of systemd, Docker and Kubernetes: what they set is there, and their readers take them.

use std::path::PathBuf;
use std::process::Command;

use common::{run, skip, spool_dir};

use super::{files, repository, text};

const FOLDERS: [&str; 2] = ["examples/service", "examples/relay"];

/// A program that `tests/receivers/install.sh` brings, by its path or under `target/receivers`.
fn installed(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("receivers").join(path);
    if !path.exists() {
        skip(&format!("there is no {}; tests/receivers/install.sh brings it", path.display()));
    }
    path.exists().then_some(path)
}

/// The files whose names end so.
fn of_kind(kind: &str) -> Vec<PathBuf> {
    let all = FOLDERS.iter().flat_map(|folder| files(&repository(folder)));
    all.filter(|path| path.to_string_lossy().ends_with(kind)).collect()
}

#[test]
fn every_variable_of_a_service_file_is_a_setting() {
    let (chapter, mut found) = (text(repository("src/docs/configuration.md")), 0);
    for path in of_kind("") {
        let text = text(&path);
        let is_word = |c: char| c.is_ascii_uppercase() || c == '_';
        for prefix in ["OTEL_EXPORTER_SPOOL_", "OTEL_EXPORTER_OTLP_"] {
            for (at, _) in text.match_indices(prefix) {
                let name: String = text[at + prefix.len()..].chars().take_while(|c| is_word(*c)).collect();
                let is_a_setting = chapter.contains(&format!("| `{name}` |"));
                assert!(is_a_setting, "{}: there is no {prefix}{name}", path.display());
                found += 1;
            }
        }
    }
    assert!(found > 10, "{found} variables were found");
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_takes_every_unit() {
    let Some(analyze) = installed("/usr/bin/systemd-analyze") else { return };
    let dir = spool_dir();
    let mut verify = Command::new(analyze);
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    for path in of_kind(".service").into_iter().chain(of_kind(".socket")) {
        // A program that is there, of a user that is there.
        let unit = text(&path)
            .replace("/usr/local/bin/otel-spool", "/bin/true")
            .replace("/usr/local/bin/checkout", "/bin/true");
        let copy = dir.path().join(path.file_name().expect("a name"));
        std::fs::write(&copy, unit).expect("a file");
        verify.arg(copy);
    }
    let output = verify.output().expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains(&*dir.path().to_string_lossy())).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}

#[test]
fn kubernetes_takes_every_manifest() {
    let Some(validate) = installed("kubernetes/bin/kubernetes-validate") else { return };
    let manifests = of_kind(".yaml");
    assert!(manifests.len() >= 2, "{manifests:?}");
    run(Command::new(&validate).arg("--strict").args(manifests)).expect("manifests");
    let (dir, daemon_set) = (spool_dir(), text(repository("examples/relay/daemonset.yaml")));
    let wrong = dir.path().join("wrong.yaml");
    std::fs::write(&wrong, daemon_set.replace("hostPort: 4318", "hostPort: otlp")).expect("a file");
    run(Command::new(&validate).arg("--strict").arg(wrong)).expect_err("it reads what it is given");
}
