#!/usr/bin/env bash
# sled's flush() calls no fsync, whatever its documentation says, and leaves a large value out altogether.
#
# Tool:     sled 0.34.7 (crates.io) on Linux, watched by strace 6.1 (Debian 12).
# Expected: Db::flush is documented as "calls fsync": after it all previous writes survive a crash of the system. So there is
#           an fsync or fdatasync on every file that was written.
# Instead:  flush makes sync_file_range calls, which write neither the file's metadata nor the disk's cache, as its manual page
#           warns. A value of 3 MB goes into a file of its own under blobs/, for which there is no sync call at all: flush
#           answers once the few bytes of the log that point to it are out. (An fsync of the log comes from a thread that
#           flushes every 500 ms by itself; it is turned off here, and flush does not wait for it.)
# Output:   insert of 100 bytes and flush: sync_file_range db
#           insert of 3 MB and flush:      sync_file_range db
#           files under blobs/ that were written: 1, synced: 0
# Matters:  A kill of the process shows nothing of this, since the kernel has the data; only a power cut does. A spool on sled
#           calls fdatasync on the database's file by itself before it says "accepted", and keeps each value small enough
#           to stay in the log.
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
    db.insert("first", "order taken")?;
    db.flush()?;
    std::thread::sleep(std::time::Duration::from_secs(1)); // what a new database needs is done
    eprintln!("small");
    db.insert("second", vec![7; 100])?;
    db.flush()?;
    eprintln!("large");
    db.insert("third", vec![7; 3_000_000])?;
    db.flush()?;
    eprintln!("end");
    std::process::exit(0)
}
EOF
cargo build -q --manifest-path "$dir/probe/Cargo.toml" --target-dir "$dir/target"
LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu "$dir/root/usr/bin/strace" -f -y -s 20 -o "$dir/trace" \
    -e trace=write,pwrite64,fsync,fdatasync,sync_file_range,syncfs,sync,msync "$dir/target/debug/probe" "$dir/db" 2>/dev/null

syncs() { # from, to: which calls were made, on which files
    sed -n "/\"$1/,/\"$2/p" "$dir/trace" | grep -oE '(fsync|fdatasync|sync_file_range|syncfs|sync|msync)\([0-9]+<[^>]*>' |
        sed -E 's/\([0-9]+<.*\// /; s/>//' | sort -u | paste -sd ' '
}
blobs() { grep -cE "($1)\([0-9]+<[^>]*/blobs/" "$dir/trace" || true; }
written=$(grep -oE '(write|pwrite64)\([0-9]+<[^>]*/blobs/[^>]*' "$dir/trace" | sed 's/.*<//' | sort -u | wc -l)
seen="insert of 100 bytes and flush: $(syncs small large)
insert of 3 MB and flush:      $(syncs large end)
files under blobs/ that were written: $written, synced: $(blobs 'fsync|fdatasync|sync_file_range|syncfs|msync')"
expected="insert of 100 bytes and flush: sync_file_range db
insert of 3 MB and flush:      sync_file_range db
files under blobs/ that were written: 1, synced: 0"
echo "$seen"
[ "$seen" = "$expected" ]
