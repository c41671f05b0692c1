#!/usr/bin/env bash
# Caddy says 502 where a body is above its own limit and the request is passed on, though its log says 413.
#
# Tool:     Caddy 2.6.2 (Debian 12), request_body { max_size 1KB } before reverse_proxy.
# Expected: A body above the limit is refused with 413, and before anything is passed on: the request says its length.
# Instead:  The limit is found while the body is being read. reverse_proxy opens a request to the application, with the
#           whole length in its head, breaks it off in the middle, and answers 502, as if the application were away. "HTTP
#           413" is in the log alone.
# Output:   500 bytes: 200
#           5000 bytes: 502
#           the application read: 500 of 500, 1000 of 5000
#           the log: HTTP 413: http: request body too large
# Matters:  A 502 for a batch does not mean that the application is away, nor that the next attempt can be better. A sender
#           that repeats after 502 and splits after 413 sends such a batch for ever: it has to split what keeps failing,
#           too.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
download caddy=2.6.2-5 2>/dev/null || { apt-get update -qq && download caddy=2.6.2-5; }
dpkg -x "$dir"/caddy_*.deb "$dir/root"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
application=$(free_port) proxy=$(free_port)

cat >"$dir/application.py" <<'EOF'
import http.server, sys

class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        print(f"{len(self.rfile.read(length))} of {length}", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Application).serve_forever()
EOF
python3 "$dir/application.py" "$application" >"$dir/seen" 2>/dev/null &
cat >"$dir/Caddyfile" <<EOF
{
    admin off
    auto_https off
}
http://127.0.0.1:$proxy {
    bind 127.0.0.1
    request_body {
        max_size 1KB
    }
    reverse_proxy 127.0.0.1:$application
}
EOF
HOME=$dir "$dir/root/usr/bin/caddy" run --config "$dir/Caddyfile" --adapter caddyfile >"$dir/log" 2>&1 &

for port in "$application" "$proxy"; do
    curl -s -o "$dir/answer" --retry 20 --retry-connrefused --retry-delay 1 "http://127.0.0.1:$port/"
done

post() { # bytes
    head -c "$1" /dev/zero | curl -s -o "$dir/answer" -w '%{http_code}' -H 'Content-Type: application/octet-stream' \
        --data-binary @- "http://127.0.0.1:$proxy/"
}
seen="500 bytes: $(post 500)
5000 bytes: $(post 5000)"
# The application ends its line when the connection has ended.
for _ in $(seq 50); do [ "$(wc -l <"$dir/seen")" -ge 2 ] && break || sleep 0.1; done
seen="$seen
the application read: $(sed -n 1p "$dir/seen"), $(sed -n 2p "$dir/seen")
the log: $(grep -o -m 1 'HTTP 413: http: request body too large' "$dir/log")"
expected="500 bytes: 200
5000 bytes: 502
the application read: 500 of 500, 1000 of 5000
the log: HTTP 413: http: request body too large"
echo "$seen"
[ "$seen" = "$expected" ]
