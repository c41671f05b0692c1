#!/usr/bin/env bash
# A server with Loki's push API answers 500 to what it will never be able to read, and 204 to what it drops.
#
# Tool:     qryn 3.2.39 (npm) on chdb-core 26.9.0 (PyPI), POST /loki/api/v1/push.
# Expected: As Loki: 400 to a time that is none and to JSON that breaks off, for a client is not to send those again. 204
#           says that the lines are stored.
# Instead:  One time that is none makes the request a 500, and the good line before it is not stored either. JSON that
#           breaks off is a 500, too. 204 is the answer to a line of 2001, which is deleted as it is stored, and to a line
#           that is null, which is stored as empty.
# Output:   good 204
#           good and bad time 500
#           breaks off 500
#           of 2001 204
#           null 204
#           stored: "", "first"
# Matters:  A client that repeats what gets 5xx, as it must, repeats such a batch for ever, with all that waits behind it.
#           Which record is to blame is to be found by experiment, whatever the status; and no status says that old lines
#           are stored.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check --no-deps chdb-core==26.9.0
npm install --silent --no-fund --no-audit --prefix "$dir" qryn@3.2.39

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
store=$(free_port) push=$(free_port)

# The engine behind as much of ClickHouse's HTTP interface as qryn uses.
cat >"$dir/store.py" <<'EOF'
import http.server, queue, sys, threading, urllib.parse
from chdb import session

queries = queue.Queue()

class Interface(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        settings = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        result = queue.SimpleQueue()
        queries.put((settings.get("query", "") + "\n" + self.body().decode(), settings.get("database"), result))
        status, body = result.get()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def body(self):
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_):
        pass

engine = session.Session(sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Interface)
threading.Thread(target=server.serve_forever, daemon=True).start()
while True:
    query, database, result = queries.get()
    try:
        if database and "CREATE DATABASE" not in query:
            engine.query(f"USE {database}")
        result.put((200, engine.query(query, "TabSeparated").bytes() or b""))
    except Exception as error:
        result.put((500, str(error).encode()))
EOF
wait_for() { for _ in $(seq 600); do (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return || sleep 0.1; done; }
"$dir/venv/bin/python" "$dir/store.py" "$dir/data" "$store" &
wait_for "$store"
(cd "$dir" && HOST=127.0.0.1 PORT=$push CLICKHOUSE_SERVER=127.0.0.1 CLICKHOUSE_PORT=$store \
    exec node node_modules/qryn/qryn_node.js >qryn.log 2>&1) &
wait_for "$push"

now=$(date +%s)000000000
say() { # name, body
    echo "$1 $(curl -s -o "$dir/answer" -w '%{http_code}' -H 'Content-Type: application/json' -d "$2" \
        "http://127.0.0.1:$push/loki/api/v1/push")"
}
lines() { echo '{"streams":[{"stream":{"service_name":"shop"},"values":['"$1"']}]}'; }
stored() { curl -s "http://127.0.0.1:$store/" -d "SELECT DISTINCT string FROM cloki.samples_v3 ORDER BY string FORMAT JSONEachRow"; }
seen="$(say good "$(lines '["'"$now"'","first"]')")
$(say 'good and bad time' "$(lines '["'"$now"'","second"],["yesterday","third"]')")
$(say 'breaks off' '{"streams":[{"stream":{"service_name":"shop"},"values":[["')
$(say 'of 2001' "$(lines '["1000000000000000000","old"]')")
$(say null "$(lines '["'"$now"'",null]')")"
# It writes them a little later than it answers.
for _ in $(seq 100); do [ "$(stored | wc -l)" -ge 2 ] && break || sleep 0.1; done
sleep 2
seen="$seen
stored: $(stored | sed 's/{"string":\(.*\)}/\1/' | paste -sd, | sed 's/,/, /g')"
expected='good 204
good and bad time 500
breaks off 500
of 2001 204
null 204
stored: "", "first"'
echo "$seen"
[ "$seen" = "$expected" ]
