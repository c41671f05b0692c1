#!/usr/bin/env bash
# Two receivers take a content type to the letter: with "; charset=utf-8" behind it they refuse the body.
#
# Tool:     rotel 0.0.1a15 (PyPI), and systemd-journal-remote 252 (Debian 12).
# Expected: A media type may have parameters (RFC 9110), and many HTTP clients add charset=utf-8 by themselves. A receiver
#           ignores it; or it answers 415, as journal-remote does.
# Instead:  Both refuse the same body that they take without the parameter, and rotel with 400: the status of a body that
#           does not parse.
# Output:   rotel: application/json 200
#           rotel: application/json; charset=utf-8 400
#           journal-remote: application/vnd.fdo.journal 202
#           journal-remote: application/vnd.fdo.journal; charset=utf-8 415
# Matters:  An exporter sends the type as the protocol names it, and nothing behind it. Where a header is wrong every record
#           is refused alike: a sender that looks for the one bad record after a 400 has to notice that all of them are
#           refused, before it has thrown away a backlog over a header.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check rotel==0.0.1a15
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
packages=(systemd-journal-remote=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2 libmicrohttpd12=0.9.75-6)
download "${packages[@]}" 2>/dev/null || { apt-get update -qq && download "${packages[@]}"; }
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done
libraries=$dir/root/usr/lib/x86_64-linux-gnu:$dir/root/lib/x86_64-linux-gnu
libraries=$libraries:$dir/root/usr/lib/x86_64-linux-gnu/systemd:$dir/root/lib/x86_64-linux-gnu/systemd

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
otlp=$(free_port) grpc=$(free_port) journal=$(free_port)
"$dir"/venv/lib/python3*/site-packages/rotel/rotel-agent start --otlp-http-endpoint "127.0.0.1:$otlp" \
    --otlp-grpc-endpoint "127.0.0.1:$grpc" --pid-file "$dir/pid" --exporter blackhole >"$dir/rotel.log" 2>&1 &
LD_LIBRARY_PATH=$libraries "$dir/root/lib/systemd/systemd-journal-remote" "--listen-http=127.0.0.1:$journal" \
    -o "$dir/remote.journal" --split-mode=none 2>"$dir/journal.log" &

post() { # port, path, content type, body
    printf "$4" | curl -s -o "$dir/answer" -w '%{http_code}' --retry 20 --retry-connrefused --retry-delay 1 \
        -H "Content-Type: $3" --data-binary @- "http://127.0.0.1:$1$2"
}
record='{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"order taken"}}]}]}]}'
entry='__REALTIME_TIMESTAMP=1700000000000000\nMESSAGE=order taken\n\n'
json=application/json export=application/vnd.fdo.journal
seen="rotel: $json $(post "$otlp" /v1/logs "$json" "$record")
rotel: $json; charset=utf-8 $(post "$otlp" /v1/logs "$json; charset=utf-8" "$record")
journal-remote: $export $(post "$journal" /upload "$export" "$entry")
journal-remote: $export; charset=utf-8 $(post "$journal" /upload "$export; charset=utf-8" "$entry")"
expected="rotel: $json 200
rotel: $json; charset=utf-8 400
journal-remote: $export 202
journal-remote: $export; charset=utf-8 415"
echo "$seen"
[ "$seen" = "$expected" ]
