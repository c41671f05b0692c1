#!/usr/bin/env bash
# OpenTelemetry's Python exporter takes a redirect for a success, and follows none.
#
# Tool:     opentelemetry-exporter-otlp-proto-http 1.45.2 (PyPI).
# Expected: A POST that is answered with 307 or 308 goes again to the new place, as requests does it by itself, and 302 ends
#           as a GET without records; or the export fails, with a line that says where the endpoint has gone.
# Instead:  Whatever is below 400 is a success, so 302, 304, 307 and 308 are. No second request is made, the records are gone,
#           and nothing is logged.
# Output:   302: SUCCESS after 1 request, 0 at the new place, 0 lines logged
#           304: SUCCESS after 1 request, 0 at the new place, 0 lines logged
#           307: SUCCESS after 1 request, 0 at the new place, 0 lines logged
#           308: SUCCESS after 1 request, 0 at the new place, 0 lines logged
# Matters:  A login page, a move to https or a missing slash in front of a collector empties the queues of all Python services
#           in silence. A receiver never answers a redirect. A sender counts a redirect as "not delivered": it holds the
#           batch and says so, since only an operator can tell whether the new place may have the records.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check opentelemetry-exporter-otlp-proto-http==1.45.2 \
    opentelemetry-sdk==1.45.2 requests==2.34.2

cat >"$dir/run.py" <<'EOF'
import http.server, logging, sys, threading

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

EXPECTED = {status: ("SUCCESS", 1, 0, 0) for status in (302, 304, 307, 308)}

paths, results, lines = [], [], []


class Moved(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        paths.append(self.path)
        self.send_response(200 if self.path == "/new" else int(self.path[1:]))
        self.send_header("Location", "/new")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET


class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())


class Told(OTLPLogExporter):
    def export(self, batch):
        results.append(super().export(batch))
        return results[-1]


logging.getLogger("opentelemetry").addHandler(Lines())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moved)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
for status in EXPECTED:
    paths.clear(), results.clear(), lines.clear()
    provider = LoggerProvider()
    exporter = Told(endpoint=f"http://127.0.0.1:{server.server_port}/{status}")
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("shop").emit(LogRecord(body="order taken"))
    provider.shutdown()
    seen[status] = (results[0].name, len(paths), paths.count("/new"), len(lines))
    print("{}: {} after {} request, {} at the new place, {} lines logged".format(status, *seen[status]))
sys.exit(seen != EXPECTED)
EOF
"$dir/venv/bin/python" "$dir/run.py"
