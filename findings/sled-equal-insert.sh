#!/usr/bin/env bash
# sled writes nothing where a key gets the value that it has.
#
# Tool:     sled 0.34.7 (crates.io): a hundred values are inserted and flushed, twice, and then one that differs in a byte.
# Expected: An insert writes what it is given: a log-structured store appends it, as it does the first time.
# Instead:  The old value is compared first, and an equal one ends the insert: `flush()` says 0 bytes. It is the value in memory that is
#           compared, not what is on disk.
# Output:   first: 0 bytes? false
#           the same again: 0 bytes? true
#           another byte: 0 bytes? false
# Matters:  To write values again is no way to have them on disk again, after a write that failed or a block that went bad: that takes a
#           new database. And a test that writes values twice to have a page written anew tests nothing.
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
fn insert(db: &sled::Db, when: &str, last: u8) -> sled::Result<bool> {
    for number in 0..100u64 {
        let mut value = vec![b'x'; 1000];
        value[999] = if number == 99 { last } else { b'x' };
        db.insert(number.to_be_bytes(), value)?;
    }
    let is_none = db.flush()? == 0;
    println!("{when}: 0 bytes? {is_none}");
    Ok(is_none)
}

fn main() -> sled::Result<()> {
    let path = std::env::args().nth(1).expect("a path");
    let db = sled::Config::new().path(path).flush_every_ms(None).open()?;
    let seen = [insert(&db, "first", b'x')?, insert(&db, "the same again", b'x')?, insert(&db, "another byte", b'y')?];
    std::process::exit(i32::from(seen != [false, true, false]));
}
EOF
cargo build -q --manifest-path "$dir/probe/Cargo.toml" --target-dir "$dir/target"
"$dir/target/debug/probe" "$dir/db"
