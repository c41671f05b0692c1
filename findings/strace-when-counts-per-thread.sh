#!/usr/bin/env bash
# strace's inject=...:when=N counts the calls of each thread by itself: "the third fdatasync fails" may fail none, or several.
#
# Tool:     strace 6.1 (Debian 12) with -f, on a program of four threads.
# Expected: when=3 lets the third call of the traced program fail, once.
# Instead:  Every thread has a counter of its own. Where four threads make two calls each, one after the other, when=3 fails
#           none of the eight, and when=2 fails four.
# Output:   when=1: fails 1 3 5 7
#           when=2: fails 2 4 6 8
#           when=3: fails none
# Matters:  A test of a spool that syncs on a pool of threads says "passed" where the fault never came. Such a test has to
#           show that the call failed, for one by counting the program's own errors, or make all calls of a kind fail from
#           some moment on, by attaching then with when=1+.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
packages=(strace=6.1-0.1 libunwind8=1.6.2-3)
download "${packages[@]}" 2>/dev/null || { apt-get update -qq && download "${packages[@]}"; }
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done

cat >"$dir/syncs.py" <<'EOF'
import os, sys, tempfile, threading

failed = []
number = 0


def two_syncs():
    global number
    with tempfile.TemporaryFile(dir=sys.argv[1]) as file:
        for _ in range(2):
            number += 1
            file.write(b"record")
            try:
                os.fdatasync(file.fileno())
            except OSError:
                failed.append(number)


for _ in range(4):
    thread = threading.Thread(target=two_syncs)
    thread.start()
    thread.join()
print(*failed or ["none"])
EOF
seen=
for when in 1 2 3; do
    failed=$(LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu "$dir/root/usr/bin/strace" -f -o /dev/null \
        -e trace=fdatasync -e "inject=fdatasync:error=EIO:when=$when" python3 "$dir/syncs.py" "$dir")
    seen+="when=$when: fails $failed"$'\n'
done
expected='when=1: fails 1 3 5 7
when=2: fails 2 4 6 8
when=3: fails none
'
printf %s "$seen"
[ "$seen" = "$expected" ]
