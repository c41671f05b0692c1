//! `examples/fleet`: what ten services have accepted is in ClickHouse, though everything on the way fails in turn.

use std::env;

use super::*;

/// The last row of what the example prints: how much of what was accepted is not in the database, in each setup. `None` where it
/// lacks something; that is then said.
fn missing_after(setups: &str, seconds: &str) -> Option<Vec<u64>> {
    let mut fleet = Command::new(installed("chdb/bin/python")?);
    fleet.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet/run.py"));
    fleet.args(["--setups", setups, "--seconds", seconds]);
    fleet.args(["--service", env!("CARGO_BIN_EXE_fleet-service"), "--tool", env!("CARGO_BIN_EXE_spool-test-tool")]);
    let receivers = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("");
    let output = fleet.env("CARGO_TARGET_DIR", receivers).output().expect("Python");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(2) {
        skip(&complaint);
        return None;
    }
    let last = said.lines().find_map(|line| line.strip_prefix("accepted, and not in ClickHouse"));
    let last = last.unwrap_or_else(|| panic!("{said}\n{complaint}"));
    println!("{said}");
    Some(last.split_whitespace().map(|number| number.replace(',', "").parse().expect("a number")).collect())
}

#[test]
fn a_fleet_loses_nothing_that_it_accepted_where_whoever_answers_it_keeps_what_it_answers_for() {
    let Some(missing) = missing_after("relay,none", "0.5") else { return };
    assert_eq!(missing, [0, 0]);
}

#[test]
fn a_fleet_loses_what_a_collector_has_answered_for_and_kept_in_memory() {
    if env::var_os("SPOOL_TEST_SERVERS").is_none() {
        return;
    }
    let Some(missing) = missing_after("rotel", "2") else { return };
    assert!(missing[0] > 0, "rotel keeps it now: the documentation says otherwise");
}
