#!/usr/bin/env bash
# http-logging loses a whole batch for one NaN or infinity among the extras, and says nothing; a date loses its record alone.
#
# Tool:     http-logging 2.0.0 with python-logstash-async 4.1.0 and requests 2.34.2 (PyPI), on Python 3.11.
# Expected: The formatter that it derives from writes a value as JSON that JSON has not, such as a date, as text. So does this
#           one; and an infinite number is written as json.dumps does it, or costs its own record.
# Instead:  The formatter has a _serialize of plain json.dumps and hands on the extras as they are. A date, datetime, Decimal or
#           UUID fails in it: handleError prints that, and the record is lost. A NaN passes it, is read back, and fails in
#           requests, which refuses it for all records of the batch. The transport catches that and logs it to a logger that
#           is off by default, and the worker then deletes the events as sent.
# Output:   20 records:                 20 arrive, 0 failures are printed
#           one of them with a date:    19 arrive, 1 failures are printed
#           one of them with a NaN:     10 arrive, 0 failures are printed
# Matters:  What a relay answers cannot help here: nothing was sent. Floats that come from a division or a sensor are NaN now
#           and then, and each one takes up to nine unrelated records with it. A sender encodes each record by itself.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check http-logging==2.0.0 python-logstash-async==4.1.0 requests==2.34.2

cat >"$dir/run.py" <<'EOF'
import dataclasses, datetime, http.server, json, logging, os, sys, threading

# Its classes have defaults that Python takes since 3.11 only if they can be hashed.
plain = dataclasses.dataclass
dataclasses.dataclass = lambda cls=None, **options: (
    plain(unsafe_hash=True, **options) if cls is None else plain(unsafe_hash=True)(cls)
)
from http_logging import ConfigLog, HttpHost, HttpSecurity
from http_logging.handler import AsyncHttpHandler

arrived = []


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        arrived.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Handler(AsyncHttpHandler):
    failures = 0

    def handleError(self, record):
        Handler.failures += 1


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
value = {"date": datetime.date(2026, 11, 28), "nan": float("nan"), "text": "text"}[sys.argv[1]]
host = HttpHost(name="127.0.0.1", port=server.server_port, path="ingest")
handler = Handler(http_host=host, config=ConfigLog(security=HttpSecurity(ssl_enable=False), database_path=None))
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(handler)
for number in range(20):
    logger.info("order %d", number, extra={"value": value if number == 10 else 1})
# Sends what is queued, and waits for it.
logging.shutdown()
print(f"{len(arrived)} arrive, {Handler.failures} failures are printed")
EOF
run() { "$dir/venv/bin/python" "$dir/run.py" "$1"; }
seen="20 records:                 $(run text)
one of them with a date:    $(run date)
one of them with a NaN:     $(run nan)"
expected="20 records:                 20 arrive, 0 failures are printed
one of them with a date:    19 arrive, 1 failures are printed
one of them with a NaN:     10 arrive, 0 failures are printed"
echo "$seen"
[ "$seen" = "$expected" ]
