#!/usr/bin/env bash
# sled keeps every value of an open database in memory where values are large, whatever `cache_capacity` says.
#
# Tool:     sled 0.34.7 (crates.io) on Linux: 64 MiB of values are inserted and flushed under `cache_capacity(4 << 20)`, and the
#           memory of the process (VmRSS) is read before and after.
# Expected: Some 4 MiB of them stay in memory, and what the engine needs besides.
# Instead:  The cache counts the accesses to pages, not bytes that are held, in 256 shards by the number of the page, and looks at a
#           shard's when it has seen 64 of them. Values of 24 KiB make so few pages, each written so seldom, that no shard ever has
#           64: nothing is evicted. Of values of 1,000 bytes, which are many, half is.
# Output:   values of 1000 bytes: less than 64 MB more in memory
#           values of 24576 bytes: 64 MB or more in memory
# Matters:  A spool that keeps batches in sled holds the whole database that it writes in memory. Smaller databases help, a smaller
#           cache does not.
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
use std::fs;

const ALL: usize = 64 << 20;

/// The memory of this process, in MiB.
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() >> 10
}

fn main() -> sled::Result<()> {
    let mut args = std::env::args().skip(1);
    let (path, bytes) = (args.next().expect("a path"), args.next().expect("bytes").parse::<usize>().unwrap());
    let before = memory();
    let db = sled::Config::new().path(path).cache_capacity(4 << 20).flush_every_ms(None).open()?;
    for number in 0..ALL / bytes {
        let mut value = vec![b'x'; bytes];
        value[..8].copy_from_slice(&number.to_be_bytes());
        db.insert(number.to_be_bytes(), value)?;
        if (number + 1) * bytes % (1 << 20) < bytes {
            db.flush()?;
        }
    }
    let more = memory() - before;
    let said = if more < 64 { "less than 64 MB" } else { "64 MB or" };
    println!("values of {bytes} bytes: {said} more in memory");
    std::process::exit(i32::from((more < 64) != (bytes == 1000)));
}
EOF
cargo build -q --manifest-path "$dir/probe/Cargo.toml" --target-dir "$dir/target"
"$dir/target/debug/probe" "$dir/small" 1000
"$dir/target/debug/probe" "$dir/large" 24576
