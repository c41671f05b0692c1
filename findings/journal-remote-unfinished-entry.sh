#!/usr/bin/env bash
# systemd-journal-remote answers 417 that it has not processed the data, and has stored a part of it.
#
# Tool:     systemd-journal-remote 252 (Debian 12), POST /upload in the journal's export format.
# Expected: A request is taken or refused. The empty line that ends the last entry may be missing: its end is the end of the
#           body. If it must be there, the server says so and stores nothing.
# Instead:  An empty line has to end the last entry too. Without it the answer is 417, "106 bytes of trailing data not
#           processed". The number is that of the whole body, but the first of the two entries is stored. Whoever repeats
#           the request, mended, has that entry twice.
# Output:   two entries, the last one unfinished: 417 Premature EOF. 106 bytes of trailing data not processed.
#           stored: first
#           the same, finished: 202 OK.
#           stored: first first second
# Matters:  An encoder for this receiver ends every entry, the last one too, with an empty line: a separator between entries is
#           not enough. And a refusal is no promise that nothing was stored. A relay that repeats or divides a refused
#           request has to expect duplicates from receivers that know no ids.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
packages=(systemd-journal-remote=252.39-1~deb12u2 systemd=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2
    libmicrohttpd12=0.9.75-6)
download "${packages[@]}" 2>/dev/null || { apt-get update -qq && download "${packages[@]}"; }
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done
libraries=$dir/root/usr/lib/x86_64-linux-gnu:$dir/root/lib/x86_64-linux-gnu
libraries=$libraries:$dir/root/usr/lib/x86_64-linux-gnu/systemd:$dir/root/lib/x86_64-linux-gnu/systemd

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
LD_LIBRARY_PATH=$libraries "$dir/root/lib/systemd/systemd-journal-remote" "--listen-http=127.0.0.1:$port" \
    -o "$dir/remote.journal" --split-mode=none 2>"$dir/log" &

post() { # body
    printf "$1" | curl -s -w ' %{http_code}' --retry 20 --retry-connrefused --retry-delay 1 \
        -H 'Content-Type: application/vnd.fdo.journal' --data-binary @- "http://127.0.0.1:$port/upload" |
        tr -d '\n' | sed -E 's/(.*) ([0-9]+)$/\2 \1/'
}
stored() {
    LD_LIBRARY_PATH=$libraries "$dir/root/bin/journalctl" --file "$dir/remote.journal" -o cat --no-pager | paste -sd ' '
}
entries='__REALTIME_TIMESTAMP=1700000000000001\nMESSAGE=first\n\n__REALTIME_TIMESTAMP=1700000000000002\nMESSAGE=second\n'
seen="two entries, the last one unfinished: $(post "$entries")
stored: $(stored)
the same, finished: $(post "$entries\n")
stored: $(stored)"
expected="two entries, the last one unfinished: 417 Premature EOF. 106 bytes of trailing data not processed.
stored: first
the same, finished: 202 OK.
stored: first first second"
echo "$seen"
[ "$seen" = "$expected" ]
