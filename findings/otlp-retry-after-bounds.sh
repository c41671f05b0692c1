#!/usr/bin/env bash
# OpenTelemetry's exporters repeat least when the server asks for time: Retry-After: 20 ends all tries, 0 uses them up at once.
#
# Tool:     opentelemetry-exporter-otlp-proto-http 1.45.2 (PyPI), @opentelemetry/exporter-logs-otlp-http 0.223.0 (npm).
# Expected: After 503 with Retry-After the exporter waits as long as the server asks for, or as long as it can, and tries
#           again. "0" means that it may try at once, with its own delays after that. Half a second is not in RFC 9110 and
#           is ignored, or rounded up.
# Instead:  The header takes the place of the exporter's own delays. A number that is above what is left of its 10 seconds is
#           not cut: the batch is dropped on the spot, where without the header it would have been tried for seconds.
#           With 0 all six tries are over within a moment, and the batch is dropped. Node reads 0.5 as 0, Python as 0.5.
# Output:   Retry-After  Python                   Node
#           (none)       3 to 5 tries, seconds    3 to 5 tries, seconds
#           20           1 try, at once           1 try, at once
#           0            6 tries, at once         6 tries, at once
#           0.5          6 tries, seconds         6 tries, at once
# Matters:  A relay in front of these clients decides over their records by this one number. It answers a whole number of
#           seconds, small enough to fit several tries into 10 s and above 0: with 3 a batch stands about 9 s. A
#           sender that must lose nothing takes the header as a lower bound for one delay, and never as a reason to stop.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check opentelemetry-exporter-otlp-proto-http==1.45.2 \
    opentelemetry-sdk==1.45.2 requests==2.34.2
npm install --silent --no-fund --no-audit --prefix "$dir" @opentelemetry/exporter-logs-otlp-http@0.223.0 \
    @opentelemetry/sdk-logs@0.223.0 @opentelemetry/api-logs@0.223.0 @opentelemetry/api@1.9.0

cat >"$dir/export.cjs" <<'EOF'
const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-http');
new OTLPLogExporter({ url: process.argv[2] }).export([], () => process.exit());
EOF
cat >"$dir/run.py" <<'EOF'
import http.server, logging, subprocess, sys, threading, time

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

EXPECTED = {
    "": ["3 to 5 tries, seconds", "3 to 5 tries, seconds"],
    "20": ["1 try, at once", "1 try, at once"],
    "0": ["6 tries, at once", "6 tries, at once"],
    "0.5": ["6 tries, seconds", "6 tries, at once"],
}

times = []


class Busy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        times.append(time.monotonic())
        chunked = self.headers.get("transfer-encoding") == "chunked"
        if chunked:
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503)
        if self.path != "/":
            self.send_header("Retry-After", self.path[1:])
        self.send_header("Content-Length", "0")
        self.end_headers()


def tries():
    # Without the header, chance has a part in the delays.
    count = {1: "1 try", 6: "6 tries"}.get(len(times), "3 to 5 tries" if len(times) in (3, 4, 5) else f"{len(times)} tries")
    told = f"{count}, {'at once' if times[-1] - times[0] < 1 else 'seconds'}"
    times.clear()
    return told


logging.disable()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
print("Retry-After  Python                   Node")
for value in EXPECTED:
    url = f"http://127.0.0.1:{server.server_port}/{value}"
    OTLPLogExporter(endpoint=url).export([])
    seen[value] = [tries()]
    subprocess.run(["node", sys.argv[1] + "/export.cjs", url], check=True)
    seen[value].append(tries())
    print(f"{value or '(none)':12} {seen[value][0]:24} {seen[value][1]}", flush=True)
sys.exit(seen != EXPECTED)
EOF
"$dir/venv/bin/python" "$dir/run.py" "$dir"
