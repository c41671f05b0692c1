#!/usr/bin/env bash
# sled writes half a megabyte to open a database that was closed cleanly, though nothing but a read is asked of it.
#
# Tool:     sled 0.34.7 (crates.io) on Linux, watched by strace 6.1 (Debian 12).
# Expected: A database that was flushed, closed and is opened again to read one key reads its files. At most it takes a lock.
# Instead:  Each opening writes from the end of the log to the end of the log segment: with the default size of a segment, all
#           of it that is left. It does so again at every opening, also if the opening before did nothing but that.
# Output:   opening 1: wrote to db, more than 400000 bytes
#           opening 2: wrote to db, more than 400000 bytes
#           opening 3: wrote to db, more than 400000 bytes
# Matters:  On a file system that copies on write, each of those takes new blocks. On one that is full a database that is whole
#           cannot be opened, so that what waits in it cannot be delivered, and room is made by delivering. A spool on sled reads
#           the files of databases that are complete by itself.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
packages=(strace=6.1-0.1 libunwind8=1.6.2-3)
download "${packages[@]}" 2>/dev/null || { apt-get update -qq && download "${packages[@]}"; }
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done

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
fn main() -> sled::Result<()> {
    let path = std::env::args().nth(1).expect("a path");
    let db = sled::Config::new().path(path).flush_every_ms(None).open()?;
    match std::env::args().nth(2) {
        Some(_) => drop(db.insert("first", "order taken")?),
        None => assert_eq!(db.get("first")?.as_deref(), Some(&b"order taken"[..])),
    }
    db.flush()?;
    drop(db);
    Ok(())
}
EOF
cargo build -q --manifest-path "$dir/probe/Cargo.toml" --target-dir "$dir/target"
"$dir/target/debug/probe" "$dir/db" insert

failed=0
for opening in 1 2 3; do
    LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu "$dir/root/usr/bin/strace" -f -y -s 0 -o "$dir/trace" \
        -e trace=write,pwrite64 "$dir/target/debug/probe" "$dir/db" 2>/dev/null
    bytes=$(grep -E 'pwrite64\([0-9]+<[^>]*/db/db>' "$dir/trace" | grep -oE '= [0-9]+$' | awk '{ sum += $2 } END { print sum + 0 }')
    if ((bytes > 400000)); then
        echo "opening $opening: wrote to db, more than 400000 bytes"
    else
        echo "opening $opening: wrote $bytes bytes to db"
        failed=1
    fi
done
exit $failed
