#!/usr/bin/env bash
# sled's seven threads wake once a second for as long as the process lives, also when no database is open any more.
#
# Tool:     sled 0.34.7 (crates.io) on Linux, counted in /proc/self/task/*/status (voluntary_ctxt_switches) for 10 s each.
# Expected: A process that has closed its only database is left alone by it.
# Instead:  The pool is a static: seven threads are started with the first job, none of them ever ends, and each waits for a job
#           for one second at a time. Nothing of that asks whether a database is open.
# Output:   before the first database: 0 threads, 0 wakes
#           with an idle database: 7 threads, 70 wakes or so
#           after it is closed: 7 threads, 70 wakes or so
# Matters:  A process that logs now and then cannot give a spool on sled a rest by closing what it writes to: what there was to
#           save is still there, and the next record has to wait for a new database. It is 0.03 % of a core.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/probe/src"
cat >"$dir/probe/Cargo.toml" <<'EOF'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[dependencies]
sled = "=0.34.7"

[workspace]
EOF
cat >"$dir/probe/src/main.rs" <<'EOF'
use std::{fs, thread, time::Duration};

/// How many threads of the engine there are, and how often they gave up the CPU of themselves.
fn engine() -> (usize, u64) {
    let statuses: Vec<_> = fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
        .filter(|status| status.starts_with("Name:\tsled-io"))
        .collect();
    let switches = |status: &String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    (statuses.len(), statuses.iter().map(switches).sum())
}

fn rest(when: &str) -> (usize, u64) {
    thread::sleep(Duration::from_secs(2));
    let (_, before) = engine();
    thread::sleep(Duration::from_secs(10));
    let (threads, after) = engine();
    let wakes = after - before;
    let about = if (63..=84).contains(&wakes) { "70 wakes or so".to_owned() } else { format!("{wakes} wakes") };
    println!("{when}: {threads} threads, {about}");
    (threads, wakes)
}

fn main() -> sled::Result<()> {
    let path = std::env::args().nth(1).expect("a path");
    let without = rest("before the first database");
    let db = sled::Config::new().path(path).flush_every_ms(None).open()?;
    db.insert("first", "order taken")?;
    db.flush()?;
    let (threads, open) = rest("with an idle database");
    drop(db);
    let (left, closed) = rest("after it is closed");
    let never_rest = [open, closed].iter().all(|wakes| (63..=84).contains(wakes));
    std::process::exit(i32::from(without != (0, 0) || (threads, left) != (7, 7) || !never_rest));
}
EOF
cargo build -q --manifest-path "$dir/probe/Cargo.toml" --target-dir "$dir/target"
"$dir/target/debug/probe" "$dir/db"
