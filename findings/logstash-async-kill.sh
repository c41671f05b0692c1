#!/usr/bin/env bash
# python-logstash-async keeps events in a database, and deletes unsent those that were under way when the process was killed.
#
# Tool:     python-logstash-async 4.1.0 (PyPI) with database_path and its HttpTransport.
# Expected: Events are in SQLite until the server has taken them. After a kill in the middle of a request the next process
#           with the same database sends them: at least once.
# Instead:  Events that are read for sending are marked pending_delete. A kill leaves the mark; the next process sends
#           only what is not marked, and after its first success deletes all that is. So these are never sent.
# Output:   killed while sending:  the server has answered nothing, 5 events in the database
#           the next process:      sends new 0 new 1 new 2, 0 events in the database
# Matters:  "Under way" is a state of a process and must not be written to the disk as one of a record, or has to be taken back
#           at the start. A spool notes on disk only what was delivered; what was under way when a process died is sent
#           again, with the same id, so that the receiver can tell.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check python-logstash-async==4.1.0 requests==2.34.2

cat >"$dir/service.py" <<'EOF'
import logging, sys, time

from logstash_async.handler import AsynchronousLogstashHandler
from logstash_async.transport import HttpTransport

port, database, name, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
transport = HttpTransport("127.0.0.1", port, ssl_enable=False, timeout=60.0)
logger = logging.getLogger("shop")
logger.setLevel(logging.INFO)
logger.addHandler(AsynchronousLogstashHandler("127.0.0.1", port, database_path=database, transport=transport))
for number in range(count):
    logger.info("%s %s", name, number)
time.sleep(15)
EOF
cat >"$dir/run.py" <<'EOF'
import http.server, json, sqlite3, subprocess, sys, threading, time

EXPECTED = (["old 0", "old 1", "old 2", "old 3", "old 4"], 5, ["new 0", "new 1", "new 2"], 0)

texts, down = [], True


class Logstash(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        events = json.loads(self.rfile.read(int(self.headers["content-length"])))
        texts.extend(event["message"] for event in events)
        while down:
            time.sleep(0.1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Logstash)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
database = sys.argv[1] + "/events"


def service(name, count):
    return subprocess.Popen([sys.executable, sys.argv[1] + "/service.py", str(server.server_port), database, name, str(count)])


def stored():
    connection = sqlite3.connect(database)
    count = connection.execute("SELECT count(*) FROM event").fetchone()[0]
    connection.close()
    return count


first = service("old", 5)
for _ in range(300):
    if texts:
        break
    time.sleep(0.1)
time.sleep(0.5)
first.kill()
first.wait()
seen = (list(texts), stored())
print("killed while sending:  the server has answered nothing,", stored(), "events in the database")
texts.clear()
down = False
service("new", 3).wait()
seen += (list(texts), stored())
print("the next process:      sends", " ".join(texts) + ",", stored(), "events in the database")
sys.exit(seen != EXPECTED)
EOF
"$dir/venv/bin/python" "$dir/run.py" "$dir"
